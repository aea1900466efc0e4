//! Endpoints that redirect, never finish, or send garbage: each of the four, in each way.

use std::sync::Arc;
use std::time::Duration;

use gateway_model::UpstreamUser;
use gateway_upstream::http::HttpError;
use gateway_upstream::{Callback, ErrorKind, Hints, HttpLimits, Provider, UpstreamError, Userinfo};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use wiremock::matchers::{any, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use self::raw::Manner;
use crate::support::{Fake, REDIRECT, claims, config};

mod raw;

const DISCOVERY: &str = "/.well-known/openid-configuration";
const ENDPOINTS: [&str; 4] = [DISCOVERY, "/keys", "/token", "/userinfo"];
const MAX_BODY: usize = 64 << 10;
/// For answers that must arrive even on a busy machine.
const PATIENT: Duration = Duration::from_secs(60);

async fn answer(fake: &Fake, at: &str, answer: ResponseTemplate) {
    let mock = Mock::given(path(at)).respond_with(answer).with_priority(1);
    mock.mount(&fake.server).await;
}

fn provider(fake: &Fake, issuer: &str, timeout: Duration) -> Provider {
    let mut config = config(issuer);
    // With this setting, a failure of any endpoint ends the sign-in.
    config.userinfo = Userinfo::Required;
    let limits = HttpLimits {
        timeout,
        max_body: MAX_BODY,
        proxy: None,
    };
    Provider::new(config, REDIRECT.parse().unwrap(), &limits, fake.clock.clone()).unwrap()
}

/// A whole sign-in that uses all four endpoints: the ID token has no name.
async fn sign_in(fake: &Fake, timeout: Duration) -> Result<UpstreamUser, UpstreamError> {
    let provider = provider(fake, &fake.server.uri(), timeout);
    let begun = provider.begin(Hints::default()).await?;
    let mut claims = claims(&fake.server.uri(), &json!(begun.flow.nonce));
    claims["name"] = Value::Null;
    claims
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    let token = fake.key.sign(&claims);
    fake.set(|answers| {
        answers.userinfo = json!({ "sub": "1234", "name": "Ann" });
        answers.id_token = Box::new(move |_| token.clone());
    });
    let callback = Callback {
        code: "canary-code",
        iss: None,
    };
    provider.finish(&begun.flow, callback, false).await
}

#[tokio::test]
async fn all_four_endpoints_are_asked() {
    // The other tests here depend on this.
    let fake = Fake::start().await;
    assert_eq!(sign_in(&fake, PATIENT).await.unwrap().name, "Ann");
    for at in ENDPOINTS {
        assert_eq!(fake.seen(at), 1, "{at}");
    }
}

#[tokio::test]
async fn no_endpoint_can_redirect_the_gateway() {
    let elsewhere = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200))
        .mount(&elsewhere)
        .await;
    // 307 and 308 would forward the code and the client secret.
    for status in [301, 302, 303, 307, 308] {
        for at in ENDPOINTS {
            let fake = Fake::start().await;
            let to = format!("{}{at}", elsewhere.uri());
            let away = ResponseTemplate::new(status).insert_header("location", to.as_str());
            answer(&fake, at, away).await;
            let error = sign_in(&fake, PATIENT).await.unwrap_err();
            assert!(
                matches!(&error, UpstreamError::Http { error: HttpError::Status(s), .. } if *s == status),
                "{status} {at}: {error:?}"
            );
            assert_eq!(error.kind(), ErrorKind::Wrong, "{status} {at}");
        }
    }
    assert_eq!(elsewhere.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn answers_that_are_too_long_are_cut_off() {
    let huge = format!("{{\"x\": \"{}\"}}", "x".repeat(MAX_BODY));
    for at in ENDPOINTS {
        let fake = Fake::start().await;
        let long = ResponseTemplate::new(200).set_body_raw(huge.clone(), "application/json");
        answer(&fake, at, long).await;
        let error = sign_in(&fake, PATIENT).await.unwrap_err();
        assert!(
            matches!(
                &error,
                UpstreamError::Http {
                    error: HttpError::TooLarge(MAX_BODY),
                    ..
                }
            ),
            "{at}: {error:?}"
        );
    }
}

#[tokio::test]
async fn silent_endless_and_broken_answers_are_errors() {
    let mut trials = JoinSet::new();
    for (manner, kind) in [
        (Manner::Silent, ErrorKind::TimedOut),
        (Manner::Stalls, ErrorKind::TimedOut),
        // The answer announces no length and never ends, so the client must count.
        (Manner::Endless, ErrorKind::Wrong),
        (Manner::HangsUp, ErrorKind::Down),
        (Manner::Gibberish, ErrorKind::Down),
    ] {
        let server = raw::start(manner).await;
        let timeout = match kind {
            // Long enough for the endpoints that answer.
            ErrorKind::TimedOut => Duration::from_secs(5),
            _ => PATIENT,
        };
        let issuer = server.clone();
        trials.spawn(async move {
            let provider = provider(&Fake::start().await, &issuer, timeout);
            let error = provider.begin(Hints::default()).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{manner:?} at discovery: {error:?}");
        });
        for endpoint in ["jwks_uri", "token_endpoint", "userinfo_endpoint"] {
            let server = server.clone();
            trials.spawn(async move {
                let fake = Fake::start().await;
                fake.set(|answers| answers.discovery[endpoint] = json!(format!("{server}/x")));
                let error = sign_in(&fake, timeout).await.unwrap_err();
                assert_eq!(error.kind(), kind, "{manner:?} at the {endpoint}: {error:?}");
                assert_eq!(
                    matches!(
                        &error,
                        UpstreamError::Http {
                            error: HttpError::TooLarge(_),
                            ..
                        }
                    ),
                    matches!(manner, Manner::Endless),
                    "{manner:?} at the {endpoint}: {error:?}"
                );
            });
        }
    }
    trials.join_all().await;
}

#[tokio::test]
async fn server_errors_are_reported_as_an_outage() {
    for at in ENDPOINTS {
        for status in [500, 502, 503] {
            for body in ["", "<h1>canary</h1>", "{\"error\": \"canary\"}"] {
                let fake = Fake::start().await;
                let down = ResponseTemplate::new(status).set_body_raw(body, "application/json");
                answer(&fake, at, down).await;
                let error = sign_in(&fake, PATIENT).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Down, "{status} {at} {body}: {error:?}");
            }
        }
    }
}

