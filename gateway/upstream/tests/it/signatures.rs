//! Signatures of ID tokens: only the provider's, with an algorithm that it advertises.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm::{ES256, EdDSA, HS256, PS256, RS256};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use wiremock::MockServer;

use crate::id_tokens::refused;
use crate::support::{CLIENT_ID, CLIENT_SECRET, Fake, Key, parts};

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[tokio::test]
async fn missing_and_foreign_signatures_are_rejected() {
    let fake = Fake::start().await;
    for none in ["none", "None", "NONE", "nOnE"] {
        fake.tokens(move |claims| format!("{}.{}.", encode(&json!({ "alg": none })), encode(claims)));
        refused(&fake, none).await;
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
async fn a_mac_is_not_accepted_as_a_signature() {
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
async fn only_advertised_algorithms_are_accepted() {
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

        // Metadata is cached for an hour, so use another provider.
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
async fn a_token_cannot_supply_its_own_key() {
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
async fn unknown_keys_in_the_set_are_ignored() {
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

    // A provider with a single key needs no id (Core 1.0 section 10.1).
    let fake = Fake::start().await;
    let key = std::sync::Arc::clone(&fake.key);
    fake.tokens(move |claims| {
        let mut header = key.header();
        header.kid = None;
        key.sign_under(&header, claims)
    });
    fake.sign_in().await.unwrap();

    // An encryption key verifies no signature.
    let fake = Fake::start().await;
    fake.set(|answers| answers.keys[0]["use"] = json!("enc"));
    refused(&fake, "a key for encrypting").await;
}

/// Headers that contain a key or a key's URL, or make unsupported demands.
fn tempting(canary: &str, jwk: &Value) -> Vec<Value> {
    let mut extras: Vec<Value> = [
        "",
        "../../../../dev/null",
        "file:///dev/null",
        "' OR 1=1 --",
        "a\0b",
        "a\r\nb",
        canary,
        &"k".repeat(10_000),
    ]
    .map(|kid| json!({ "kid": kid }))
    .into();
    extras.extend([
        json!({ "kid": 1 }),
        json!({ "kid": null }),
        json!({ "jku": canary }),
        json!({ "jwk": jwk }),
        json!({ "jwk": { "kty": "oct", "k": "" } }),
        json!({ "x5u": canary }),
        json!({ "x5c": ["AA=="] }),
        json!({ "x5t": "AA" }),
    ]);
    extras
}

/// Critical header extensions (RFC 7515 section 4.1.11): the gateway supports none.
fn critical() -> [Value; 4] {
    [
        json!({ "crit": ["exp"] }),
        json!({ "crit": ["made-up"], "made-up": true }),
        json!({ "crit": ["b64"], "b64": false }),
        json!({ "crit": [] }),
    ]
}

fn extended(header: &Value, extra: &Value) -> String {
    let mut header = header.clone();
    for (name, value) in extra.as_object().unwrap() {
        header[name] = value.clone();
    }
    header.to_string()
}

fn with_mac(hash: hmac::Algorithm, secret: &[u8], header: &str, payload: &str) -> String {
    let text = parts(header, payload);
    let mac = hmac::sign(&hmac::Key::new(hash, secret), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac))
}

/// Tokens that the provider has not signed, or that must be rejected despite its signature.
fn forged(own: &Key, attacker: &Key, canary: &str, payload: &str) -> Vec<(String, String)> {
    let mut tokens = Vec::new();
    let good = own.sign_text(&json!(own.header()).to_string(), payload);
    let signature = good.rsplit_once('.').unwrap().1;
    let kids = [json!({}), json!({ "kid": own.kid }), json!({ "kid": "unknown" })];
    for kid in &kids {
        for alg in ["none", "None", "NONE", "nOnE", "", "ES384", "RS256", "HS256"] {
            let header = extended(&json!({ "alg": alg }), kid);
            for signature in ["", "AA", signature] {
                let token = format!("{}.{signature}", parts(&header, payload));
                tokens.push((format!("{header} signed {signature:?}"), token));
            }
        }
        let base64: String = own.pem.lines().filter(|line| !line.starts_with('-')).collect();
        let part = |name: &str| own.jwk[name].as_str().unwrap().to_owned();
        let secrets: Vec<Vec<u8>> = vec![
            Vec::new(),
            vec![0],
            CLIENT_SECRET.into(),
            CLIENT_ID.into(),
            own.pem.clone().into(),
            own.pem.trim().into(),
            STANDARD.decode(&base64).unwrap(),
            base64.into(),
            own.jwk.to_string().into(),
            json!({ "keys": [own.jwk] }).to_string().into(),
            part("x").into(),
            URL_SAFE_NO_PAD.decode(part("x")).unwrap(),
            own.kid.clone().into(),
        ];
        for (alg, hash) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
        ] {
            for secret in &secrets {
                let header = extended(&json!({ "alg": alg, "typ": "JWT" }), kid);
                let token = with_mac(hash, secret, &header, payload);
                tokens.push((
                    format!("{header} keyed with {}", String::from_utf8_lossy(secret)),
                    token,
                ));
            }
        }
        let header = extended(&json!({ "alg": "ES256" }), kid);
        tokens.push((header.clone(), attacker.sign_text(&header, payload)));
    }
    for extra in tempting(canary, &attacker.jwk) {
        for header in [
            json!({ "alg": "ES256" }),
            json!(attacker.header()),
            json!(own.header()),
        ] {
            let header = extended(&header, &extra);
            tokens.push((header.clone(), attacker.sign_text(&header, payload)));
        }
    }
    for extra in critical() {
        let header = extended(&json!(own.header()), &extra);
        tokens.push((header.clone(), own.sign_text(&header, payload)));
    }
    for twice in [
        r#"{"alg":"none","alg":"ES256"}"#,
        r#"{"alg":"ES256","alg":"none"}"#,
        "{}",
        "",
    ] {
        tokens.push((twice.to_owned(), own.sign_text(twice, payload)));
    }
    tokens
}

#[tokio::test]
async fn no_forged_id_token_is_accepted() {
    let fake = Fake::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let canary = format!("http://{}/keys", listener.local_addr().unwrap());
    let attacker = std::sync::Arc::new(Key::new());
    let count = forged(&fake.key, &attacker, &canary, "{}").len();
    let mut accepted = Vec::new();
    for number in 0..count {
        let (own, stranger, canary) = (fake.key.clone(), attacker.clone(), canary.clone());
        fake.tokens(move |claims| {
            let mut tokens = forged(&own, &stranger, &canary, &claims.to_string());
            tokens.swap_remove(number).1
        });
        if fake.sign_in().await.is_ok() {
            accepted.push(forged(&fake.key, &attacker, "", "{}").swap_remove(number).0);
        }
    }
    println!("{count} forged ID tokens, {} accepted", accepted.len());
    assert_eq!(accepted, [] as [String; 0]);
    assert!(
        listener.accept().is_err(),
        "a token made the gateway call somebody"
    );

    // Otherwise the tokens were valid.
    let own = fake.key.clone();
    fake.tokens(move |claims| own.sign_text(&json!(own.header()).to_string(), &claims.to_string()));
    fake.sign_in().await.unwrap();
}
