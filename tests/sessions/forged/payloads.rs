//! Correctly signed tokens with content that the gateway never signs.

use serde_json::{Value, json};

use super::victim::Victim;
use super::{HEADER, own_key, with_mac};

/// A valid token's claims, with one of them replaced or removed.
fn with(good: &Value, name: &str, value: Option<Value>) -> String {
    let mut claims = good.clone();
    match value {
        Some(value) => claims[name] = value,
        None => drop(claims.as_object_mut().expect("an object").remove(name)),
    }
    claims.to_string()
}

/// Payloads that the gateway never signs. None of them may be accepted, although the MAC is right.
fn strange_payloads(good: &Value) -> Vec<String> {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let text = good.to_string();
    // As text, if `Value` cannot hold it.
    let raw = |name: &str, value: &str| with(good, name, Some(json!("RAW"))).replace("\"RAW\"", value);
    let also = |claim: &str| text.replacen('{', &format!("{{{claim},"), 1);
    let after = |claim: &str| format!("{},{claim}}}", &text[..text.len() - 1]);
    let mut payloads: Vec<String> = ["", "null", "[]", "{}", "\"\"", "0", "\u{feff}{}"]
        .map(str::to_owned)
        .into();
    for name in ["iss", "aud", "sub", "sid", "iat", "exp"] {
        payloads.push(with(good, name, None));
        for value in [
            "null",
            "true",
            "-1",
            "-0",
            "0.5",
            "9e9",
            "9999999999.0",
            "18446744073709551616",
            "1e400",
            "-1e400",
            "99999999999999999999999999",
            "[]",
            "{}",
            "[9999999999]",
            "{\"a\":1}",
            "NaN",
            "Infinity",
            "01",
            "0x7fffffff",
        ] {
            payloads.push(raw(name, value));
        }
        payloads.push(raw(name, &deep(100)));
        payloads.push(raw(name, &deep(1500)));
        // Twice, in either order, and also with the second name escaped.
        let value = &good[name];
        let escaped = format!("\"\\u{:04x}{}\":{value}", name.as_bytes()[0], &name[1..]);
        for claim in [format!("\"{name}\":{value}"), escaped] {
            payloads.extend([also(&claim), after(&claim)]);
        }
    }
    for name in ["iat", "exp"] {
        let time = good[name].to_string();
        payloads.push(raw(name, &format!("\"{time}\"")));
    }
    for name in ["iss", "aud", "sub", "sid"] {
        let value = good[name].as_str().expect("text");
        for other in [
            json!(""),
            json!([value]),
            json!(format!("{value} ")),
            json!(format!("{value}\0")),
            json!(value.to_uppercase()),
            json!("' OR 1=1 --"),
            json!("%"),
            json!("s".repeat(4000)),
        ] {
            payloads.push(with(good, name, Some(other)));
        }
    }
    for (name, value) in [
        ("exp", json!(0)),
        ("exp", json!(1)),
        ("exp", good["iat"].clone()),
        ("nbf", json!(0)),
        ("admin", json!(true)),
        ("typ", json!("session+jwt")),
    ] {
        payloads.push(with(good, name, Some(value)));
    }
    payloads.push(format!("{text}{text}"));
    payloads.push(format!("{text}\0"));
    payloads.push(with(good, "canary", Some(json!("x".repeat(7000)))));
    payloads
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signed_tokens_with_other_content_are_rejected() {
    let victim = Victim::new().await;
    let (own, good) = (own_key(), victim.claims());
    let mut tokens: Vec<(String, String)> = strange_payloads(&good)
        .into_iter()
        .map(|payload| {
            let token = with_mac(&own, HEADER, &payload);
            (payload, token)
        })
        .collect();
    // Valid except for its length.
    let long = format!("{good}{}", " ".repeat(8 << 10));
    tokens.push(("9 KiB".to_owned(), with_mac(&own, HEADER, &long)));
    let tried = victim.refuses_all(&tokens).await;
    println!(
        "{} signed tokens with strange claims in {tried} requests, 0 accepted",
        tokens.len()
    );

    // A megabyte may not even arrive: the gateway answers or closes the connection, and continues to serve.
    let huge = with_mac(&own, HEADER, &format!("{good}{}", " ".repeat(1 << 20)));
    for (endpoint, request) in victim.requests(&huge) {
        if let Ok(response) = request.send().await {
            assert!(
                response.status().is_client_error(),
                "{endpoint:?}: {}",
                response.status()
            );
        }
    }
    assert!(victim.browser.is_signed_in(&victim.token).await);
    victim.gateway.stop().await;
}
