//! An OpenID provider that signs real tokens and can misbehave.
//!
//! It follows the rules of a provider: codes work once, PKCE (RFC 7636, S256) is checked, the client is authenticated,
//! and the redirect URI must be the same at both ends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gateway_token::Algorithm;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header};
use reqwest::Response;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use url::Url;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::browser::{self, Browser};

pub mod grant;
pub mod logout;

use grant::Grant;

/// The client's id at this provider.
pub const CLIENT_ID: &str = "gateway-client";

/// The access token that it issues; a canary.
pub const ACCESS_TOKEN: &str = "canary-access-token";

/// How the provider behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// As the specifications require.
    #[default]
    Well,
    /// Answers 503 to everything but the user's browser.
    Down,
    /// Answers after this time.
    Slow(Duration),
    /// Answers 200 with garbage at the token endpoint.
    Rubbish,
    /// Signs the ID token with a different key.
    ForgedSignature,
    /// Names another client as the ID token's audience.
    WrongAudience,
    /// Leaves the nonce out.
    NoNonce,
    /// Returns a logout token in place of the ID token.
    LogoutToken,
    /// The same, with the ordinary `typ`.
    EventToken,
    /// Has an authorization endpoint whose address is longer than proxies accept.
    LongAddress,
}

struct State {
    mood: Mood,
    person: Map<String, Value>,
    /// Members of the ID token as text: `"n":1,`.
    more: String,
    /// The key's id.
    kid: String,
    /// Grants and claims by code.
    codes: HashMap<String, (Grant, Map<String, Value>)>,
    issued: u32,
    token_calls: u32,
    id_tokens: Vec<String>,
    /// Does not record ID tokens.
    forgets: bool,
    further_keys: usize,
    signs_out: bool,
}

/// A running provider.
pub struct FakeOidc {
    server: MockServer,
    issuer: String,
    state: Arc<Mutex<State>>,
    key: EncodingKey,
    /// The client's secret at this provider; a canary.
    pub client_secret: String,
}

impl FakeOidc {
    /// Starts a provider whose user has the claims `person`, which must include `sub`.
    pub async fn start(person: Value) -> Self {
        let server = MockServer::start().await;
        let issuer = server.uri();
        Self::serve(server, issuer, person).await
    }

    /// Starts a provider that records neither requests nor ID tokens, as hundreds of thousands would fill the memory.
    pub async fn start_forgetful(person: Value) -> Self {
        let server = MockServer::builder().disable_request_recording().start().await;
        let issuer = server.uri();
        let provider = Self::serve(server, issuer, person).await;
        provider.state.lock().unwrap().forgets = true;
        provider
    }

    /// Starts a provider whose issuer is `issuer`, the address of a proxy in front of it.
    pub async fn behind(issuer: &str, person: Value) -> Self {
        Self::serve(MockServer::start().await, issuer.to_owned(), person).await
    }

    async fn serve(server: MockServer, issuer: String, person: Value) -> Self {
        let client_secret = "canary-oidc-client-secret".to_owned();
        let state = Arc::new(Mutex::new(State {
            mood: Mood::Well,
            person: object(person),
            more: String::new(),
            kid: "key-1".to_owned(),
            codes: HashMap::new(),
            issued: 0,
            token_calls: 0,
            id_tokens: Vec::new(),
            forgets: false,
            further_keys: 0,
            signs_out: true,
        }));
        let key = new_key();
        let provider = Answers {
            issuer: issuer.clone(),
            client_secret: client_secret.clone(),
            state: Arc::clone(&state),
            key: key.clone(),
            foreign_key: new_key(),
        };
        Mock::given(any())
            .respond_with(move |request: &Request| provider.answer(request))
            .mount(&server)
            .await;
        Self {
            server,
            issuer,
            state,
            key,
            client_secret,
        }
    }

    /// Its issuer identifier.
    pub fn issuer(&self) -> String {
        self.issuer.clone()
    }

    /// The address on which it listens, regardless of its issuer.
    pub fn address(&self) -> SocketAddr {
        *self.server.address()
    }

    /// Changes the user who signs in from now on.
    pub fn set_person(&self, person: Value) {
        self.state.lock().unwrap().person = object(person);
    }

    /// Adds members to ID tokens, as literal text: `"n":1E400,`.
    pub fn set_more(&self, members: &str) {
        members.clone_into(&mut self.state.lock().unwrap().more);
    }

