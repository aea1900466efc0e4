//! Providers' answers: metadata, keys, tokens, claims. Each sign-in that succeeds is checked again against the answers.
//!
//! The input has sections, each the body of one answer: `@discovery`, `@jwks`, `@token`, `@userinfo` and, for the ID
//! token that is signed with the provider's key, `@header` and `@claims`; for GitHub `@token`, `@user` and `@emails`. A
//! status may follow the name. A missing section is a valid answer. `{issuer}`, `{jwk}` and `{id_token}` stand for
//! values that the fuzzer cannot guess.
#![no_main]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use gateway_model::{Clock, Timestamp, UpstreamUser};
use gateway_upstream::{Callback, Flow, Hints, HttpLimits, Provider, ProviderConfig, ProviderKind};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use url::{Host, Url};

const CLIENT: &str = "gateway";
const NONCE: &str = "n-0S6_WzA2Mj";
const NOW: u64 = 1_795_500_000;
const SECRETS: [&str; 3] = ["canary-secret", "canary-verifier", "canary-code"];

/// The answers that are used for missing sections.
const GOOD: [(&str, &str); 8] = [
    (
        "discovery",
        r#"{"issuer":"{issuer}","authorization_endpoint":"{issuer}/authorize","token_endpoint":"{issuer}/token","jwks_uri":"{issuer}/jwks","userinfo_endpoint":"{issuer}/userinfo","response_types_supported":["code"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["EdDSA"]}"#,
    ),
    ("jwks", r#"{"keys":[{jwk}]}"#),
    (
        "token",
        r#"{"access_token":"a","token_type":"Bearer","scope":"read:user,user:email","id_token":"{id_token}"}"#,
    ),
    ("userinfo", r#"{"sub":"1234"}"#),
    ("header", r#"{"alg":"EdDSA","kid":"k"}"#),
    (
        "claims",
        r#"{"iss":"{issuer}","aud":"gateway","sub":"1234","iat":1795500000,"exp":1795500300,"nonce":"n-0S6_WzA2Mj","name":"Ann","email":"ann@example.org","email_verified":true}"#,
    ),
    ("user", r#"{"id":1,"login":"ann"}"#),
    (
        "emails",
        r#"[{"email":"ann@example.org","primary":true,"verified":true}]"#,
    ),
];

/// Answers by section, each a status and a body.
type Answers = BTreeMap<&'static str, (StatusCode, Vec<u8>)>;

struct Fixture {
    runtime: Runtime,
    issuer: String,
    key: Ed25519KeyPair,
    answers: Arc<Mutex<Answers>>,
    clock: Arc<Set>,
    oidc: Provider,
    github: Provider,
}

/// A clock for tests.
#[derive(Debug)]
struct Set(AtomicU64);

impl Clock for Set {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let answers = Arc::default();
    let issuer = runtime.block_on(listen(Arc::clone(&answers)));
    let clock = Arc::new(Set(AtomicU64::new(NOW)));
    let url = Url::parse(&issuer).expect("a URL");
    let provider = |kind| {
        let config = ProviderConfig {
            trusted_email: true,
            ..ProviderConfig::new("p", kind, CLIENT, SECRETS[0].to_owned().into())
        };
        let limits = HttpLimits {
            timeout: Duration::from_secs(5),
            max_body: 16 << 10,
            proxy: None,
        };
        let redirect = Url::parse("https://auth.example.org/auth/oauth_callback/p").expect("a URL");
        Provider::new(config, redirect, &limits, Arc::clone(&clock) as Arc<dyn Clock>).expect("a provider")
    };
    Fixture {
        oidc: provider(ProviderKind::Oidc {
            issuer: issuer.clone(),
        }),
        github: provider(ProviderKind::GitHub {
            web: url.clone(),
            api: url,
        }),
        runtime,
        issuer,
        key: Ed25519KeyPair::generate().expect("a key"),
        answers,
        clock,
    }
});

/// Serves the answers on loopback, and returns the URL.
async fn listen(answers: Arc<Mutex<Answers>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answers = Arc::clone(&answers);
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer(&answers.lock().expect("no panic"), request.uri().path());
                async move { Ok::<_, Infallible>(answer) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    format!("http://{address}")
}

fn answer(answers: &Answers, path: &str) -> Response<Full<Bytes>> {
    let section = match path {
        "/.well-known/openid-configuration" => "discovery",
        "/login/oauth/access_token" => "token",
        "/user/emails" => "emails",
        path => path.trim_start_matches('/'),
    };
    let (status, body) = answers
        .get(section)
        .cloned()
        .unwrap_or((StatusCode::NOT_FOUND, Vec::new()));
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    response
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let fixture = &*FIXTURE;
    let sections = sections(data);
    let is_github = sections.contains_key("user");
    let is_ours = !sections.contains_key("jwks");
    let id_token = fixture.id_token(&sections);
    let answers: Answers = GOOD
        .iter()
        .map(|(name, good)| {
            let (status, body) = sections
                .get(name)
                .copied()
                .unwrap_or((StatusCode::OK, good.as_bytes()));
            (*name, (status, fixture.fill_in(body, &id_token)))
        })
        .collect();
    if !fixture.stays_here(&answers["discovery"].1) {
        return Corpus::Reject;
    }
    let provider = if is_github { &fixture.github } else { &fixture.oidc };
    let user = fixture.runtime.block_on(fixture.finish(provider, &answers));
    match user {
        Ok(user) if is_github => judge_github(&user, &answers),
        Ok(user) => fixture.judge_oidc(&user, &answers, is_ours.then_some(&id_token)),
        Err(error) => {
            let text = format!("{error} {error:?}");
            let leaked = SECRETS.iter().find(|secret| text.contains(**secret));
            assert!(
                leaked.is_none() || find(data, b"canary"),
                "the error contains a secret: {text}"
            );
            assert!(text.len() < 2048, "{} bytes", text.len());
        }
    }
    Corpus::Keep
});

/// The sections of an input by name, each with its status. A section begins at a line with `@` and its name.
fn sections(data: &[u8]) -> BTreeMap<&'static str, (StatusCode, &[u8])> {
    let mut sections = BTreeMap::new();
    let mut rest = data.strip_prefix(b"@").unwrap_or_default();
    while !rest.is_empty() {
        let end = position(rest, b"\n@").unwrap_or(rest.len());
        let (section, more) = rest.split_at(end);
        rest = more.get(2..).unwrap_or_default();
        let end = section
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(section.len());
        let (head, body) = section.split_at(end);
        let mut words = head.split(|byte| *byte == b' ');
        let name = words.next().unwrap_or_default();
        let status = words
            .next()
            .and_then(|status| StatusCode::from_bytes(status).ok());
        if let Some((name, _)) = GOOD.iter().find(|(known, _)| known.as_bytes() == name) {
            let body = body.strip_prefix(b"\n").unwrap_or(body);
            sections.insert(*name, (status.unwrap_or(StatusCode::OK), body));
        }
    }
    sections
}

impl Fixture {
    async fn finish(
        &self,
        provider: &Provider,
        answers: &Answers,
    ) -> Result<UpstreamUser, gateway_upstream::UpstreamError> {
        // Lets the cached metadata of the last input expire, while no new metadata is available.
        self.clock.0.store(NOW + 7200, Ordering::Relaxed);
        self.answers.lock().expect("no panic").clear();
        let _ = provider.begin(Hints::default()).await;
        self.clock.0.store(NOW, Ordering::Relaxed);
        self.answers.lock().expect("no panic").clone_from(answers);
        let flow = Flow {
            state: "s".to_owned(),
            nonce: Some(NONCE.to_owned()),
            verifier: SECRETS[1].to_owned(),
        };
        provider
            .finish(
                &flow,
                Callback {
                    code: SECRETS[2],
                    iss: None,
                },
                false,
            )
            .await
    }

    fn id_token(&self, sections: &BTreeMap<&'static str, (StatusCode, &[u8])>) -> String {
        let part = |name: &str| {
            let good = GOOD
                .iter()
                .find(|(known, _)| *known == name)
                .expect("a section")
                .1;
            let text = sections.get(name).map_or(good.as_bytes(), |(_, body)| *body);
            URL_SAFE_NO_PAD.encode(self.fill_in(text, ""))
        };
        let signed = format!("{}.{}", part("header"), part("claims"));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn fill_in(&self, body: &[u8], id_token: &str) -> Vec<u8> {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key());
        let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"k","use":"sig","alg":"EdDSA","x":"{x}"}}"#);
        let mut body = body.to_vec();
        for (name, value) in [
            ("{issuer}", self.issuer.as_str()),
            ("{jwk}", &jwk),
            ("{id_token}", id_token),
        ] {
            // Each placeholder once: a value could contain another placeholder.
            let mut from = 0;
            while let Some(at) = position(&body[from..], name.as_bytes()) {
                body.splice(from + at..from + at + name.len(), value.bytes());
                from += at + value.len();
            }
        }
        body
    }

    /// Whether the input keeps all requests at the provider: it must not redirect them elsewhere.
    fn stays_here(&self, discovery: &[u8]) -> bool {
        let Ok(Value::Object(discovery)) = serde_json::from_slice(discovery) else {
            return true;
        };
        let home = Url::parse(&self.issuer).expect("a URL").origin();
        discovery
            .values()
            .filter_map(Value::as_str)
            .filter_map(|text| Url::parse(text).ok())
            .all(|url| {
                let loopback = match url.host() {
                    Some(Host::Ipv4(address)) => address.is_loopback(),
                    Some(Host::Ipv6(address)) => address.is_loopback(),
                    Some(Host::Domain(name)) => name == "localhost",
                    None => false,
                };
                url.origin() == home || (url.scheme() != "https" && !loopback)
            })
    }

    /// An independent reading of OpenID Connect Core 1.0 section 3.1.3.7. `ours` is the only token that the provider's
    /// own key has signed; `None` if the input replaces the keys.
    fn judge_oidc(&self, user: &UpstreamUser, answers: &Answers, ours: Option<&String>) {
        // The gateway accepts numbers that this reader cannot represent.
        let Ok(token) = serde_json::from_slice::<Value>(&answers["token"].1) else {
            return judge(user);
        };
        let token = token["id_token"].as_str().expect("an ID token");
        assert!(
            ours.is_none_or(|ours| token == ours),
            "not signed by the provider: {token}"
        );
        let payload = URL_SAFE_NO_PAD
            .decode(token.split('.').nth(1).expect("three parts"))
            .expect("base64url");
        let Ok(claims) = serde_json::from_slice::<Map<String, Value>>(&payload) else {
            return judge(user);
        };
        let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
        assert_eq!(text("iss"), Some(self.issuer.as_str()));
        let for_us = match &claims["aud"] {
            Value::Array(list) => list.iter().all(|one| one == CLIENT) && !list.is_empty(),
            one => one == CLIENT,
        };
        assert!(for_us, "for somebody else: {}", claims["aud"]);
        assert!(
            claims.get("azp").is_none_or(|azp| azp.is_null() || azp == CLIENT),
            "to somebody else"
        );
        assert_eq!(text("nonce"), Some(NONCE));
        if let Some(expires) = claims["exp"].as_f64() {
            assert!(expires >= NOW as f64, "it has expired: {expires}");
        }
        if let Some(issued) = claims["iat"].as_f64() {
            assert!(issued < (NOW + 61) as f64, "from the future: {issued}");
        }
        assert_eq!(text("sub"), Some(user.identity.subject.as_str()));
        assert!((1..=255).contains(&user.identity.subject.len()));
        assert_eq!(user.identity.issuer, self.issuer);

        let userinfo = &answers["userinfo"].1;
        if let Some(email) = &user.email {
            let vouches = |said: &Value| said["email"] == *email.address && said["email_verified"] == true;
            assert!(
                vouches(&Value::Object(claims))
                    || match serde_json::from_slice(userinfo) {
                        Ok(userinfo) => vouches(&userinfo),
                        Err(_) => String::from_utf8_lossy(userinfo).contains(&email.address),
                    },
                "nobody vouches for {email:?}"
            );
        }
        judge(user);
    }
}

