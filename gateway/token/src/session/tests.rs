//! Forged session tokens: none is accepted, whatever it is signed with and whatever it says.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use gateway_model::Timestamp;
use jsonwebtoken::{DecodingKey, Validation, decode};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::{collection, sample};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{HEADER, MAX_TOKEN, SessionClaims, SessionKey, SessionTokenError};
use crate::keys::{Algorithm, SigningKeys, generate_key};
use crate::secret::tests::key_of;

const ISSUER: &str = "https://auth.example";
const NOW: Timestamp = Timestamp(1_700_000_000);
const OUR_HEADER: &str = r#"{"alg":"HS256","typ":"session+jwt"}"#;

fn key() -> SessionKey {
    key_of(1, ISSUER)
}

pub(crate) fn claims() -> SessionClaims {
    SessionClaims {
        session: "11111111111111111111111111111111".into(),
        user: "22222222222222222222222222222222".into(),
        expires: NOW.after(Duration::from_secs(60)),
    }
}

fn payload() -> Value {
    json!({
        "iss": ISSUER, "aud": ISSUER, "sub": "22222222222222222222222222222222",
        "sid": "11111111111111111111111111111111", "iat": NOW.0, "exp": NOW.0 + 60,
    })
}

/// With our own MAC, so that only what the token says can be the reason to refuse it.
fn signed(header: &str, payload: &str) -> String {
    key().sign(&URL_SAFE_NO_PAD.encode(header), payload.as_bytes())
}

/// With the MAC under some other key.
fn signed_with(secret: &[u8], header: &str, payload: &str) -> String {
    let text = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac))
}

fn refused(token: &str) -> SessionTokenError {
    match key().verify(token, NOW) {
        Err(error) => error,
        Ok(claims) => panic!("accepted {token}: {claims:?}"),
    }
}

#[test]
fn a_refusal_returns_the_value() {
    assert_eq!(URL_SAFE_NO_PAD.encode(OUR_HEADER), HEADER);
    let token = key().issue(&claims(), NOW);
    assert_eq!(key().verify(&token, NOW), Ok(claims()));
    assert_eq!(
        key().verify(&signed(OUR_HEADER, &payload().to_string()), NOW),
        Ok(claims())
    );

    let awkward = SessionClaims {
        user: "a\"b\\ü\n".into(),
        ..claims()
    };
    assert_eq!(key().verify(&key().issue(&awkward, NOW), NOW), Ok(awkward));
}

/// A sign-out under a clock that is ahead names its session all the same.
#[test]
fn o3_an_expired_token_is_readable_for_a_sign_out_only_if_this_gateway_issued_it() {
    let token = key().issue(&claims(), NOW);
    assert_eq!(
        key().verify(&token, Timestamp(u64::MAX)),
        Err(SessionTokenError::Expired)
    );
    assert_eq!(key().verify_ignoring_expiry(&token), Ok(claims()));
    let (signed, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", "A".repeat(43));
    assert_eq!(
        key().verify_ignoring_expiry(&forged),
        Err(SessionTokenError::Signature)
    );
}

#[test]
fn a_token_expires_in_the_second_of_exp() {
    let token = key().issue(&claims(), NOW);
    let at = |seconds| key().verify(&token, Timestamp(NOW.0 + seconds)).map(|_| ());
    assert_eq!(at(59), Ok(()));
    assert_eq!(at(60), Err(SessionTokenError::Expired));
    assert_eq!(
        key().verify(&token, Timestamp(u64::MAX)),
        Err(SessionTokenError::Expired)
    );
    let forever = SessionClaims {
        expires: Timestamp(u64::MAX),
        ..claims()
    };
    assert_eq!(key().verify(&key().issue(&forever, NOW), NOW), Ok(forever));
}

#[test]
fn another_secret_or_another_gateway_is_refused() {
    let token = key().issue(&claims(), NOW);
    assert_eq!(
        key_of(2, ISSUER).verify(&token, NOW),
        Err(SessionTokenError::Signature)
    );
    assert_eq!(
        key_of(1, "https://other.example").verify(&token, NOW),
        Err(SessionTokenError::Issuer)
    );
    let mut for_another = payload();
    for_another["aud"] = "https://other.example".into();
    assert_eq!(
        refused(&signed(OUR_HEADER, &for_another.to_string())),
        SessionTokenError::Audience
    );
}

#[test]
fn no_algorithm_and_no_key_of_ours_but_the_one() {
    let (_, pem) = generate_key(Algorithm::ES256).unwrap();
    let der = STANDARD
        .decode(
            pem.lines()
                .filter(|line| !line.starts_with('-'))
                .collect::<String>(),
        )
        .unwrap();
    let text = payload().to_string();
    for secret in [
        b"".as_slice(),
        b"\0",
        pem.as_bytes(),
        pem.trim().as_bytes(),
        &der,
        ISSUER.as_bytes(),
        &[1; 32],
    ] {
        assert_eq!(
            refused(&signed_with(secret, OUR_HEADER, &text)),
            SessionTokenError::Signature
        );
    }
    for algorithm in [
        "none", "None", "NONE", "", "hs256", "HS384", "HS512", "RS256", "ES256", "EdDSA",
    ] {
        let header = json!({"alg": algorithm, "typ": "session+jwt"}).to_string();
        assert_eq!(
            refused(&signed(&header, &text)),
            SessionTokenError::Header,
            "{algorithm}"
        );
        let unsigned = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(&header),
            URL_SAFE_NO_PAD.encode(&text)
        );
        assert_eq!(refused(&unsigned), SessionTokenError::Header, "{algorithm}");
    }
    let stripped = format!("{HEADER}.{}.", URL_SAFE_NO_PAD.encode(&text));
    assert_eq!(refused(&stripped), SessionTokenError::Malformed);
}

