//! GitHub's three endpoints, with answers that tests can change, and a record of the requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway_model::UpstreamUser;
use gateway_model::clock::ManualClock;
use gateway_upstream::{
    Callback, Flow, Hints, HttpLimits, Provider, ProviderConfig, ProviderKind, UpstreamError,
};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers};

use crate::support::{CLIENT_ID, CLIENT_SECRET, NOW, REDIRECT};

pub(crate) const TOKEN: &str = "/login/oauth/access_token";
pub(crate) const USER: &str = "/api/v3/user";
pub(crate) const EMAILS: &str = "/api/v3/user/emails";
/// The answers of the three endpoints.
pub(crate) const ENDPOINTS: [&str; 3] = [TOKEN, USER, EMAILS];

/// Creates an answer from a request.
type Answer = Box<dyn Fn(&Request) -> ResponseTemplate + Send>;

/// The fake, and a provider configured to use it as a GitHub Enterprise Server.
pub(crate) struct Fake {
    pub(crate) server: MockServer,
    pub(crate) provider: Provider,
    answers: Arc<Mutex<HashMap<&'static str, Answer>>>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let server = MockServer::start().await;
        let answers: Arc<Mutex<HashMap<&'static str, Answer>>> = Arc::default();
        let known = Arc::clone(&answers);
        Mock::given(matchers::any())
            .respond_with(move |request: &Request| {
                let known = known.lock().unwrap();
                known
                    .get(request.url.path())
                    .map_or_else(|| ResponseTemplate::new(404), |answer| answer(request))
            })
            .mount(&server)
            .await;
        let provider = provider(&server.uri(), &format!("{}/api/v3/", server.uri()), true).unwrap();
        let fake = Self {
            server,
            provider,
            answers,
        };
        fake.json(TOKEN, token("read:user,user:email"));
        fake.json(
            USER,
            json!({ "id": 583_231, "login": "octocat", "name": "The Octocat", "email": "public@example.org", "avatar_url": "https://avatars.example.org/u/1" }),
        );
        fake.json(EMAILS, json!([address("octocat@example.org", true, true)]));
        fake
    }

    /// Changes the answer of one endpoint.
    pub(crate) fn answer(
        &self,
        at: &'static str,
        answer: impl Fn(&Request) -> ResponseTemplate + Send + 'static,
    ) {
        self.answers.lock().unwrap().insert(at, Box::new(answer));
    }

    /// Answers with this JSON, status 200.
    pub(crate) fn json(&self, at: &'static str, body: Value) {
        self.answer(at, move |_| ResponseTemplate::new(200).set_body_json(&body));
    }

    /// A whole sign-in. Fails the test if an error contains a secret.
    pub(crate) async fn sign_in(&self) -> Result<UpstreamUser, UpstreamError> {
        let flow = self.provider.begin(Hints::default()).await.unwrap().flow;
        self.finish(&flow, None).await
    }

    /// The second half of a sign-in.
    pub(crate) async fn finish(&self, flow: &Flow, iss: Option<&str>) -> Result<UpstreamUser, UpstreamError> {
        let callback = Callback {
            code: "canary-code",
            iss,
        };
        let user = self.provider.finish(flow, callback, false).await;
        if let Err(error) = &user {
            let text = format!("{error} {error:?}");
            assert!(
                !text.contains("canary") && !text.contains(&flow.verifier),
                "{text}"
            );
        }
        user
    }

    /// The requests that one endpoint received.
    pub(crate) async fn seen(&self, at: &str) -> Vec<Request> {
        let mut requests = self.server.received_requests().await.unwrap();
        requests.retain(|request| request.url.path() == at);
        requests
    }
}

/// A provider at these two URLs, with a long timeout for busy machines.
pub(crate) fn provider(web: &str, api: &str, trusted_email: bool) -> Result<Provider, UpstreamError> {
    provider_within(web, api, trusted_email, Duration::from_secs(60))
}

/// With this timeout.
pub(crate) fn provider_within(
    web: &str,
    api: &str,
    trusted_email: bool,
    timeout: Duration,
) -> Result<Provider, UpstreamError> {
    let kind = ProviderKind::GitHub {
        web: Url::parse(web).unwrap(),
        api: Url::parse(api).unwrap(),
    };
    let config = ProviderConfig {
        trusted_email,
        scopes: ["read:user", "user:email", "read:org"]
            .map(str::to_owned)
            .to_vec(),
        ..ProviderConfig::new("github", kind, CLIENT_ID, CLIENT_SECRET.to_owned().into())
    };
    let limits = HttpLimits {
        timeout,
        max_body: 64 << 10,
        proxy: None,
    };
    let clock = Arc::new(ManualClock::at(NOW));
    Provider::new(config, Url::parse(REDIRECT).unwrap(), &limits, clock)
}

/// A token response of GitHub.
pub(crate) fn token(scope: &str) -> Value {
    json!({ "access_token": "gho_canary-access-token", "scope": scope, "token_type": "bearer" })
}

/// One entry of `GET /user/emails`.
pub(crate) fn address(email: &str, primary: bool, verified: bool) -> Value {
    json!({ "email": email, "primary": primary, "verified": verified, "visibility": null })
}

/// A request's header, or an empty string.
pub(crate) fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request
        .headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

/// A request's form.
pub(crate) fn form(request: &Request) -> HashMap<String, String> {
    form_urlencoded::parse(&request.body).into_owned().collect()
}
