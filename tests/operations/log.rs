//! The log: one line per request.

use reqwest::Method;
use serde_json::Value;

use super::dev;

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
            "/auth/oauth_callback/google?state=x%0d%0a{%22planted%22:1}&code=y",
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
        .filter(|entry| entry.get("route").is_some())
        .collect();
    let of = |name: &str| {
        requests
            .iter()
            .map(|entry| entry[name].clone())
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
        assert!(!line.contains("planted") && !line.contains("[31m"), "{line}");
    }
}
