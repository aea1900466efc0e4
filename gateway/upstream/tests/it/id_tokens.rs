//! ID tokens that are not valid (OpenID Connect Core 1.0 section 3.1.3.7): every one is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_upstream::{ErrorKind, UpstreamError};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::{CLIENT_SECRET, Fake, Key, NOW, claims};

async fn refused(fake: &Fake, what: &str) {
    let error = fake.sign_in().await.expect_err(what);
    assert!(
        matches!(
            error,
            UpstreamError::BadIdToken(_) | UpstreamError::BadResponse { .. }
        ),
        "{what}: {error:?}"
    );
    assert!(
        matches!(error.kind(), ErrorKind::Refused | ErrorKind::Wrong),
        "{what}: {error:?}"
    );
}

#[tokio::test]
async fn claims_that_are_wrong() {
    let fake = Fake::start().await;
    let cases: Vec<(&str, fn(&mut Value))> = vec![
        ("another issuer", |c| {
            c["iss"] = json!("https://other.example.org")
        }),
        ("no issuer", |c| drop(c.as_object_mut().unwrap().remove("iss"))),
        ("another audience", |c| c["aud"] = json!("somebody-else")),
        ("one more audience", |c| {
            c["aud"] = json!(["gateway", "somebody-else"])
        }),
        ("no audience", |c| drop(c.as_object_mut().unwrap().remove("aud"))),
        ("another authorized party", |c| c["azp"] = json!("somebody-else")),
        ("expired", |c| c["exp"] = json!(NOW - 1)),
        ("no end", |c| drop(c.as_object_mut().unwrap().remove("exp"))),
        ("an end in words", |c| c["exp"] = json!("tomorrow")),
        ("issued in the future", |c| c["iat"] = json!(NOW + 3600)),
        ("another nonce", |c| c["nonce"] = json!("another")),
        ("no nonce", |c| drop(c.as_object_mut().unwrap().remove("nonce"))),
        ("no subject", |c| drop(c.as_object_mut().unwrap().remove("sub"))),
        ("an empty subject", |c| c["sub"] = json!("")),
        ("a subject that is a number", |c| c["sub"] = json!(1234)),
        ("another access token's hash", |c| {
            c["at_hash"] = json!(URL_SAFE_NO_PAD.encode([0; 16]))
        }),
    ];
    for (what, change) in cases {
        fake.claims(change);
        refused(&fake, what).await;
    }
    fake.claims(|_| {});
    fake.sign_in().await.unwrap();
}

#[tokio::test]
async fn signatures_that_are_wrong() {
    let fake = Fake::start().await;
    let issuer = fake.server.uri();
    let forged = |make: Box<dyn Fn(&Value) -> String + Send>| {
        let issuer = issuer.clone();
        fake.set(|answers| answers.id_token = Box::new(move |nonce| make(&claims(&issuer, nonce))));
    };
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());

    forged(Box::new(move |claims| {
        format!("{}.{}.", encode(&json!({ "alg": "none" })), encode(claims))
    }));
    refused(&fake, "no signature").await;
    forged(Box::new(|claims| {
        let key = EncodingKey::from_secret(CLIENT_SECRET.as_bytes());
        jsonwebtoken::encode(&Header::new(jsonwebtoken::Algorithm::HS256), claims, &key).unwrap()
    }));
    refused(&fake, "a MAC under the client secret").await;

    let (mut other, kid) = (Key::new(), fake.key.kid.clone());
    other.kid = kid;
    forged(Box::new(move |claims| other.sign(claims)));
    refused(&fake, "another key under the same id").await;

    let key = std::sync::Arc::clone(&fake.key);
    forged(Box::new(move |claims| {
        let good = key.sign(claims);
        let mut parts: Vec<&str> = good.split('.').collect();
        let mut changed = claims.clone();
        changed["sub"] = json!("somebody-else");
        let payload = encode(&changed);
        parts[1] = &payload;
        parts.join(".")
    }));
    refused(&fake, "a changed payload").await;
}

#[tokio::test]
async fn a_provider_may_rotate_its_keys() {
    let fake = Fake::start().await;
    fake.sign_in().await.unwrap();
    let (new, issuer) = (Key::new(), fake.server.uri());
    fake.set(|answers| {
        answers.keys = vec![new.jwk.clone()];
        answers.id_token = Box::new(move |nonce| new.sign(&claims(&issuer, nonce)));
    });
    // Anybody can make up a key id: the provider is not asked again for each.
    refused(&fake, "a key that is new, asked for a moment ago").await;
    assert_eq!(fake.seen("/keys"), 1);
    fake.clock.advance(std::time::Duration::from_secs(31));
    fake.sign_in().await.unwrap();
    assert_eq!(fake.seen("/keys"), 2);
}
