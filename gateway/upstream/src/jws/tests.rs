//! Verification of signatures: the algorithms, the choice of a key, and headers that are rejected.

mod key_sets;

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaSignatureEncoding,
};
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use gateway_token::SigningKeys;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{Algorithm, KeySet, Unverified, verify};

const NAMES: [&str; 11] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
];

const TYPES: &[&str] = &["jwt"];

enum Private {
    Rsa(rsa::KeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// A key and the names of its algorithms.
struct Key {
    private: Private,
    jwk: Value,
    names: &'static [&'static str],
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Key {
    fn rsa() -> Self {
        let (pem, _) = gateway_token::generate_key(gateway_token::Algorithm::RS256).unwrap();
        let keys = SigningKeys::from_pems(std::slice::from_ref(&pem), &[]).unwrap();
        let mut jwks: Value = serde_json::from_str(keys.jwks()).unwrap();
        let jwk = jwks["keys"][0].take();
        let der: String = pem
            .expose_secret()
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        let der = base64::engine::general_purpose::STANDARD.decode(der).unwrap();
        Self {
            private: Private::Rsa(rsa::KeyPair::from_pkcs8(&der).unwrap()),
            jwk: json!({ "kty": "RSA", "n": jwk["n"], "e": jwk["e"] }),
            names: &NAMES[..6],
        }
    }

    fn ec(curve: &str, algorithm: &'static EcdsaSigningAlgorithm, names: &'static [&'static str]) -> Self {
        let private = EcdsaKeyPair::generate(algorithm).unwrap();
        let point = &private.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        Self {
            jwk: json!({ "kty": "EC", "crv": curve, "x": base64(x), "y": base64(y) }),
            private: Private::Ec(private),
            names,
        }
    }

    fn ed() -> Self {
        let private = Ed25519KeyPair::generate().unwrap();
        Self {
            jwk: json!({ "kty": "OKP", "crv": "Ed25519", "x": base64(private.public_key().as_ref()) }),
            private: Private::Ed(private),
            names: &NAMES[9..],
        }
    }

    fn sign(&self, header: &Value) -> String {
        let message = format!("{}.{}", base64(header.to_string().as_bytes()), base64(b"payload"));
        let random = SystemRandom::new();
        let bytes = message.as_bytes();
        let signature = match &self.private {
            Private::Rsa(key) => {
                let encoding: &RsaSignatureEncoding = match header["alg"].as_str().unwrap() {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &random, bytes, &mut signature).unwrap();
                signature
            }
            Private::Ec(key) => key.sign(&random, bytes).unwrap().as_ref().to_vec(),
            Private::Ed(key) => key.sign(bytes).as_ref().to_vec(),
        };
        format!("{message}.{}", base64(&signature))
    }
}

static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    vec![
        Key::rsa(),
        Key::ec("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING, &NAMES[6..7]),
        Key::ec("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING, &NAMES[7..8]),
        Key::ec("P-521", &ECDSA_P521_SHA512_FIXED_SIGNING, &NAMES[8..9]),
        Key::ed(),
    ]
});

fn set(keys: &[Value]) -> KeySet {
    KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn checked(token: &str, keys: &[Value]) -> Result<Algorithm, Unverified> {
    verify(token, &set(keys), &Algorithm::all(), TYPES).map(|signed| {
        assert_eq!(signed.payload, b"payload");
        signed.algorithm
    })
}

#[test]
fn p18_only_fitting_keys_verify_an_algorithm() {
    let all: Vec<Value> = KEYS.iter().map(|key| key.jwk.clone()).collect();
    for (number, key) in KEYS.iter().enumerate() {
        for name in key.names {
            let token = key.sign(&json!({ "alg": name, "typ": "JWT" }));
            let algorithm = Algorithm::named(name).unwrap();
            assert_eq!(checked(&token, &all), Ok(algorithm), "{name}");
            let without: Vec<Value> = (0..all.len())
                .filter(|n| *n != number)
                .map(|n| all[n].clone())
                .collect();
            assert_eq!(checked(&token, &without), Err(Unverified::UnknownKey), "{name}");
            // The same signature under each other name.
            for other in NAMES
                .iter()
                .filter(|other| Algorithm::named(other) != Some(algorithm))
            {
                let signature = token.rsplit_once('.').unwrap().1;
                let header = base64(json!({ "alg": other }).to_string().as_bytes());
                let forged = format!("{header}.{}.{signature}", base64(b"payload"));
                assert!(checked(&forged, &all).is_err(), "{name} as {other}");
            }
            let only: Vec<Algorithm> = Algorithm::all()
                .into_iter()
                .filter(|one| *one != algorithm)
                .collect();
            let refused = verify(&token, &set(&all), &only, TYPES).unwrap_err();
            assert_eq!(refused, Unverified::NotAdvertised(name), "{name}");
        }
    }
}

#[test]
fn p18_both_names_of_ed25519_are_accepted() {
    let key = KEYS.last().unwrap();
    for published in [json!(null), json!("EdDSA"), json!("Ed25519")] {
        for name in ["EdDSA", "Ed25519"] {
            let mut jwk = key.jwk.clone();
            jwk["alg"] = published.clone();
            assert_eq!(
                checked(&key.sign(&json!({ "alg": name })), &[jwk]),
                Ok(Algorithm::Ed25519)
            );
        }
    }
    let mut other = key.jwk.clone();
    other["alg"] = json!("Ed448");
    let refused = checked(&key.sign(&json!({ "alg": "EdDSA" })), &[other]);
    assert_eq!(refused, Err(Unverified::UnknownKey));
}

/// Base64 with leading zeros added or removed, and with padding.
fn zeros(text: &Value, more: usize, padded: bool) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap();
    let begin = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = [&vec![0; more][..], &bytes[begin..]].concat();
    json!(if padded {
        URL_SAFE.encode(bytes)
    } else {
        base64(&bytes)
    })
}

#[test]
fn key_numbers_may_have_padding_and_leading_zeros() {
    for key in KEYS.iter().filter(|key| key.jwk["kty"] != "OKP") {
        for (more, padded) in [(0, false), (0, true), (1, false), (3, true)] {
            let mut jwk = key.jwk.clone();
            for name in ["n", "e", "x", "y"]
                .into_iter()
                .filter(|name| !key.jwk[*name].is_null())
            {
                jwk[name] = zeros(&key.jwk[name], more, padded);
            }
            let token = key.sign(&json!({ "alg": key.names[0] }));
            assert!(checked(&token, std::slice::from_ref(&jwk)).is_ok(), "{jwk}");
        }
    }
}

#[test]
fn a_key_is_chosen_by_its_id_and_each_of_several_is_tried() {
    let key = &KEYS[3];
    let stranger = Key::ec("P-521", &ECDSA_P521_SHA512_FIXED_SIGNING, key.names);
    let named = |key: &Key, id: &str| {
        let mut jwk = key.jwk.clone();
        jwk["kid"] = json!(id);
        jwk
    };
    let header = |id: Value| json!({ "alg": "ES512", "kid": id });
    let two = [named(&stranger, "a"), named(key, "b")];
    assert!(checked(&key.sign(&header(json!("b"))), &two).is_ok());
    assert!(checked(&key.sign(&header(json!(null))), &two).is_ok());
    assert_eq!(
        checked(&key.sign(&header(json!("a"))), &two),
        Err(Unverified::Signature)
    );
    assert_eq!(
        checked(&key.sign(&header(json!("c"))), &two),
        Err(Unverified::UnknownKey)
    );
    assert!(checked(&key.sign(&header(json!(7))), &two).is_err());
    let same = [named(&stranger, "a"), named(key, "a")];
    assert!(checked(&key.sign(&header(json!("a"))), &same).is_ok());
}

#[test]
fn headers_with_other_demands_are_rejected() {
    let key = &KEYS[1];
    let keys = [key.jwk.clone()];
    for (header, refused) in [
        (json!({ "alg": "none" }), Unverified::Algorithm("none")),
        (json!({ "alg": "HS256" }), Unverified::Algorithm("HS256")),
        (
            json!({ "alg": "canary-code" }),
            Unverified::Algorithm("an unknown one"),
        ),
        (
            json!({ "alg": "ES256", "crit": [] }),
            Unverified::Extension("crit"),
        ),
        (
            json!({ "alg": "ES256", "crit": null }),
            Unverified::Extension("crit"),
        ),
        (
            json!({ "alg": "ES256", "cty": "JWT" }),
            Unverified::Extension("cty"),
        ),
        (json!({ "alg": "ES256", "typ": "logout+jwt" }), Unverified::Type),
        (json!({ "alg": "ES256", "typ": "at+jwt" }), Unverified::Type),
    ] {
        assert_eq!(checked(&key.sign(&header), &keys), Err(refused), "{header}");
    }
    for typ in ["JWT", "jwt", "application/jwt", "Application/JWT"] {
        assert!(
            checked(&key.sign(&json!({ "alg": "ES256", "typ": typ })), &keys).is_ok(),
            "{typ}"
        );
    }
    let good = key.sign(&json!({ "alg": "ES256" }));
    assert_eq!(checked(&format!("{good}.a.b"), &keys), Err(Unverified::Encrypted));
    for odd in [
        "",
        ".",
        "..",
        "a.b",
        &format!("{good}."),
        &format!("{good}="),
        &format!(" {good}"),
    ] {
        assert!(checked(odd, &keys).is_err(), "{odd}");
    }
}