fn judge_github(user: &UpstreamUser, answers: &Answers) {
    let Ok(said) = serde_json::from_slice::<Value>(&answers["user"].1) else {
        return judge(user);
    };
    assert_eq!(
        said["id"].as_u64().expect("a number").to_string(),
        user.identity.subject
    );
    if let Some(email) = &user.email {
        let Ok(emails) = serde_json::from_slice::<Vec<Value>>(&answers["emails"].1) else {
            return judge(user);
        };
        let vouches = |said: &Value| {
            said["email"] == *email.address && said["primary"] == true && said["verified"] == true
        };
        assert!(emails.iter().any(vouches), "nobody vouches for {email:?}");
    }
    judge(user);
}

/// Control characters, and those that change the direction of text: Unicode's `Bidi_Control`.
fn turns(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn judge(user: &UpstreamUser) {
    assert!(
        user.name.len() <= 256 && !user.name.contains(turns),
        "{:?}",
        user.name
    );
    if let Some(email) = &user.email {
        let odd = |c: char| turns(c) || c.is_whitespace();
        assert!(email.address.len() <= 256 && email.address.contains('@') && !email.address.contains(odd));
    }
    if let Some(picture) = &user.avatar_url {
        assert!(
            picture.starts_with("https://") || picture.starts_with("http://"),
            "{picture}"
        );
    }
}

fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn find(text: &[u8], part: &[u8]) -> bool {
    position(text, part).is_some()
}
