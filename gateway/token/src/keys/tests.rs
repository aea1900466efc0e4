//! Key formats, what is published of a key, and whether others can verify what it signs.

use gateway_model::PermissionMap;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use proptest::prelude::{any, proptest};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::private::PrivateKey;
use super::public::PublicKey;
use super::{Algorithm, KeyError, PemError, SigningKeys, generate_key, public_kid};
use crate::permission::PermissionClaims;

macro_rules! pem {
    ($name:literal) => {
        include_str!(concat!("../../tests/keys/", $name, ".pem"))
    };
}

const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

fn keys(private: &str) -> Result<SigningKeys, KeyError> {
    SigningKeys::from_pems(&[SecretString::from(private)], &[])
}

fn private_problem(text: &str) -> PemError {
    match keys(text) {
        Err(KeyError::Private { number: 1, problem }) => problem,
        other => panic!("{other:?}"),
    }
}

fn public_problem(text: &str) -> PemError {
    match SigningKeys::from_pems(&[pem!("p256-pkcs8").into()], &[text.to_owned()]) {
        Err(KeyError::Public { number: 1, problem }) => problem,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn claims() -> PermissionClaims {
    let permissions = json!({"level": 3, "admin": true, "note": "grün \"q\"", "deep": {"a": [1, null]}});
    PermissionClaims {
        iss: "https://auth.example".into(),
        sub: "0123456789abcdef0123456789abcdef".into(),
        userid: "0123456789abcdef0123456789abcdef".into(),
        service: "example".into(),
        permissions: serde_json::from_value::<PermissionMap>(permissions).unwrap(),
        aud: None,
        plugin: "ab".repeat(32),
        iat: 1_700_000_000,
        exp: 4_000_000_000,
    }
}

fn validation(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm.to_jwt());
    validation.set_issuer(&["https://auth.example"]);
    validation.set_required_spec_claims(&["exp", "iss", "sub"]);
    validation
}

#[test]
fn others_verify_our_tokens_from_the_key_set_and_from_the_pem() {
    for algorithm in ALGORITHMS {
        let (private, public_pem) = generate_key(algorithm).unwrap();
        let keys = keys(private.expose_secret()).unwrap();
        assert_eq!(keys.algorithm(), algorithm);
        assert_eq!(keys.public_key_pem(), public_pem);
        let token = keys.sign(&claims()).unwrap();

        let header = decode_header(&token).unwrap();
        assert_eq!(header.alg, algorithm.to_jwt());
        assert_eq!(header.typ.as_deref(), Some("JWT"));
        assert_eq!(header.kid.as_deref(), Some(keys.kid()));

        let set: JwkSet = serde_json::from_str(keys.jwks()).unwrap();
        let from_set = DecodingKey::from_jwk(set.find(keys.kid()).unwrap()).unwrap();
        let from_pem = match algorithm {
            Algorithm::RS256 => DecodingKey::from_rsa_pem(public_pem.as_bytes()),
            Algorithm::ES256 => DecodingKey::from_ec_pem(public_pem.as_bytes()),
            Algorithm::EdDSA => DecodingKey::from_ed_pem(public_pem.as_bytes()),
        };
        for key in [from_set, from_pem.unwrap()] {
            let verified = decode::<PermissionClaims>(&token, &key, &validation(algorithm)).unwrap();
            assert_eq!(verified.claims, claims());
        }
        let (other, _) = generate_key(algorithm).unwrap();
        let other = self::keys(other.expose_secret()).unwrap();
        let set: JwkSet = serde_json::from_str(other.jwks()).unwrap();
        let wrong = DecodingKey::from_jwk(&set.keys[0]).unwrap();
        assert!(decode::<PermissionClaims>(&token, &wrong, &validation(algorithm)).is_err());
    }
}

#[test]
fn the_audience_is_there_only_where_it_is_configured() {
    let keys = keys(pem!("p256-pkcs8")).unwrap();
    let payload = |token: &str| -> Value { jsonwebtoken::dangerous::insecure_decode_claims(token).unwrap() };
    assert!(payload(&keys.sign(&claims()).unwrap()).get("aud").is_none());
    let with = PermissionClaims {
        aud: Some("billing".into()),
        ..claims()
    };
    assert_eq!(payload(&keys.sign(&with).unwrap())["aud"], "billing");
}

#[test]
fn every_form_of_a_key_is_the_same_key() {
    for (one, other) in [
        (pem!("rsa2048-pkcs1"), pem!("rsa2048-pkcs8")),
        // OpenSSL writes the curve in a separate block before the key.
        (pem!("p256-sec1"), pem!("p256-pkcs8")),
    ] {
        assert_eq!(keys(one).unwrap().kid(), keys(other).unwrap().kid());
    }
    assert_eq!(
        keys(pem!("rsa2048-pkcs1")).unwrap().public_key_pem(),
        pem!("rsa2048-public")
    );
    assert_eq!(
        keys(pem!("p256-sec1")).unwrap().public_key_pem(),
        pem!("p256-public")
    );
    assert_eq!(
        keys(pem!("rfc8037-pkcs8")).unwrap().public_key_pem(),
        pem!("rfc8037-public")
    );

    for text in [pem!("rsa2048-pkcs1"), pem!("p256-sec1"), pem!("rfc8037-pkcs8")] {
        let kid = keys(text).unwrap().kid().to_owned();
        for mangled in [
            text.trim().to_owned(),
            format!("\n\t {text}\n\n"),
            text.replace('\n', "\\n"),
            text.replace('\n', "\r\n"),
            text.replace('\n', "\\r\\n"),
            format!("Bag Attributes: none\n{text}"),
        ] {
            assert_eq!(keys(&mangled).unwrap().kid(), kid, "{mangled:?}");
        }
    }
}

#[test]
fn an_unusable_key_is_reported_without_showing_it() {
    let cut = pem!("rsa2048-pkcs8")
        .lines()
        .take(20)
        .collect::<Vec<_>>()
        .join("\n");
    let changed = pem!("rsa2048-pkcs8").replace("MII", "MIA");
    let cases = [
        ("", PemError::NotPem),
        ("not a key", PemError::NotPem),
        (cut.as_str(), PemError::NotPem),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
            PemError::Unsupported,
        ),
        (
            "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----",
            PemError::NotPem,
        ),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----",
            PemError::Damaged,
        ),
        (
            "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----",
            PemError::Damaged,
        ),
        (changed.as_str(), PemError::Damaged),
        (pem!("encrypted-pkcs8"), PemError::Encrypted),
        (pem!("encrypted-pkcs1"), PemError::Encrypted),
        (pem!("certificate"), PemError::NotPrivate),
        (pem!("rsa2048-public"), PemError::NotPrivate),
        (pem!("rsa1024-pkcs1"), PemError::RsaSize),
        (pem!("rsa1024-pkcs8"), PemError::RsaSize),
        (pem!("p384-pkcs8"), PemError::Curve),
        (pem!("p384-sec1"), PemError::Curve),
        (pem!("ed448-pkcs8"), PemError::Unsupported),
    ];
    for (text, problem) in cases {
        assert_eq!(private_problem(text), problem, "{text}");
        let shown = format!("{:?} {}", keys(text).unwrap_err(), keys(text).unwrap_err());
        for line in text
            .lines()
            .filter(|line| line.len() > 40 && !line.starts_with("-----"))
        {
            assert!(!shown.contains(line), "{shown}");
        }
    }
    for (text, problem) in [
        ("", PemError::NotPem),
        (pem!("rsa2048-pkcs8"), PemError::NotPublic),
        (pem!("certificate"), PemError::NotPublic),
        (pem!("rsa1024-public"), PemError::RsaSize),
        (pem!("p384-public"), PemError::Curve),
        (
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
            PemError::Unsupported,
        ),
    ] {
        assert_eq!(public_problem(text), problem, "{text}");
    }
    assert!(matches!(SigningKeys::from_pems(&[], &[]), Err(KeyError::NoKey)));
}

