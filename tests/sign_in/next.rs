//! Attacks on `next`: nobody is ever sent anywhere but to the allowed origins.

use reqwest::StatusCode;
use url::Url;

use super::support::browser::{encode, location, token_in};
use super::support::setup::EXTERNAL;
use super::{APP, login, start};

/// Attacks on `next`: what a browser would take for a URL elsewhere, or that could break the answer.
fn attacks() -> Vec<String> {
    let mut attacks: Vec<String> = [
        "//evil.example",
        "///evil.example",
        "////evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "\t//evil.example",
        " //evil.example",
        "//evil.example/%2f..",
        "http:evil.example",
        "http:/evil.example",
        "https:evil.example",
        "https:/evil.example",
        "https:\\evil.example",
        "https:///evil.example",
        "https://evil.example",
        "HTTPS://EVIL.EXAMPLE/",
        "https://app.example.org@evil.example/",
        "https://app.example.org:pw@evil.example/",
        "https://app.example.org%40evil.example/",
        "https://app.example.org\\@evil.example/",
        "https://evil.example\\@app.example.org/",
        "https://evil.example#@app.example.org/",
        "https://evil.example?@app.example.org/",
        "https://app.example.org.evil.example/",
        "https://app.example.orgevil.example/",
        "https://evilapp.example.org/",
        "https://evil.app.example.org/",
        "https://app.example.org:80@evil.example/",
        "https://app.example.org:443@evil.example",
        "https://app.example.org:444/",
        "https://app.example.org:80/",
        "http://app.example.org/",
        "ftp://app.example.org/",
        "https://app.example.org./",
        "https://app.example.org%00.evil.example/",
        "https://app.example.org%25@evil.example",
        "https://app.example.org\0.evil.example/",
        "https://app.example.org\r\nLocation: https://evil.example/",
        "https://app.example.org%0d%0aset-cookie:a=b@evil.example/",
        "https://user@app.example.org/",
        "https://user:pass@app.example.org/",
        "https://аpp.example.org/",
        "https://app。example。org@evil.example",
        "https://app.example.org%E3%80%82evil.example/",
        "https://ⓔⓥⓘⓛ.example/",
        "https://xn--pp-6kc.example.org/",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\nscript:alert(1)",
        " javascript:alert(1)",
        "\u{1}javascript:alert(1)",
        "javascript://app.example.org/%0aalert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:msgbox(1)",
        "blob:https://app.example.org/1",
        "filesystem:https://app.example.org/x",
        "about:blank",
        "file:///etc/passwd",
        "view-source:https://app.example.org",
        "intent://evil.example#Intent;scheme=https;end",
        "mailto:a@app.example.org",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://017700000001/",
        "http://127.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::1%25eth0]/",
        "http://127.0.0.1:1/",
        "http://0/",
        "https://[app.example.org]/",
        "",
        ".",
        "..",
        "/",
        "?",
        "#",
        "app.example.org",
        "@",
        ":",
        "://",
        "https://",
        "http://",
        "https://?",
        "https://#",
        "%68ttps://evil.example",
        "https%3A%2F%2Fevil.example",
        "%2f%2fevil.example",
        "%5c%5cevil.example",
        "/%09/evil.example",
        "https://app.example.org/\u{0}",
        "https://app.example.org/\r\nx: y",
        "https://app.example.org/?a=\r\nx: y#\n",
        "https://app.example.org/?jwt=old&jwt=older",
        "https://app.example.org/?a&jwt#f?jwt=x",
        "https://app.example.org/?&&&=",
        "https://app.example.org/?%6awt=old",
        "https://app.example.org#jwt=x",
        "https://app.example.org?jwt",
        "https://app.example.org/?a=%ff%fe",
        "https://app.example.org/\u{202e}gro",
        "https://app.example.org/../../..//evil.example",
        "https://app.example.org//evil.example",
        "https://app.example.org/\\evil.example",
        "https://app.example.org/;@evil.example",
    ]
    .map(str::to_owned)
    .into();
    // Every way to put a character of doubt between the origin that is allowed and one that is not.
    for doubt in [
        "@",
        "\\",
        "\\@",
        "/@",
        ":@",
        "%40",
        "%2f@",
        "#@",
        "?@",
        ";@",
        ",",
        "\t@",
        "\n@",
        "\u{a0}@",
        "\u{feff}@",
        ".",
    ] {
        attacks.push(format!("https://app.example.org{doubt}evil.example/"));
        attacks.push(format!("https://evil.example{doubt}app.example.org/"));
    }
    attacks.push(format!("https://app.example.org/{}", "a".repeat(6000)));
    attacks.push(format!("https://{}@evil.example/", "app.example.org".repeat(200)));
    attacks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_next_leads_anywhere_but_to_the_allowed_origins() {
    let (gateway, _google, _other) = start().await;
    let allowed = [APP, EXTERNAL].map(|url| Url::parse(url).unwrap().origin());
    let (mut refused, mut locations) = (0, Vec::new());
    for attack in attacks() {
        let browser = gateway.browser();
        let check = browser
            .get(&format!("/auth/check?next={}", encode(&attack)))
            .await;
        let login = browser.get(&login("google", &attack)).await;
        if login.status() != StatusCode::FOUND {
            assert!(login.status().is_client_error(), "{attack:?}: {}", login.status());
            assert!(
                check.status().is_client_error(),
                "{attack:?}: check and login differ"
            );
            assert_eq!(login.headers().get("location"), None, "{attack:?}");
            refused += 1;
            continue;
        }
        assert_eq!(
            check.status(),
            StatusCode::OK,
            "{attack:?}: check and login differ"
        );
        let authorize = location(&login);
        let callback = location(&browser.get(authorize.as_str()).await);
        let response = browser.get(callback.as_str()).await;
        let raw = response.headers()["location"]
            .to_str()
            .unwrap_or_else(|_| panic!("{attack:?}"))
            .to_owned();
        let back = Url::parse(&raw).unwrap_or_else(|error| panic!("{attack:?} gave {raw:?}: {error}"));
        assert!(allowed.contains(&back.origin()), "{attack:?} led to {raw}");
        assert!(
            back.username().is_empty() && back.password().is_none(),
            "{attack:?} led to {raw}"
        );
        // What was parsed is what is sent: parsing again changes nothing.
        assert_eq!(back.as_str(), raw, "{attack:?}");
        assert_eq!(
            back.query_pairs().filter(|(name, _)| name == "jwt").count(),
            1,
            "{attack:?} led to {raw}"
        );
        assert!(
            browser.is_signed_in(&token_in(&response)).await,
            "{attack:?} led to {raw}"
        );
        locations.push(raw);
    }
    println!("{refused} refused, {} led to an allowed origin", locations.len());
    assert!(refused > 60 && locations.len() > 5, "{refused}, {locations:?}");
    #[cfg(feature = "test-all")]
    assert_node_agrees(&locations);

    // Twice is no answer to the question which.
    for twice in [
        format!("next={0}&next={0}", encode(APP)),
        format!("next={}&next=", encode(APP)),
    ] {
        for path in ["/auth/check", "/auth/login/google"] {
            let status = gateway.browser().get(&format!("{path}?{twice}")).await.status();
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path}?{twice}");
        }
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_token_in_next_is_replaced_and_the_rest_stays() {
    let (gateway, google, _other) = start().await;
    for (next, before, after) in [
        ("/?jwt=old", "/?jwt=", ""),
        ("/?jwt=old&a=%41+b", "/?a=%41+b&jwt=", ""),
        ("/?a=1&jwt=old&jwt=older&b", "/?a=1&b&jwt=", ""),
        ("/#part", "/?jwt=", "#part"),
        ("/?jwt=old#jwt=x", "/?jwt=", "#jwt=x"),
        ("/x?my_jwt=1", "/x?my_jwt=1&jwt=", ""),
    ] {
        let response = google
            .sign_in(&gateway.browser(), &login("google", &format!("{APP}{next}")))
            .await;
        let token = token_in(&response);
        assert_eq!(
            location(&response).as_str(),
            format!("{APP}{before}{token}{after}"),
            "{next}"
        );
    }
    gateway.stop().await;
}

/// Node's URL parser, another one than the gateway and this test have, has to see the allowed origins too.
#[cfg(feature = "test-all")]
fn assert_node_agrees(locations: &[String]) {
    let script = "for (const url of JSON.parse(process.argv[1])) console.log(new URL(url).origin)";
    let output = std::process::Command::new("node")
        .args(["-e", script, "--"])
        .arg(serde_json::to_string(locations).expect("JSON"))
        .output()
        .expect("node starts");
    let origins = String::from_utf8(output.stdout).expect("text");
    assert_eq!(
        origins.lines().count(),
        locations.len(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for (origin, location) in origins.lines().zip(locations) {
        assert!(
            [APP, EXTERNAL.trim_end_matches('/')].contains(&origin),
            "{location} leads to {origin}"
        );
    }
}
