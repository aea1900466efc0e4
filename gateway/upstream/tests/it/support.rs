//! A fake OpenID provider that signs real tokens, with answers that tests can change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_model::clock::ManualClock;
use gateway_token::{Algorithm, SigningKeys};
use gateway_upstream::{
    Callback, Flow, Hints, HttpLimits, Provider, ProviderConfig, ProviderKind, UpstreamError,
};
use jsonwebtoken::{EncodingKey, Header};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use url::{Url, form_urlencoded};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

pub(crate) const CLIENT_ID: &str = "gateway";
pub(crate) const CLIENT_SECRET: &str = "canary-client-secret";
pub(crate) const REDIRECT: &str = "https://auth.example.org/auth/oauth_callback/p";
/// The time of the clock: 2026-11-24.
pub(crate) const NOW: u64 = 1_795_500_000;

/// A key of the provider.
pub(crate) struct Key {
    pub(crate) kid: String,
    pub(crate) jwk: Value,
    /// The public key, PEM.
    pub(crate) pem: String,
    algorithm: jsonwebtoken::Algorithm,
    private: EncodingKey,
}

impl Key {
    pub(crate) fn new() -> Self {
        Self::signing_with(jsonwebtoken::Algorithm::ES256)
    }

    /// A key for `ES256`, `EdDSA`, or one of the algorithms with RSA.
    pub(crate) fn signing_with(algorithm: jsonwebtoken::Algorithm) -> Self {
        let family = match algorithm {
            jsonwebtoken::Algorithm::ES256 => Algorithm::ES256,
            jsonwebtoken::Algorithm::EdDSA => Algorithm::EdDSA,
            _ => Algorithm::RS256,
        };
        let (private, public) = gateway_token::generate_key(family).unwrap();
        let keys = SigningKeys::from_pems(std::slice::from_ref(&private), &[]).unwrap();
        let mut jwks: Value = serde_json::from_str(keys.jwks()).unwrap();
        let mut jwk = jwks["keys"][0].take();
        jwk["alg"] = json!(algorithm);
        let pem = private.expose_secret().as_bytes();
        Self {
            kid: keys.kid().to_owned(),
            jwk,
            pem: public,
            algorithm,
            private: match family {
                Algorithm::ES256 => EncodingKey::from_ec_pem(pem),
                Algorithm::EdDSA => EncodingKey::from_ed_pem(pem),
                Algorithm::RS256 => EncodingKey::from_rsa_pem(pem),
            }
            .unwrap(),
        }
    }

    /// The header of its tokens.
    pub(crate) fn header(&self) -> Header {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.kid.clone());
        header
    }

    /// Signs claims, valid or not.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_under(&self.header(), claims)
    }

    /// Signs a header and a payload unchanged, valid or not.
    pub(crate) fn sign_text(&self, header: &str, payload: &str) -> String {
        let text = parts(header, payload);
        let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &self.private, self.algorithm);
        format!("{text}.{}", signature.unwrap())
    }

    /// Signs claims under another header.
    pub(crate) fn sign_under(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.private).unwrap()
    }
}

/// Header and payload of a token, without a signature.
pub(crate) fn parts(header: &str, payload: &str) -> String {
    format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    )
}