    /// Changes its behaviour from now on.
    pub fn set_mood(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// Changes the id of its key from now on, so that it counts as a new key.
    pub fn rotate_key(&self, kid: &str) {
        kid.clone_into(&mut self.state.lock().unwrap().kid);
    }

    /// Publishes `count` other keys before the one that it signs with.
    pub fn set_further_keys(&self, count: usize) {
        self.state.lock().unwrap().further_keys = count;
    }

    /// The number of requests to its token endpoint.
    pub fn token_calls(&self) -> u32 {
        self.state.lock().unwrap().token_calls
    }

    /// Every authorization code that it has issued.
    pub fn codes(&self) -> Vec<String> {
        (1..=self.state.lock().unwrap().issued).map(code).collect()
    }

    /// Every ID token that it has signed.
    pub fn id_tokens(&self) -> Vec<String> {
        self.state.lock().unwrap().id_tokens.clone()
    }

    /// All requests of the gateway and of browsers, with heads and bodies.
    pub async fn requests(&self) -> Vec<Request> {
        self.server.received_requests().await.expect("it remembers")
    }

    /// Follows the gateway's login URL through the provider. Returns the callback URL to which the provider sends the
    /// browser, without requesting it.
    pub async fn go(&self, browser: &Browser, login_url: &str) -> Url {
        let redirect = browser.get(login_url).await;
        let authorize = browser::location(&redirect);
        assert!(authorize.as_str().starts_with(&self.issuer()), "{authorize}");
        browser::location(&browser.get(authorize.as_str()).await)
    }

    /// The complete flow. Returns the gateway's answer to the callback.
    pub async fn sign_in(&self, browser: &Browser, login_url: &str) -> Response {
        let callback = self.go(browser, login_url).await;
        browser.get(callback.as_str()).await
    }
}

struct Answers {
    issuer: String,
    client_secret: String,
    state: Arc<Mutex<State>>,
    key: EncodingKey,
    foreign_key: EncodingKey,
}

impl Answers {
    fn answer(&self, request: &Request) -> ResponseTemplate {
        let mood = self.state.lock().unwrap().mood;
        let answer = match request.url.path() {
            // A user who has not consented yet.
            "/authorize" if stays(request) => {
                return ResponseTemplate::new(200).set_body_raw("<title>provider</title>", "text/html");
            }
            "/authorize" => return self.authorize(&request.url),
            "/end-session" => return Self::end_session(request),
            _ if mood == Mood::Down => ResponseTemplate::new(503).set_body_string("down for maintenance"),
            "/.well-known/openid-configuration" => ResponseTemplate::new(200).set_body_json(self.discovery()),
            "/jwks" => ResponseTemplate::new(200).set_body_json(json!({"keys": self.jwks()})),
            "/token" => self.token(request, mood),
            _ => ResponseTemplate::new(404),
        };
        match mood {
            Mood::Slow(delay) => answer.set_delay(delay),
            _ => answer,
        }
    }

    fn discovery(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        let signs_out = self.state.lock().unwrap().signs_out;
        let authorize = if self.state.lock().unwrap().mood == Mood::LongAddress {
            at(&format!("/authorize/{}", "x".repeat(4000)))
        } else {
            at("/authorize")
        };
        json!({
            "end_session_endpoint": signs_out.then(|| at("/end-session")),
            "issuer": self.issuer,
            "authorization_endpoint": authorize,
            "token_endpoint": at("/token"),
            "jwks_uri": at("/jwks"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
        })
    }

    fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, jsonwebtoken::Algorithm::RS256).expect("a key");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = "key-1".into();
        jwk["use"] = "sig".into();
        jwk
    }

    fn jwks(&self) -> Vec<Value> {
        let (further, kid) = {
            let state = self.state.lock().unwrap();
            (state.further_keys, state.kid.clone())
        };
        let jwk = |kid: String| {
            let mut jwk = self.jwk();
            jwk["kid"] = kid.into();
            jwk
        };
        let kids = (0..further).map(|n| format!("further-{n}"));
        kids.chain([kid]).map(jwk).collect()
    }

    /// Consents immediately, as the user whom the test has set.
    fn authorize(&self, url: &Url) -> ResponseTemplate {
        let (grant, state) = match Grant::requested(url, CLIENT_ID) {
            Ok(requested) => requested,
            Err(why) => return ResponseTemplate::new(400).set_body_string(why),
        };
        let mut kept = self.state.lock().unwrap();
        kept.issued += 1;
        let code = code(kept.issued);
        let mut back = Url::parse(&grant.redirect_uri).expect("a redirect URI");
        let claims = kept.person.clone();
        kept.codes.insert(code.clone(), (grant, claims));
        back.query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("state", &state)
            .append_pair("iss", &self.issuer);
        ResponseTemplate::new(302).insert_header("location", back.as_str())
    }

