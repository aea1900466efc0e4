//! Keys and algorithms that a provider changes while the gateway runs.

use gateway_upstream::LogoutError;
use serde_json::json;

use super::refused;
use crate::support::{Fake, Key, NOW, claims};

#[tokio::test]
async fn a_provider_may_rotate_its_keys() {
    let fake = Fake::start().await;
    fake.sign_in().await.unwrap();
    let rotate = || {
        let (new, issuer) = (Key::new(), fake.server.uri());
        fake.set(|answers| {
            answers.keys = vec![new.jwk.clone()];
            answers.id_token = Box::new(move |nonce| new.sign(&claims(&issuer, nonce)));
        });
    };
    // Also while a sign-in is in progress.
    rotate();
    fake.sign_in().await.unwrap();
    assert_eq!(fake.seen("/keys"), 2);
    // Anyone can make up key ids, so the gateway does not fetch keys for each.
    rotate();
    refused(&fake, "a new key, a moment after another key").await;
    assert_eq!(fake.seen("/keys"), 2);
    fake.clock.advance(std::time::Duration::from_secs(31));
    fake.sign_in().await.unwrap();
    assert_eq!(fake.seen("/keys"), 3);
}

#[tokio::test]
async fn p18_a_provider_may_move_to_another_algorithm() {
    let fake = Fake::start().await;
    fake.sign_in().await.unwrap();
    let (new, issuer) = (
        Key::signing_with(jsonwebtoken::Algorithm::EdDSA),
        fake.server.uri(),
    );
    fake.set(|answers| {
        answers.discovery["id_token_signing_alg_values_supported"] = json!(["EdDSA"]);
        answers.keys = vec![new.jwk.clone()];
        answers.id_token = Box::new(move |nonce| new.sign(&claims(&issuer, nonce)));
    });
    fake.sign_in().await.unwrap();
    // An algorithm that is not advertised is still rejected.
    fake.set(|answers| answers.discovery["id_token_signing_alg_values_supported"] = json!(["ES256"]));
    fake.clock.advance(std::time::Duration::from_secs(3600));
    let new = Key::signing_with(jsonwebtoken::Algorithm::EdDSA);
    fake.tokens(move |claims| {
        let mut claims = claims.clone();
        claims["exp"] = json!(u32::MAX);
        new.sign(&claims)
    });
    refused(&fake, "an algorithm that is not advertised").await;
}

#[tokio::test]
async fn p21_made_up_logout_tokens_do_not_block_new_keys() {
    let fake = Fake::start().await;
    fake.sign_in().await.unwrap();
    let logout = |key: &Key, issuer: &str| {
        key.sign(&json!({
            "iss": issuer, "aud": "gateway", "sub": "1234", "jti": "1", "iat": NOW, "exp": NOW + 120,
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        }))
    };
    let issuer = fake.server.uri();
    let made_up = logout(&Key::new(), &issuer);
    let error = fake.provider.logout_token(&made_up).await.unwrap_err();
    assert!(matches!(error, LogoutError::Invalid(_)), "{error}");
    // The provider rotates its keys soon after.
    let new = Key::new();
    let token = logout(&new, &issuer);
    let signer = issuer.clone();
    fake.set(|answers| {
        answers.keys = vec![new.jwk.clone()];
        answers.id_token = Box::new(move |nonce| new.sign(&claims(&signer, nonce)));
    });
    // The key may be new, so the provider is asked to retry.
    let error = fake.provider.logout_token(&token).await.unwrap_err();
    assert!(matches!(error, LogoutError::Unknown(_)), "{error}");
    fake.sign_in().await.unwrap();
    fake.provider.logout_token(&token).await.unwrap();
    // Without a sign-in, the keys are fetched half a minute later.
    let newer = Key::new();
    let token = logout(&newer, &issuer);
    fake.set(|answers| answers.keys = vec![newer.jwk.clone()]);
    assert!(fake.provider.logout_token(&token).await.is_err());
    fake.clock.advance(std::time::Duration::from_secs(31));
    fake.provider.logout_token(&token).await.unwrap();
}
