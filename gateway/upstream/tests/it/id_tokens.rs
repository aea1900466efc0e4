//! Validation of ID tokens (OpenID Connect Core 1.0 section 3.1.3.7).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_upstream::{Callback, ErrorKind, LogoutError, UpstreamError};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Fake, Key, NOW, claims};

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
async fn p1_the_log_names_the_malformed_claim() {
    let fake = Fake::start().await;
    let cases: [(Change, &str); 19] = [
        (|c| c["iss"] = json!(7), "`iss` must be a string, but is a number"),
        (
            |c| drop(c.as_object_mut().unwrap().remove("iss")),
            "`iss` must be a string, but is missing",
        ),
        (
            |c| c["aud"] = json!({}),
            "`aud` must be a string or a list of strings, but is an object",
        ),
        (
            |c| c["aud"] = json!(["gateway", 1]),
            "`aud[1]` must be a string, but is a number",
        ),
        (
            |c| drop(c.as_object_mut().unwrap().remove("aud")),
            "`aud` must be a string or a list of strings, but is missing",
        ),
        (
            |c| c["azp"] = json!(["gateway"]),
            "`azp` must be a string, but is a list",
        ),
        (
            |c| c["exp"] = json!("2199-01-01T00:00:00Z"),
            "`exp` must be a number of seconds since 1970, but is a string",
        ),
        (
            |c| c["exp"] = json!(-1),
            "`exp` must be a number of seconds since 1970, but is a number that is below zero or too large",
        ),
        (
            |c| c["exp"] = json!(1e300),
            "`exp` must be a number of seconds since 1970, but is a number that is below zero or too large",
        ),
        (
            |c| drop(c.as_object_mut().unwrap().remove("exp")),
            "`exp` must be a number of seconds since 1970, but is missing",
        ),
        (
            |c| c["iat"] = json!("2026-01-01T00:00:00Z"),
            "`iat` must be a number of seconds since 1970, but is a string",
        ),
        (
            |c| c["nbf"] = json!("now"),
            "`nbf` must be a number of seconds since 1970, but is a string",
        ),
        (
            |c| c["nonce"] = json!(1),
            "`nonce` must be a string, but is a number",
        ),
        (
            |c| c["at_hash"] = json!([]),
            "`at_hash` must be a string, but is a list",
        ),
        (
            |c| c["sub"] = json!(1234),
            "`sub` must be a string, but is a number",
        ),
        (|c| c["sub"] = json!(""), "`sub` must be a string, but is empty"),
        (
            |c| c["sub"] = json!("s".repeat(256)),
            "`sub` must be at most 255 bytes, but is longer",
        ),
        (
            |c| drop(c.as_object_mut().unwrap().remove("sub")),
            "`sub` must be a string, but is missing",
        ),
        (
            |c| *c = json!([1]),
            "its payload is not a JSON object without duplicate members",
        ),
    ];
    for (change, said) in cases {
        fake.claims(change);
        assert_eq!(odd(&fake, said).await, format!("the ID token: {said}"));
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
async fn p1_numbers_beyond_the_reader_are_rejected_by_name() {
    let fake = Fake::start().await;
    let (key, header) = (
        std::sync::Arc::clone(&fake.key),
        json!(fake.key.header()).to_string(),
    );
    fake.tokens(move |claims| {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let text = claims.to_string();
        key.sign_text(&header, &format!("{{\"x\":{deep},{}", &text[1..]))
    });
    let said = odd(&fake, "deep").await;
    assert!(said.contains("nested more than 127 levels deep"), "{said}");
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
async fn malformed_tokens_are_rejected() {
    let fake = Fake::start().await;
    let cases: Vec<(&str, Change)> = vec![
        ("no issuer", |c| drop(c.as_object_mut().unwrap().remove("iss"))),
        ("no end", |c| drop(c.as_object_mut().unwrap().remove("exp"))),
        ("an end in words", |c| c["exp"] = json!("tomorrow")),
        ("no subject", |c| drop(c.as_object_mut().unwrap().remove("sub"))),
        ("a subject that is a number", |c| c["sub"] = json!(1234)),
        ("an end before the year 1970", |c| c["exp"] = json!(-1)),
        ("an end that no clock has", |c| c["exp"] = json!(1e300)),
        ("claims that are a list", |c| *c = json!([1])),
    ];
    for (what, change) in cases {
        fake.claims(change);
        let error = fake.sign_in().await.expect_err(what);
        assert!(
            matches!(
                error,
                UpstreamError::BadIdToken(_) | UpstreamError::BadResponse { .. }
            ),
            "{what}: {error:?}"
        );
    }
    for text in ["", ".", "..", "a.b.c", "e30.e30.", "canary"] {
        fake.tokens(move |_| text.to_owned());
        let error = fake.sign_in().await.expect_err(text);
        assert!(
            matches!(
                error,
                UpstreamError::BadIdToken(_) | UpstreamError::BadResponse { .. }
            ),
            "{text:?}: {error:?}"
        );
    }
}

/// Payloads with a claim of the wrong type, a duplicate, or no end.
fn strange_payloads(good: &Value) -> Vec<String> {
    let text = good.to_string();
    let with = |name: &str, value: &str| {
        let mut claims = good.clone();
        claims[name] = json!("CLAIM");
        claims.to_string().replace("\"CLAIM\"", value)
    };
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let mut payloads = Vec::new();
    for name in ["iss", "aud", "sub", "nonce", "exp", "iat", "azp", "at_hash"] {
        let is_time = matches!(name, "exp" | "iat");
        for value in [
            "true",
            "{}",
            "[]",
            "[1]",
            "{\"a\":1}",
            "1e400",
            "NaN",
            &deep(100),
            &deep(10_000),
        ] {
            payloads.push(with(name, value));
        }
        // Times are numbers (RFC 7519 section 2, NumericDate); no other claim is.
        let numbers = ["1", "-1", "0.5", "18446744073709551616", "1e300", "-1e300"];
        for value in numbers.iter().filter(|_| !is_time) {
            payloads.push(with(name, value));
        }
        // Null counts as absent, and these three are optional.
        if !matches!(name, "azp" | "at_hash") {
            payloads.push(with(name, "null"));
        }
    }
    for value in [
        "-1",
        "0",
        "1e300",
        "-1e300",
        "18446744073709551616",
        "9223372036854775808",
        "\"9999999999\"",
        "\"\"",
    ] {
        payloads.push(with("exp", value));
    }
    for value in [
        "1e300",
        "18446744073709551616",
        "9223372036854775808",
        "\"tomorrow\"",
    ] {
        payloads.push(with("iat", value));
    }
    // Readers differ on which of two duplicates counts.
    for (name, other) in [
        ("iss", "\"https://other.example.org\""),
        ("aud", "\"somebody-else\""),
        ("sub", "\"5678\""),
        ("nonce", "\"another\""),
        ("exp", "9999999999"),
        ("iat", "1"),
        ("email", "\"other@example.org\""),
        ("email_verified", "false"),
        ("name", "\"Mallory\""),
        ("groups", "[\"admin\"]"),
    ] {
        for value in [other.to_owned(), good[name].to_string()] {
            let claim = format!("\"{name}\":{value}");
            payloads.push(text.replacen('{', &format!("{{{claim},"), 1));
            payloads.push(format!("{},{claim}}}", &text[..text.len() - 1]));
        }
    }
    payloads.push(with("groups", &deep(10_000)));
    payloads.push(with("groups", &format!("\"{}\"", "x".repeat(1 << 20))));
    payloads.extend(["", "null", "[]", "0", "{}", "\u{feff}{}"].map(str::to_owned));
    payloads.push(format!("{text}{text}"));
    payloads
}

#[tokio::test]
async fn malformed_duplicate_and_endless_claims_are_rejected() {
    let fake = Fake::start().await;
    let header = json!(fake.key.header()).to_string();
    let count = strange_payloads(&claims(&fake.server.uri(), &json!("n"))).len();
    let mut accepted = Vec::new();
    for number in 0..count {
        let (key, header) = (std::sync::Arc::clone(&fake.key), header.clone());
        fake.tokens(move |claims| key.sign_text(&header, &strange_payloads(claims)[number]));
        if let Ok(user) = fake.sign_in().await {
            let payload = strange_payloads(&claims(&fake.server.uri(), &json!("n"))).swap_remove(number);
            accepted.push(format!("{payload:.400} as {user:?}"));
        }
    }
    println!(
        "{count} ID tokens with strange claims, {} accepted",
        accepted.len()
    );
    assert_eq!(accepted, [] as [String; 0]);
    // Otherwise the tokens were valid.
    let key = std::sync::Arc::clone(&fake.key);
    fake.tokens(move |claims| key.sign_text(&header, &claims.to_string()));
    fake.sign_in().await.unwrap();
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