#[test]
fn no_other_header_even_with_our_mac() {
    let text = payload().to_string();
    for header in [
        "",
        "{}",
        "null",
        "[]",
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"alg":"HS256","typ":"at+jwt"}"#,
        r#"{"alg":"HS256","typ":"SESSION+JWT"}"#,
        r#"{"typ":"session+jwt","alg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"session+jwt","alg":"HS256"}"#,
        r#"{"alg":"none","alg":"HS256","typ":"session+jwt"}"#,
        r#"{"alg":"HS256","typ":"session+jwt","crit":["exp"]}"#,
        r#"{"alg":"HS256","typ":"session+jwt","crit":[],"b64":false}"#,
        r#"{"alg":"HS256","typ":"session+jwt","kid":"../../etc/passwd"}"#,
        r#"{"alg":"HS256","typ":"session+jwt","kid":"' OR 1=1 --"}"#,
        r#"{"alg":"HS256","typ":"session+jwt","jku":"http://127.0.0.1:9/keys"}"#,
        r#"{"alg":"HS256","typ":"session+jwt","jwk":{"kty":"oct","k":""}}"#,
        r#"{"alg":"HS256","typ":"session+jwt","x5u":"http://127.0.0.1:9/cert"}"#,
        r#"{"alg":"HS256","typ":"session+jwt","x5c":["AA=="]}"#,
        r#"{"alg":"HS256","typ":"session+jwt","zip":"DEF"}"#,
        r#"{"alg":"HS256","typ":"session+jwt"} "#,
    ] {
        assert_eq!(
            refused(&signed(header, &text)),
            SessionTokenError::Header,
            "{header}"
        );
    }
}

