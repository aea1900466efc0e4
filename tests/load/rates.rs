//! Rate limits per address, and the proxies that may report a client's address.

use reqwest::{Method, StatusCode};

use support::{Gateway, Setup};

/// Slow enough that no share is refilled during a test.
const LIMITS: &str = "sign_in = \"4/h\"\nupdate = \"2/h\"";

fn setup(trusted: &str) -> Setup {
    crate::setup()
        .table("rate_limits", LIMITS)
        .table("server", &format!("trusted_proxies = {trusted}"))
}

/// A request as a proxy would forward it. Returns the status, and asserts the headers of a 429.
async fn ask(gateway: &Gateway, method: Method, path: &str, forwarded: &[(&str, &str)]) -> StatusCode {
    let browser = gateway.browser();
    let mut request = browser.request(method, path);
    for (name, value) in forwarded {
        request = request.header(*name, *value);
    }
    let response = browser.send(request).await;
    let status = response.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        let wait: u64 = response.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .expect("seconds");
        assert!((1..=3600).contains(&wait), "{wait}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let text = response.text().await.unwrap();
        assert!(text.contains("oo many requests from your network"), "{text}");
    }
    status
}

/// How many of ten requests are within the limit.
async fn let_through(gateway: &Gateway, path: &str, forwarded: &[(&str, &str)]) -> u32 {
    let method = if path == "/auth/update" {
        Method::POST
    } else {
        Method::GET
    };
    let mut count = 0;
    for _ in 0..10 {
        count +=
            u32::from(ask(gateway, method.clone(), path, forwarded).await != StatusCode::TOO_MANY_REQUESTS);
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_client_behind_a_trusted_proxy_has_its_share() {
    let gateway = setup("[\"127.0.0.1\"]").start().await;
    for client in ["198.51.100.1", "198.51.100.2", "2001:db8::1"] {
        let forwarded = [("x-forwarded-for", client)];
        assert_eq!(
            let_through(&gateway, "/auth/login/dev", &forwarded).await,
            4,
            "{client}"
        );
        assert_eq!(
            let_through(&gateway, "/auth/update", &forwarded).await,
            2,
            "{client}"
        );
        // Cheap requests are not limited.
        assert_eq!(let_through(&gateway, "/auth/check", &forwarded).await, 10);
        assert_eq!(
            let_through(&gateway, "/auth/authorize?service=example", &forwarded).await,
            10
        );
    }
    let admin = gateway.admin().await;
    let limited = async |limit| admin.metric("gateway_rate_limited_total", &[limit]).await;
    assert_eq!(
        (
            limited("limit=\"sign_in\"").await,
            limited("limit=\"update\"").await
        ),
        (18.0, 24.0)
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwarding_headers_of_untrusted_peers_are_ignored() {
    let gateway = setup("[\"127.0.0.1\"]").start().await;
    let mut through = 0;
    for attempt in 0..60 {
        let claimed = format!("203.0.113.{attempt}, 198.51.100.1");
        let other = format!("203.0.113.{attempt}");
        let forwarded = [
            ("x-forwarded-for", claimed.as_str()),
            ("forwarded", &format!("for={other}")),
            ("x-real-ip", &other),
            ("x-client-ip", &other),
            ("true-client-ip", &other),
            ("cf-connecting-ip", &other),
            ("x-forwarded-host", "e.example"),
            ("x-original-forwarded-for", &other),
        ];
        let status = ask(&gateway, Method::GET, "/auth/login/dev", &forwarded).await;
        through += u32::from(status != StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(through, 4);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_untrusted_proxy_cannot_name_clients() {
    let gateway = setup("[\"192.0.2.0/24\"]").start().await;
    let mut through = 0;
    for attempt in 0..20 {
        let client = format!("198.51.100.{attempt}");
        let status = ask(
            &gateway,
            Method::GET,
            "/auth/login/dev",
            &[("x-forwarded-for", &client)],
        )
        .await;
        through += u32::from(status != StatusCode::TOO_MANY_REQUESTS);
    }
    // The peer's own address counts for all of them.
    assert_eq!(through, 4);
    gateway.stop().await;

    // If no proxies are configured, a peer on loopback could be one, and is not limited.
    let gateway = setup("[]").start().await;
    assert_eq!(
        let_through(
            &gateway,
            "/auth/login/dev",
            &[("x-forwarded-for", "198.51.100.1")]
        )
        .await,
        10
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_can_be_changed_by_a_reload() {
    let setup = setup("[\"127.0.0.1\"]");
    let gateway = setup.start().await;
    let forwarded = [("x-forwarded-for", "198.51.100.1")];
    assert_eq!(let_through(&gateway, "/auth/login/dev", &forwarded).await, 4);
    // An unrelated change of the configuration resets no limit.
    setup.clone().origin("https://other.example.org").write();
    assert!(gateway.reload().await.contains("is in force"));
    assert_eq!(let_through(&gateway, "/auth/login/dev", &forwarded).await, 0);
    let toml = std::fs::read_to_string(setup.dir.config_file()).unwrap();
    std::fs::write(setup.dir.config_file(), toml.replace("\"4/h\"", "\"off\"")).unwrap();
    assert!(gateway.reload().await.contains("is in force"));
    assert_eq!(let_through(&gateway, "/auth/login/dev", &forwarded).await, 10);
    gateway.stop().await;
}