#[test]
fn the_error_numbers_the_wrong_key() {
    let private = [pem!("p256-pkcs8").into(), "nonsense".into()];
    let error = SigningKeys::from_pems(&private, &[]).unwrap_err();
    assert!(error.to_string().starts_with("private key 2: not PEM"), "{error}");
}

#[test]
fn the_first_signs_and_all_are_published_once() {
    let private = [pem!("p256-pkcs8").into(), pem!("rsa2048-pkcs1").into()];
    let public = [
        pem!("p256-public").to_owned(),
        pem!("rsa2048-public-pkcs1").to_owned(),
        pem!("rfc8037-public").to_owned(),
    ];
    let keys = SigningKeys::from_pems(&private, &public).unwrap();
    assert_eq!(keys.algorithm(), Algorithm::ES256);

    let set: Value = serde_json::from_str(keys.jwks()).unwrap();
    let published = set["keys"].as_array().unwrap();
    let of = |name: &str| {
        published
            .iter()
            .map(|key| key[name].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("alg"), ["ES256", "RS256", "EdDSA"]);
    assert_eq!(of("kty"), ["EC", "RSA", "OKP"]);
    assert_eq!(of("use"), ["sig", "sig", "sig"]);
    assert_eq!(of("kid")[0], keys.kid());
    assert!(of("kid").iter().all(|kid| kid.len() == 43));
}

#[test]
fn publishes_no_private_number() {
    let private = [
        pem!("p256-pkcs8").into(),
        pem!("rsa2048-pkcs1").into(),
        pem!("rfc8037-pkcs8").into(),
    ];
    let keys = SigningKeys::from_pems(&private, &[]).unwrap();
    let set: Value = serde_json::from_str(keys.jwks()).unwrap();
    for key in set["keys"].as_array().unwrap() {
        for name in key.as_object().unwrap().keys() {
            let public = ["kty", "crv", "x", "y", "n", "e", "use", "alg", "kid"];
            assert!(public.contains(&name.as_str()), "{name}");
        }
    }
    let shown = format!("{keys:?}");
    assert!(shown.len() < 120, "{shown}");
}

#[test]
fn an_algorithm_has_the_name_that_its_tokens_carry() {
    for algorithm in ALGORITHMS {
        let (private, _) = generate_key(algorithm).unwrap();
        let token = keys(private.expose_secret()).unwrap().sign(&claims()).unwrap();
        let name = format!("{:?}", decode_header(&token).unwrap().alg);
        assert_eq!(algorithm.as_str(), name);
    }
}

#[test]
fn a_public_key_has_the_kid_that_its_private_key_signs_with() {
    for (private, public) in [
        (pem!("rsa2048-pkcs8"), pem!("rsa2048-public")),
        (pem!("p256-pkcs8"), pem!("p256-public")),
        (pem!("rfc8037-pkcs8"), pem!("rfc8037-public")),
    ] {
        assert_eq!(public_kid(public).unwrap(), keys(private).unwrap().kid());
    }
    assert_eq!(public_kid(pem!("rsa1024-public")), Err(PemError::RsaSize));
}

#[test]
fn the_thumbprint_is_that_of_the_standards() {
    let rsa = PublicKey::from_pem(pem!("rfc7638-public")).unwrap();
    assert_eq!(
        rsa.kid, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        "RFC 7638 section 3.1"
    );
    let ed25519 = PublicKey::from_pem(pem!("rfc8037-public")).unwrap();
    assert_eq!(
        ed25519.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        "RFC 8037 appendix A.3"
    );
}

#[test]
fn the_ed25519_signature_is_that_of_rfc_8037_appendix_a4() {
    use base64::Engine;
    let key = PrivateKey::from_pem(pem!("rfc8037-pkcs8")).unwrap();
    let signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key.sign(signed).unwrap());
    assert_eq!(
        signature,
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
}

#[test]
fn rs256_gives_the_same_token_for_the_same_claims() {
    let keys = keys(pem!("rsa2048-pkcs1")).unwrap();
    assert_eq!(keys.sign(&claims()).unwrap(), keys.sign(&claims()).unwrap());
}

proptest! {
    #[test]
    fn parsing_arbitrary_text_is_safe(text in any::<String>(), der in any::<Vec<u8>>()) {
        let _ = PrivateKey::from_pem(&text);
        for tag in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "PUBLIC KEY", "RSA PUBLIC KEY"] {
            let text = super::pem::write(tag, &der);
            assert!(PrivateKey::from_pem(&text).is_err());
            assert!(PublicKey::from_pem(&text).is_err());
        }
    }

    #[test]
    fn a_key_with_a_changed_byte_is_refused_or_another_valid_one(at in 0usize..1200, to in any::<u8>()) {
        let (_, der) = super::pem::read(pem!("rsa2048-pkcs8")).unwrap();
        let mut der = der.to_vec();
        let at = at % der.len();
        der[at] = to;
        if let Ok(key) = PrivateKey::from_pem(&super::pem::write("PRIVATE KEY", &der)) {
            key.sign(b"text").unwrap();
        }
    }
}
