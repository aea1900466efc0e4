//! A signed-in user, and the requests that try a token everywhere.

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::claims;
use support::browser::{Browser, encode, token_in};
use support::fake_oidc::FakeOidc;
use support::{Gateway, Setup};

/// A signed-in user of a gateway whose secret is known.
pub(crate) struct Victim {
    pub(crate) gateway: Gateway,
    _google: FakeOidc,
    pub(crate) browser: Browser,
    pub(crate) token: String,
}

impl Victim {
    pub(crate) async fn new() -> Self {
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
    pub(crate) fn claims(&self) -> Value {
        claims(&self.token)
    }

    /// Requests to every endpoint that accepts a token, with this one in every place.
    pub(crate) fn requests(&self, token: &str) -> Vec<(Endpoint, RequestBuilder)> {
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
    pub(crate) async fn try_everywhere(&self, token: &str) -> (Vec<Endpoint>, usize) {
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
    pub(crate) async fn refuses_all(&self, tokens: &[(String, String)]) -> usize {
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
pub(crate) enum Endpoint {
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

    pub(crate) fn accepts(self, answer: &Value) -> bool {
        match self {
            Self::Check => answer["authenticated"] == true,
            Self::Authorize => *answer != json!({"permissions": {}}),
            Self::Update => answer["success"] == true,
            Self::Logout => false,
        }
    }
}
