//! Tokens that the gateway did not issue, and correctly signed ones with content that it never signs: at every endpoint
//! that accepts a token, in every place that can hold one.

use std::net::TcpListener;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use gateway_token::Algorithm;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::claims;
use support::browser::{Browser, encode, token_in};
use support::fake_oidc::FakeOidc;
use support::setup::SESSION_SECRET;
use support::{Gateway, Setup};

/// The header of session tokens.
const HEADER: &str = r#"{"alg":"HS256","typ":"session+jwt"}"#;

/// A signed-in user of a gateway whose secret is known.
struct Victim {
    gateway: Gateway,
    _google: FakeOidc,
    browser: Browser,
    token: String,
}

impl Victim {
    async fn new() -> Self {
        let google = FakeOidc::start(json!({"sub": "1234", "name": "Alice"})).await;
        let gateway = Setup::serve()
            .oidc("google", &google)
            .plugin("behave", test_guests::BEHAVE)
            .service("ok", "behave")
            .table("rate_limits", "sign_in = \"off\"\nupdate = \"off\"")
            .start()
            .await;
        let browser = gateway.browser();
        let token = token_in(&google.sign_in(&browser, "/auth/login/google").await);
        Self {
            gateway,
            _google: google,
            browser,
            token,
        }
    }

    /// The claims of a valid token.
    fn claims(&self) -> Value {
        claims(&self.token)
    }

    /// Requests to every endpoint that accepts a token, with this one in every place.
    fn requests(&self, token: &str) -> Vec<(Endpoint, RequestBuilder)> {
        let mut requests = Vec::new();
        for endpoint in [
            Endpoint::Check,
            Endpoint::Authorize,
            Endpoint::Update,
            Endpoint::Logout,
        ] {
            let (method, target) = endpoint.target();
            let request = |target: &str| self.browser.request(method.clone(), target);
            let joint = if target.contains('?') { '&' } else { '?' };
            requests.push((
                endpoint,
                request(&format!("{target}{joint}jwt={}", encode(token))),
            ));
            // A header cannot hold every text.
            if reqwest::header::HeaderValue::from_str(token).is_ok() {
                requests.push((endpoint, request(target).bearer_auth(token)));
                requests.push((endpoint, request(target).header("auth-token", token)));
            }
            if method == Method::POST {
                requests.push((endpoint, request(target).form(&[("jwt", token)])));
            }
        }
        requests
    }

    /// Sends a token everywhere. Returns the places where it was accepted, and the number of places.
    async fn try_everywhere(&self, token: &str) -> (Vec<Endpoint>, usize) {
        let (mut accepted, mut tried) = (Vec::new(), 0);
        for (endpoint, request) in self.requests(token) {
            tried += 1;
            let response = self.browser.send(request).await;
            let status = response.status();
            assert!(
                !status.is_server_error(),
                "{endpoint:?}: {status} for {token:.200}"
            );
            // If it is too long for an address, a header or a body, the gateway did not read it.
            if status == StatusCode::OK && endpoint.accepts(&response.json().await.expect("JSON")) {
                accepted.push(endpoint);
            }
        }
        // The answer to a logout does not tell whether the token was accepted, but the end of a session does.
        if !self.browser.is_signed_in(&self.token).await {
            accepted.push(Endpoint::Logout);
        }
        (accepted, tried)
    }

    /// Fails if one of the tokens is accepted. Returns the number of requests.
    async fn refuses_all(&self, tokens: &[(String, String)]) -> usize {
        let mut tried = 0;
        for (what, token) in tokens {
            let (accepted, times) = self.try_everywhere(token).await;
            assert!(
                accepted.is_empty(),
                "{what} is accepted at {accepted:?}: {token:.500}"
            );
            tried += times;
        }
        tried
    }
}

#[derive(Clone, Copy, Debug)]
enum Endpoint {
    Check,
    Authorize,
    Update,
    Logout,
}

impl Endpoint {
    const fn target(self) -> (Method, &'static str) {
        match self {
            Self::Check => (Method::GET, "/auth/check"),
            Self::Authorize => (Method::GET, "/auth/authorize?service=ok"),
            Self::Update => (Method::POST, "/auth/update"),
            Self::Logout => (Method::POST, "/auth/logout"),
        }
    }

    fn accepts(self, answer: &Value) -> bool {
        match self {
            Self::Check => answer["authenticated"] == true,
            Self::Authorize => *answer != json!({"permissions": {}}),
            Self::Update => answer["success"] == true,
            Self::Logout => false,
        }
    }
}

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
