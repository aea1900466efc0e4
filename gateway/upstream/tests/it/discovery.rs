//! Wrong or missing metadata.

use std::sync::Arc;
use std::time::Duration;

use gateway_model::clock::ManualClock;
use gateway_upstream::http::HttpError;
use gateway_upstream::{ErrorKind, Hints, UpstreamError};
use serde_json::json;
use wiremock::matchers::any;
use wiremock::{Mock, ResponseTemplate};

use crate::support::{Fake, NOW, provider, provider_within};

async fn fails(fake: &Fake) -> UpstreamError {
    fake.provider
        .begin(Hints::default())
        .await
        .expect_err("discovery fails")
}

#[tokio::test]
async fn wrong_metadata_is_rejected() {
    let fake = Fake::start().await;
    let good = fake.answers.lock().unwrap().discovery.clone();
    for (what, key, value) in [
        ("another issuer", "issuer", json!("https://other.example.org")),
        (
            "the issuer with a slash",
            "issuer",
            json!(format!("{}/", fake.server.uri())),
        ),
        (
            "a token endpoint without TLS",
            "token_endpoint",
            json!("http://other.example.org/token"),
        ),
        (
            "an authorization endpoint without TLS",
            "authorization_endpoint",
            json!("http://other.example.org/a"),
        ),
        (
            "keys without TLS",
            "jwks_uri",
            json!("http://other.example.org/keys"),
        ),
        (
            "an endpoint that is a script",
            "authorization_endpoint",
            json!("javascript:alert(1)"),
        ),
        ("no token endpoint", "token_endpoint", json!(null)),
    ] {
        fake.set(|answers| {
            answers.discovery = good.clone();
            answers.discovery[key] = value;
        });
        let error = fails(&fake).await;
        assert_eq!(error.kind(), ErrorKind::Wrong, "{what}: {error:?}");
    }
    fake.set(|answers| answers.discovery = good);
    fake.provider.begin(Hints::default()).await.unwrap();
}

#[tokio::test]
async fn endless_answers_are_cut_off() {
    let fake = Fake::start().await;
    fake.set(|answers| answers.discovery["padding"] = json!("x".repeat(100 << 10)));
    assert!(matches!(
        fails(&fake).await,
        UpstreamError::Http {
            error: HttpError::TooLarge(_),
            ..
        }
    ));
    let fake = Fake::start().await;
    fake.set(|answers| answers.keys = vec![json!({ "kty": "oct", "k": "x".repeat(100 << 10) })]);
    assert!(matches!(
        fails(&fake).await,
        UpstreamError::Http {
            error: HttpError::TooLarge(_),
            ..
        }
    ));
}

#[tokio::test]
async fn hanging_failing_and_redirecting_servers_are_errors() {
    let fake = Fake::start().await;
    fake.set(|answers| answers.delay = Duration::from_secs(600));
    let hasty = provider_within(&fake.server.uri(), fake.clock.clone(), Duration::from_secs(1));
    assert_eq!(
        hasty.begin(Hints::default()).await.unwrap_err().kind(),
        ErrorKind::TimedOut
    );
    fake.set(|answers| (answers.delay, answers.status) = (Duration::ZERO, 503));
    assert_eq!(fails(&fake).await.kind(), ErrorKind::Down);

    let elsewhere = Fake::start().await;
    fake.server.reset().await;
    let redirect = ResponseTemplate::new(302).insert_header("location", elsewhere.server.uri());
    Mock::given(any())
        .respond_with(redirect)
        .mount(&fake.server)
        .await;
    assert_eq!(fails(&fake).await.kind(), ErrorKind::Wrong);
    assert_eq!(elsewhere.server.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn an_unreachable_provider_is_an_error() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let gone = provider(
        &format!("http://127.0.0.1:{port}"),
        Arc::new(ManualClock::at(NOW)),
    );
    assert_eq!(
        gone.begin(Hints::default()).await.unwrap_err().kind(),
        ErrorKind::Down
    );
}

#[tokio::test]
async fn metadata_is_cached_for_an_hour_and_failures_are_not() {
    let fake = Fake::start().await;
    fake.set(|answers| answers.status = 500);
    fails(&fake).await;
    fake.set(|answers| answers.status = 200);
    fake.provider.begin(Hints::default()).await.unwrap();
    fake.clock.advance(Duration::from_secs(3599));
    fake.provider.begin(Hints::default()).await.unwrap();
    assert_eq!(fake.seen("/.well-known/openid-configuration"), 2);
    fake.clock.advance(Duration::from_secs(1));
    fake.provider.begin(Hints::default()).await.unwrap();
    assert_eq!(fake.seen("/.well-known/openid-configuration"), 3);
}

#[tokio::test]
async fn concurrent_sign_ins_share_one_answer_or_failure() {
    for status in [200, 503] {
        let fake = Fake::start().await;
        fake.set(|answers| answers.status = status);
        let begin = || fake.provider.begin(Hints::default());
        let (a, b, c) = tokio::join!(begin(), begin(), begin());
        for answer in [a, b, c] {
            assert_eq!(answer.is_ok(), status == 200, "{status}: {answer:?}");
        }
        assert_eq!(fake.seen("/.well-known/openid-configuration"), 1, "{status}");
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_refresh_the_cache() {
    let fake = Fake::start().await;
    fake.provider.begin(Hints::default()).await.unwrap();
    // The addition wraps: one second back.
    fake.clock.advance(Duration::from_secs(u64::MAX));
    fake.provider.begin(Hints::default()).await.unwrap();
    assert_eq!(fake.seen("/.well-known/openid-configuration"), 2);
}