/// The provider's answers; each test changes those that it is about.
pub(crate) struct Answers {
    pub(crate) discovery: Value,
    pub(crate) keys: Vec<Value>,
    /// The ID token, from the nonce.
    pub(crate) id_token: Box<dyn Fn(&Value) -> String + Send>,
    pub(crate) userinfo: Value,
    /// Further members of the token answer.
    pub(crate) token: Value,
    pub(crate) delay: Duration,
    pub(crate) status: u16,
    /// An endpoint with another status than 200.
    pub(crate) broken: Option<(&'static str, u16)>,
    pub(crate) seen: HashMap<String, usize>,
    pub(crate) nonce: Value,
    last_form: HashMap<String, String>,
}

/// The provider.
pub(crate) struct Fake {
    pub(crate) server: MockServer,
    pub(crate) answers: Arc<Mutex<Answers>>,
    pub(crate) key: Arc<Key>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) provider: Provider,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let server = MockServer::start().await;
        let uri = server.uri();
        let key = Arc::new(Key::new());
        let signer = Arc::clone(&key);
        let issuer = uri.clone();
        let answers = Arc::new(Mutex::new(Answers {
            discovery: json!({
                "issuer": uri, "authorization_endpoint": format!("{uri}/authorize"), "token_endpoint": format!("{uri}/token"),
                "jwks_uri": format!("{uri}/keys"), "userinfo_endpoint": format!("{uri}/userinfo"),
                "response_types_supported": ["code"], "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256", "HS256", "none"],
            }),
            keys: vec![key.jwk.clone()],
            id_token: Box::new(move |nonce| signer.sign(&claims(&issuer, nonce))),
            userinfo: json!({}),
            token: json!({}),
            delay: Duration::ZERO,
            status: 200,
            broken: None,
            seen: HashMap::new(),
            nonce: Value::Null,
            last_form: HashMap::new(),
        }));
        let clock = Arc::new(ManualClock::at(NOW));
        let provider = provider(&uri, Arc::clone(&clock));
        let fake = Self {
            server,
            answers,
            key,
            clock,
            provider,
        };
        fake.mount().await;
        fake
    }

    /// Installs the answers of all endpoints.
    pub(crate) async fn mount(&self) {
        for (verb, at) in [
            ("GET", "/.well-known/openid-configuration"),
            ("GET", "/keys"),
            ("POST", "/token"),
            ("GET", "/userinfo"),
        ] {
            let endpoint = Endpoint {
                at,
                answers: Arc::clone(&self.answers),
            };
            Mock::given(method(verb))
                .and(path(at))
                .respond_with(endpoint)
                .mount(&self.server)
                .await;
        }
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Answers)) {
        change(&mut self.answers.lock().unwrap());
    }

    /// Sends valid claims with this change.
    pub(crate) fn claims(&self, change: impl Fn(&mut Value) + Send + 'static) {
        let (key, issuer) = (Arc::clone(&self.key), self.server.uri());
        self.set(|answers| {
            answers.id_token = Box::new(move |nonce| {
                let mut claims = claims(&issuer, nonce);
                change(&mut claims);
                key.sign(&claims)
            });
        });
    }

    /// Sends ID tokens that `make` creates from valid claims.
    pub(crate) fn tokens(&self, make: impl Fn(&Value) -> String + Send + 'static) {
        let issuer = self.server.uri();
        self.set(|answers| answers.id_token = Box::new(move |nonce| make(&claims(&issuer, nonce))));
    }

    pub(crate) fn seen(&self, at: &str) -> usize {
        self.answers
            .lock()
            .unwrap()
            .seen
            .get(at)
            .copied()
            .unwrap_or_default()
    }

    /// The nonce of the current sign-in.
    pub(crate) fn nonce(&self, nonce: &str) {
        self.set(|answers| answers.nonce = json!(nonce));
    }

    /// The form that the token endpoint received.
    pub(crate) fn form(&self) -> HashMap<String, String> {
        self.answers.lock().unwrap().last_form.clone()
    }

    /// Begins a sign-in, up to the user's consent.
    pub(crate) async fn begin(&self) -> (Url, Flow) {
        let authorization = self.provider.begin(Hints::default()).await.unwrap();
        let nonce = authorization.flow.nonce.clone();
        self.set(|answers| answers.nonce = json!(nonce));
        (authorization.url, authorization.flow)
    }

    /// A whole sign-in.
    pub(crate) async fn sign_in(&self) -> Result<gateway_model::UpstreamUser, UpstreamError> {
        let (_, flow) = self.begin().await;
        let user = self
            .provider
            .finish(
                &flow,
                Callback {
                    code: "canary-code",
                    iss: None,
                },
                false,
            )
            .await;
        if let Err(error) = &user {
            let text = format!("{error} {error:?}");
            assert!(
                !text.contains("canary")
                    && !text.contains(&flow.verifier)
                    && !text.contains(flow.nonce.as_deref().unwrap()),
                "{text}"
            );
        }
        user
    }
}

/// With a long timeout, for busy machines.
pub(crate) fn provider(issuer: &str, clock: Arc<ManualClock>) -> Provider {
    provider_within(issuer, clock, Duration::from_secs(60))
}

/// With this timeout.
pub(crate) fn provider_within(issuer: &str, clock: Arc<ManualClock>, timeout: Duration) -> Provider {
    configured(config(issuer), clock, timeout)
}

/// With these settings.
pub(crate) fn configured(config: ProviderConfig, clock: Arc<ManualClock>, timeout: Duration) -> Provider {
    let limits = HttpLimits {
        timeout,
        max_body: 64 << 10,
        proxy: None,
    };
    Provider::new(config, Url::parse(REDIRECT).unwrap(), &limits, clock).unwrap()
}

/// The settings of an OpenID provider.
pub(crate) fn config(issuer: &str) -> ProviderConfig {
    let kind = ProviderKind::Oidc {
        issuer: issuer.to_owned(),
    };
    ProviderConfig {
        trusted_email: true,
        scopes: ["openid", "email", "profile", "groups"]
            .map(str::to_owned)
            .to_vec(),
        ..ProviderConfig::new("p", kind, CLIENT_ID, CLIENT_SECRET.to_owned().into())
    }
}

/// The claims of a valid ID token.
pub(crate) fn claims(issuer: &str, nonce: &Value) -> Value {
    json!({
        "iss": issuer, "aud": CLIENT_ID, "sub": "1234", "iat": NOW, "exp": NOW + 300, "nonce": nonce,
        "name": "Ann", "email": "ann@example.org", "email_verified": true, "picture": "https://img.example.org/a.png",
        "groups": ["staff"],
    })
}

struct Endpoint {
    at: &'static str,
    answers: Arc<Mutex<Answers>>,
}

impl Respond for Endpoint {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut answers = self.answers.lock().unwrap();
        *answers.seen.entry(self.at.to_owned()).or_default() += 1;
        let body = match self.at {
            "/keys" => json!({ "keys": answers.keys }),
            "/userinfo" => answers.userinfo.clone(),
            "/token" => {
                answers.last_form = form_urlencoded::parse(&request.body).into_owned().collect();
                let id_token = (answers.id_token)(&answers.nonce);
                let mut answer = json!({ "access_token": "canary-access-token", "token_type": "Bearer", "id_token": id_token });
                let more = answers.token.as_object().unwrap().clone();
                answer.as_object_mut().unwrap().extend(more);
                answer
            }
            _ => answers.discovery.clone(),
        };
        let broken = answers.broken.filter(|(at, _)| *at == self.at);
        ResponseTemplate::new(broken.map_or(answers.status, |(_, status)| status))
            .set_body_json(body)
            .set_delay(answers.delay)
    }
}
