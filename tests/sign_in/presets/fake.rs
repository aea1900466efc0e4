//! One fake for every preset: a provider that follows the rules of the real one's documentation, including the unusual
//! ones.
//!
//! It implements what they have in common: codes that work once, PKCE (RFC 7636), the redirect URI at both ends, the
//! client's authentication. A [`Kind`] declares what is special about one provider.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gateway_token::Algorithm;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};
use url::{Url, form_urlencoded};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use support::browser::parameter;
use support::fake_oidc::{grant::Grant, now};

pub(crate) const CLIENT_ID: &str = "canary-client";
pub(crate) const SECRET: &str = "canary-secret/+1";

/// How clients must authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The secret in the header or in the form.
    Either,
    /// In the form only.
    Post,
    /// In the header only.
    Basic,
    /// A client secret that is a JWT (Apple).
    Apple,
    /// In the form, without a secret in the configuration.
    Public,
}

/// The special rules of one provider.
#[derive(Clone)]
pub(crate) struct Kind {
    pub(crate) preset: &'static str,
    /// The path of its issuer's identifier.
    pub(crate) path: &'static str,
    /// The real provider's hosts. The first one is its issuer's.
    pub(crate) hosts: &'static [&'static str],
    /// The settings that the preset requires.
    pub(crate) needs: &'static str,
    /// The operator's other settings.
    pub(crate) lines: &'static str,
    pub(crate) way: Way,
    /// The supported scopes. It rejects a request with any other (RFC 6749 section 4.1.2.1).
    pub(crate) scopes: &'static [&'static str],
    /// Whether ID tokens repeat the nonce.
    pub(crate) nonce: bool,
    /// Whether it answers by POST, and rejects requests without `response_mode=form_post`.
    pub(crate) form_post: bool,
    /// The claims of its ID tokens beside those of the protocol, or `None` if it issues no ID tokens.
    pub(crate) id_token: Option<fn() -> Value>,
    pub(crate) userinfo: Option<fn() -> Value>,
    /// Further members of its token responses.
    pub(crate) tokens: fn() -> Value,
    /// Additions and changes to its discovery document.
    pub(crate) discovery: fn() -> Value,
    /// Whether errors of the token endpoint have status 200.
    pub(crate) refuses_with_200: bool,
    /// Requests must be pushed (RFC 9126).
    pub(crate) par: bool,
    pub(crate) elliptic: bool,
    /// The user's subject at the gateway.
    pub(crate) subject: &'static str,
    pub(crate) name: &'static str,
    pub(crate) email: Option<&'static str>,
    pub(crate) picture: Option<&'static str>,
}

pub(crate) struct Fake {
    pub(crate) kind: Kind,
    server: MockServer,
    /// The private key that Apple gives the developer, PEM.
    pub(crate) developer_key: String,
}

impl Fake {
    /// Starts one whose issuer is its own address.
    pub(crate) async fn start(kind: Kind) -> Self {
        let server = MockServer::start().await;
        let base = server.uri();
        Self::serve(server, base, kind).await
    }

    /// Starts one that is reached at the real one's address.
    pub(crate) async fn at_its_host(kind: Kind) -> Self {
        let base = format!("https://{}", kind.hosts[0]);
        Self::serve(MockServer::start().await, base, kind).await
    }

