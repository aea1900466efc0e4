//! Ordinary calls: answers, grants, logs, and a fresh instance each time.

use std::time::Duration;

use gateway_sandbox::{CallError, Secret};
use serde_json::json;
use test_guests::{BEHAVE, IMPORTS_CONFIG, IMPORTS_LOGGING, IMPORTS_SECRETS, IMPORTS_USERS, PLANT, V1};

use crate::support::{Fixture, log, metrics, set};

#[tokio::test]
async fn a_provider_answers_and_says_which_component_did() {
    let fixture = Fixture::new(&[("v1", V1)], set(&[("s", "v1")], &[])).await;
    let answer = fixture.host.get_permissions("s", &"u".into()).await.unwrap();
    let expected = json!({"version": 1, "also": 1, "digest-hint": "v1", "service": "s", "user": "u"});
    assert_eq!(json!(answer.permissions), expected);
    let status = fixture.status("v1");
    assert_eq!(status.generation, Some((1, answer.digest.to_string())));
    assert_eq!(
        (status.exports, status.problem),
        (vec!["get-permissions".to_owned()], None)
    );
    assert_eq!(fixture.host.services(), ["s"]);
}

#[tokio::test]
async fn values_of_every_kind_arrive() {
    let fixture = Fixture::new(&[("b", BEHAVE)], set(&[("all-values", "b")], &[])).await;
    assert_eq!(
        fixture.ask("all-values").await.unwrap(),
        json!({"boolean": true, "integer": -9_007_199_254_740_993_i64, "number": 0.5, "text": fixture.ask("all-values").await.unwrap()["text"],
            "json": {"list": [1, null, "a"]}})
    );
}

#[tokio::test]
async fn error_answers_and_unknown_services_are_told_apart() {
    let services = [
        ("error-unavailable", "b"),
        ("error-failed", "b"),
        ("gone", "nobody"),
    ];
    let fixture = Fixture::new(&[("b", BEHAVE)], set(&services, &[])).await;
    assert!(matches!(
        fixture.ask("error-unavailable").await,
        Err(CallError::Unavailable { .. })
    ));
    assert!(matches!(
        fixture.ask("error-failed").await,
        Err(CallError::Failed { .. })
    ));
    assert!(matches!(
        fixture.ask("nowhere").await,
        Err(CallError::NotConfigured { .. })
    ));
    let Err(CallError::NotLoaded { plugin, problem }) = fixture.ask("gone").await else {
        panic!()
    };
    assert_eq!(plugin, "nobody");
    assert!(problem.contains("nobody.wasm"), "{problem}");
}

#[tokio::test]
async fn nothing_is_left_for_the_next_call() {
    let services = [("plant", "behave"), ("p", "plant")];
    let fixture = Fixture::new(&[("behave", BEHAVE), ("plant", PLANT)], set(&services, &[])).await;
    for call in 0..500 {
        let found = fixture.ask_for("plant", &format!("secret-{call}")).await.unwrap();
        assert_eq!(
            found,
            json!({"calls": 0, "found": "", "last": "", "pages": ""}),
            "call {call}"
        );
        assert_eq!(
            fixture.ask("p").await.unwrap(),
            json!({"found": 0}),
            "call {call}"
        );
    }
}

#[tokio::test]
async fn the_sandbox_is_empty() {
    let fixture = Fixture::new(&[("b", BEHAVE)], set(&[("env", "b")], &[])).await;
    let seen = fixture.ask("env").await.unwrap();
    assert_eq!(
        seen,
        json!({"variables": 0, "arguments": 0, "input": 0, "opened": ""})
    );
}

#[tokio::test]
async fn the_grant_users_finds_users() {
    let services = [("s", "u"), ("other:nobody", "u"), ("many", "u")];
    let fixture = Fixture::new(&[("u", IMPORTS_USERS)], set(&services, &[])).await;
    let answer = fixture.ask_for("s", "known-1").await.unwrap();
    assert_eq!(answer["known"], json!(true));
    assert_eq!(answer["email"], json!("known-1@example.org"));
    assert_eq!(
        answer["identities"],
        json!("google|https://accounts.google.com|s-known-1")
    );
    assert_eq!(answer["attributes"], json!("old=value"));
    assert_eq!(fixture.ask("other:nobody").await.unwrap()["known"], json!(false));
    assert_eq!(
        fixture.ask_for("many", "known-1").await.unwrap()["known"],
        json!(true)
    );

    for (length, known) in [(256, true), (257, false)] {
        let id = format!("known{}", "x".repeat(length - 5));
        assert_eq!(
            fixture.ask_for("s", &id).await.unwrap()["known"],
            json!(known),
            "{length}"
        );
    }

    let error = fixture.ask_for("s", "broken").await.unwrap_err();
    assert!(error.to_string().contains("the disk is on fire"), "{error}");
}

#[tokio::test]
async fn waiting_for_the_database_ends_at_the_deadline() {
    let mut set = set(&[("s", "u")], &[]);
    set.plugins.get_mut("u").unwrap().limits.deadline = Duration::from_secs(1);
    let fixture = Fixture::new(&[("u", IMPORTS_USERS)], set).await;
    assert!(matches!(
        fixture.ask_for("s", "slow").await,
        Err(CallError::DeadlineExceeded { .. })
    ));
}