#[test]
fn claims_have_one_type_each_and_come_once() {
    let with = |name: &str, value: Value| {
        let mut claims = payload();
        claims[name] = value;
        claims.to_string()
    };
    let mut bad = vec![
        String::new(),
        "null".into(),
        "[]".into(),
        "{}".into(),
        "\u{feff}{}".into(),
        payload().to_string() + "{}",
        payload().to_string().replace('}', ",\"exp\":99999999999}"),
        payload()
            .to_string()
            .replace('}', ",\"sub\":\"33333333333333333333333333333333\"}"),
        // The same name, written with an escape.
        payload().to_string().replace('}', ",\"e\\u0078p\":99999999999}"),
        with("exp", json!(NOW.0)).replace(&NOW.0.to_string(), "18446744073709551616"),
        with("exp", json!(NOW.0)).replace(&NOW.0.to_string(), "1e400"),
        with("exp", json!(NOW.0)).replace(&NOW.0.to_string(), "01"),
        with("admin", json!(true)),
        with("nbf", json!(0)),
        with(
            "deep",
            serde_json::from_str(&format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap(),
        ),
    ];
    for value in [
        json!("9999999999"),
        json!(-1),
        json!(9_999_999_999.5),
        json!(9e9),
        json!(null),
        json!(true),
        json!([9_999_999_999_u64]),
    ] {
        bad.push(with("exp", value.clone()));
        bad.push(with("iat", value));
    }
    for name in ["iss", "aud", "sub", "sid"] {
        for value in [
            json!(null),
            json!(1),
            json!(true),
            json!([ISSUER]),
            json!({"a": ISSUER}),
        ] {
            bad.push(with(name, value));
        }
    }
    for name in ["iss", "aud", "sub", "sid", "iat", "exp"] {
        let mut claims = payload();
        claims.as_object_mut().unwrap().remove(name);
        bad.push(claims.to_string());
    }
    for payload in bad {
        assert_eq!(
            refused(&signed(OUR_HEADER, &payload)),
            SessionTokenError::Claims,
            "{payload}"
        );
    }
    assert_eq!(
        refused(&signed(OUR_HEADER, &"[".repeat(5000))),
        SessionTokenError::Claims
    );
    let not_utf8 = key().sign(HEADER, b"{\"iss\":\"\xff\"}");
    assert_eq!(refused(&not_utf8), SessionTokenError::Claims);
}

#[test]
fn a_token_has_three_parts_of_strict_base64url() {
    let token = key().issue(&claims(), NOW);
    let (signed, mac) = token.rsplit_once('.').unwrap();
    let mac_bytes = URL_SAFE_NO_PAD.decode(mac).unwrap();
    for malformed in [
        String::new(),
        ".".into(),
        "..".into(),
        signed.into(),
        HEADER.into(),
        format!("{signed}."),
        format!("{token}="),
        format!("{token}{}", "A".repeat(5000)),
        format!("{token}A"),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{token}."),
        format!(".{token}"),
        format!("{signed}.{}", URL_SAFE.encode(&mac_bytes)),
        format!("{signed}.{}", hex_of(&mac_bytes)),
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&mac_bytes[..31])),
        format!(
            "{signed}.{}",
            URL_SAFE_NO_PAD.encode([mac_bytes.as_slice(), &[0]].concat())
        ),
    ] {
        let error = refused(&malformed);
        assert!(
            matches!(error, SessionTokenError::Malformed | SessionTokenError::Header),
            "{malformed}: {error}"
        );
    }
    // The last character has two bits that stand for nothing: only zero will do.
    let last = mac.chars().last().unwrap();
    for other in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
        if other != last {
            refused(&format!("{}{other}", &token[..token.len() - 1]));
        }
    }
    // Though the MAC over it is ours: no base64url, four parts.
    for text in [
        format!("{HEADER}.a+b/"),
        signed.replacen('.', "..", 1),
        format!("{signed}.{mac}"),
    ] {
        let mac = URL_SAFE_NO_PAD.encode(hmac::sign(&key().mac, text.as_bytes()));
        assert_eq!(
            refused(&format!("{text}.{mac}")),
            SessionTokenError::Malformed,
            "{text}"
        );
    }
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_changed_character_is_noticed() {
    let token = key().issue(&claims(), NOW);
    for at in 0..token.len() {
        for to in ['A', 'B', '-', '.', '='] {
            let mut forged = token.clone();
            forged.replace_range(at..=at, &to.to_string());
            if forged != token {
                refused(&forged);
            }
        }
    }
}

#[test]
fn a_long_token_is_rejected() {
    let text = format!("{}{}", payload(), " ".repeat(MAX_TOKEN));
    assert_eq!(refused(&signed(OUR_HEADER, &text)), SessionTokenError::TooLong);
    assert_eq!(refused(&"A".repeat(1 << 20)), SessionTokenError::TooLong);
    assert_eq!(refused(&".".repeat(MAX_TOKEN)), SessionTokenError::Header);
}

#[test]
fn permission_tokens_and_session_tokens_are_not_confused() {
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let (private, _) = generate_key(algorithm).unwrap();
        let keys = SigningKeys::from_pems(&[private.expose_secret().into()], &[]).unwrap();
        let permission = keys.sign(&crate::keys::tests::claims()).unwrap();
        assert_eq!(refused(&permission), SessionTokenError::Header);

        let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(keys.jwks()).unwrap();
        let verifier = DecodingKey::from_jwk(&set.keys[0]).unwrap();
        let session = key().issue(&claims(), NOW);
        let mut validation = Validation::new(algorithm.to_jwt());
        validation.validate_exp = false;
        validation.validate_aud = false;
        assert!(decode::<Value>(&session, &verifier, &validation).is_err());
    }
}

const CLAIMS: [&str; 6] = ["iss", "aud", "sub", "sid", "iat", "exp"];

