//! How long tokens and keys are believed.

use std::sync::Arc;
use std::time::Duration;

use gateway_model::clock::ManualClock;
use gateway_upstream::{Callback, ErrorKind, UpstreamError};
use serde_json::json;

use crate::id_tokens::refused;
use crate::support::{Fake, Key, claims, provider};

#[tokio::test]
async fn a_key_that_was_withdrawn_is_believed_for_an_hour_at_most() {
    let fake = Fake::start().await;
    fake.sign_in().await.unwrap();
    let new = Key::new();
    fake.set(|answers| answers.keys = vec![new.jwk.clone()]);
    let later = fake.clock.clone();
    // The old key's tokens are as fresh as ever; what they are signed with is not.
    fake.claims(|claims| claims["exp"] = json!(u32::MAX));
    later.advance(Duration::from_secs(3600));
    refused(&fake, "a withdrawn key, after an hour").await;

    // Sooner, where the new key has been seen.
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
async fn keys_that_are_made_up_make_us_ask_twice_a_minute_at_most() {
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
async fn a_token_that_was_good_expires() {
    let fake = Fake::start().await;
    fake.clock.advance(Duration::from_secs(299));
    fake.sign_in().await.unwrap();
    fake.clock.advance(Duration::from_secs(1));
    refused(&fake, "expired").await;
}

#[tokio::test]
async fn when_the_clock_has_gone_mad_everything_has_expired() {
    let last = i64::MAX.unsigned_abs();
    for now in [u64::MAX, last + 1, last, last - 1, 1 << 60] {
        let fake = Fake::start().await;
        let provider = provider(&fake.server.uri(), Arc::new(ManualClock::at(now)));
        let begun = provider.begin().await.unwrap();
        let token = fake
            .key
            .sign(&claims(&fake.server.uri(), &json!(begun.flow.nonce)));
        fake.set(|answers| answers.id_token = Box::new(move |_| token.clone()));
        let callback = Callback { code: "c", iss: None };
        let error = provider.finish(&begun.flow, callback).await.unwrap_err();
        assert!(matches!(error, UpstreamError::BadIdToken(_)), "{now}: {error:?}");
        assert!(error.to_string().contains("expired"), "{now}: {error}");
    }
}

#[tokio::test]
async fn p16_what_was_known_serves_for_a_day_while_the_provider_cannot_be_asked() {
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
        // It is asked twice a minute at most, and serves as soon as it is there again.
        fake.clock.advance(Duration::from_secs(31));
        fake.sign_in().await.unwrap();
        assert_eq!(fake.seen(at), 3);
        fake.set(|answers| answers.broken = None);
        fake.clock.advance(Duration::from_secs(31));
        fake.sign_in().await.unwrap();
        fake.sign_in().await.unwrap();
        assert_eq!(fake.seen(at), 4);
        // From the last answer on it is a day and no longer.
        fake.set(|answers| answers.broken = Some((at, 503)));
        fake.clock.advance(Duration::from_secs(24 * 3600 - 1));
        fake.sign_in().await.unwrap();
        fake.clock.advance(Duration::from_secs(1));
        let error = fake.provider.begin().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Down, "{error}");
    }
}

#[tokio::test]
async fn p16_an_answer_that_makes_no_sense_counts_as_none() {
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
    // An answer with other keys is one: a provider withdraws keys that way.
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
    // What is known serves on for those whose key is.
    fake.claims(|_| {});
    fake.sign_in().await.unwrap();
}

#[tokio::test]
async fn p16_new_keys_are_found_while_only_discovery_is_down() {
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
    // Also while what is known is old.
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
async fn p16_the_log_tells_the_key_set_from_the_metadata() {
    let fake = Fake::start().await;
    fake.set(|answers| answers.broken = Some(("/keys", 500)));
    let error = fake.provider.begin().await.unwrap_err().to_string();
    assert!(error.starts_with("the key set (`jwks_uri`): "), "{error}");
}
