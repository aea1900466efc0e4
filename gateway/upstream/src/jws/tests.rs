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

use super::{Algorithm, BadKeySet, KeySet, MAX_KEYS, MAX_TRIED, Unverified, verify};

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
fn a14_the_keys_tried_for_an_unnamed_token_are_limited() {
    let key = &KEYS[3];
    let stranger = Key::ec("P-521", &ECDSA_P521_SHA512_FIXED_SIGNING, key.names);
    let token = key.sign(&json!({ "alg": "ES512" }));
    let mut keys = vec![stranger.jwk.clone(); MAX_TRIED - 1];
    keys.push(key.jwk.clone());
    // Keys that do not fit are not tried.
    keys.extend(KEYS[0..1].iter().map(|other| other.jwk.clone()));
    assert!(checked(&token, &keys).is_ok());
    keys.push(stranger.jwk.clone());
    let refused = checked(&token, &keys).unwrap_err();
    assert_eq!(refused, Unverified::Unnamed(MAX_TRIED + 1));
    assert!(
        refused
            .to_string()
            .starts_with("the token has no `kid` and 9 of the provider's keys fit")
    );
    // A key that the token names is found among all of them.
    keys[MAX_TRIED - 1]["kid"] = json!("it");
    let named = key.sign(&json!({ "alg": "ES512", "kid": "it" }));
    assert!(checked(&named, &keys).is_ok());
    // A name that all keys share does not help.
    for key in &mut keys {
        key["kid"] = json!("it");
    }
    assert_eq!(checked(&named, &keys), Err(Unverified::SameName(MAX_TRIED + 1)));
}

#[test]
fn a14_expensive_rsa_keys_are_skipped_with_a_reason() {
    let key = &KEYS[0];
    let sized = |n: &[u8], e: &[u8]| json!({ "kty": "RSA", "kid": "k", "n": base64(n), "e": base64(e) });
    for (n, e, reason) in [
        (512, &[1, 0, 1][..], None),
        (512, &[255; 4], None),
        (513, &[1, 0, 1], Some("it has more than 4096 bits")),
        (1024, &[1, 0, 1], Some("it has more than 4096 bits")),
        (
            256,
            &[1, 0, 0, 0, 1],
            Some("its exponent (`e`) has more than 32 bits"),
        ),
        (255, &[1, 0, 1], Some("it has fewer than 2048 bits")),
    ] {
        let jwk = sized(&vec![255; n], e);
        let skipped: Vec<String> = reason.iter().map(|reason| format!("\"k\": {reason}")).collect();
        assert_eq!(
            set(&[key.jwk.clone(), jwk.clone()]).of_bad_size(),
            skipped,
            "{n} {e:?}"
        );
        // Whether or not the token names it.
        for header in [json!({ "alg": "RS256" }), json!({ "alg": "RS256", "kid": "k" })] {
            let said = checked(&key.sign(&header), std::slice::from_ref(&jwk)).unwrap_err();
            assert_eq!(
                said == Unverified::UnusableKey(reason.unwrap_or_default()),
                reason.is_some(),
                "{said}"
            );
        }
    }
}

#[test]
fn the_size_of_an_rsa_key_is_counted_in_bits() {
    let jwk = |length: usize, first: u8| {
        let mut n = vec![255; length];
        n[0] = first;
        json!({ "kty": "RSA", "kid": "k", "n": base64(&n), "e": "AQAB" })
    };
    for (length, first, skipped) in [
        (256, 0b1000_0000, 0),
        (256, 0b0111_1111, 1),
        (257, 1, 0),
        (512, 0b1111_1111, 0),
        (513, 1, 1),
    ] {
        let reasons = set(&[jwk(length, first)]).of_bad_size();
        assert_eq!(reasons.len(), skipped, "{length} bytes, {first:#b}: {reasons:?}");
    }
}

#[test]
fn a14_crowded_key_sets_are_detected() {
    let unnamed = KEYS[3].jwk.clone();
    let crowd = |keys: &[Value]| set(keys).crowd(&[Algorithm::Es256, Algorithm::Es512]);
    let mut keys = vec![unnamed.clone(); MAX_TRIED];
    keys.push(KEYS[1].jwk.clone());
    assert_eq!(crowd(&keys), None);
    keys.push(unnamed);
    assert_eq!(crowd(&keys), Some((MAX_TRIED + 1, true)));
    keys.push(with_id(&KEYS[3].jwk));
    assert_eq!(crowd(&keys), Some((MAX_TRIED + 2, false)));
    let named: Vec<Value> = keys.iter().map(with_id).collect();
    assert_eq!(crowd(&named), None);
}