/// Any JSON value, numbers included that no integer type holds.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just(json!(ISSUER).to_string()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<u64>().prop_map(|value| value.to_string()),
        (NOW.0 - 100..NOW.0 + 100).prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<u128>().prop_map(|value| value.to_string()),
        any::<f64>().prop_map(|value| json!(value).to_string()),
        "-?[1-9][0-9]{0,30}(\\.[0-9]{1,9})?([eE][-+]?[0-9]{1,3})?",
        any::<String>().prop_map(|value| json!(value).to_string()),
    ];
    let nested = leaf.clone().prop_recursive(8, 64, 4, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..4).prop_map(|values| format!("[{}]", values.join(","))),
            (any::<String>(), inner).prop_map(|(name, value)| format!("{{{}:{value}}}", json!(name))),
        ]
    });
    prop_oneof![3 => leaf, 1 => nested]
}

/// The claims of a good token, but for the text of one.
fn with_text(name: &str, text: &str) -> String {
    let mut claims = payload();
    claims[name] = "CLAIM".into();
    claims.to_string().replace("\"CLAIM\"", text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn each_claim_has_one_type(name in sample::select(&CLAIMS), text in any_json()) {
        // None where serde_json itself has no such number.
        let value: Option<Value> = serde_json::from_str(&text).ok();
        let good = value.is_some_and(|value| match name {
            "iss" | "aud" => value == ISSUER,
            "sub" | "sid" => value.is_string(),
            "iat" => value.is_u64(),
            _ => value.as_u64().is_some_and(|exp| exp > NOW.0),
        });
        let token = signed(OUR_HEADER, &with_text(name, &text));
        if token.len() <= MAX_TOKEN {
            assert_eq!(key().verify(&token, NOW).is_ok(), good, "{name}: {text}");
        }
    }

    #[test]
    fn no_claim_comes_twice(name in sample::select(&CLAIMS), text in any_json(), first in any::<bool>()) {
        let (good, claim) = (payload().to_string(), format!("\"{name}\":{text}"));
        let twice = if first {
            good.replacen('{', &format!("{{{claim},"), 1)
        } else {
            format!("{},{claim}}}", &good[..good.len() - 1])
        };
        let error = refused(&signed(OUR_HEADER, &twice));
        assert!(matches!(error, SessionTokenError::Claims | SessionTokenError::TooLong), "{twice}: {error}");
    }

}

proptest! {
    #[test]
    fn depth_and_length_are_refused(
        name in sample::select(&CLAIMS),
        depth in prop_oneof![1..200_usize, 1..MAX_TOKEN, 1..1_usize << 20],
        open in sample::select(&["[", "{\"a\":", "\"a", " "]),
        closed in any::<bool>(),
    ) {
        let close = match open {
            "[" if closed => "]".repeat(depth),
            "{\"a\":" if closed => format!("1{}", "}".repeat(depth)),
            _ => String::new(),
        };
        refused(&signed(OUR_HEADER, &with_text(name, &format!("{}{close}", open.repeat(depth)))));
    }

    #[test]
    fn verifying_arbitrary_text_is_safe(text in any::<String>(), bytes in any::<Vec<u8>>(), now in any::<u64>()) {
        let key = key();
        assert!(key.verify(&text, Timestamp(now)).is_err());
        assert!(key.verify(&key.sign(HEADER, &bytes), Timestamp(now)).is_err());
        assert!(key.verify(&signed_with(&bytes, OUR_HEADER, &text), Timestamp(now)).is_err());
    }

    #[test]
    fn a_text_is_not_accepted_as_a_time(
        exp in prop_oneof!["[-+0-9eE. \"]{1,24}", "[1-9][0-9]{0,19}(\\.[0-9]{1,3})?([eE][-+]?[0-9]{1,2})?"],
    ) {
        let text = payload().to_string().replace(&format!("\"exp\":{}", NOW.0 + 60), &format!("\"exp\":{exp}"));
        let token = signed(OUR_HEADER, &text);
        let accepted = key().verify(&token, NOW).ok().map(|claims| claims.expires.0);
        let expected = exp.trim_matches(' ');
        let plain = expected.bytes().all(|b| b.is_ascii_digit()) && (expected == "0" || !expected.starts_with('0'));
        let expected = plain.then(|| expected.parse::<u64>().ok()).flatten().filter(|exp| *exp > NOW.0);
        assert_eq!(accepted, expected, "{text}");
    }

    #[test]
    fn an_issued_token_is_verified(sub in any::<String>(), sid in any::<String>(), exp in NOW.0 + 1..) {
        let claims = SessionClaims { session: sid.into(), user: sub.into(), expires: Timestamp(exp) };
        let token = key().issue(&claims, NOW);
        if token.len() <= MAX_TOKEN {
            assert_eq!(key().verify(&token, NOW), Ok(claims));
        }
    }
}
