//! Tokens that the gateway did not issue: at every endpoint that accepts a token, in every place that can hold one.

mod payloads;
mod victim;

use std::net::TcpListener;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use gateway_token::Algorithm;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use self::victim::{Endpoint, Victim};
use support::setup::SESSION_SECRET;

/// The header of session tokens.
const HEADER: &str = r#"{"alg":"HS256","typ":"session+jwt"}"#;

/// The key of session tokens, derived in the same way as in the gateway.
fn own_key() -> hmac::Key {
    let root = Salt::new(HKDF_SHA256, b"auth-gateway session key v1").extract(SESSION_SECRET.as_bytes());
    root.expand(&[b"session token HS256"], hmac::HMAC_SHA256)
        .expect("a key")
        .into()
}

fn with_mac(key: &hmac::Key, header: &str, payload: &str) -> String {
    let text = parts(header, payload);
    let mac = URL_SAFE_NO_PAD.encode(hmac::sign(key, text.as_bytes()));
    format!("{text}.{mac}")
}

fn parts(header: &str, payload: &str) -> String {
    format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    )
}

/// Headers with this `alg`.
fn headers(alg: &str) -> [String; 3] {
    [
        json!({"alg": alg, "typ": "session+jwt"}).to_string(),
        json!({"alg": alg, "typ": "JWT"}).to_string(),
        json!({"alg": alg}).to_string(),
    ]
}

/// `alg` none, without a signature and with other text in its place (RFC 8725 section 2.1).
fn unsigned(payload: &str) -> Vec<(String, String)> {
    let mut tokens = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", "", "HS256", "RS256"] {
        for header in headers(alg) {
            for signature in ["", "AA", &"A".repeat(43)] {
                let token = format!("{}.{signature}", parts(&header, payload));
                tokens.push((format!("{header} signed {signature:?}"), token));
            }
        }
    }
    tokens
}

/// MACs whose key is public or can be guessed.
fn keyed_with_what_is_public(pem: &str, jwks: &Value, payload: &str) -> Vec<(String, String)> {
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(&base64).expect("PEM");
    let jwk = &jwks["keys"][0];
    let modulus = jwk["n"].as_str().expect("an RSA key");
    let secrets: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("a zero", vec![0]),
        ("32 zeros", vec![0; 32]),
        ("our PEM", pem.into()),
        ("our PEM, trimmed", pem.trim().into()),
        ("our PEM with CRLF", pem.replace('\n', "\r\n").into()),
        ("our PEM's base64", base64.into()),
        ("our DER", der),
        ("our JWK", jwk.to_string().into()),
        ("our JWKS", jwks.to_string().into()),
        ("our modulus", URL_SAFE_NO_PAD.decode(modulus).expect("base64url")),
        ("our modulus' base64", modulus.into()),
        ("our kid", jwk["kid"].as_str().expect("a kid").into()),
        ("our secret, not derived", SESSION_SECRET.into()),
        ("secret", "secret".into()),
    ];
    let mut tokens = Vec::new();
    for (alg, hash) in [
        ("HS256", hmac::HMAC_SHA256),
        ("HS384", hmac::HMAC_SHA384),
        ("HS512", hmac::HMAC_SHA512),
    ] {
        for (what, secret) in &secrets {
            for header in headers(alg) {
                let token = with_mac(&hmac::Key::new(hash, secret), &header, payload);
                tokens.push((format!("{header} keyed with {what}"), token));
            }
        }
    }
    tokens
}

