//! Permission tokens are reused while nothing has changed. ES256 signatures are all different, so a token that is
//! returned twice was signed once.

use reqwest::StatusCode;
use serde_json::json;

use super::{assert_refused, versions};
use support::{Gateway, eventually};

/// The token, and the version in its permissions.
async fn ask(gateway: &Gateway, session: &str) -> (String, u64) {
    let (status, answer) = gateway.browser().authorize(session, "example").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let token = answer["token"].as_str().unwrap().to_owned();
    (token, answer["permissions"]["version"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unchanged_claims_are_signed_once_and_the_provider_is_asked_each_time() {
    let gateway = versions().start().await;
    let alice = gateway.sign_in("alice").await;
    let bob = gateway.sign_in("bob").await;
    let (first, _) = ask(&gateway, &alice).await;
    for _ in 0..4 {
        assert_eq!(ask(&gateway, &alice).await.0, first);
    }
    assert_ne!(ask(&gateway, &bob).await.0, first);

    let admin = gateway.admin().await;
    let calls = admin.metric(
        "gateway_plugin_calls_total",
        &["plugin=\"example\"", "outcome=\"ok\""],
    );
    assert_eq!(calls.await, 6.0);
    let tokens = async |how: &str| {
        let label = format!("how=\"{how}\"");
        admin.metric("gateway_permission_tokens_total", &[&label]).await
    };
    assert_eq!((tokens("signed").await, tokens("reused").await), (2.0, 4.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reuse_can_be_switched_off() {
    let gateway = versions().env("GATEWAY_PERMISSION_REUSE", "off").start().await;
    let session = gateway.sign_in("alice").await;
    assert_ne!(ask(&gateway, &session).await.0, ask(&gateway, &session).await.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_a_session_gets_no_reused_token() {
    let gateway = versions().start().await;
    let session = gateway.sign_in("alice").await;
    ask(&gateway, &session).await;
    gateway.cli(&["user", "disable", "dev:alice"]).await.succeeded();
    let refused = gateway.browser().authorize(&session, "example").await;
    assert_eq!(refused, (StatusCode::OK, json!({ "permissions": {} })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_of_a_replaced_or_removed_plugin_is_reused() {
    let gateway = versions().start().await;
    let session = gateway.sign_in("alice").await;
    let (first, version) = ask(&gateway, &session).await;
    assert_eq!(version, 1);

    gateway.dir.place("example", test_guests::V2);
    let second = eventually("the second version", async || {
        let (token, version) = ask(&gateway, &session).await;
        (version == 2).then_some(token)
    })
    .await;
    assert_ne!(second, first);

    gateway.dir.remove("example");
    let browser = gateway.browser();
    let refused = eventually("its end", async || {
        let answer = browser.authorize(&session, "example").await;
        (answer.0 != StatusCode::OK).then_some(answer)
    })
    .await;
    assert_refused("removed", refused);
}
