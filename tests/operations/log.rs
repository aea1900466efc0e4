//! The log: one line a request, and no secret in it or anywhere else.

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::dev;
use super::support::Setup;
use super::support::browser::{encode, parameter, token_in};
use super::support::fake_oidc::{FakeOidc, Mood};
use super::support::setup::{SESSION_SECRET, private_key};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_one_line_of_json() {
    let gateway = dev()
        .env("GOOGLE_KEY", "key")
        .env("GOOGLE_SECRET", "secret")
        .start()
        .await;
    let browser = gateway.browser();
    let token = gateway.sign_in("alice").await;
    let before = gateway.flushed_log().await.len();
    for (target, status) in [
        ("/auth/check", 200),
        ("/auth/authorize?service=ok", 200),
        ("/auth/nothing", 404),
        ("/auth/update", 405),
        (
            "/auth/oauth_callback/google?state=x%0d%0a{%22forged%22:1}&code=y",
            400,
        ),
        ("/auth/login/%0d%0a%1b[31mevil", 404),
    ] {
        let request = browser
            .request(Method::GET, target)
            .bearer_auth(&token)
            .header("user-agent", "a\tb\"}\\");
        assert_eq!(browser.send(request).await.status().as_u16(), status, "{target}");
    }
    let log = gateway.stop().await;
    let entries: Vec<Value> = log.lines()[before..]
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let requests: Vec<_> = entries
        .iter()
        .map(fields)
        .filter(|fields| fields.contains_key("route"))
        .collect();
    let of = |name: &str| {
        requests
            .iter()
            .map(|fields| fields[name].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of("status"),
        [200, 200, 404, 405, 400, 404].map(Value::from),
        "{requests:?}"
    );
    assert!(of("method").iter().all(|method| method == "GET"));
    assert_eq!(of("route")[0], "/auth/check");
    assert_eq!(of("route")[1], "/auth/authorize");
    assert_eq!(of("route")[4], "/auth/oauth_callback/{provider}");
    for line in &log.lines()[before..] {
        assert!(!line.contains("forged") && !line.contains("[31m"), "{line}");
    }
}

/// The fields of a log entry, wherever the formatter puts them.
fn fields(entry: &Value) -> Map<String, Value> {
    let mut all = entry.as_object().cloned().unwrap_or_default();
    if let Some(Value::Object(inner)) = all.remove("fields") {
        all.extend(inner);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_any_log_line_metric_or_error() {
    let google =
        FakeOidc::start(json!({"sub": "1", "email": "canary-address@example.org", "email_verified": true}))
            .await;
    let private = private_key(gateway_token::Algorithm::RS256);
    let setup = Setup::serve()
        .oidc("google", &google)
        .plugin("behave", test_guests::BEHAVE)
        .service("ok", "behave")
        .service("trap", "behave")
        .table("log", "filter = \"info,gateway=trace,gateway_token=trace,gateway_store=trace,gateway_plugin=trace,gateway_upstream=trace,hyper=trace,hyper_util=trace,reqwest=trace,rustls=trace\"");
    let gateway = setup.start().await;
    let admin = gateway.admin().await;
    let browser = gateway.browser();
    let mut secrets: Vec<(String, String)> = vec![
        ("the client secret".into(), google.client_secret.clone()),
        ("the upstream access token".into(), "canary-access-token".into()),
        ("the session secret".into(), SESSION_SECRET.into()),
        ("the admin token".into(), admin.token.clone()),
        (
            "the private key".into(),
            private.lines().nth(1).unwrap().to_owned(),
        ),
    ];
    let mut answers = String::new();

    let login = format!("/auth/login/google?next={}", encode(gateway.external.as_str()));
    for mood in [Mood::Well, Mood::Down, Mood::Rubbish, Mood::ForgedSignature] {
        let callback = google.go(&browser, &login).await;
        secrets.extend(
            browser
                .cookies()
                .into_values()
                .map(|cookie| ("a cookie".into(), cookie)),
        );
        secrets.push(("a state".into(), parameter(&callback, "state").unwrap()));
        google.set_mood(mood);
        let response = browser.get(callback.as_str()).await;
        google.set_mood(Mood::Well);
        if mood == Mood::Well {
            let token = token_in(&response);
            let (_, answer) = browser.authorize(&token, "ok").await;
            secrets.push((
                "a permission token".into(),
                answer["token"].as_str().unwrap().to_owned(),
            ));
            let cut = &token[..token.len() - 1];
            for target in [
                format!("/auth/check?jwt={token}"),
                format!("/auth/check?jwt={cut}"),
                format!("/auth/authorize?service=trap&jwt={token}"),
                format!("/auth/nothing?jwt={token}"),
                format!("/auth/{token}"),
                format!("/auth/login/{token}?next={token}"),
                format!("/auth/login/google?next=https://evil.example/?jwt={token}"),
                format!("/auth/update?jwt={token}"),
                format!("/auth/oauth_callback/google?state={token}&code={token}"),
            ] {
                answers += &browser.get(&target).await.text().await.unwrap();
            }
            let form = browser
                .request(Method::POST, "/auth/update")
                .form(&[("jwt", cut), ("username", &token)]);
            answers += &browser.send(form).await.text().await.unwrap();
            browser.post_as(&token, "/auth/logout").await;
            secrets.push(("a session token".into(), cut.to_owned()));
        } else {
            answers += &response.text().await.unwrap();
        }
    }
    secrets.extend(
        google
            .codes()
            .into_iter()
            .map(|code| ("an authorization code".into(), code)),
    );
    let metrics = admin.metrics().await;
    let status = admin.plugins().await.to_string();
    let check = gateway.cli(&["config", "check"]).await.succeeded();
    let log = gateway.stop().await.text();
    assert!(
        log.contains("/auth/oauth_callback"),
        "the log has lines to search"
    );
    for (what, secret) in &secrets {
        assert!(
            secret.len() > 12,
            "{what} is too short to be looked for: {secret}"
        );
        for (place, text) in [
            ("log", &log),
            ("metrics", &metrics),
            ("plugin status", &status),
            ("answers", &answers),
            ("config check", &check),
        ] {
            assert!(
                !text.contains(secret.as_str()),
                "{what} is in the {place}: {secret}"
            );
        }
    }
    for (place, text) in [("log", &log), ("metrics", &metrics), ("config check", &check)] {
        let canary = text
            .lines()
            .find(|line| line.contains("canary") && !line.contains("canary-address"));
        assert_eq!(canary, None, "{place}");
    }
}