#[test]
fn p18_a_key_for_another_algorithm_is_reported_as_such() {
    let key = &KEYS[0];
    let mut jwk = with_id(&key.jwk);
    jwk["alg"] = json!("RS256");
    let said = |header: Value| {
        checked(&key.sign(&header), std::slice::from_ref(&jwk))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        said(json!({ "alg": "PS256", "kid": "k" })),
        "the provider's key for it is unusable: it is published for another algorithm (`alg`) than the token's"
    );
    let said = |jwk: &Value| {
        checked(
            &key.sign(&json!({ "alg": "RS256", "kid": "k" })),
            std::slice::from_ref(jwk),
        )
    };
    let other = said(&with_id(&KEYS[1].jwk)).unwrap_err().to_string();
    assert!(other.contains("of another kind"), "{other}");
}

#[test]
fn p13_usable_keys_are_counted() {
    let with = |key: &Key, change: Value| {
        let mut jwk = key.jwk.clone();
        jwk.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        jwk
    };
    let all = Algorithm::all();
    let usable = |keys: &[Value], algorithms: &[Algorithm]| set(keys).usable(algorithms);
    for key in KEYS.iter() {
        assert_eq!(usable(std::slice::from_ref(&key.jwk), &all), (1, Vec::new()));
    }
    assert_eq!(usable(&[], &all), (0, Vec::new()));
    let rsa = &KEYS[0];
    for (odd, algorithms, said) in [
        (with(rsa, json!({ "use": "enc" })), all.as_slice(), "`use`"),
        (with(rsa, json!({ "alg": "RSA-OAEP" })), all.as_slice(), "`alg`"),
        (
            with(rsa, json!({ "n": base64(&[255; 128]) })),
            all.as_slice(),
            "fewer than 2048",
        ),
        (json!({ "kty": "oct", "k": "AAAA" }), all.as_slice(), "`kty`"),
        (rsa.jwk.clone(), &[Algorithm::Es256], "fits none"),
        (with(rsa, json!({ "e": "AA" })), all.as_slice(), "not a valid key"),
        (
            with(&KEYS[1], json!({ "x": base64(&[1; 32]) })),
            all.as_slice(),
            "not a valid key",
        ),
    ] {
        let (count, reasons) = usable(&[with_id(&odd)], algorithms);
        assert_eq!(count, 0, "{odd}");
        assert!(
            reasons[0].starts_with("\"k\": ") && reasons[0].contains(said),
            "{reasons:?}"
        );
        assert!(usable(&[odd, rsa.jwk.clone()], &all).0 > 0);
    }
}

fn with_id(jwk: &Value) -> Value {
    let mut jwk = jwk.clone();
    jwk["kid"] = json!("k");
    jwk
}

#[test]
fn an_unusable_key_is_reported_if_the_token_names_it() {
    let key = &KEYS[0];
    let token = key.sign(&json!({ "alg": "RS256", "kid": "k" }));
    for (change, reason) in [
        (json!({ "use": "enc" }), "it is not for signatures (`use`)"),
        (
            json!({ "alg": "RSA-OAEP" }),
            "it is for another algorithm (`alg`)",
        ),
        (json!({ "n": base64(&[255; 128]) }), "it has fewer than 2048 bits"),
        (json!({ "n": base64(&[255; 513]) }), "it has more than 4096 bits"),
        (
            json!({ "e": base64(&[1, 255, 255, 255, 255]) }),
            "its exponent (`e`) has more than 32 bits",
        ),
        (json!({ "e": null }), "`n` or `e` is missing"),
        (
            json!({ "kty": "EC", "crv": "secp256k1" }),
            "its curve is unknown (`crv`)",
        ),
        (
            json!({ "kty": "EC", "crv": "P-256", "x": base64(&[1; 33]), "y": "AQ" }),
            "`x` or `y` is missing, or is too long for its curve",
        ),
        (json!({ "kty": "OKP", "crv": "Ed25519" }), "`x` is missing"),
        (json!({ "kty": "AKP" }), "its kind is unknown (`kty`, `crv`)"),
    ] {
        let mut jwk = key.jwk.clone();
        jwk["kid"] = json!("k");
        jwk.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        assert_eq!(checked(&token, &[jwk]), Err(Unverified::UnusableKey(reason)));
    }
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

#[test]
fn malformed_key_sets_are_rejected() {
    let read = |json: Value| KeySet::read(json.to_string().as_bytes()).map(drop);
    for (json, said) in [
        (
            json!([]),
            "the key set is not a JSON object without duplicate members",
        ),
        (
            json!({}),
            "the key set: `keys` must be a list of keys, but is missing",
        ),
        (
            json!({ "keys": {} }),
            "the key set: `keys` must be a list of keys, but is an object",
        ),
    ] {
        assert_eq!(read(json).unwrap_err().to_string(), said);
    }
    assert_eq!(read(json!({ "keys": [null, 1, "x", [], {}] })), Ok(()));
    let many = vec![json!({}); MAX_KEYS + 1];
    assert_eq!(
        read(json!({ "keys": many })),
        Err(BadKeySet::TooMany(MAX_KEYS + 1))
    );
}
