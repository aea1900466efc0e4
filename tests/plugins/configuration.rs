//! Settings, grants, limits and services, and their changes by SIGHUP.

use reqwest::StatusCode;
use serde_json::json;

use super::assert_refused;
use support::{Setup, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_applies_settings_grants_limits_and_services() {
    let setup = Setup::dev()
        .plugin("config", test_guests::IMPORTS_CONFIG)
        .plugin("behave", test_guests::BEHAVE)
        .plugin_table("config", "grants = [\"config\"]\nsettings = { colour = \"red\" }")
        .service("settings", "config");
    let gateway = setup.start().await;
    let token = gateway.sign_in("alice").await;
    let browser = gateway.browser();
    let settings = async || browser.authorize(&token, "settings").await;
    assert_eq!(
        settings().await.1["permissions"],
        json!({"colour": "red", "get:settings": null})
    );

    let changed = setup
        .clone()
        .without_plugin_table("config")
        .plugin_table(
            "config",
            "grants = [\"config\"]\nsettings = { colour = \"blue\", size = \"9\" }",
        )
        .service("ok", "behave");
    assert_eq!(
        browser.authorize(&token, "ok").await.1,
        json!({"permissions": {}})
    );
    changed.write();
    gateway.reload().await;
    assert_eq!(
        settings().await.1["permissions"],
        json!({"colour": "blue", "size": "9", "get:settings": null})
    );
    assert_eq!(
        browser.authorize(&token, "ok").await.0,
        StatusCode::OK,
        "a new service"
    );

    // A mistake keeps the current configuration, and is reported.
    let mistaken = changed.clone().table("plugin.config", "grnats = []");
    mistaken.write();
    let said = gateway.reload().await;
    assert!(said.contains("grnats") && said.contains("grants"), "{said}");
    assert_eq!(settings().await.1["permissions"]["colour"], "blue");

    // Removing a grant takes effect immediately, and a plugin that needs it no longer serves.
    changed.without_plugin_table("config").write();
    gateway.reload().await;
    let token = gateway.sign_in("alice").await;
    assert_refused(
        "its grant is gone",
        gateway.browser().authorize(&token, "settings").await,
    );
    let admin = gateway.admin().await;
    assert!(
        admin
            .metric("gateway_plugin_problem", &["plugin=\"config\""])
            .await
            > 0.0
    );
    gateway
        .log
        .wait_for("the missing grant", |line| {
            line.contains("grants = [") && line.contains("WARN")
        })
        .await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_without_its_grant_is_rejected_with_the_line_that_grants_it() {
    for (name, component, import, grant) in [
        (
            "wants-users",
            test_guests::IMPORTS_USERS,
            "auth-gateway:plugin/users",
            "users",
        ),
        (
            "wants-config",
            test_guests::IMPORTS_CONFIG,
            "auth-gateway:plugin/config",
            "config",
        ),
        (
            "wants-logging",
            test_guests::IMPORTS_LOGGING,
            "auth-gateway:plugin/logging",
            "logging",
        ),
        (
            "wants-secrets",
            test_guests::IMPORTS_SECRETS,
            "auth-gateway:plugin/secrets",
            "secrets",
        ),
        (
            "wants-key-value",
            test_guests::IMPORTS_KEY_VALUE,
            "auth-gateway:plugin/key-value",
            "key-value",
        ),
    ] {
        let setup = Setup::dev().plugin(name, component).service("example", name);
        let gateway = setup.start().await;
        let token = gateway.sign_in("alice").await;
        assert_refused(name, gateway.browser().authorize(&token, "example").await);
        let admin = gateway.admin().await;
        let status = admin.plugins().await.to_string();
        let line = format!("grants = [\\\"{grant}\\\"]");
        for part in [name, import, line.as_str(), &format!("[plugin.{name}]")] {
            assert!(status.contains(part), "{part} is not in {status}");
        }
        gateway
            .log
            .wait_for("the refused import", |line| {
                line.contains(import) && line.contains(name)
            })
            .await;
        // The suggested line does grant it.
        setup
            .plugin_table(name, &format!("grants = [\"{grant}\"]"))
            .write();
        gateway.reload().await;
        eventually("it serves", async || {
            (gateway.browser().authorize(&token, "example").await.0 == StatusCode::OK).then_some(())
        })
        .await;
        gateway.stop().await;
    }
}