#[tokio::test]
async fn the_grant_config_reads_the_plugins_own_settings() {
    let mut set = set(&[("name", "c")], &[]);
    set.plugins.get_mut("c").unwrap().settings = [("name".into(), "value".into())].into();
    let fixture = Fixture::new(&[("c", IMPORTS_CONFIG)], set).await;
    assert_eq!(
        fixture.ask("name").await.unwrap(),
        json!({"name": "value", "get:name": "value"})
    );
}

#[tokio::test]
async fn the_grant_secrets_reads_the_plugins_own_secrets() {
    let mut set = set(&[("token", "mine"), ("theirs", "other")], &[]);
    let secret = |text: &str| Secret::from(text.to_owned());
    set.plugins.get_mut("mine").unwrap().secrets = [("token".to_owned(), secret("hunter-mine"))].into();
    set.plugins.get_mut("other").unwrap().secrets = [("token".to_owned(), secret("hunter-other"))].into();
    let files: [(&str, &[u8]); 2] = [("mine", IMPORTS_SECRETS), ("other", IMPORTS_SECRETS)];
    let fixture = Fixture::new(&files, set.clone()).await;
    assert_eq!(
        fixture.ask("token").await.unwrap(),
        json!({"secret": "hunter-mine"})
    );
    assert_eq!(fixture.ask("theirs").await.unwrap(), json!({"secret": null}));

    // A secret alone makes a new generation.
    set.plugins.get_mut("mine").unwrap().secrets = [("token".to_owned(), secret("hunter-new"))].into();
    fixture.host.reconfigure(set).await;
    assert_eq!(
        fixture.ask("token").await.unwrap(),
        json!({"secret": "hunter-new"})
    );
    assert!(!log().contains("hunter-"));
}

#[tokio::test]
async fn what_plugins_log_is_capped_and_harmless() {
    let services = [
        ("hello-log", "logging-test"),
        ("control", "logging-test"),
        ("flood", "logging-test"),
    ];
    let mut set = set(&services, &[]);
    set.services.insert("log-flood".to_owned(), "b".to_owned());
    let config = set.plugins["logging-test"].clone();
    set.plugins.insert("b".to_owned(), config);
    for plugin in ["b", "logging-test"] {
        // Some ten thousand lines.
        set.plugins.get_mut(plugin).unwrap().limits.fuel = 20_000_000;
    }
    let fixture = Fixture::new(&[("logging-test", IMPORTS_LOGGING), ("b", BEHAVE)], set).await;
    fixture.ask("hello-log").await.unwrap();
    fixture.ask("control").await.unwrap();
    let flooded = || {
        log()
            .lines()
            .filter(|line| line.contains("flood"))
            .map(str::len)
            .sum::<usize>()
    };
    let before = flooded();
    for flood in ["flood", "log-flood"] {
        // Whether the guest lives through it is its own affair.
        let _ = fixture.ask(flood).await;
    }
    let (log, grown) = (log(), flooded() - before);
    assert!(grown < 200_000, "{grown} bytes for two floods");
    assert!(
        log.lines()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
    );
    let mine = log
        .lines()
        .filter(|line| line.contains("hello-log") && line.contains("\"plugin\":\"logging-test\""));
    assert_eq!(mine.count(), 4, "one of each level");
    assert!(!log.contains("\\u001b"), "escapes are written out");
    let metrics = metrics().render();
    assert!(
        metrics.contains("gateway_plugin_log_dropped_total{plugin=\"logging-test\"}"),
        "{metrics}"
    );
}

#[tokio::test]
async fn calls_are_counted() {
    let fixture = Fixture::new(
        &[("counted", BEHAVE)],
        set(&[("ok", "counted"), ("trap", "counted")], &[]),
    )
    .await;
    fixture.ask("ok").await.unwrap();
    fixture.ask("ok").await.unwrap();
    fixture.ask("trap").await.unwrap_err();
    let metrics = metrics().render();
    let line = |outcome, count| {
        format!(
            "gateway_plugin_calls_total{{plugin=\"counted\",function=\"get-permissions\",outcome=\"{outcome}\"}} {count}\n"
        )
    };
    for expected in [line("ok", 2), line("trap", 1), line("deadline", 0)] {
        assert!(metrics.contains(&expected), "{expected} is not in {metrics}");
    }
    assert!(metrics.contains("gateway_plugin_generation{plugin=\"counted\"} 1\n"));
    assert!(metrics.contains("gateway_plugin_problem{plugin=\"counted\"} 0\n"));
    assert!(metrics.contains("gateway_plugin_swaps_total{plugin=\"counted\",result=\"ok\"} 1\n"));
}

#[tokio::test]
async fn what_is_made_of_an_answer_is_made_on_a_guest_thread_and_a_panic_there_is_a_lost_call() {
    let fixture = Fixture::new(&[("p", V1)], set(&[("s", "p")], &[])).await;
    let user = "u".into();
    let there = |_| std::thread::current().name().map(str::to_owned);
    let name = fixture
        .host
        .get_permissions_then("s", &user, there)
        .await
        .unwrap();
    assert_eq!(name.as_deref(), Some("guest"));
    let panics = |_| panic!("on purpose");
    let lost = fixture.host.get_permissions_then("s", &user, panics).await;
    assert!(matches!(lost, Err::<(), _>(CallError::Trap { reason, .. }) if reason.contains("lost")));
}
