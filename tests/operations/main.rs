//! An operator's tasks: starting, stopping, the admin listener, the log, the command line.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]
mod check;
mod commands;
mod data;
mod log;
mod places;
mod reload;
mod start;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use support::browser::encode;
use support::{Setup, eventually};

/// Backs up a running gateway's database. Returns the backup.
async fn back_up(gateway: &support::Gateway) -> std::path::PathBuf {
    let backup = gateway.dir.path().join("backup.db");
    let file = backup.to_str().unwrap();
    gateway.cli(&["backup", file]).await.succeeded();
    backup
}

/// The child processes of a process, such as compilers, which any of its threads may have started.
fn children(process: u32) -> Vec<rustix::process::Pid> {
    let tasks = fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let children = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let children: Vec<_> = children.collect();
    let numbers = children.iter().flat_map(|children| children.split_whitespace());
    numbers
        .filter_map(|number| rustix::process::Pid::from_raw(number.parse().ok()?))
        .collect()
}

fn dev() -> Setup {
    Setup::dev()
        .plugin("behave", test_guests::BEHAVE)
        .service("ok", "behave")
        .service("sleep", "behave")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_answers_requests_in_flight_and_exits_with_0() {
    // A guest that sleeps until its deadline. The deadline is longer if the machine was too slow to send other requests
    // before the guest woke up.
    for deadline in [2, 10, 60] {
        if sigterm_answers_a_sleeper(deadline).await {
            return;
        }
    }
    panic!("the request was never in flight");
}

/// Returns whether the request was still in flight when the signal came.
async fn sigterm_answers_a_sleeper(deadline: u32) -> bool {
    let mut gateway = dev()
        .plugin_table(
            "behave",
            &format!("[plugin.behave.limits]\ndeadline = \"{deadline}s\""),
        )
        .table("server", "drain = \"5m\"")
        .start()
        .await;
    let token = gateway.sign_in("alice").await;
    let (browser, sleeper) = (gateway.browser(), token.clone());
    let in_flight = tokio::spawn(async move { browser.authorize(&sleeper, "sleep").await });
    // The request is in flight once the guest runs. The metric of calls does not show that, so the test calls until
    // another call shows that the gateway has accepted the first connection and read its head.
    for _ in 0..20 {
        assert_eq!(gateway.browser().authorize(&token, "ok").await.0, StatusCode::OK);
    }
    if in_flight.is_finished() {
        return false;
    }
    gateway.signal(rustix::process::Signal::TERM);
    let status = gateway.wait().await;
    let (answered, _) = in_flight.await.expect("the request in flight is answered");
    assert_eq!(
        answered,
        StatusCode::SERVICE_UNAVAILABLE,
        "the guest slept past its deadline"
    );
    assert_eq!(status.code(), Some(0), "{}", gateway.log.text());
    gateway.log.assert_no_panic();
    assert!(
        std::net::TcpStream::connect(gateway.address).is_err(),
        "nobody listens any more"
    );
    assert!(
        gateway.log.text().contains("/auth/authorize"),
        "the last lines of the log are not lost"
    );
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_does_not_delay_the_shutdown() {
    let gateway = dev().start().await;
    let client = support::browser::client();
    // The client's pool keeps it alive.
    client
        .get(format!("http://{}/auth/check", gateway.address))
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_shuts_down_too() {
    let mut gateway = dev().start().await;
    gateway.signal(rustix::process::Signal::INT);
    assert_eq!(gateway.wait().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_listener_asks_for_its_token_and_refuses_web_pages() {
    let gateway = dev().start().await;
    let admin = gateway.admin().await;
    assert!(admin.address.ip().is_loopback());
    assert_ne!(admin.address, gateway.address);
    let mode = fs::metadata(gateway.dir.path().join("admin-token"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(admin.token.len() >= 32);

    let client = support::browser::client();
    for path in ["/health", "/ready", "/metrics", "/plugins"] {
        let url = format!("http://{}{path}", admin.address);
        let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status();
        assert_eq!(
            status(client.get(&url).bearer_auth(&admin.token)).await,
            StatusCode::OK,
            "{path}"
        );
        for wrong in [
            "",
            "wrong",
            &admin.token[1..],
            &format!("{}0", admin.token),
            &admin.token.to_uppercase(),
        ] {
            let answer = status(client.get(&url).bearer_auth(wrong)).await;
            assert!(
                [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&answer),
                "{path}: {answer}"
            );
        }
        assert_eq!(
            status(client.get(&url)).await,
            StatusCode::UNAUTHORIZED,
            "{path} without a token"
        );
        for origin in ["https://evil.example", "null", "http://127.0.0.1", ""] {
            let request = client
                .get(&url)
                .bearer_auth(&admin.token)
                .header("origin", origin);
            assert_eq!(
                status(request).await,
                StatusCode::FORBIDDEN,
                "{path} from a page at {origin:?}"
            );
        }
        let in_query = client.get(format!("{url}?token={}", admin.token));
        assert_eq!(
            status(in_query).await,
            StatusCode::UNAUTHORIZED,
            "{path}: a token in the query is none"
        );
        // The public listener has none of this.
        for path in [
            path.to_owned(),
            format!("/admin{path}"),
            format!("/auth/..{path}"),
            format!("/{path}"),
        ] {
            let url = format!("http://{}{path}", gateway.address);
            let answer = client.get(url).bearer_auth(&admin.token).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_count_requests_sign_ins_and_plugin_calls() {
    let gateway = dev().start().await;
    let admin = gateway.admin().await;
    let token = gateway.sign_in("alice").await;
    for _ in 0..3 {
        gateway.browser().authorize(&token, "ok").await;
    }
    let text = admin.metrics().await;
    let sum = |name: &str, labels: &[&str]| support::admin::sum(&text, name, labels);
    assert!(
        (sum("gateway_http_requests_total", &["/auth/authorize", "200"]) - 3.0).abs() < 0.1,
        "{text}"
    );
    assert!(
        (sum(
            "gateway_plugin_calls_total",
            &["plugin=\"behave\"", "outcome=\"ok\""]
        ) - 3.0)
            .abs()
            < 0.1,
        "{text}"
    );
    assert!(
        (sum("gateway_sign_ins_total", &["provider=\"dev\""]) - 1.0).abs() < 0.1,
        "{text}"
    );
    for histogram in [
        "gateway_plugin_call_seconds",
        "gateway_plugin_fuel",
        "gateway_http_request_seconds",
    ] {
        assert!(
            sum(&format!("{histogram}_count"), &[]) >= 3.0,
            "{histogram} in {text}"
        );
        assert!(
            text.contains(&format!("{histogram}_bucket{{")),
            "{histogram} has no buckets"
        );
    }
    // Buckets fine enough for calls of some ten microseconds.
    let finest: f64 = text
        .lines()
        .filter(|line| line.starts_with("gateway_plugin_call_seconds_bucket"))
        .filter_map(|line| line.split("le=\"").nth(1)?.split('"').next()?.parse().ok())
        .fold(f64::INFINITY, f64::min);
    assert!(finest <= 0.000_05, "{finest}");
    for name in [
        "gateway_plugin_swaps_total",
        "gateway_plugin_generation",
        "gateway_plugin_memory_bytes",
    ] {
        assert!(text.contains(name), "{name}");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_and_cors_are_on_every_answer() {
    let gateway = dev().origin("https://app.example.org").start().await;
    let browser = gateway.browser();
    let token = gateway.sign_in("alice").await;
    for (target, cache) in [
        ("/", "no-store"),
        ("/auth/check", "no-store"),
        ("/auth/authorize?service=ok", "no-store"),
        ("/auth/nothing", "no-store"),
        ("/auth/update", "no-store"),
        ("/auth/login/dev?next=bad", "no-store"),
        ("/auth/oauth_callback/dev", "no-store"),
        ("/auth/public-key", "max-age=300"),
        ("/.well-known/jwks.json", "max-age=300"),
        ("/openapi.json", "max-age=300"),
    ] {
        for (origin, allowed) in [
            ("https://app.example.org", true),
            ("https://evil.example", false),
            ("null", false),
            ("https://app.example.org.evil.example", false),
        ] {
            let request = browser
                .request(Method::GET, target)
                .bearer_auth(&token)
                .header("origin", origin);
            let response = browser.send(request).await;
            let headers = response.headers();
            assert_eq!(headers["x-content-type-options"], "nosniff", "{target}");
            assert_eq!(headers["referrer-policy"], "no-referrer", "{target}");
            assert!(
                headers["cache-control"].to_str().unwrap().contains(cache),
                "{target}: {headers:?}"
            );
            let cors = headers
                .get("access-control-allow-origin")
                .map(|value| value.to_str().unwrap());
            assert!(
                cors.is_none() || (allowed && cors == Some(origin)),
                "{target} from {origin}: {cors:?}"
            );
            if target == "/auth/check" {
                assert_eq!(cors.is_some(), allowed, "{origin}");
                assert!(
                    headers["vary"]
                        .to_str()
                        .unwrap()
                        .to_lowercase()
                        .contains("origin")
                );
            }
        }
        let head = browser.send(browser.request(Method::HEAD, target)).await;
        assert_eq!(
            head.headers()["x-content-type-options"],
            "nosniff",
            "HEAD {target}"
        );
        assert!(head.bytes().await.unwrap().is_empty(), "HEAD {target}");
    }
    // JSONP is off by default, and accepts only plain identifiers.
    let plain = browser.get(&format!("/auth/check?jwt={token}&callback=cb")).await;
    assert_eq!(plain.headers()["content-type"], "application/json");
    gateway.stop().await;
    let gateway = dev().top("jsonp = true").start().await;
    for (callback, accepted) in [
        ("cb", true),
        ("a.b_c$1", true),
        ("alert(1)//", false),
        ("", false),
        ("a;b", false),
        ("%3Cscript%3E", false),
    ] {
        let response = gateway
            .browser()
            .get(&format!("/auth/check?callback={callback}"))
            .await;
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        let body = response.text().await.unwrap();
        if kind.starts_with("application/javascript") {
            assert!(accepted, "{callback}: {body}");
            assert!(body.contains(&format!("{callback}(")), "{callback}: {body}");
        } else {
            assert!(callback != "cb", "{body}");
            assert_eq!(kind, "application/json", "{callback}");
        }
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_applies_new_origins_and_reports_settings_that_need_a_restart() {
    let setup = dev();
    let gateway = setup.start().await;
    let next = |origin: &str| format!("/auth/check?next={}", encode(origin));
    let ask = async |origin: &str| gateway.browser().get(&next(origin)).await.status();
    assert_eq!(ask("https://new.example").await, StatusCode::BAD_REQUEST);
    setup.clone().origin("https://new.example").write();
    gateway.reload().await;
    assert_eq!(ask("https://new.example").await, StatusCode::OK);
    setup.write();
    gateway.reload().await;
    assert_eq!(
        ask("https://new.example").await,
        StatusCode::BAD_REQUEST,
        "what is taken out is out"
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_to_a_locked_database_fails_and_succeeds_later() {
    let gateway = dev().start().await;
    let token = gateway.sign_in("alice").await;
    let other = rusqlite::Connection::open(gateway.dir.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Reads continue. A write waits, or fails with an error.
    assert!(gateway.browser().is_signed_in(&token).await);
    let (browser, writer) = (gateway.browser(), token.clone());
    let write = tokio::spawn(async move { browser.post_as(&writer, "/auth/update?username=alice_l").await });
    tokio::time::timeout(Duration::from_millis(300), async {
        while !write.is_finished() {
            tokio::task::yield_now().await
        }
    })
    .await
    .expect_err("the write cannot have been done");
    other.execute_batch("ROLLBACK").unwrap();
    let answer = write.await.unwrap();
    let now = eventually("writes work again", async || {
        Some(
            gateway.browser().check(&token).await["profile"]
                .get("username")
                .cloned(),
        )
    })
    .await;
    assert_eq!(
        answer["success"] == true,
        now == Some("alice_l".into()),
        "{answer} and {now:?}"
    );
    gateway.stop().await;
}
