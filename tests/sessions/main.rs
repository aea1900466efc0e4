//! Sessions, usernames and tokens: who is signed in, for how long, and where each token is accepted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]
mod forged;
mod requests;
mod tokens;
mod usernames;

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::StatusCode;
use serde_json::{Value, json};
use support::{Gateway, Setup};

/// One service, `ok`, that answers every user.
fn setup() -> Setup {
    Setup::dev()
        .plugin("behave", test_guests::BEHAVE)
        .service("ok", "behave")
        .plugin("v1", test_guests::V1)
        .service("fine", "v1")
}

async fn start() -> Gateway {
    setup().start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_valid_for_check_and_authorize_until_logout() {
    let gateway = start().await;
    let browser = gateway.browser();
    let alice = gateway.sign_in("alice").await;

    let check = browser.check(&alice).await;
    assert_eq!(check["authenticated"], true, "{check}");
    let profile = &check["profile"];
    assert_eq!(profile["email"], "alice@example.org");
    assert_eq!(profile["provider_id"], "dev:alice");
    assert_eq!(
        profile.get("username"),
        None,
        "nobody has a username before they chose it"
    );
    let id = profile["id"].as_str().unwrap();
    assert_eq!(
        profile["idhash"],
        format!("{:x}", <md5::Md5 as md5::Digest>::digest(id))
    );
    assert!(
        httpdate::parse_http_date(profile["join_date"].as_str().unwrap()).is_ok(),
        "{profile}"
    );

    let (status, answer) = browser.authorize(&alice, "ok").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["userid"], profile["id"]);
    assert_eq!(answer["service"], "ok");
    assert_eq!(answer["permissions"], json!({"service": "ok", "user": id}));
    assert!(answer["token"].is_string());
    assert_eq!(
        browser.authorize(&alice, "elsewhere").await,
        (StatusCode::OK, json!({"permissions": {}}))
    );

    assert_eq!(
        browser.post_as(&alice, "/auth/logout").await,
        json!({"success": true})
    );
    assert!(
        !browser.is_signed_in(&alice).await,
        "the token must be rejected immediately"
    );
    assert_eq!(
        browser.authorize(&alice, "ok").await,
        (StatusCode::OK, json!({"permissions": {}}))
    );
    assert_eq!(
        browser.post_as(&alice, "/auth/update?username=alice").await,
        json!({"success": false, "error": "Not authenticated"})
    );
    // A second logout is not an error for the client.
    assert_eq!(
        browser.post_as(&alice, "/auth/logout").await,
        json!({"success": true})
    );
    assert_eq!(
        browser.post_json("/auth/logout").await,
        json!({"success": false, "error": "No token"})
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sign_in_is_the_same_user_with_a_new_session() {
    let gateway = start().await;
    let browser = gateway.browser();
    let (first, second, bob) = (
        gateway.sign_in("alice").await,
        gateway.sign_in("alice").await,
        gateway.sign_in("bob").await,
    );
    let id = async |token: &str| browser.check(token).await["profile"]["id"].clone();
    assert_eq!(id(&first).await, id(&second).await);
    assert_ne!(id(&first).await, id(&bob).await);
    assert_ne!(first, second);
    browser.post_as(&first, "/auth/logout").await;
    assert!(!browser.is_signed_in(&first).await);
    assert!(
        browser.is_signed_in(&second).await,
        "logging out ends one session"
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_ends_sessions_and_disables_users_immediately() {
    let gateway = start().await;
    let browser = gateway.browser();
    let alice = gateway.sign_in("alice").await;
    let other = gateway.sign_in("alice").await;
    let bob = gateway.sign_in("bob").await;
    // The commands are other processes, and the gateway must not use cached sessions after them.
    for token in [&alice, &other, &bob] {
        assert!(browser.is_signed_in(token).await);
        assert!(browser.is_signed_in(token).await);
    }

    // One session.
    let sid = claims(&alice)["sid"].as_str().unwrap().to_owned();
    gateway.cli(&["session", "end", &sid]).await.succeeded();
    assert!(!browser.is_signed_in(&alice).await);
    assert!(browser.is_signed_in(&other).await);
    assert!(browser.is_signed_in(&other).await);

    // All of a user.
    gateway
        .cli(&["session", "end", "--user", "alice@example.org"])
        .await
        .succeeded();
    assert!(!browser.is_signed_in(&other).await);
    assert!(browser.is_signed_in(&bob).await);
    assert!(browser.is_signed_in(&bob).await);

    // A disabled user has no session, cannot sign in, and can sign in once enabled.
    gateway.cli(&["user", "disable", "dev:bob"]).await.succeeded();
    assert!(!browser.is_signed_in(&bob).await);
    assert_eq!(
        browser.authorize(&bob, "ok").await,
        (StatusCode::OK, json!({"permissions": {}}))
    );
    assert_eq!(
        gateway.browser().sign_in_dev("bob").await.status(),
        StatusCode::FORBIDDEN
    );
    gateway.cli(&["user", "enable", "dev:bob"]).await.succeeded();
    assert!(!browser.is_signed_in(&bob).await, "an ended session stays ended");
    let bob = gateway.sign_in("bob").await;
    assert!(browser.is_signed_in(&bob).await);

    // A deleted user is gone, and the same person becomes a new user.
    let before = browser.check(&bob).await["profile"]["id"].clone();
    gateway
        .cli(&["user", "delete", "dev:bob", "--yes"])
        .await
        .succeeded();
    assert!(!browser.is_signed_in(&bob).await);
    assert_eq!(
        browser.post_as(&bob, "/auth/update?username=bobby").await,
        json!({"success": false, "error": "Unknown User"})
    );
    let bob = gateway.sign_in("bob").await;
    assert_ne!(
        browser.check(&bob).await["profile"]["id"],
        before,
        "an id is never used again"
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_and_keys_survive_a_restart() {
    let setup = setup();
    let gateway = setup.start().await;
    // `dev` derives the address, and with it the issuer, from the port, so the restart must keep the port.
    let port = gateway.address.port();
    gateway.stop().await;
    let setup = setup.env("EXTERNAL_ADDRESS", &format!("http://127.0.0.1:{port}"));
    let gateway = setup.start().await;
    let alice = gateway.sign_in("alice").await;
    let jwks = gateway
        .browser()
        .get("/.well-known/jwks.json")
        .await
        .text()
        .await
        .unwrap();
    gateway.stop().await;

    let gateway = setup.start().await;
    assert!(gateway.browser().is_signed_in(&alice).await);
    assert_eq!(
        gateway
            .browser()
            .get("/.well-known/jwks.json")
            .await
            .text()
            .await
            .unwrap(),
        jwks
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_session_has_its_own_id() {
    let gateway = start().await;
    let mut ids = BTreeSet::new();
    for _ in 0..5 {
        ids.insert(
            claims(&gateway.sign_in("alice").await)["sid"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    assert_eq!(ids.len(), 5);
    let listed: Vec<Value> =
        serde_json::from_str(&gateway.cli(&["session", "list", "--json"]).await.succeeded()).unwrap();
    let listed: BTreeSet<_> = listed
        .iter()
        .map(|session| session["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, ids);
    gateway.stop().await;
}

/// The claims of a token, unverified.
fn claims(token: &str) -> Value {
    let claims = token.split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}
