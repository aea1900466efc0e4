//! Validation of ID tokens (OpenID Connect Core 1.0 section 3.1.3.7).

mod keys;
mod malformed;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_upstream::{Callback, ErrorKind, UpstreamError};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Fake, NOW};

/// A change to the claims of a valid ID token.
type Change = fn(&mut Value);

/// The token is well-formed but rejected.
pub(crate) async fn refused(fake: &Fake, what: &str) {
    let error = fake.sign_in().await.expect_err(what);
    assert!(matches!(error, UpstreamError::BadIdToken(_)), "{what}: {error:?}");
    assert_eq!(error.kind(), ErrorKind::Refused, "{what}");
}

/// The token is malformed. Returns the log text.
async fn odd(fake: &Fake, what: &str) -> String {
    let error = fake.sign_in().await.expect_err(what);
    assert!(
        matches!(error, UpstreamError::BadResponse { .. }),
        "{what}: {error:?}"
    );
    assert_eq!(error.kind(), ErrorKind::Wrong, "{what}");
    error.to_string()
}

#[tokio::test]
async fn tokens_with_wrong_claims_are_rejected() {
    let fake = Fake::start().await;
    let cases: [(&str, Change); 11] = [
        ("another issuer", |c| {
            c["iss"] = json!("https://other.example.org")
        }),
        ("another audience", |c| c["aud"] = json!("somebody-else")),
        ("one more audience", |c| {
            c["aud"] = json!(["gateway", "somebody-else"])
        }),
        ("another authorized party", |c| c["azp"] = json!("somebody-else")),
        ("expired", |c| c["exp"] = json!(NOW - 1)),
        ("issued in the future", |c| c["iat"] = json!(NOW + 3600)),
        ("another nonce", |c| c["nonce"] = json!("another")),
        ("no nonce", |c| drop(c.as_object_mut().unwrap().remove("nonce"))),
        ("not valid yet", |c| c["nbf"] = json!(NOW + 3600)),
        ("our client id with something behind it", |c| {
            c["aud"] = json!("gateway2")
        }),
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

/// RFC 7519 section 4.1.5, with the same leeway as `iat`.
#[tokio::test]
async fn s1_an_id_token_that_is_not_valid_yet_is_rejected() {
    let fake = Fake::start().await;
    let not_yet: [(&str, Change); 3] = [
        ("two minutes ahead", |c| c["nbf"] = json!(NOW + 120)),
        ("61.5 s ahead", |c| c["nbf"] = json!(NOW as f64 + 61.5)),
        ("far ahead", |c| c["nbf"] = json!(1_000_000_000_000_u64)),
    ];
    for (what, change) in not_yet {
        fake.claims(change);
        refused(&fake, what).await;
    }
    let odd_times: [Change; 2] = [
        |c| c["nbf"] = json!("2026-01-01T00:00:00Z"),
        |c| c["nbf"] = json!([]),
    ];
    for change in odd_times {
        fake.claims(change);
        odd(&fake, "nbf").await;
    }
    let valid: [Change; 5] = [
        |c| c["nbf"] = json!(NOW + 60),
        |c| c["nbf"] = json!(NOW as f64 - 0.5),
        |c| c["nbf"] = json!(0),
        |c| c["nbf"] = json!(-1),
        |c| c["nbf"] = json!(null),
    ];
    for change in valid {
        fake.claims(change);
        fake.sign_in().await.unwrap();
    }
}

#[tokio::test]
async fn p1_unused_claims_may_have_any_value_and_reach_the_hooks() {
    let fake = Fake::start().await;
    let claims = json!({
        "acr": 1, "amr": "pwd", "address": [], "updated_at": "yesterday", "auth_time": "2026-01-01", "c_hash": 7,
        "phone_number": 49_123, "phone_number_verified": "yes", "birthdate": {}, "gender": [], "locale": null,
        "zoneinfo": false, "website": {}, "profile": 1, "given_name": 7, "family_name": [], "middle_name": {},
        "nickname": 1.5, "jti": 1, "sid": 3, "groups": { "a": [1, null] }, "_claim_names": 1, "realm_access": "x",
    });
    let odd = claims.clone();
    fake.claims(move |token| {
        token
            .as_object_mut()
            .unwrap()
            .extend(odd.as_object().unwrap().clone())
    });
    let user = fake.sign_in().await.unwrap();
    for (name, value) in claims.as_object().unwrap() {
        assert_eq!(&user.claims.get(name), value, "{name}");
    }
    assert_eq!((user.name.as_str(), user.email.is_some()), ("Ann", true));
    // Malformed profile claims are ignored.
    fake.claims(|token| {
        for name in ["name", "preferred_username", "picture", "email"] {
            token[name] = json!({ "odd": true });
        }
    });
    fake.set(|answers| answers.userinfo = json!({ "sub": "1234" }));
    let user = fake.sign_in().await.unwrap();
    assert_eq!(
        (user.name.as_str(), user.email, user.avatar_url),
        ("", None, None)
    );
    assert_eq!(user.claims.get("name"), json!({ "odd": true }));
}

/// Numbers beyond 64 bits, and an unpaired surrogate.
const WIDE: &str = r#""n":12345678901234567890123,"f":0.1000000000000000055511151231257827,"e":1E400,"z":-0,"half":"x\ud83d""#;

#[tokio::test]
async fn p1_claims_reach_the_hooks_with_every_digit() {
    let fake = Fake::start().await;
    let (key, header) = (
        std::sync::Arc::clone(&fake.key),
        json!(fake.key.header()).to_string(),
    );
    fake.tokens(move |claims| {
        let text = claims.to_string();
        key.sign_text(&header, &format!("{{ {WIDE} , {}", &text[1..]))
    });
    let signed = fake.sign_in().await.unwrap();
    // The ID token's claims win; the others are added unchanged.
    let more = r#"{"sub":"1234","n":1,"more":[18446744073709551616, 1.10]}"#;
    let answer = wiremock::Mock::given(wiremock::matchers::path("/userinfo"))
        .respond_with(wiremock::ResponseTemplate::new(200).set_body_raw(more, "application/json"))
        .with_priority(1);
    answer.mount(&fake.server).await;
    let (_, flow) = fake.begin().await;
    let callback = Callback {
        code: "canary-code",
        iss: None,
    };
    let both = fake.provider.finish(&flow, callback, true).await.unwrap();
    for user in [&signed, &both] {
        let text = user.claims.as_str();
        for member in WIDE.replace("\\ud83d", "\\ufffd").split(',') {
            assert!(text.contains(member), "{member} in {text}");
        }
    }
    assert!(
        both.claims
            .as_str()
            .contains(r#""more":[18446744073709551616,1.10]"#),
        "{:?}",
        both.claims
    );
}

#[tokio::test]
async fn p2_unused_members_of_a_token_response_may_have_any_value() {
    let fake = Fake::start().await;
    for odd in [
        json!({ "expires_in": "3599", "scope": ["openid"] }),
        json!({ "expires_in": -1, "scope": 7, "token_type": null, "refresh_token": {} }),
        json!({ "expires_in": 1e300, "scope": null, "token_type": ["Bearer"], "refresh_token": null }),
        json!({ "expires_in": [], "token_type": "bearer", "error": null, "not_before": "x", "id_token_expires_in": {} }),
    ] {
        fake.set(|answers| answers.token = odd.clone());
        let user = fake.sign_in().await;
        assert!(user.is_ok(), "{odd}: {user:?}");
    }
    for (odd, said) in [
        (
            json!({ "access_token": 7 }),
            "`access_token` must be a string, but is a number",
        ),
        (
            json!({ "access_token": null }),
            "`access_token` must be a string, but is null",
        ),
        (
            json!({ "id_token": {} }),
            "`id_token` must be a string, but is an object",
        ),
    ] {
        fake.set(|answers| answers.token = odd);
        let error = fake.sign_in().await.unwrap_err();
        assert_eq!(error.to_string(), format!("the token endpoint: {said}"));
        assert_eq!(error.kind(), ErrorKind::Wrong);
    }
}

#[tokio::test]
async fn tokens_with_right_claims_are_accepted() {
    let fake = Fake::start().await;
    let cases: Vec<(&str, Change)> = vec![
        ("our own authorized party", |c| c["azp"] = json!("gateway")),
        ("a date where providers write one", |c| {
            c["updated_at"] = json!("2026-01-01T00:00:00Z")
        }),
        ("a list of one audience", |c| c["aud"] = json!(["gateway"])),
        ("a clock that is a little ahead", |c| c["iat"] = json!(NOW + 60)),
        ("the last second", |c| c["exp"] = json!(NOW + 1)),
        ("the longest subject", |c| c["sub"] = json!("s".repeat(255))),
        // The left half of the SHA-256 of the access token (Core 1.0 section 3.1.3.6).
        ("this access token's hash", |c| {
            let hash = Sha256::digest("canary-access-token");
            c["at_hash"] = json!(URL_SAFE_NO_PAD.encode(&hash[..16]))
        }),
    ];
    for (what, change) in cases {
        fake.claims(change);
        let user = fake.sign_in().await;
        assert!(user.is_ok(), "{what}: {user:?}");
    }
}
