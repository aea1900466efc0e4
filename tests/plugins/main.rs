//! Permission providers that misbehave, broken files, and configuration that changes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]
mod configuration;
mod files;
mod generations;
mod grants;
mod hostile;
mod reuse;
mod slow;

use reqwest::StatusCode;
use serde_json::{Value, json};
use support::{Setup, eventually};

/// Behaviours that end only at the plugin's deadline.
const ENDLESS: [&str; 3] = ["spin", "sleep", "burn-1000000000000"];

/// `behave` answers for every one of `services`, within 32 MiB. `behave-hasty`, the same guest, answers for those in
/// [`ENDLESS`], within a second.
fn setup(services: &[&str]) -> Setup {
    let limits = "memory = \"32MiB\"\nfuel = 1_000_000_000_000_000";
    let setup = Setup::dev()
        .env(
            "PRIVATE_KEY",
            &support::setup::private_key(gateway_token::Algorithm::ES256),
        )
        .plugin("behave", test_guests::BEHAVE)
        .table("plugin.behave.limits", &format!("deadline = \"2m\"\n{limits}"))
        .plugin("behave-hasty", test_guests::BEHAVE)
        .table(
            "plugin.behave-hasty.limits",
            &format!("deadline = \"1s\"\n{limits}"),
        );
    services
        .iter()
        .fold(setup.service("ok", "behave"), |setup, service| {
            let hasty = ENDLESS.contains(service);
            setup.service(service, if hasty { "behave-hasty" } else { "behave" })
        })
}

/// [`test_guests::V1`] answers for `example`.
fn versions() -> Setup {
    Setup::dev()
        .env(
            "PRIVATE_KEY",
            &support::setup::private_key(gateway_token::Algorithm::ES256),
        )
        .plugin("example", test_guests::V1)
        .service("example", "example")
}

