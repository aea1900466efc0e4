//! Sign-ins at a provider that checks everything it receives (RFC 6749 sections 2.3.1 and 4.1.3, RFC 7636 section 4.6),
//! and the use of the access token.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use gateway_model::UpstreamUser;
use gateway_upstream::{
    Callback, ErrorKind, Flow, Hints, HttpLimits, Provider, ProviderConfig, ProviderKind, Refusal,
    UpstreamError,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::{Url, form_urlencoded};
use wiremock::matchers::{method, path};
use wiremock::{Mock, Request, ResponseTemplate};

use crate::support::{Fake, REDIRECT, claims};

/// Characters that must be encoded in a header or a form.
const ID: &str = "gate way:1";
const SECRET: &str = "canary s:e+c%r/é&=";
const CODE: &str = "canary-code/+=&";

/// A change to the claims of a valid ID token.
type Change = fn(&mut Value);

fn provider(fake: &Fake, secret: &str, redirect: &str, trusted_email: bool) -> Provider {
    let config = config(fake, secret, trusted_email);
    // For answers that must arrive even on a busy machine.
    built(fake, config, redirect, Duration::from_secs(60))
}

fn config(fake: &Fake, secret: &str, trusted_email: bool) -> ProviderConfig {
    let issuer = fake.server.uri();
    ProviderConfig {
        trusted_email,
        ..ProviderConfig::new("p", ProviderKind::Oidc { issuer }, ID, secret.to_owned().into())
    }
}

fn built(fake: &Fake, config: ProviderConfig, redirect: &str, timeout: Duration) -> Provider {
    let limits = HttpLimits {
        timeout,
        max_body: 64 << 10,
        proxy: None,
    };
    Provider::new(config, redirect.parse().unwrap(), &limits, fake.clock.clone()).unwrap()
}

/// The authorization request that the provider remembers, and the client's registration.
struct Asked {
    query: HashMap<String, String>,
    auth: &'static str,
    used: AtomicBool,
}

impl Asked {
    fn check(&self, request: &Request) -> Result<(), &'static str> {
        let form: HashMap<String, String> = form_urlencoded::parse(&request.body).into_owned().collect();
        let sent = |name: &str| form.get(name).map(String::as_str);
        let basic = request.headers.get("authorization").map(|header| {
            let text = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
            let text = String::from_utf8(STANDARD.decode(text).unwrap()).unwrap();
            let (id, secret) = text.split_once(':').unwrap();
            (decode(id), decode(secret))
        });
        let post = sent("client_secret").map(|secret| (form["client_id"].clone(), secret.to_owned()));
        let (auth, client) = match (basic, post) {
            (Some(client), None) => ("client_secret_basic", client),
            (None, Some(client)) => ("client_secret_post", client),
            // One method a request (RFC 6749 section 2.3).
            (Some(_), Some(_)) | (None, None) => return Err("invalid_request"),
        };
        if auth != self.auth || client != (ID.to_owned(), SECRET.to_owned()) {
            return Err("invalid_client");
        }
        if sent("grant_type") != Some("authorization_code") {
            return Err("unsupported_grant_type");
        }
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(sent("code_verifier").unwrap_or_default()));
        let good = sent("code") == Some(CODE)
            && sent("redirect_uri") == Some(&*self.query["redirect_uri"])
            && self.query["code_challenge_method"] == "S256"
            && self.query["code_challenge"] == challenge
            && !self.used.swap(true, Ordering::SeqCst);
        if good { Ok(()) } else { Err("invalid_grant") }
    }
}

fn decode(text: &str) -> String {
    let mut pairs = form_urlencoded::parse(text.as_bytes());
    pairs.next().unwrap().0.into_owned()
}

