//! Sets of keys: which keys are usable, which are skipped with a reason, and how many are tried.

use aws_lc_rs::signature::ECDSA_P521_SHA512_FIXED_SIGNING;
use serde_json::{Value, json};

use super::{KEYS, Key, base64, checked, set};
use crate::jws::{Algorithm, BadKeySet, KeySet, MAX_KEYS, MAX_TRIED, Unverified};

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
