//! ID tokens that are not valid (OpenID Connect Core 1.0 section 3.1.3.7): every one is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_upstream::{ErrorKind, UpstreamError};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Fake, Key, NOW, claims};

/// What a provider does to the claims of a good ID token.
type Change = fn(&mut Value);

/// The token is read, and not believed.
pub(crate) async fn refused(fake: &Fake, what: &str) {
    let error = fake.sign_in().await.expect_err(what);
    assert!(matches!(error, UpstreamError::BadIdToken(_)), "{what}: {error:?}");
    assert_eq!(error.kind(), ErrorKind::Refused, "{what}");
}

#[tokio::test]
async fn claims_that_are_wrong() {
    let fake = Fake::start().await;
    let cases: [(&str, Change); 15] = [
        ("an end as a date", |c| c["exp"] = json!("2199-01-01T00:00:00Z")),
        ("a beginning as a date", |c| {
            c["iat"] = json!("2026-01-01T00:00:00Z")
        }),
        ("another issuer", |c| {
            c["iss"] = json!("https://other.example.org")
        }),
        ("another audience", |c| c["aud"] = json!("somebody-else")),
        ("one more audience", |c| {
            c["aud"] = json!(["gateway", "somebody-else"])
        }),
        ("no audience", |c| drop(c.as_object_mut().unwrap().remove("aud"))),
        ("another authorized party", |c| c["azp"] = json!("somebody-else")),
        ("expired", |c| c["exp"] = json!(NOW - 1)),
        ("issued in the future", |c| c["iat"] = json!(NOW + 3600)),
        ("another nonce", |c| c["nonce"] = json!("another")),
        ("no nonce", |c| drop(c.as_object_mut().unwrap().remove("nonce"))),
        ("an empty subject", |c| c["sub"] = json!("")),
        ("an endless subject", |c| c["sub"] = json!("s".repeat(256))),
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

/// RFC 7519 section 4.1.5, with the leeway that `iat` has.
#[tokio::test]
async fn s1_an_id_token_that_is_not_valid_yet_is_refused() {
    let fake = Fake::start().await;
    let not_yet: [(&str, Change); 5] = [
        ("two minutes ahead", |c| c["nbf"] = json!(NOW + 120)),
        ("61.5 s ahead", |c| c["nbf"] = json!(NOW as f64 + 61.5)),
        ("far ahead", |c| c["nbf"] = json!(1_000_000_000_000_u64)),
        ("a date", |c| c["nbf"] = json!("2026-01-01T00:00:00Z")),
        ("a list", |c| c["nbf"] = json!([])),
    ];
    for (what, change) in not_yet {
        fake.claims(change);
        refused(&fake, what).await;
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
async fn tokens_that_are_none() {
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

/// Payloads of which a claim has a type that it must not have, comes twice, or has no end.
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
        // A time is a number (RFC 7519 section 2, NumericDate); of other claims none is one.
        let numbers = ["1", "-1", "0.5", "18446744073709551616", "1e300", "-1e300"];
        for value in numbers.iter().filter(|_| !is_time) {
            payloads.push(with(name, value));
        }
        // Absent and null are the same: these three need not be there.
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
    // Twice: readers differ on which of the two counts.
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
async fn claims_of_the_wrong_type_twice_or_without_end() {
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
    // Nothing else was wrong with them.
    let key = std::sync::Arc::clone(&fake.key);
    fake.tokens(move |claims| key.sign_text(&header, &claims.to_string()));
    fake.sign_in().await.unwrap();
}

#[tokio::test]
async fn claims_that_are_right() {
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