/// Asserts a 503 with an error, without permissions or a token.
fn assert_refused(what: &str, (status, answer): (StatusCode, Value)) {
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{what}: {answer}");
    assert_eq!(answer["permissions"], json!({}), "{what}");
    assert!(
        answer["error"].as_str().is_some_and(|error| !error.is_empty()),
        "{what}: {answer}"
    );
    assert_eq!(answer.get("token"), None, "{what}");
    // Callers get no internal details.
    for internal in ["wasm", "wasmtime", "backtrace", "/home", ".rs", "0x"] {
        assert!(
            !answer["error"].as_str().unwrap().contains(internal),
            "{what}: {answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_loop_ends_at_its_deadline_and_delays_no_other_call() {
    let gateway = setup(&["spin"]).start().await;
    let token = gateway.sign_in("alice").await;
    let browser = gateway.browser();

    assert_refused("spin", browser.authorize(&token, "spin").await);

    // More endless loops than there are guest threads, one after the other, while other calls are served.
    let mut loops = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (browser, token) = (gateway.browser(), token.clone());
        loops.spawn(async move {
            for _ in 0..2 {
                assert_refused("spin", browser.authorize(&token, "spin").await);
            }
        });
    }
    let (mut checks, mut answers) = (0, 0);
    while !loops.is_empty() {
        assert!(browser.is_signed_in(&token).await);
        checks += 1;
        let (status, answer) = browser.authorize(&token, "ok").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answers += 1;
        while let Some(ended) = loops.try_join_next() {
            ended.unwrap();
        }
    }
    assert!(
        checks > 0 && answers > 0,
        "{checks} checks and {answers} answers beside the loops"
    );
    let admin = gateway.admin().await;
    let deadlines = admin
        .metric(
            "gateway_plugin_calls_total",
            &["plugin=\"behave-hasty\"", "deadline"],
        )
        .await;
    assert!(deadlines >= 13.0, "{deadlines}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fuel_ends_a_loop_before_its_deadline() {
    let gateway = Setup::dev()
        .plugin("behave", test_guests::BEHAVE)
        .table("plugin.behave.limits", "fuel = 1_000_000\ndeadline = \"2m\"")
        .service("spin", "behave")
        .start()
        .await;
    let token = gateway.sign_in("alice").await;
    assert_refused("spin", gateway.browser().authorize(&token, "spin").await);
    gateway
        .log
        .wait_for("the fuel", |line| {
            line.contains("fuel") && line.contains("behave")
        })
        .await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_bomb_is_stopped_at_its_limit() {
    let gateway = setup(&["bomb", "bomb-trap", "huge-list", "huge-text"])
        .start()
        .await;
    let token = gateway.sign_in("alice").await;
    let browser = gateway.browser();
    assert_eq!(browser.authorize(&token, "ok").await.0, StatusCode::OK);
    let before = gateway.peak_memory();
    for _ in 0..5 {
        for service in ["bomb", "bomb-trap", "huge-list", "huge-text"] {
            let mut together = tokio::task::JoinSet::new();
            for _ in 0..2 {
                let (browser, token) = (browser.clone(), token.clone());
                together.spawn(async move { browser.authorize(&token, service).await });
            }
            for (status, answer) in together.join_all().await {
                if status == StatusCode::OK {
                    // `bomb` accepts a failed allocation, and reports how much memory it got.
                    let pages = answer["permissions"]["pages"]
                        .as_u64()
                        .unwrap_or_else(|| panic!("{service}: {answer}"));
                    assert!(pages * 65_536 <= 32 << 20, "{pages} pages");
                } else {
                    assert_refused(service, (status, answer));
                }
            }
        }
    }
    let grown = gateway.peak_memory() - before;
    // Two at a time, and what the process needs besides.
    assert!(
        grown < 2 * (32 << 20) + (64 << 20),
        "grown by {} MiB",
        grown >> 20
    );
    assert_eq!(browser.authorize(&token, "ok").await.0, StatusCode::OK);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traps_and_invalid_answers_are_rejected_and_explained_only_in_the_log() {
    let services = [
        "trap",
        "recurse",
        "sleep",
        "error-unavailable",
        "error-failed",
        "nan",
        "infinity",
        "bad-json",
        "two-jsons",
        "deep-json",
        "control-name",
        "escape-name",
        "empty-name",
        "duplicate",
        "huge-name",
        "huge-list",
        "huge-text",
    ];
    let gateway = setup(&services)
        .service("all-values", "behave")
        .service("env", "behave")
        .start()
        .await;
    let token = gateway.sign_in("alice").await;
    let browser = gateway.browser();
    for service in services {
        let lines = gateway.flushed_log().await.len();
        assert_refused(service, browser.authorize(&token, service).await);
        eventually(&format!("the reason for {service} is in the log"), async || {
            let said = gateway.log.lines()[lines..].join("\n");
            (said.contains("behave") && (said.contains("WARN") || said.contains("ERROR"))).then_some(())
        })
        .await;
    }
    let (status, answer) = browser.authorize(&token, "all-values").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(
        answer["permissions"],
        json!({"boolean": true, "integer": -9_007_199_254_740_993_i64, "number": 0.5,
               "text": "naïve \u{1f980} \"quoted\"", "json": {"list": [1, null, "a"]}})
    );
    let (status, answer) = browser.authorize(&token, "env").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(
        answer["permissions"],
        json!({"variables": 0, "arguments": 0, "input": 0, "opened": ""})
    );
    // The log explains the failure, and every event is one line.
    let log = gateway.stop().await;
    assert_eq!(log.entries().len(), log.lines().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_leaves_nothing_for_the_next_one() {
    let gateway = setup(&["plant"]).start().await;
    let browser = gateway.browser();
    let (alice, bob) = (gateway.sign_in("alice").await, gateway.sign_in("bob").await);
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..100 {
        let (browser, token) = (
            browser.clone(),
            if call % 2 == 0 { alice.clone() } else { bob.clone() },
        );
        calls.spawn(async move { browser.authorize(&token, "plant").await });
    }
    for (status, answer) in calls.join_all().await {
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(
            answer["permissions"],
            json!({"calls": 0, "found": "", "last": "", "pages": ""})
        );
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugins_log_is_limited_counted_and_cannot_forge_lines() {
    let setup = Setup::dev()
        .plugin("logging", test_guests::IMPORTS_LOGGING)
        .plugin_table("logging", "grants = [\"logging\"]")
        .table("plugin.logging.limits", "fuel = 20_000_000")
        .service("flood", "logging")
        .service("control", "logging")
        .plugin("behave", test_guests::BEHAVE)
        .table("plugin.behave.limits", "fuel = 20_000_000")
        .service("log-flood", "behave");
    let gateway = setup.start().await;
    let token = gateway.sign_in("alice").await;
    let browser = gateway.browser();
    browser.authorize(&token, "flood").await;
    browser.authorize(&token, "log-flood").await;
    assert_eq!(browser.authorize(&token, "control").await.0, StatusCode::OK);
    let dropped = gateway
        .admin()
        .await
        .metric("gateway_plugin_log_dropped_total", &["plugin=\"logging\""])
        .await;
    assert!(dropped > 0.0);
    let log = gateway.stop().await;
    let bytes: usize = log
        .lines()
        .iter()
        .filter(|line| line.contains("flood flood"))
        .map(String::len)
        .sum();
    assert!(bytes < 200_000, "{bytes} bytes of flood");
    assert!(bytes > 0, "messages within the limit are logged");
    for (line, entry) in log
        .lines()
        .iter()
        .map(|line| (line, serde_json::from_str::<Value>(line)))
    {
        assert!(entry.is_ok(), "{line:?} is not JSON");
        assert!(
            !line.contains('\u{1b}') && !line.starts_with("{\"forged\""),
            "{line:?}"
        );
    }
}
