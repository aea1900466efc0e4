//! Limits on a provider's answers in total, and on the addresses it may send the gateway to.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway_model::clock::ManualClock;
use gateway_upstream::http::HttpError;
use gateway_upstream::{
    Callback, ErrorKind, Hints, HttpLimits, Names, Provider, ProviderConfig, ProviderKind, UpstreamError,
    Userinfo,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{CLIENT_ID, CLIENT_SECRET, Fake, Key, NOW, REDIRECT, claims};

/// For answers that must arrive even on a busy machine.
const LIMITS: HttpLimits = HttpLimits {
    timeout: Duration::from_secs(60),
    max_body: 1 << 20,
    proxy: None,
};

fn config(kind: ProviderKind) -> ProviderConfig {
    ProviderConfig::new("p", kind, CLIENT_ID, CLIENT_SECRET.to_owned().into())
}

/// A provider with the default limits.
fn provider(fake: &Fake) -> Provider {
    let issuer = fake.server.uri();
    let config = config(ProviderKind::Oidc { issuer });
    Provider::new(config, REDIRECT.parse().unwrap(), &LIMITS, fake.clock.clone()).unwrap()
}

/// Many copies of the provider's key, each with its own id, and the key itself.
fn keys(fake: &Fake, count: usize) -> Vec<Value> {
    let copies = (1..count).map(|number| {
        let mut key = fake.key.jwk.clone();
        key["kid"] = json!(format!("old-{number}"));
        key
    });
    copies.chain([fake.key.jwk.clone()]).collect()
}

/// A sign-in with claims in addition to those of a valid ID token.
async fn sign_in(
    fake: &Fake,
    provider: &Provider,
    more: &Value,
) -> Result<gateway_model::UpstreamUser, UpstreamError> {
    let begun = provider.begin(Hints::default()).await?;
    let mut claims = claims(&fake.server.uri(), &json!(begun.flow.nonce));
    let more = more.as_object().unwrap().clone();
    claims.as_object_mut().unwrap().extend(more);
    let token = fake.key.sign(&claims);
    fake.set(|answers| answers.id_token = Box::new(move |_| token.clone()));
    let callback = Callback {
        code: "canary-code",
        iss: None,
    };
    provider.finish(&begun.flow, callback, false).await
}

#[tokio::test]
async fn a14_fifty_keys_and_a_hundred_kilobytes_of_claims_work() {
    let fake = Fake::start().await;
    fake.set(|answers| answers.keys = keys(&fake, 50));
    let groups: Vec<String> = (0..300)
        .map(|number| format!("{number:03}-{}", "g".repeat(336)))
        .collect();
    let user = sign_in(&fake, &provider(&fake), &json!({ "groups": groups }))
        .await
        .unwrap();
    assert_eq!(user.claims.get("groups").as_array().unwrap().len(), 300);
    assert!(user.claims.as_str().len() > 100_000);
}

#[tokio::test]
async fn a14_an_oversized_key_set_is_rejected_by_name() {
    let fake = Fake::start().await;
    fake.set(|answers| answers.keys = keys(&fake, 256));
    sign_in(&fake, &provider(&fake), &json!({})).await.unwrap();
    fake.set(|answers| answers.keys = keys(&fake, 257));
    let error = provider(&fake).begin(Hints::default()).await.unwrap_err();
    assert!(
        matches!(&error, UpstreamError::BadDiscovery(problem) if problem.contains("257 keys")),
        "{error}"
    );
    // Thousands of tiny ones exceed the limit on values before they are read as keys.
    let tiny = json!({ "kty": "EC", "crv": "P-256", "x": "", "y": "" });
    fake.set(|answers| answers.keys = vec![tiny; 10_000]);
    let error = provider(&fake).begin(Hints::default()).await.unwrap_err();
    assert!(
        matches!(
            &error,
            UpstreamError::Http {
                error: HttpError::TooManyValues,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a14_claims_of_many_values_are_rejected_wherever_they_come_from() {
    let many = json!({ "groups": vec![0; 20_000] });
    let fake = Fake::start().await;
    let error = sign_in(&fake, &provider(&fake), &many).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Wrong, "{error}");
    // From userinfo, which is asked because the ID token has no name.
    let fake = Fake::start().await;
    let mut userinfo = many.clone();
    userinfo["sub"] = json!("1234");
    fake.set(|answers| answers.userinfo = userinfo);
    let mut config = config(ProviderKind::Oidc {
        issuer: fake.server.uri(),
    });
    config.userinfo = Userinfo::Required;
    let provider = Provider::new(config, REDIRECT.parse().unwrap(), &LIMITS, fake.clock.clone()).unwrap();
    let begun = provider.begin(Hints::default()).await.unwrap();
    let mut claims = claims(&fake.server.uri(), &json!(begun.flow.nonce));
    claims.as_object_mut().unwrap().remove("name");
    let token = fake.key.sign(&claims);
    fake.set(|answers| answers.id_token = Box::new(move |_| token.clone()));
    let callback = Callback { code: "c", iss: None };
    let error = provider.finish(&begun.flow, callback, false).await.unwrap_err();
    assert!(
        matches!(
            &error,
            UpstreamError::Http {
                error: HttpError::TooManyValues,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a14_made_up_key_ids_do_not_block_new_keys() {
    let fake = Fake::start().await;
    let provider = provider(&fake);
    sign_in(&fake, &provider, &json!({})).await.unwrap();
    // Someone keeps making up keys.
    let stranger = Key::new();
    let rotated = Key::new();
    for second in 0..60 {
        fake.clock.advance(Duration::from_secs(1));
        if second == 10 {
            fake.set(|answers| answers.keys = vec![rotated.jwk.clone()]);
        }
        let begun = provider.begin(Hints::default()).await.unwrap();
        let mut claims = claims(&fake.server.uri(), &json!(begun.flow.nonce));
        claims["iat"] = json!(NOW);
        let token = stranger.sign(&claims);
        fake.set(|answers| answers.id_token = Box::new(move |_| token.clone()));
        let callback = Callback { code: "c", iss: None };
        assert!(provider.finish(&begun.flow, callback, false).await.is_err());
    }
    // The provider was asked a few times, and the gateway knows the new key.
    assert!((2..=4).contains(&fake.seen("/keys")), "{}", fake.seen("/keys"));
    let begun = provider.begin(Hints::default()).await.unwrap();
    let token = rotated.sign(&claims(&fake.server.uri(), &json!(begun.flow.nonce)));
    fake.set(|answers| answers.id_token = Box::new(move |_| token.clone()));
    let callback = Callback { code: "c", iss: None };
    provider.finish(&begun.flow, callback, false).await.unwrap();
}

/// The same address for every name.
#[derive(Debug)]
struct Always(IpAddr);

impl Names for Always {
    fn look_up(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec![self.0])
    }
}

#[tokio::test]
async fn a13_a_provider_name_that_resolves_to_this_machine_is_not_called() {
    let canary = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let home = format!("https://id.example.org:{}", canary.local_addr().unwrap().port());
    let names: Arc<dyn Names> = Arc::new(Always([127, 0, 0, 1].into()));
    let new = |kind: ProviderKind, allow: bool| {
        let mut config = config(kind);
        config.allow_private_addresses = allow;
        let clock = Arc::new(ManualClock::at(NOW));
        let redirect = REDIRECT.parse().unwrap();
        Provider::with_names(config, redirect, &LIMITS, clock, Arc::clone(&names)).unwrap()
    };
    let oidc = || ProviderKind::Oidc { issuer: home.clone() };
    let github = || ProviderKind::GitHub {
        web: home.parse().unwrap(),
        api: home.parse().unwrap(),
    };
    let finish = async |provider: Provider| {
        let flow = provider.begin(Hints::default()).await?.flow;
        let callback = Callback { code: "c", iss: None };
        provider.finish(&flow, callback, false).await.map(drop)
    };
    for kind in [oidc(), github()] {
        tokio::select! {
            connection = canary.accept() => panic!("{connection:?}"),
            answer = finish(new(kind, false)) => {
                let error = answer.unwrap_err();
                assert!(
                    matches!(&error, UpstreamError::Http { error: HttpError::NotPublic(_), .. }),
                    "{error}"
                );
                assert!(error.to_string().contains("allow_private_addresses = true"), "{error}");
                assert!(error.to_string().contains("127.0.0.1"), "{error}");
            }
        }
    }
    // If the operator permits it, the same name is called.
    for kind in [oidc(), github()] {
        tokio::select! {
            connection = canary.accept() => drop(connection.unwrap()),
            answer = finish(new(kind, true)) => panic!("{answer:?}"),
        }
    }
}

#[tokio::test]
async fn a13_a_development_issuer_on_loopback_works() {
    // `Fake` is one, with its endpoints on loopback.
    let fake = Fake::start().await;
    assert!(fake.server.uri().starts_with("http://127.0.0.1:"));
    sign_in(&fake, &provider(&fake), &json!({})).await.unwrap();
}

/// A valid logout token.
fn logout_token(fake: &Fake, header: &Value) -> String {
    let claims = json!({
        "iss": fake.server.uri(), "aud": CLIENT_ID, "sub": "1234", "jti": "1", "iat": NOW, "exp": NOW + 120,
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    fake.key.sign_text(&header.to_string(), &claims.to_string())
}

#[tokio::test]
async fn a14_a_token_without_kid_is_rejected_if_many_keys_fit() {
    let fake = Fake::start().await;
    let token = logout_token(&fake, &json!({ "alg": "ES256" }));
    let without_id = |key: &Value| {
        let mut key = key.clone();
        key.as_object_mut().unwrap().remove("kid");
        key
    };
    for (count, accepted) in [(8, true), (9, false), (250, false)] {
        fake.set(|answers| answers.keys = keys(&fake, count).iter().map(without_id).collect());
        let answer = provider(&fake).logout_token(&token).await;
        assert_eq!(answer.is_ok(), accepted, "{count}: {answer:?}");
        if let Err(error) = answer {
            let error = error.to_string();
            assert!(
                error.contains(&format!("no `kid` and {count} of the provider's keys fit")),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a14_expensive_keys_are_never_used() {
    let fake = Fake::start().await;
    let base64 =
        |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes);
    let large = |number: u8| {
        let mut n = vec![255; 1024];
        n[1] = number;
        json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "n": base64(&n), "e": base64(&[1, 255, 255, 255, 255]) })
    };
    let alg = json!(["ES256", "RS256"]);
    fake.set(|answers| {
        answers.discovery["id_token_signing_alg_values_supported"] = alg;
        answers.keys = (0..250).map(large).chain([fake.key.jwk.clone()]).collect();
    });
    let provider = provider(&fake);
    let junk = logout_token(&fake, &json!({ "alg": "RS256", "typ": "logout+jwt" }));
    let error = provider.logout_token(&junk).await.unwrap_err().to_string();
    assert!(error.contains("more than 4096 bits"), "{error}");
    // Tokens signed with another key are accepted.
    sign_in(&fake, &provider, &json!({})).await.unwrap();
}

#[test]
fn a14_signatures_are_verified_on_blocking_threads() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let fake = Fake::start().await;
        fake.sign_in().await.unwrap();
        let token = logout_token(&fake, &json!({ "alg": "ES256" }));
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || wait.recv());
        let mut verified = std::pin::pin!(fake.provider.logout_token(&token));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        // Occupies the only blocking thread.
        for _ in 0..100 {
            assert!(verified.as_mut().poll(&mut context).is_pending());
            tokio::task::yield_now().await;
        }
        done.send(()).unwrap();
        busy.await.unwrap().unwrap();
        verified.await.unwrap();
    });
}