#[tokio::test]
async fn garbage_answers_are_errors() {
    let deep = "[".repeat(50_000);
    for body in [
        "",
        "{}",
        "[]",
        "null",
        "<html>",
        "{\"issuer\": ",
        "\u{0}",
        "{\"keys\": 7}",
        "{\"access_token\": 7, \"token_type\": {}}",
        "{\"sub\": \"1234\", \"sub\": \"5678\"",
        deep.as_str(),
    ] {
        for kind in ["application/json", "text/html", ""] {
            for at in ENDPOINTS {
                let fake = Fake::start().await;
                answer(&fake, at, ResponseTemplate::new(200).set_body_raw(body, kind)).await;
                let answer = sign_in(&fake, PATIENT).await;
                assert!(answer.is_err(), "{at} {kind} {body:.40}: {answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn answers_with_trailing_bytes_are_rejected() {
    for (behind, good) in [("", true), (" \r\n", true), ("x", false), ("{}", false)] {
        let fake = Fake::start().await;
        let keys = json!({ "keys": [fake.key.jwk] }).to_string() + behind;
        answer(
            &fake,
            "/keys",
            ResponseTemplate::new(200).set_body_raw(keys, "application/json"),
        )
        .await;
        assert_eq!(sign_in(&fake, PATIENT).await.is_ok(), good, "{behind:?}");
    }
}

#[tokio::test]
async fn concurrent_sign_ins_share_one_discovery() {
    let fake = Fake::start().await;
    let provider = Arc::new(provider(&fake, &fake.server.uri(), PATIENT));
    let people: Vec<_> = (0..20)
        .map(|_| {
            let provider = Arc::clone(&provider);
            tokio::spawn(async move { provider.begin(Hints::default()).await.is_ok() })
        })
        .collect();
    for person in people {
        assert!(person.await.unwrap());
    }
    assert_eq!((fake.seen(DISCOVERY), fake.seen("/keys")), (1, 1));
}

#[tokio::test]
async fn sign_ins_waiting_for_one_provider_are_limited() {
    let fake = Fake::start().await;
    let hangs = ResponseTemplate::new(200).set_delay(PATIENT * 10);
    answer(&fake, DISCOVERY, hangs).await;
    let provider = Arc::new(provider(&fake, &fake.server.uri(), PATIENT * 5));
    let mut people = JoinSet::new();
    for _ in 0..300 {
        let provider = Arc::clone(&provider);
        people.spawn(async move { provider.begin(Hints::default()).await.err() });
    }
    // The first 256 wait for minutes.
    for refused in 256..300 {
        let first = tokio::time::timeout(PATIENT, people.join_next()).await;
        let error = first.expect("one is refused").unwrap().unwrap();
        assert_eq!(error, Some(UpstreamError::Overloaded), "{refused}");
    }
    // After they have gone, others may sign in.
    people.shutdown().await;
    fake.server.reset().await;
    let answer = provider.begin(Hints::default()).await;
    assert_ne!(answer.err(), Some(UpstreamError::Overloaded));
}

#[tokio::test]
async fn a_proxy_in_the_environment_is_ignored() {
    let proxy = MockServer::start().await;
    // In a separate process, because the environment belongs to the whole process.
    let status = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hostile::all_four_endpoints_are_asked"])
        .env("HTTP_PROXY", proxy.uri())
        .env("http_proxy", proxy.uri())
        .env("ALL_PROXY", proxy.uri())
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .await
        .unwrap();
    assert!(status.success());
    assert_eq!(proxy.received_requests().await.unwrap().len(), 0);
}
