//! The effect of plugins' grants, in a gateway with a database and a configuration file.

use std::fs;

use reqwest::StatusCode;
use serde_json::{Value, json};

use support::{Gateway, Setup};

/// The permissions that a service's provider returns.
async fn permissions(gateway: &Gateway, service: &str) -> Value {
    let token = gateway.sign_in("alice").await;
    let (status, answer) = gateway.browser().authorize(&token, service).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["permissions"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_survive_a_restart_and_are_separate_for_each_plugin() {
    let setup = Setup::dev()
        .plugin("one", test_guests::IMPORTS_KEY_VALUE)
        .plugin("two", test_guests::IMPORTS_KEY_VALUE)
        .plugin_table("one", "grants = [\"key-value\"]")
        .plugin_table("two", "grants = [\"key-value\"]\nlimits.store_bytes = 5")
        .service("one", "one")
        .service("two", "two");
    // Ann's id is not a command, so the guest counts its calls, at a key of 5 bytes.
    let gateway = setup.start().await;
    assert_eq!(permissions(&gateway, "one").await, json!({"sum": 1}));
    assert_eq!(permissions(&gateway, "one").await, json!({"sum": 2}));
    assert_eq!(permissions(&gateway, "two").await, json!({"error": "full"}));
    gateway.reload().await;
    assert_eq!(permissions(&gateway, "one").await, json!({"sum": 3}));
    gateway.stop().await;

    let setup = setup
        .without_plugin_table("two")
        .plugin_table("two", "grants = [\"key-value\"]");
    let gateway = setup.start().await;
    assert_eq!(permissions(&gateway, "one").await, json!({"sum": 4}));
    assert_eq!(permissions(&gateway, "two").await, json!({"sum": 1}));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_reloaded_on_sighup_and_never_logged() {
    let setup = Setup::dev();
    let file = setup.dir.path().join("secret");
    fs::write(&file, "canary-first\n").unwrap();
    let setup = setup
        .env("TOKEN_OF_X", "canary-variable")
        .plugin("x", test_guests::IMPORTS_SECRETS)
        .plugin_table("x", "grants = [\"secrets\"]")
        .table("plugin.x.secrets", &format!("filed = {{ file = {file:?} }}"))
        .table("plugin.x.secrets", "set = { env = \"TOKEN_OF_X\" }")
        .service("filed", "x")
        .service("set", "x")
        .service("another", "x");
    let gateway = setup.start().await;
    assert_eq!(
        permissions(&gateway, "filed").await,
        json!({"secret": "canary-first"})
    );
    assert_eq!(
        permissions(&gateway, "set").await,
        json!({"secret": "canary-variable"})
    );
    assert_eq!(permissions(&gateway, "another").await, json!({"secret": null}));

    fs::write(&file, "canary-second\n").unwrap();
    gateway.reload().await;
    assert_eq!(
        permissions(&gateway, "filed").await,
        json!({"secret": "canary-second"})
    );

    // An unreadable file keeps the current configuration.
    fs::remove_file(&file).unwrap();
    let said = gateway.reload().await;
    assert!(said.contains("plugin.x.secrets.filed"), "{said}");
    assert_eq!(
        permissions(&gateway, "filed").await,
        json!({"secret": "canary-second"})
    );
    let log = gateway.flushed_log().await.join("\n");
    assert!(!log.contains("canary"), "{log}");
    gateway.stop().await;
}
