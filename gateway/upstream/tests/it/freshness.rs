//! How long tokens, keys and metadata are accepted.

use std::sync::Arc;
use std::time::Duration;

use gateway_model::clock::ManualClock;
use gateway_upstream::{Callback, ErrorKind, Hints, UpstreamError};
use serde_json::json;

use crate::id_tokens::refused;
use crate::support::{Fake, Key, claims, provider};

#[tokio::test]
async fn a_withdrawn_key_is_accepted_for_an_hour_at_most() {
    let fake = Fake::start().await;
    fake.sign_in().await.unwrap();
    let new = Key::new();
    fake.set(|answers| answers.keys = vec![new.jwk.clone()]);
    let later = fake.clock.clone();
    // Tokens signed with the old key have not expired, but the key has been withdrawn.
    fake.claims(|claims| claims["exp"] = json!(u32::MAX));
    later.advance(Duration::from_secs(3600));
    refused(&fake, "a withdrawn key, after an hour").await;

    // Sooner, if the gateway has seen the new key.
    let fake = Fake::start().await;
    fake.sign_in().await.unwrap();
    let (new, issuer) = (Key::new(), fake.server.uri());
    fake.set(|answers| answers.keys = vec![new.jwk.clone()]);
    fake.set(|answers| answers.id_token = Box::new(move |nonce| new.sign(&claims(&issuer, nonce))));
    fake.clock.advance(Duration::from_secs(31));
    fake.sign_in().await.unwrap();
    fake.claims(|_| {});
    refused(&fake, "a withdrawn key, once the new one is known").await;
}

#[tokio::test]
async fn made_up_keys_cause_two_requests_a_minute_at_most() {
    let fake = Fake::start().await;
    fake.sign_in().await.unwrap();
    let (stranger, issuer) = (Key::new(), fake.server.uri());
    fake.set(|answers| {
        answers.id_token = Box::new(move |nonce| stranger.sign(&claims(&issuer, nonce)));
    });
    for minute in 1..=2 {
        fake.clock.advance(Duration::from_secs(60));
        for _ in 0..10 {
            refused(&fake, "a made-up key").await;
        }
        assert_eq!(fake.seen("/keys"), 1 + minute);
    }
}

#[tokio::test]
async fn valid_tokens_expire() {
    let fake = Fake::start().await;
    fake.clock.advance(Duration::from_secs(299));
    fake.sign_in().await.unwrap();
    fake.clock.advance(Duration::from_secs(1));
    refused(&fake, "expired").await;
}

#[tokio::test]
async fn extreme_clocks_reject_every_token() {
    let last = i64::MAX.unsigned_abs();
    for now in [u64::MAX, last + 1, last, last - 1, 1 << 60] {
        let fake = Fake::start().await;
        let provider = provider(&fake.server.uri(), Arc::new(ManualClock::at(now)));
        let begun = provider.begin(Hints::default()).await.unwrap();
        let token = fake
            .key
            .sign(&claims(&fake.server.uri(), &json!(begun.flow.nonce)));
        fake.set(|answers| answers.id_token = Box::new(move |_| token.clone()));
        let callback = Callback { code: "c", iss: None };
        let error = provider.finish(&begun.flow, callback, false).await.unwrap_err();
        assert!(matches!(error, UpstreamError::BadIdToken(_)), "{now}: {error:?}");
        assert!(error.to_string().contains("expired"), "{now}: {error}");
    }
}

