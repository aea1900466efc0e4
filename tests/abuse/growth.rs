//! Limits of what one user, one plugin or an anonymous caller can store.

use reqwest::StatusCode;
use serde_json::json;

use support::browser::{encode, token_in};
use support::fake_oidc::FakeOidc;
use support::setup::{self, EXTERNAL};
use support::{Gateway, Setup};

/// The number of rows in the database, as another process sees it.
fn rows(gateway: &Gateway, from: &str) -> i64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = rusqlite::Connection::open_with_flags(gateway.dir.database(), flags).unwrap();
    database
        .query_row(&format!("SELECT count(*) FROM {from}"), [], |row| row.get(0))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a12_a_callback_that_cannot_succeed_leaves_no_row() {
    let provider = FakeOidc::start(json!({"sub": "1", "name": "Alice"})).await;
    let gateway = Setup::serve().oidc("google", &provider).start().await;
    let login = format!("/auth/login/google?next={}", encode(EXTERNAL));
    let mut refused = 0;
    for _ in 0..5 {
        for instead in [
            "error=access_denied",
            "error=server_error",
            "code=",
            "nothing=1",
            "code=made-up",
        ] {
            let browser = gateway.browser();
            let mut callback = provider.go(&browser, &login).await;
            let kept: Vec<(String, String)> = callback
                .query_pairs()
                .filter(|(name, _)| name != "code")
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect();
            callback.set_query(Some(instead));
            callback.query_pairs_mut().extend_pairs(kept);
            let cookies = browser.cookies();
            // Twice, with the cookie kept.
            for _ in 0..2 {
                browser.set_cookies(cookies.clone());
                let response = browser.get(callback.as_str()).await;
                assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{instead}");
                refused += 1;
            }
        }
    }
    assert_eq!(rows(&gateway, "used_states"), 0, "{refused} callbacks");
    assert_eq!(rows(&gateway, "users") + rows(&gateway, "events"), 0);
    assert_eq!(
        provider.token_calls(),
        5,
        "one for each code that was made up, and none for its repetition"
    );

    // A successful callback is recorded, and its state works once.
    let browser = gateway.browser();
    let callback = provider.go(&browser, &login).await;
    let cookies = browser.cookies();
    token_in(&browser.get(callback.as_str()).await);
    browser.set_cookies(cookies);
    assert_eq!(
        browser.get(callback.as_str()).await.status(),
        StatusCode::BAD_REQUEST
    );
    assert_eq!(rows(&gateway, "used_states"), 1);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_an_answer_that_exceeds_the_attribute_limit_fails() {
    let gateway = Setup::dev()
        .env(
            "PRIVATE_KEY",
            &setup::private_key(gateway_token::Algorithm::ES256),
        )
        .plugin("count", test_guests::COUNT)
        .plugin_table("count", "grants = [\"logging\"]")
        .extension("count")
        .table("users", "attributes = 1")
        .start()
        .await;
    // The plugin sets one attribute of a new user, and would set another at the login.
    let response = gateway.browser().sign_in_dev("alice").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let log = gateway.flushed_log().await.join("\n");
    for part in ["count", "on-user-login", "2 attributes", "users.attributes"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    let export = gateway.cli(&["user", "export"]).await.succeeded();
    assert!(
        export.contains("seen-on-new-user") && !export.contains("seen-on-user-login"),
        "{export}"
    );
    assert_eq!(rows(&gateway, "sessions"), 0);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_the_sessions_of_one_user_are_bounded() {
    let gateway = Setup::dev().table("users", "sessions = 3").start().await;
    let mut tokens = Vec::new();
    for _ in 0..6 {
        tokens.push(gateway.sign_in("alice").await);
        for token in &tokens {
            gateway.browser().is_signed_in(token).await;
        }
    }
    let newest = tokens.last().unwrap();
    assert!(gateway.browser().is_signed_in(newest).await);
    let mut live = 0;
    for token in &tokens {
        live += usize::from(gateway.browser().is_signed_in(token).await);
    }
    assert_eq!(live, 3);
    assert_eq!(rows(&gateway, "sessions"), 3);
    gateway.stop().await;
}