    fn token(&self, request: &Request, mood: Mood) -> ResponseTemplate {
        let mut kept = self.state.lock().unwrap();
        kept.token_calls += 1;
        let form: HashMap<String, String> = url::form_urlencoded::parse(&request.body).into_owned().collect();
        let refuse = |error: &str| ResponseTemplate::new(400).set_body_json(json!({"error": error}));
        if !self.is_our_client(request, &form) {
            return ResponseTemplate::new(401).set_body_json(json!({"error": "invalid_client"}));
        }
        let Some((grant, claims)) = form.get("code").and_then(|code| kept.codes.remove(code)) else {
            return refuse("invalid_grant");
        };
        if !grant.matches(&form) {
            return refuse("invalid_grant");
        }
        if mood == Mood::Rubbish {
            return ResponseTemplate::new(200).set_body_raw("<html>so sorry</html>", "text/html");
        }
        let id_token = self.id_token(claims, grant.nonce, mood, &kept);
        if !kept.forgets {
            kept.id_tokens.push(id_token.clone());
        }
        ResponseTemplate::new(200).set_body_json(json!({
            "access_token": ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": 3600,
            "id_token": id_token,
        }))
    }

    /// RFC 6749 section 2.3.1, in the header or in the form.
    fn is_our_client(&self, request: &Request, form: &HashMap<String, String>) -> bool {
        let basic = STANDARD.encode(format!("{CLIENT_ID}:{}", self.client_secret));
        request
            .headers
            .get("authorization")
            .is_some_and(|value| *value == format!("Basic {basic}"))
            || (form.get("client_id").is_some_and(|id| id == CLIENT_ID)
                && form.get("client_secret") == Some(&self.client_secret))
    }

    fn id_token(
        &self,
        mut claims: Map<String, Value>,
        nonce: Option<String>,
        mood: Mood,
        state: &State,
    ) -> String {
        let audience = if mood == Mood::WrongAudience {
            "another-client"
        } else {
            CLIENT_ID
        };
        claims.insert("iss".into(), self.issuer.clone().into());
        claims.insert("aud".into(), audience.into());
        claims.insert("iat".into(), now().into());
        claims.insert("exp".into(), (now() + 300).into());
        let without = [Mood::NoNonce, Mood::EventToken].contains(&mood);
        if let (Some(nonce), false) = (nonce, without) {
            claims.insert("nonce".into(), nonce.into());
        }
        let mut header = Header::new(jsonwebtoken::Algorithm::RS256);
        header.kid = Some(state.kid.clone());
        if [Mood::LogoutToken, Mood::EventToken].contains(&mood) {
            if mood == Mood::LogoutToken {
                header.typ = Some("logout+jwt".into());
            }
            claims.insert("events".into(), json!({ logout::EVENT: {} }));
            claims.insert("jti".into(), "1".into());
        }
        let key = if mood == Mood::ForgedSignature {
            &self.foreign_key
        } else {
            &self.key
        };
        let text = Value::Object(claims)
            .to_string()
            .replacen('{', &format!("{{{}", state.more), 1);
        let claims = serde_json::value::RawValue::from_string(text).expect("JSON");
        jsonwebtoken::encode(&header, &claims, key).expect("a signed ID token")
    }
}

fn code(number: u32) -> String {
    format!("canary-oidc-code-{number}")
}

fn new_key() -> EncodingKey {
    let (private, _) = gateway_token::generate_key(Algorithm::RS256).expect("a key");
    EncodingKey::from_rsa_pem(private.expose_secret().as_bytes()).expect("a key")
}

/// The claims of a user with a verified address.
pub fn alice() -> Value {
    json!({"sub": "1234", "name": "Alice", "email": "alice@example.org", "email_verified": true})
}

fn object(person: Value) -> Map<String, Value> {
    match person {
        Value::Object(claims) => claims,
        other => panic!("claims are an object, not {other}"),
    }
}

/// Seconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "a provider has its own clock")]
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

/// Whether the user stays at the provider: the browser has the cookie `stay=1`.
fn stays(request: &Request) -> bool {
    let cookies = request.headers.get_all("cookie").iter();
    cookies
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .any(|cookie| cookie.trim_ascii() == b"stay=1")
}
