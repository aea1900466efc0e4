//! Malformed ID tokens and claims: each is rejected, and the log names the claim.

use gateway_upstream::UpstreamError;
use serde_json::{Value, json};

use super::{Change, odd};
use crate::support::{Fake, claims};

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