/// Begins a sign-in at the strict provider. `change` modifies the claims of its ID token.
async fn begin(fake: &Fake, provider: &Provider, auth: &'static str, change: Change) -> Flow {
    let begun = provider.begin(Hints::default()).await.unwrap();
    let asked = Asked {
        query: query(&begun.url),
        auth,
        used: AtomicBool::new(false),
    };
    let mut claims = claims(&fake.server.uri(), &json!(asked.query["nonce"]));
    claims["aud"] = json!(ID);
    change(&mut claims);
    let key = Arc::clone(&fake.key);
    let token = move |request: &Request| match asked.check(request) {
        Ok(()) => ResponseTemplate::new(200).set_body_json(json!({
            "access_token": "canary-access-token", "token_type": "Bearer", "id_token": key.sign(&claims),
        })),
        Err(code) => {
            let status = if code == "invalid_client" { 401 } else { 400 };
            ResponseTemplate::new(status).set_body_json(json!({ "error": code }))
        }
    };
    Mock::given(method("POST"))
        .and(path("/token"))
        .respond_with(token)
        .with_priority(1)
        .mount(&fake.server)
        .await;
    begun.flow
}

fn query(url: &Url) -> HashMap<String, String> {
    url.query_pairs().into_owned().collect()
}

async fn finish(provider: &Provider, flow: &Flow, code: &str) -> Result<UpstreamUser, UpstreamError> {
    let answer = provider.finish(flow, Callback { code, iss: None }, false).await;
    if let Err(error) = &answer {
        let text = format!("{error} {error:?}");
        assert!(
            !text.contains("canary") && !text.contains(&flow.verifier),
            "{text}"
        );
    }
    answer
}

#[tokio::test]
async fn a_strict_provider_accepts_every_request() {
    for (advertised, auth) in [
        (Value::Null, "client_secret_basic"),
        (json!(["client_secret_basic"]), "client_secret_basic"),
        (
            json!(["client_secret_post", "client_secret_basic"]),
            "client_secret_basic",
        ),
        (json!(["client_secret_post"]), "client_secret_post"),
        (
            json!(["private_key_jwt", "client_secret_post"]),
            "client_secret_post",
        ),
    ] {
        let fake = Fake::start().await;
        if !advertised.is_null() {
            fake.set(|answers| {
                answers.discovery["token_endpoint_auth_methods_supported"] = advertised.clone()
            });
        }
        let provider = provider(&fake, SECRET, REDIRECT, true);
        let flow = begin(&fake, &provider, auth, |_| {}).await;
        let user = finish(&provider, &flow, CODE).await;
        assert_eq!(
            user.map(|user| user.identity.subject),
            Ok("1234".to_owned()),
            "{advertised}"
        );
    }
}

#[tokio::test]
async fn pkce_is_used_whether_or_not_it_is_advertised() {
    for methods in [Value::Null, json!([]), json!(["plain"]), json!(["plain", "S256"])] {
        let fake = Fake::start().await;
        let said = methods.clone();
        fake.set(|answers| answers.discovery["code_challenge_methods_supported"] = said);
        let provider = provider(&fake, SECRET, REDIRECT, true);
        // The provider checks the S256 challenge whether or not it advertises it.
        let flow = begin(&fake, &provider, "client_secret_basic", |_| {}).await;
        finish(&provider, &flow, CODE)
            .await
            .unwrap_or_else(|error| panic!("{methods}: {error}"));
    }
}

#[tokio::test]
async fn values_of_other_sign_ins_are_rejected() {
    let grant = || Err(UpstreamError::TokenRefused(Refusal::new("invalid_grant", None)));
    let fake = Fake::start().await;
    let right = provider(&fake, SECRET, REDIRECT, true);
    let flow = begin(&fake, &right, "client_secret_basic", |_| {}).await;
    let other = right.begin(Hints::default()).await.unwrap().flow;

    let mut mixed = flow.clone();
    mixed.verifier = other.verifier;
    assert_eq!(finish(&right, &mixed, CODE).await, grant(), "another verifier");
    assert_eq!(
        finish(&right, &flow, "canary-other").await,
        grant(),
        "another code"
    );
    let moved = provider(&fake, SECRET, "https://auth.example.org/elsewhere", true);
    assert_eq!(finish(&moved, &flow, CODE).await, grant(), "another redirect");

    let stranger = provider(&fake, "canary-wrong", REDIRECT, true);
    let error = finish(&stranger, &flow, CODE).await.unwrap_err();
    assert_eq!(
        error,
        UpstreamError::TokenRefused(Refusal::new("invalid_client", None))
    );
    assert_eq!(error.kind(), ErrorKind::Wrong);

    // The failed attempts did not use up the code; the successful one does.
    finish(&right, &flow, CODE).await.unwrap();
    assert_eq!(finish(&right, &flow, CODE).await, grant(), "the code again");
}