/// Headers that point to a key, or have members that the gateway does not write: with the gateway's MAC, so that
/// nothing else is wrong with the token; with a MAC without a key; and signed by the key in the header.
fn with_tempting_headers(canary: &str, own: &hmac::Key, payload: &str) -> Vec<(String, String)> {
    let (private, _) = gateway_token::generate_key(Algorithm::ES256).expect("a key");
    let attacker = EncodingKey::from_ec_pem(private.expose_secret().as_bytes()).expect("a key");
    let es256 = jsonwebtoken::Algorithm::ES256;
    let jwk = json!(Jwk::from_encoding_key(&attacker, es256).expect("a JWK"));
    let mut extras: Vec<Value> = [
        "",
        "../../../../dev/null",
        "/dev/null",
        "file:///dev/null",
        "' OR 1=1 --",
        "x' UNION SELECT 'AA",
        "a\0b",
        "a\r\nb",
        "$(id)",
        "%00",
        canary,
        &"k".repeat(4000),
    ]
    .map(|kid| json!({"kid": kid}))
    .into();
    extras.extend([
        json!({"kid": 1}),
        json!({"kid": ["a"]}),
        json!({"jku": canary}),
        json!({"jku": canary, "kid": "a"}),
        json!({"jwk": jwk}),
        json!({"jwk": {"kty": "oct", "k": ""}}),
        json!({"x5u": canary}),
        json!({"x5c": ["AA=="]}),
        json!({"x5t": "AA", "x5t#S256": "AA"}),
        json!({"crit": ["exp"]}),
        json!({"crit": ["canary"], "canary": true}),
        json!({"crit": []}),
        json!({"crit": ["b64"], "b64": false}),
        json!({"zip": "DEF"}),
        json!({"cty": "JWT"}),
        json!({"enc": "A128GCM"}),
    ]);
    let mut tokens = Vec::new();
    for extra in extras {
        for (alg, typ) in [
            ("HS256", "session+jwt"),
            ("ES256", "session+jwt"),
            ("ES256", "JWT"),
        ] {
            let mut header = json!({"alg": alg, "typ": typ});
            for (name, value) in extra.as_object().expect("an object") {
                header[name] = value.clone();
            }
            let header = header.to_string();
            let text = parts(&header, payload);
            let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &attacker, es256).expect("signed");
            let nothing = hmac::Key::new(hmac::HMAC_SHA256, b"");
            for token in [
                with_mac(own, &header, payload),
                with_mac(&nothing, &header, payload),
                format!("{text}.{signature}"),
            ] {
                tokens.push((header.clone(), token));
            }
        }
    }
    // A duplicate name, another order, white space: equal for a JSON parser, but not what the gateway writes.
    for header in [
        r#"{"alg":"none","alg":"HS256","typ":"session+jwt"}"#,
        r#"{"alg":"HS256","alg":"none","typ":"session+jwt"}"#,
        r#"{"alg":"HS256","typ":"JWT","typ":"session+jwt"}"#,
        r#"{"typ":"session+jwt","alg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"session+jwt" }"#,
        r#"{"\u0061lg":"HS256","typ":"session+jwt"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"alg":["HS256"],"typ":"session+jwt"}"#,
        "{}",
        "",
    ] {
        tokens.push((header.to_owned(), with_mac(own, header, payload)));
    }
    tokens
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_forged_token_is_accepted_anywhere() {
    let victim = Victim::new().await;
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    canary.set_nonblocking(true).unwrap();
    let address = format!("http://{}/keys", canary.local_addr().unwrap());
    let pem = victim.browser.get("/auth/public-key").await.text().await.unwrap();
    let jwks = victim.browser.get_json("/.well-known/jwks.json").await;
    let (own, payload) = (own_key(), victim.claims().to_string());

    // Otherwise the other tokens here could be rejected for a different reason.
    let good = with_mac(&own, HEADER, &payload);
    for (endpoint, request) in victim.requests(&good) {
        if !matches!(endpoint, Endpoint::Logout) {
            let answer: Value = victim.browser.send(request).await.json().await.unwrap();
            assert!(endpoint.accepts(&answer), "{endpoint:?}: {answer}");
        }
    }

    let mut tokens = unsigned(&payload);
    tokens.extend(keyed_with_what_is_public(&pem, &jwks, &payload));
    tokens.extend(with_tempting_headers(&address, &own, &payload));
    let tried = victim.refuses_all(&tokens).await;
    println!("{} forged tokens in {tried} requests, 0 accepted", tokens.len());
    assert!(tokens.len() > 300);

    assert!(canary.accept().is_err(), "a token made the gateway call somebody");
    // A logout would have shown, although its answer does not tell.
    let (accepted, _) = victim.try_everywhere(&good).await;
    assert!(matches!(accepted.last(), Some(Endpoint::Logout)), "{accepted:?}");
    victim.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_two_tokens_is_rejected() {
    let victim = Victim::new().await;
    let (good, bad) = (victim.token.as_str(), "bad");
    for (first, second) in [(good, good), (good, bad), (bad, good)] {
        for header in ["authorization", "auth-token"] {
            let scheme = if header == "authorization" { "Bearer " } else { "" };
            let request = victim.browser.request(Method::GET, "/auth/check");
            let request = request
                .header(header, format!("{scheme}{first}"))
                .header(header, format!("{scheme}{second}"));
            let status = victim.browser.send(request).await.status();
            assert_eq!(status, StatusCode::BAD_REQUEST, "{header}");
        }
        let query = format!("/auth/check?jwt={first}&jwt={second}");
        assert_eq!(victim.browser.get(&query).await.status(), StatusCode::BAD_REQUEST);
        let form = victim.browser.request(Method::POST, "/auth/update");
        let status = victim
            .browser
            .send(form.form(&[("jwt", first), ("jwt", second)]))
            .await
            .status();
        assert_eq!(status, StatusCode::BAD_REQUEST, "a form");
    }
    victim.gateway.stop().await;
}
