//! Who an ID token is signed by: the provider, with an algorithm that it advertises, and nobody else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm::{ES256, EdDSA, HS256, PS256, RS256};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use wiremock::MockServer;

use crate::id_tokens::refused;
use crate::support::{CLIENT_SECRET, Fake, Key};

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[tokio::test]
async fn no_signature_or_another_ones() {
    let fake = Fake::start().await;
    for none in ["none", "None", "NONE", "nOnE"] {
        fake.tokens(move |claims| format!("{}.{}.", encode(&json!({ "alg": none })), encode(claims)));
        let error = fake.sign_in().await.expect_err(none);
        assert_eq!(
            error.kind() == gateway_upstream::ErrorKind::Refused,
            none == "none",
            "{none}: {error:?}"
        );
    }

    let (other, kid) = (Key::new(), fake.key.kid.clone());
    fake.tokens(move |claims| {
        let mut header = other.header();
        header.kid = Some(kid.clone());
        other.sign_under(&header, claims)
    });
    refused(&fake, "another key under the same id").await;

    for cut in [0, 1, 43, 85] {
        let key = std::sync::Arc::clone(&fake.key);
        fake.tokens(move |claims| {
            let good = key.sign(claims);
            let (signed, signature) = good.rsplit_once('.').unwrap();
            format!("{signed}.{}", &signature[..cut])
        });
        assert!(fake.sign_in().await.is_err(), "a signature cut at {cut}");
    }

    for (part, value) in [
        (0, json!({ "alg": "ES256" })),
        (1, json!({ "sub": "somebody-else" })),
    ] {
        let key = std::sync::Arc::clone(&fake.key);
        fake.tokens(move |claims| {
            let good = key.sign(claims);
            let mut parts: Vec<String> = good.split('.').map(str::to_owned).collect();
            let mut changed: Value =
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&parts[part]).unwrap()).unwrap();
            changed["changed"] = json!(true);
            for (name, value) in value.as_object().unwrap() {
                changed[name] = value.clone();
            }
            parts[part] = encode(&changed);
            parts.join(".")
        });
        refused(&fake, "a part that was changed").await;
    }
}

#[tokio::test]
async fn a_mac_is_no_signature() {
    let fake = Fake::start().await;
    let public = fake.key.jwk.to_string();
    let point = fake.key.jwk["x"].as_str().unwrap().to_owned();
    for secret in [CLIENT_SECRET.to_owned(), public, point, String::new()] {
        for kid in [None, Some(fake.key.kid.clone())] {
            let (secret, kid) = (secret.clone(), kid.clone());
            fake.tokens(move |claims| {
                let mut header = Header::new(HS256);
                header.kid = kid.clone();
                jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
            });
            refused(&fake, "a MAC").await;
        }
    }
}

#[tokio::test]
async fn the_algorithm_is_one_that_the_provider_advertises() {
    for algorithm in [ES256, EdDSA, RS256, PS256] {
        let fake = Fake::start().await;
        let key = Key::signing_with(algorithm);
        fake.set(|answers| {
            answers.keys = vec![key.jwk.clone()];
            answers.discovery["id_token_signing_alg_values_supported"] = json!([algorithm]);
        });
        fake.tokens(move |claims| key.sign(claims));
        let user = fake.sign_in().await;
        assert!(user.is_ok(), "{algorithm:?}: {user:?}");

        // Known for an hour; another provider, then.
        let other = if algorithm == ES256 { RS256 } else { ES256 };
        let fake = Fake::start().await;
        let key = Key::signing_with(algorithm);
        fake.set(|answers| {
            answers.keys = vec![key.jwk.clone()];
            answers.discovery["id_token_signing_alg_values_supported"] = json!([other, "HS256", "none"]);
        });
        fake.tokens(move |claims| key.sign(claims));
        refused(&fake, "an algorithm that is not advertised").await;
    }
}

#[tokio::test]
async fn a_token_brings_no_key_of_its_own() {
    let fake = Fake::start().await;
    let canary = MockServer::start().await;
    let tempting: [fn(&mut Header, &Key, &str); 4] = [
        |header, _, url| header.jku = Some(format!("{url}/keys")),
        |header, _, url| header.x5u = Some(format!("{url}/certificate")),
        |header, key, _| header.jwk = Some(serde_json::from_value::<Jwk>(key.jwk.clone()).unwrap()),
        |header, _, url| header.kid = Some(format!("{url}/../../../dev/null' OR 1=1 --")),
    ];
    for (case, tempt) in tempting.into_iter().enumerate() {
        let url = canary.uri();
        let attacker = Key::new();
        fake.tokens(move |claims| {
            let mut header = attacker.header();
            tempt(&mut header, &attacker, &url);
            attacker.sign_under(&header, claims)
        });
        refused(&fake, &format!("case {case}")).await;
    }
    assert_eq!(canary.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn the_keys_may_be_in_strange_company() {
    let fake = Fake::start().await;
    fake.set(|answers| {
        answers.keys.splice(
            0..0,
            [
                json!({ "kty": "AKP", "kid": "pq", "alg": "ML-DSA-44", "pub": "AA" }),
                json!({ "kty": "EC", "crv": "secp256k1", "kid": "k", "x": "AA", "y": "AA" }),
                json!({ "kty": "RSA", "kid": "half" }),
                json!("no key"),
            ],
        );
    });
    fake.sign_in().await.unwrap();

    // With a single key there is nothing to choose, and no id is needed (Core 1.0 section 10.1).
    let fake = Fake::start().await;
    let key = std::sync::Arc::clone(&fake.key);
    fake.tokens(move |claims| {
        let mut header = key.header();
        header.kid = None;
        key.sign_under(&header, claims)
    });
    fake.sign_in().await.unwrap();

    // A key that is for encrypting signs nothing.
    let fake = Fake::start().await;
    fake.set(|answers| answers.keys[0]["use"] = json!("enc"));
    refused(&fake, "a key for encrypting").await;
}