    async fn serve(server: MockServer, base: String, kind: Kind) -> Self {
        let (private, public) = gateway_token::generate_key(Algorithm::ES256).unwrap();
        let family = if kind.elliptic {
            Algorithm::ES256
        } else {
            Algorithm::RS256
        };
        let (signing, _) = gateway_token::generate_key(family).unwrap();
        let pem = signing.expose_secret().as_bytes();
        let answers = Answers {
            issuer: issuer(&base, &kind),
            base,
            algorithm: if kind.elliptic {
                jsonwebtoken::Algorithm::ES256
            } else {
                jsonwebtoken::Algorithm::RS256
            },
            key: if kind.elliptic {
                EncodingKey::from_ec_pem(pem)
            } else {
                EncodingKey::from_rsa_pem(pem)
            }
            .unwrap(),
            developer: DecodingKey::from_ec_pem(public.as_bytes()).unwrap(),
            kind: kind.clone(),
            codes: Arc::default(),
            pushed: Arc::default(),
        };
        Mock::given(any())
            .respond_with(move |request: &Request| answers.answer(request))
            .mount(&server)
            .await;
        Self {
            kind,
            server,
            developer_key: private.expose_secret().to_owned(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        *self.server.address()
    }

    /// An address of the real one, as the test's browser can reach it.
    pub(crate) fn reachable(&self, url: &Url) -> Url {
        let mut reachable = Url::parse(&self.server.uri()).unwrap();
        reachable.set_path(url.path());
        reachable.set_query(url.query());
        reachable
    }

    pub(crate) fn uri(&self) -> String {
        self.server.uri()
    }

    pub(crate) fn issuer(&self) -> String {
        template(&self.server.uri(), &self.kind)
    }

    /// All requests to it.
    pub(crate) async fn requests(&self) -> Vec<Request> {
        self.server.received_requests().await.unwrap()
    }
}

pub(crate) const TENANT: &str = "0a0a0a0a-0000-4000-8000-0000000000aa";

fn template(base: &str, kind: &Kind) -> String {
    format!("{base}{}", kind.path)
}

fn issuer(base: &str, kind: &Kind) -> String {
    template(base, kind).replace("{tenantid}", TENANT)
}

struct Answers {
    kind: Kind,
    base: String,
    issuer: String,
    algorithm: jsonwebtoken::Algorithm,
    key: EncodingKey,
    developer: DecodingKey,
    codes: Arc<Mutex<HashMap<String, Grant>>>,
    pushed: Arc<Mutex<HashMap<String, Url>>>,
}

fn refuse(status: u16, error: &str) -> ResponseTemplate {
    ResponseTemplate::new(status)
        .set_body_json(json!({ "error": error, "error_description": "the fake says no" }))
}

fn merge(base: &mut Value, more: Value) {
    if let (Value::Object(base), Value::Object(more)) = (base, more) {
        for (name, value) in more {
            if value.is_null() {
                base.remove(&name);
            } else {
                base.insert(name, value);
            }
        }
    }
}

impl Answers {
    fn answer(&self, request: &Request) -> ResponseTemplate {
        let path = request.url.path();
        if path.ends_with("/.well-known/openid-configuration") && self.kind.id_token.is_some() {
            return ResponseTemplate::new(200).set_body_json(self.discovery());
        }
        // The paths of the real providers that have no discovery document.
        let ends = |ends: &[&str]| ends.iter().any(|end| path.ends_with(end));
        match path {
            "/keys" => ResponseTemplate::new(200).set_body_json(json!({ "keys": [self.jwk()] })),
            "/par" => self.push(request),
            _ if ends(&["/authorize", "/dialog/oauth"]) => self.authorize(&request.url),
            _ if ends(&["/token", "/access_token"]) => self.token(request),
            _ if ends(&["/userinfo", "/users/@me", "/me"]) => self.userinfo(request),
            _ => ResponseTemplate::new(404),
        }
    }

    fn discovery(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.base);
        let methods: &[&str] = match self.kind.way {
            Way::Either => &["client_secret_basic", "client_secret_post"],
            Way::Post | Way::Apple | Way::Public => &["client_secret_post"],
            Way::Basic => &["client_secret_basic"],
        };
        let mut document = json!({
            "issuer": template(&self.base, &self.kind),
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "jwks_uri": at("/keys"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.algorithm],
            "token_endpoint_auth_methods_supported": methods,
        });
        if !self.kind.scopes.is_empty() {
            document["scopes_supported"] = json!(self.kind.scopes);
        }
        if self.kind.userinfo.is_some() {
            document["userinfo_endpoint"] = at("/userinfo").into();
        }
        if self.kind.par {
            document["pushed_authorization_request_endpoint"] = at("/par").into();
            document["require_pushed_authorization_requests"] = true.into();
        }
        merge(&mut document, (self.kind.discovery)());
        document
    }

    fn jwk(&self) -> Value {
        let mut jwk =
            serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = "key-1".into();
        jwk["use"] = "sig".into();
        jwk
    }

    fn push(&self, request: &Request) -> ResponseTemplate {
        let form: Vec<(String, String)> = form_urlencoded::parse(&request.body).into_owned().collect();
        if !self.is_client(request, &form.iter().cloned().collect()) {
            return refuse(401, "invalid_client");
        }
        let mut asked = Url::parse(&format!("{}/authorize", self.base)).unwrap();
        asked.query_pairs_mut().append_pair("client_id", CLIENT_ID);
        for (name, value) in form.iter().filter(|(name, _)| !name.starts_with("client_")) {
            asked.query_pairs_mut().append_pair(name, value);
        }
        let mut pushed = self.pushed.lock().unwrap();
        let reference = format!("urn:ietf:params:oauth:request_uri:{}", pushed.len());
        pushed.insert(reference.clone(), asked);
        ResponseTemplate::new(201).set_body_json(json!({ "request_uri": reference, "expires_in": 60 }))
    }

    fn authorize(&self, url: &Url) -> ResponseTemplate {
        let reference = parameter(url, "request_uri");
        let url = match (&reference, self.kind.par) {
            (Some(reference), true) if parameter(url, "client_id").as_deref() == Some(CLIENT_ID) => {
                let Some(pushed) = self.pushed.lock().unwrap().remove(reference) else {
                    return ResponseTemplate::new(400).set_body_string("the request was not pushed");
                };
                pushed
            }
            (None, false) => url.clone(),
            _ => {
                return ResponseTemplate::new(400)
                    .set_body_string("requests have to be pushed, or must not be");
            }
        };
        let asked = |name: &str| parameter(&url, name);
        let mut names: Vec<_> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
        names.sort();
        let all = names.len();
        names.dedup();
        // RFC 6749 section 3.1: parameters must not occur more than once.
        assert_eq!(names.len(), all, "{url}");
        let (grant, state) = match Grant::requested(&url, CLIENT_ID) {
            Ok(requested) => requested,
            Err(why) => return ResponseTemplate::new(400).set_body_string(why),
        };
        let redirect_uri = grant.redirect_uri.clone();
        let scope = asked("scope").unwrap_or_default();
        let known = |scope: &str| self.kind.scopes.is_empty() || self.kind.scopes.contains(&scope);
        let refused = if !scope.split(' ').all(known) {
            Some("invalid_scope")
        } else if self.kind.form_post != (asked("response_mode").as_deref() == Some("form_post")) {
            // Apple: "response_mode must be form_post when name or email scope is requested."
            Some("invalid_request")
        } else {
            None
        };
        let mut codes = self.codes.lock().unwrap();
        let code = format!("canary-code-{}", codes.len());
        let mut back = vec![("state", state)];
        match refused {
            Some(error) => back.push(("error", error.to_owned())),
            None => {
                codes.insert(code.clone(), grant);
                back.push(("code", code));
            }
        }
        if self.kind.preset == "apple" {
            // Only the first time.
            let user = r#"{"name":{"firstName":"Ann","lastName":"Lee"},"email":"typed@example.org"}"#;
            back.push(("user", user.to_owned()));
        }
        if self.kind.form_post {
            let form = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(back)
                .finish();
            return ResponseTemplate::new(200)
                .insert_header("x-form-action", redirect_uri.as_str())
                .set_body_string(form);
        }
        let mut location = Url::parse(&redirect_uri).unwrap();
        location.query_pairs_mut().extend_pairs(back);
        ResponseTemplate::new(302).insert_header("location", location.as_str())
    }

    fn token(&self, request: &Request) -> ResponseTemplate {
        let form: HashMap<String, String> = form_urlencoded::parse(&request.body).into_owned().collect();
        let refuse = |status, error| {
            if self.kind.refuses_with_200 {
                // Slack's answer has `ok`, GitHub's does not; both have status 200.
                return ResponseTemplate::new(200).set_body_json(json!({ "ok": false, "error": error }));
            }
            refuse(status, error)
        };
        if !self.is_client(request, &form) {
            return refuse(401, "invalid_client");
        }
        let grant = form
            .get("code")
            .and_then(|code| self.codes.lock().unwrap().remove(code));
        let Some(grant) = grant else {
            return refuse(400, "invalid_grant");
        };
        if !grant.matches(&form) {
            return refuse(400, "invalid_grant");
        }
        let mut answer = json!({
            "access_token": "canary-access-token",
            "token_type": "Bearer",
            "expires_in": 3600,
        });
        if let Some(claims) = self.kind.id_token {
            answer["id_token"] = self.id_token(claims(), grant.nonce).into();
        }
        merge(&mut answer, (self.kind.tokens)());
        ResponseTemplate::new(200).set_body_json(answer)
    }

    fn id_token(&self, claims: Value, nonce: Option<String>) -> String {
        let mut all = json!({
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": self.kind.subject,
            "iat": now(),
            "exp": now() + 300,
        });
        if let (Some(nonce), true) = (nonce, self.kind.nonce) {
            all["nonce"] = nonce.into();
        }
        merge(&mut all, claims);
        let mut header = Header::new(self.algorithm);
        header.kid = Some("key-1".into());
        jsonwebtoken::encode(&header, &all, &self.key).unwrap()
    }

    fn userinfo(&self, request: &Request) -> ResponseTemplate {
        let header = request.headers.get("authorization");
        if header.is_none_or(|value| value != "Bearer canary-access-token") {
            return ResponseTemplate::new(401);
        }
        match self.kind.userinfo {
            Some(userinfo) => ResponseTemplate::new(200).set_body_json(userinfo()),
            None => ResponseTemplate::new(404),
        }
    }

    fn is_client(&self, request: &Request, form: &HashMap<String, String>) -> bool {
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let basic = STANDARD.encode(format!("{}:{}", encoded(CLIENT_ID), encoded(SECRET)));
        let header = request.headers.get("authorization");
        let by_header = header.is_some_and(|value| *value == format!("Basic {basic}"));
        let id = form.get("client_id").is_some_and(|id| id == CLIENT_ID);
        let secret = form.get("client_secret");
        let by_form = id && secret.is_some_and(|secret| secret == SECRET);
        match self.kind.way {
            // RFC 6749 section 2.3: not both.
            Way::Either => by_header != by_form,
            Way::Post | Way::Public => by_form && header.is_none(),
            Way::Basic => by_header && secret.is_none(),
            Way::Apple => {
                id && header.is_none() && secret.is_some_and(|secret| self.is_from_the_developer(secret))
            }
        }
    }

    /// developer.apple.com, "Creating a client secret".
    fn is_from_the_developer(&self, secret: &str) -> bool {
        let mut validation = Validation::new(jsonwebtoken::Algorithm::ES256);
        validation.set_audience(&[&self.issuer]);
        validation.set_issuer(&["TEAM123456"]);
        let Ok(data) = jsonwebtoken::decode::<Map<String, Value>>(secret, &self.developer, &validation)
        else {
            return false;
        };
        let claim = |name: &str| data.claims.get(name).and_then(Value::as_u64).unwrap_or_default();
        data.header.kid.as_deref() == Some("KEY1234567")
            && data.claims.get("sub").and_then(Value::as_str) == Some(CLIENT_ID)
            && claim("iat") <= now()
            && claim("exp") <= now() + 15_777_000
    }
}
