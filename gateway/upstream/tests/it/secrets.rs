//! Errors and debug output contain no codes, tokens, verifiers or client secrets.

use std::time::Duration;

use gateway_upstream::{Callback, Hints, UpstreamError, Userinfo};
use serde_json::{Value, json};
use url::form_urlencoded;
use wiremock::matchers::path;
use wiremock::{Mock, Request, ResponseTemplate};

use crate::support::{Fake, config, configured};

/// One of many answers that repeat the request's secrets in one place or another.
fn echo(request: &Request, nth: usize) -> ResponseTemplate {
    let authorization = request.headers.get("authorization");
    let authorization = authorization.map_or("", |value| value.to_str().unwrap());
    let sent = format!("{} {authorization}", String::from_utf8_lossy(&request.body));
    let mut form = form_urlencoded::parse(&request.body);
    let verifier = form.find(|(name, _)| name == "code_verifier");
    let verifier = verifier.map_or_else(|| "canary-verifier".to_owned(), |(_, value)| value.into_owned());
    let status = [200, 400, 401][nth / SHAPES];
    let json = |body: Value| ResponseTemplate::new(status).set_body_json(body);
    match nth % SHAPES {
        0 => json(json!({ "error": "invalid_grant", "error_description": sent, "error_uri": sent })),
        1 => json(json!({ "error": sent })),
        2 => json(json!({ "error": verifier })),
        3 => json(json!({ "access_token": 7, "token_type": sent, "id_token": sent })),
        4 => json(json!({ "access_token": "t", "token_type": "Bearer", "id_token": sent })),
        5 => json(json!({ &sent: &sent, "sub": sent })),
        6 => json(Value::String(sent)),
        7 => ResponseTemplate::new(status).set_body_raw(sent, "text/plain"),
        8 => ResponseTemplate::new(status).set_body_raw(sent, "application/json"),
        _ => ResponseTemplate::new(status).set_body_raw("{}", &format!("canary/{verifier}")),
    }
}

/// The number of body shapes of [`echo`]; each is sent with three statuses.
const SHAPES: usize = 10;

#[tokio::test]
async fn errors_do_not_repeat_values_that_were_sent() {
    for at in ["/token", "/userinfo"] {
        for nth in 0..3 * SHAPES {
            let mut fake = Fake::start().await;
            let mut config = config(&fake.server.uri());
            config.userinfo = Userinfo::Required;
            fake.provider = configured(config, fake.clock.clone(), Duration::from_secs(60));
            fake.claims(|claims| drop(claims.as_object_mut().unwrap().remove("name")));
            Mock::given(path(at))
                .respond_with(move |request: &Request| echo(request, nth))
                .with_priority(1)
                .mount(&fake.server)
                .await;
            let (_, flow) = fake.begin().await;
            let callback = Callback {
                code: "canary-code",
                iss: None,
            };
            let error = fake.provider.finish(&flow, callback, false).await.unwrap_err();
            let said = format!("{error} {error:?}");
            for secret in [
                "canary",
                &flow.verifier,
                &flow.state,
                flow.nonce.as_ref().unwrap(),
            ] {
                assert!(!said.contains(secret), "{at} {nth} says {secret}: {said}");
            }
        }
    }
}

#[tokio::test]
async fn errors_are_short_and_printable() {
    let long = |text: &str| format!("http://example.org/{}{text}", "x".repeat(20_000));
    let short = |error: &UpstreamError| {
        let said = error.to_string();
        assert!(said.len() < 400, "{} bytes: {said:.500}", said.len());
        assert!(!said.contains(char::is_control), "{said:?}");
    };
    for claim in ["iss", "aud", "azp", "nonce"] {
        let fake = Fake::start().await;
        let value = long("");
        fake.claims(move |claims| claims[claim] = json!(value));
        short(&fake.sign_in().await.unwrap_err());
    }
    for member in ["issuer", "token_endpoint", "jwks_uri"] {
        let fake = Fake::start().await;
        fake.set(|answers| answers.discovery[member] = json!(long("\n\u{1b}[31m")));
        short(&fake.provider.begin(Hints::default()).await.unwrap_err());
    }
}

#[tokio::test]
async fn debug_output_contains_no_secrets() {
    let fake = Fake::start().await;
    let begun = fake.provider.begin(Hints::default()).await.unwrap();
    let callback = Callback {
        code: "canary-code",
        iss: None,
    };
    let said = format!("{:?} {begun:?} {:?} {callback:?}", fake.provider, begun.flow);
    assert!(said.contains(&fake.server.uri()));
    let nonce = begun.flow.nonce.clone().unwrap();
    for secret in ["canary", &begun.flow.state, &nonce, &begun.flow.verifier] {
        assert!(!said.contains(secret), "{secret} is in {said}");
    }
}