#[tokio::test]
async fn an_id_token_for_another_sign_in_is_rejected() {
    let fake = Fake::start().await;
    let provider = provider(&fake, SECRET, REDIRECT, true);
    let flow = begin(&fake, &provider, "client_secret_basic", |_| {}).await;
    let mut mixed = flow.clone();
    mixed.nonce = provider.begin(Hints::default()).await.unwrap().flow.nonce;
    let error = finish(&provider, &mixed, CODE).await.unwrap_err();
    assert!(matches!(error, UpstreamError::BadIdToken(_)), "{error:?}");

    // Without a nonce to compare, the code is not sent.
    let before = fake.server.received_requests().await.unwrap().len();
    let without = Flow { nonce: None, ..flow };
    let error = finish(&provider, &without, CODE).await.unwrap_err();
    assert!(matches!(error, UpstreamError::BadIdToken(_)), "{error:?}");
    assert_eq!(fake.server.received_requests().await.unwrap().len(), before);
}

#[tokio::test]
async fn the_setting_decides_whether_addresses_are_trusted() {
    for trusted in [true, false] {
        let fake = Fake::start().await;
        let provider = provider(&fake, SECRET, REDIRECT, trusted);
        let flow = begin(&fake, &provider, "client_secret_basic", |_| {}).await;
        let email = finish(&provider, &flow, CODE).await.unwrap().email;
        assert_eq!(email.map(|email| email.trusted), Some(trusted));
    }
}

#[tokio::test]
async fn userinfo_is_asked_if_the_name_or_address_is_missing() {
    let cases: [(&str, Change, bool); 3] = [
        ("nothing is missing", |_| {}, false),
        (
            "no name",
            |c| drop(c.as_object_mut().unwrap().remove("name")),
            true,
        ),
        (
            "no address",
            |c| drop(c.as_object_mut().unwrap().remove("email")),
            true,
        ),
    ];
    for (what, change, asked) in cases {
        let fake = Fake::start().await;
        fake.set(|answers| answers.userinfo = json!({ "sub": "1234" }));
        let provider = provider(&fake, SECRET, REDIRECT, true);
        let flow = begin(&fake, &provider, "client_secret_basic", change).await;
        finish(&provider, &flow, CODE).await.unwrap();
        let mut requests = fake.server.received_requests().await.unwrap();
        requests.retain(|request| request.url.path() == "/userinfo");
        assert_eq!(requests.len(), usize::from(asked), "{what}");
        for request in requests {
            assert_eq!(request.headers["authorization"], "Bearer canary-access-token");
            assert_eq!(request.url.query(), None, "{what}");
        }
    }
}

#[tokio::test]
async fn users_of_a_hanging_provider_wait_for_one_request() {
    let fake = Fake::start().await;
    let provider = Arc::new(built(
        &fake,
        config(&fake, SECRET, true),
        REDIRECT,
        Duration::from_secs(5),
    ));
    fake.set(|answers| answers.delay = Duration::from_secs(300));
    let people: Vec<_> = (0..20)
        .map(|_| {
            let provider = Arc::clone(&provider);
            tokio::spawn(async move { provider.begin(Hints::default()).await.unwrap_err().kind() })
        })
        .collect();
    for person in people {
        assert_eq!(person.await.unwrap(), ErrorKind::TimedOut);
    }
    assert_eq!(fake.seen("/.well-known/openid-configuration"), 1);
    // Later sign-ins do not see the old failure.
    fake.set(|answers| answers.delay = Duration::ZERO);
    provider.begin(Hints::default()).await.unwrap();
}
