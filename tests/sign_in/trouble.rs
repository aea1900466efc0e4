//! Providers that are down, slow or wrong, and users who decline.

use std::time::Duration;

use reqwest::{Response, StatusCode};

use super::{APP, alice, login, start};
use support::browser::{encode, parameter, token_in};
use support::fake_oidc::{FakeOidc, Mood};
use support::{Setup, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_provider_causes_a_plain_page_and_the_log_has_the_reason() {
    let google = FakeOidc::start(alice()).await;
    let gateway = Setup::serve()
        .oidc("google", &google)
        .origin(APP)
        // Enough for a provider that works.
        .table("upstream", "timeout = \"3s\"")
        .start()
        .await;
    // Down and slow before discovery: the sign-in does not even begin.
    for (mood, statuses) in [
        (
            Mood::Down,
            [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE],
        ),
        (
            Mood::Slow(Duration::from_secs(600)),
            [StatusCode::GATEWAY_TIMEOUT; 2],
        ),
    ] {
        google.set_mood(mood);
        let response = gateway.browser().get(&login("google", APP)).await;
        assert!(
            statuses.contains(&response.status()),
            "{mood:?}: {}",
            response.status()
        );
        assert_plain(mood, response).await;
    }
    google.set_mood(Mood::Well);
    for (mood, statuses) in [
        (
            Mood::Down,
            vec![StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE],
        ),
        (
            Mood::Slow(Duration::from_secs(600)),
            vec![StatusCode::GATEWAY_TIMEOUT],
        ),
        (Mood::Rubbish, vec![StatusCode::BAD_GATEWAY]),
        (
            Mood::ForgedSignature,
            vec![StatusCode::BAD_REQUEST, StatusCode::BAD_GATEWAY],
        ),
        (
            Mood::WrongAudience,
            vec![StatusCode::BAD_REQUEST, StatusCode::BAD_GATEWAY],
        ),
        (
            Mood::NoNonce,
            vec![StatusCode::BAD_REQUEST, StatusCode::BAD_GATEWAY],
        ),
    ] {
        let browser = gateway.browser();
        let callback = google.go(&browser, &login("google", APP)).await;
        google.set_mood(mood);
        let lines = gateway.flushed_log().await.len();
        let response = browser.get(callback.as_str()).await;
        assert!(
            statuses.contains(&response.status()),
            "{mood:?}: {}",
            response.status()
        );
        assert_plain(mood, response).await;
        // A separate thread writes the log.
        let explains = |line: &String| {
            line.contains("google") && (line.contains("\"WARN\"") || line.contains("\"ERROR\""))
        };
        eventually(&format!("a word on {mood:?}"), async || {
            gateway.log.lines()[lines..]
                .iter()
                .find(|line| explains(line))
                .cloned()
        })
        .await;
        google.set_mood(Mood::Well);
    }
    // Then everything works again.
    token_in(&google.sign_in(&gateway.browser(), &login("google", APP)).await);
    gateway.stop().await;
}

async fn assert_plain(what: impl std::fmt::Debug, response: Response) {
    assert_eq!(response.headers().get("location"), None, "{what:?}");
    assert!(
        response.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html"),
        "{what:?}"
    );
    let page = response.text().await.unwrap();
    assert!(page.contains("<h1"), "{what:?}: {page}");
    for internal in ["canary", "127.0.0.1", "nonce", "audience", "id_token", "reqwest"] {
        assert!(!page.contains(internal), "{what:?} shows {internal}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_declines_at_the_provider_sees_a_plain_page() {
    let (gateway, google, _other) = start().await;
    let browser = gateway.browser();
    let callback = google.go(&browser, &login("google", APP)).await;
    let state = parameter(&callback, "state").unwrap();
    let issuer = encode(&google.issuer());
    let target = format!(
        "/auth/oauth_callback/google?error=access_denied&error_description=%3Cscript%3Ealert(1)%3C/script%3E&state={state}&iss={issuer}"
    );
    let response = browser.get(&target).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let page = response.text().await.unwrap();
    assert!(!page.contains("<script>alert"), "{page}");
    assert_eq!(google.token_calls(), 0);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p17_the_providers_error_description_is_in_the_log() {
    let (gateway, google, _other) = start().await;
    let browser = gateway.browser();
    let callback = google.go(&browser, &login("google", APP)).await;
    let state = parameter(&callback, "state").unwrap();
    let issuer = encode(&google.issuer());
    let description = encode(&format!(
        "AADSTS65004: User declined\n\u{1b}[31m {}",
        "x".repeat(2000)
    ));
    let target = format!(
        "/auth/oauth_callback/google?error=consent_required&error_description={description}&state={state}&iss={issuer}"
    );
    let page = browser.get(&target).await.text().await.unwrap();
    assert!(!page.contains("AADSTS65004"), "{page}");
    let line = gateway
        .log
        .wait_for("the refusal", |line| line.contains("consent_required"))
        .await;
    assert!(line.contains("AADSTS65004: User declined[31m xxx"), "{line}");
    assert!(line.len() < 1000, "{} bytes", line.len());
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_address_that_is_too_long_is_a_server_error() {
    let google = FakeOidc::start(alice()).await;
    google.set_mood(Mood::LongAddress);
    let gateway = Setup::serve().oidc("google", &google).origin(APP).start().await;
    let response = gateway.browser().get(&login("google", APP)).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_plain(Mood::LongAddress, response).await;
    let line = gateway
        .log
        .wait_for("the reason", |line| line.contains("authorization endpoint"))
        .await;
    assert!(line.contains("google"), "{line}");

    // A return address that is too long is the caller's mistake.
    google.set_mood(Mood::Well);
    let other = FakeOidc::start(alice()).await;
    let gateway = Setup::serve().oidc("google", &other).origin(APP).start().await;
    let next = format!("{APP}/{}", "x".repeat(2500));
    let response = gateway.browser().get(&login("google", &next)).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}