#[tokio::test]
async fn p16_stale_metadata_is_used_for_a_day_during_an_outage() {
    const DISCOVERY: &str = "/.well-known/openid-configuration";
    for at in [DISCOVERY, "/keys"] {
        let fake = Fake::start().await;
        fake.sign_in().await.unwrap();
        fake.claims(|claims| claims["exp"] = json!(u32::MAX));
        fake.set(|answers| answers.broken = Some((at, 503)));
        fake.clock.advance(Duration::from_secs(3601));
        for _ in 0..5 {
            fake.sign_in().await.unwrap();
        }
        assert_eq!(fake.seen(at), 2, "asked again once, not by everybody");
        // The gateway asks at most twice a minute, and uses the provider's answer as soon as it is back.
        fake.clock.advance(Duration::from_secs(31));
        fake.sign_in().await.unwrap();
        assert_eq!(fake.seen(at), 3);
        fake.set(|answers| answers.broken = None);
        fake.clock.advance(Duration::from_secs(31));
        fake.sign_in().await.unwrap();
        fake.sign_in().await.unwrap();
        assert_eq!(fake.seen(at), 4);
        // A day after the last answer, the cache is not used any more.
        fake.set(|answers| answers.broken = Some((at, 503)));
        fake.clock.advance(Duration::from_secs(24 * 3600 - 1));
        fake.sign_in().await.unwrap();
        fake.clock.advance(Duration::from_secs(1));
        let error = fake.provider.begin(Hints::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Down, "{error}");
    }
}

#[tokio::test]
async fn p16_an_invalid_answer_counts_as_an_outage() {
    let fake = Fake::start().await;
    fake.sign_in().await.unwrap();
    fake.claims(|claims| claims["exp"] = json!(u32::MAX));
    for (member, odd) in [
        ("issuer", json!("https://other.example.org")),
        ("jwks_uri", json!(7)),
        ("token_endpoint", json!("http://other.example.org/token")),
    ] {
        fake.clock.advance(Duration::from_secs(3601));
        fake.set(|answers| answers.discovery[member] = odd);
        fake.sign_in().await.unwrap();
    }
    // An answer with other keys is valid: that is how a provider withdraws keys.
    let good = Fake::start().await;
    good.sign_in().await.unwrap();
    good.set(|answers| answers.keys = vec![]);
    good.clock.advance(Duration::from_secs(3601));
    good.claims(|claims| claims["exp"] = json!(u32::MAX));
    refused(&good, "a withdrawn key").await;
}

#[tokio::test]
async fn p16_an_unknown_key_does_not_hide_that_the_provider_is_down() {
    let fake = Fake::start().await;
    fake.sign_in().await.unwrap();
    let (stranger, issuer) = (Key::new(), fake.server.uri());
    fake.set(|answers| answers.id_token = Box::new(move |nonce| stranger.sign(&claims(&issuer, nonce))));
    fake.set(|answers| answers.broken = Some(("/keys", 503)));
    fake.clock.advance(Duration::from_secs(60));
    for _ in 0..5 {
        let error = fake.sign_in().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Down, "{error}");
    }
    assert_eq!(fake.seen("/keys"), 2, "anybody can make up a key");
    // Tokens with a known key are still accepted.
    fake.claims(|_| {});
    fake.sign_in().await.unwrap();
}

#[tokio::test]
async fn p16_new_keys_are_fetched_while_only_discovery_is_down() {
    let fake = Fake::start().await;
    fake.sign_in().await.unwrap();
    let (new, issuer) = (Key::new(), fake.server.uri());
    fake.set(|answers| {
        answers.broken = Some(("/.well-known/openid-configuration", 503));
        answers.keys = vec![new.jwk.clone()];
        answers.id_token = Box::new(move |nonce| new.sign(&claims(&issuer, nonce)));
    });
    for _ in 0..3 {
        fake.sign_in().await.unwrap();
    }
    assert_eq!(fake.seen("/keys"), 2);
    // Also while the cache is stale.
    fake.clock.advance(Duration::from_secs(2 * 3600));
    let (newer, issuer) = (Key::new(), fake.server.uri());
    fake.set(|answers| {
        answers.keys = vec![newer.jwk.clone()];
        answers.id_token = Box::new(move |nonce| {
            let mut claims = claims(&issuer, nonce);
            claims["exp"] = json!(u32::MAX);
            newer.sign(&claims)
        });
    });
    for _ in 0..2 {
        fake.sign_in().await.unwrap();
    }
    assert_eq!(fake.seen("/keys"), 3);
}

#[tokio::test]
async fn p16_the_log_distinguishes_key_set_and_metadata() {
    let fake = Fake::start().await;
    fake.set(|answers| answers.broken = Some(("/keys", 500)));
    let error = fake
        .provider
        .begin(Hints::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("the key set (`jwks_uri`): "), "{error}");
}
