//! GitHub according to its documentation ("Authorizing OAuth apps", `GET /user`, `GET /user/emails`): codes that work
//! once, PKCE, errors with status 200, scopes separated by commas.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Response;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::{Url, form_urlencoded};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use super::browser::{Browser, location, parameter};

const CLIENT_ID: &str = "Iv1.gateway";
const CLIENT_SECRET: &str = "canary-github-client-secret";
const ACCESS_TOKEN: &str = "gho_canary-access-token";

/// A running fake. It ends when this is dropped.
#[derive(Debug)]
pub struct FakeGitHub {
    server: MockServer,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Challenge and redirect URI by code. A code is removed when it is used.
    codes: HashMap<String, (String, String)>,
    issued: usize,
    /// The scopes that the user granted.
    scopes: String,
    user: Value,
    emails: Value,
    token_requests: usize,
    delay: Duration,
}

impl FakeGitHub {
    /// Starts it, with the octocat as the user.
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State {
            codes: HashMap::new(),
            issued: 0,
            scopes: "read:user,user:email".to_owned(),
            user: json!({
                "login": "octocat", "id": 583_231, "name": "The Octocat", "email": null, "type": "User",
                "avatar_url": "https://avatars.example.org/u/583231?v=4",
            }),
            emails: json!([
                {"email": "other@example.org", "verified": true, "primary": false, "visibility": null},
                {"email": "octocat@example.org", "verified": true, "primary": true, "visibility": "private"},
            ]),
            token_requests: 0,
            delay: Duration::ZERO,
        }));
        let server = MockServer::start().await;
        let endpoints: [(&str, &str, Answer); 3] = [
            ("POST", "/login/oauth/access_token", access_token),
            ("GET", "/api/user", |state, request| {
                api(request, state.user.clone())
            }),
            ("GET", "/api/user/emails", |state, request| {
                if state.scopes.contains("user:email") {
                    api(request, state.emails.clone())
                } else {
                    ResponseTemplate::new(404).set_body_json(json!({"message": "Not Found"}))
                }
            }),
        ];
        for (verb, at, answer) in endpoints {
            let endpoint = Endpoint {
                state: Arc::clone(&state),
                answer,
            };
            Mock::given(method(verb))
                .and(path(at))
                .respond_with(endpoint)
                .mount(&server)
                .await;
        }
        Self { server, state }
    }

    /// Its section of the gateway's configuration.
    pub fn table(&self) -> String {
        let uri = self.server.uri();
        format!(
            "web = {uri:?}\napi = \"{uri}/api\"\nclient_id = {CLIENT_ID:?}\nclient_secret = {CLIENT_SECRET:?}"
        )
    }

    /// Changes the user who signs in from now on.
    pub fn set_user(&self, user: Value, emails: Value) {
        let mut state = self.state.lock().unwrap();
        (state.user, state.emails) = (user, emails);
    }

    /// Changes the scopes that the user grants from now on, separated by commas.
    pub fn set_scopes(&self, scopes: &str) {
        self.state.lock().unwrap().scopes = scopes.to_owned();
    }

    /// Delays every answer from now on.
    pub fn set_delay(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// The number of attempts to exchange a code.
    pub fn token_requests(&self) -> usize {
        self.state.lock().unwrap().token_requests
    }

    /// The user consents on GitHub's page. Returns the address of the callback.
    pub fn consent(&self, authorization: &Url) -> Url {
        assert!(
            authorization
                .as_str()
                .starts_with(&format!("{}/login/oauth/authorize?", self.server.uri()))
        );
        let of =
            |name| parameter(authorization, name).unwrap_or_else(|| panic!("no {name} in {authorization}"));
        assert_eq!(of("client_id"), CLIENT_ID);
        assert_eq!(of("code_challenge_method"), "S256");
        let mut state = self.state.lock().unwrap();
        state.issued += 1;
        let code = format!("canary-code-{}", state.issued);
        state
            .codes
            .insert(code.clone(), (of("code_challenge"), of("redirect_uri")));
        let mut callback = Url::parse(&of("redirect_uri")).unwrap();
        callback
            .query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("state", &of("state"));
        callback
    }

    /// The complete flow: from the gateway's login URL to its answer to the callback.
    pub async fn sign_in(&self, browser: &Browser, login: &str) -> Response {
        let callback = self.consent(&location(&browser.get(login).await));
        browser.get(callback.as_str()).await
    }
}

/// Answers a request to an endpoint, and changes the state.
type Answer = fn(&mut State, &Request) -> ResponseTemplate;

struct Endpoint {
    state: Arc<Mutex<State>>,
    answer: Answer,
}

impl Respond for Endpoint {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut state = self.state.lock().unwrap();
        let delay = state.delay;
        (self.answer)(&mut state, request).set_delay(delay)
    }
}

fn access_token(state: &mut State, request: &Request) -> ResponseTemplate {
    state.token_requests += 1;
    let form: HashMap<String, String> = form_urlencoded::parse(&request.body).into_owned().collect();
    let of = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    // Without it, GitHub answers with a form.
    assert_eq!(header(request, "accept"), "application/json");
    if of("client_id") != CLIENT_ID || of("client_secret") != CLIENT_SECRET {
        return refuse("incorrect_client_credentials");
    }
    let Some((challenge, redirect_uri)) = state.codes.remove(of("code")) else {
        return refuse("bad_verification_code");
    };
    let proof = URL_SAFE_NO_PAD.encode(Sha256::digest(of("code_verifier")));
    if proof != challenge {
        return refuse("bad_verification_code");
    }
    if of("redirect_uri") != redirect_uri {
        return refuse("redirect_uri_mismatch");
    }
    let scope = &state.scopes;
    let answer = json!({"access_token": ACCESS_TOKEN, "scope": scope, "token_type": "bearer"});
    ResponseTemplate::new(200).set_body_json(answer)
}

/// An error as GitHub returns it, with status 200.
fn refuse(code: &str) -> ResponseTemplate {
    let answer = json!({"error": code, "error_description": "The code passed is incorrect or expired.", "error_uri": "https://docs.github.com"});
    ResponseTemplate::new(200).set_body_json(answer)
}

fn api(request: &Request, answer: Value) -> ResponseTemplate {
    if header(request, "authorization") != format!("Bearer {ACCESS_TOKEN}") {
        return ResponseTemplate::new(401).set_body_json(json!({"message": "Bad credentials"}));
    }
    if header(request, "user-agent").is_empty() {
        return ResponseTemplate::new(403).set_body_string("Request forbidden by administrative rules.");
    }
    ResponseTemplate::new(200).set_body_json(answer)
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request
        .headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}
