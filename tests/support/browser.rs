//! An HTTP client with a visible cookie jar, which does not follow redirects.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cookie::Cookie;
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use url::Url;

use super::wait::PATIENCE;

/// A client without redirects and cookies.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        // The tests do not use TLS, and reading the machine's certificates for each client takes most of a test's time.
        .tls_certs_only([])
        .timeout(PATIENCE)
        .build()
        .expect("a client")
}

/// A browser of one gateway. Its clones are tabs: they share the cookies.
///
/// The gateway may have another address, `external`, behind a proxy that terminates TLS. The browser sends requests to
/// URLs there, with `Secure` cookies, directly to the gateway's listener.
#[derive(Clone, Debug)]
pub struct Browser {
    client: reqwest::Client,
    base: Url,
    external: Url,
    jar: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Browser {
    /// A browser without cookies.
    pub fn new(base: Url, external: Url) -> Self {
        Self {
            client: client(),
            base,
            external,
            jar: Arc::default(),
        }
    }

    /// Another browser without cookies, over the same connections.
    pub fn without_cookies(&self) -> Self {
        Self {
            jar: Arc::default(),
            ..self.clone()
        }
    }

    /// The address to which a request for `target` is sent: a path, or a URL at the external address.
    pub fn resolve(&self, target: &str) -> Url {
        let url = self.external.join(target).expect("a URL");
        if url.origin() == self.external.origin() {
            let mut real = self.base.clone();
            real.set_path(url.path());
            real.set_query(url.query());
            real
        } else {
            url
        }
    }

    /// A request with the cookies (to the gateway only). Send it with [`Browser::send`].
    pub fn request(&self, method: Method, target: &str) -> RequestBuilder {
        let url = self.resolve(target);
        let ours = url.origin() == self.base.origin();
        let request = self.client.request(method, url);
        let jar = self.jar.lock().unwrap();
        if jar.is_empty() || !ours {
            return request;
        }
        let cookies: Vec<_> = jar
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        request.header(COOKIE, cookies.join("; "))
    }

    /// Sends a request and keeps the cookies that the gateway sets.
    ///
    /// # Panics
    /// If an answer of the gateway lacks a header that every answer must have.
    pub async fn send(&self, request: RequestBuilder) -> Response {
        let response = request.send().await.expect("an answer");
        if response.url().origin() == self.base.origin() {
            assert_safe(&response);
            let mut jar = self.jar.lock().unwrap();
            for header in response.headers().get_all(SET_COOKIE) {
                let cookie = Cookie::parse(header.to_str().expect("ASCII").to_owned()).expect("a cookie");
                if cookie
                    .max_age()
                    .is_some_and(|age| age.is_zero() || age.is_negative())
                {
                    jar.remove(cookie.name());
                } else {
                    jar.insert(cookie.name().to_owned(), cookie.value().to_owned());
                }
            }
        }
        response
    }

    /// `GET target`.
    pub async fn get(&self, target: &str) -> Response {
        self.send(self.request(Method::GET, target)).await
    }

    /// `GET target`, which must answer with JSON.
    pub async fn get_json(&self, target: &str) -> Value {
        let response = self.get(target).await;
        assert_eq!(response.headers()["content-type"], "application/json", "{target}");
        response.json().await.expect("JSON")
    }

    /// `POST target` with an empty body, which must answer with JSON.
    pub async fn post_json(&self, target: &str) -> Value {
        self.send(self.request(Method::POST, target))
            .await
            .json()
            .await
            .expect("JSON")
    }

    /// `GET target` with a session token in the Authorization header.
    pub async fn get_as(&self, token: &str, target: &str) -> Response {
        self.send(self.request(Method::GET, target).bearer_auth(token))
            .await
    }

    /// `POST target` with a session token in the Authorization header. The answer is JSON.
    pub async fn post_as(&self, token: &str, target: &str) -> Value {
        self.send(self.request(Method::POST, target).bearer_auth(token))
            .await
            .json()
            .await
            .expect("JSON")
    }

    /// The answer of `check` to a session token.
    pub async fn check(&self, token: &str) -> Value {
        self.get_as(token, "/auth/check")
            .await
            .json()
            .await
            .expect("JSON")
    }

    /// Whether `check` accepts the token.
    pub async fn is_signed_in(&self, token: &str) -> bool {
        self.check(token).await["authenticated"] == Value::Bool(true)
    }

    /// The answer of `authorize`: status and body.
    pub async fn authorize(&self, token: &str, service: &str) -> (StatusCode, Value) {
        let response = self
            .get_as(token, &format!("/auth/authorize?service={service}"))
            .await;
        (response.status(), response.json().await.expect("JSON"))
    }

    /// The cookies in the jar.
    pub fn cookies(&self) -> BTreeMap<String, String> {
        self.jar.lock().unwrap().clone()
    }

    /// Replaces the cookies.
    pub fn set_cookies(&self, cookies: BTreeMap<String, String>) {
        *self.jar.lock().unwrap() = cookies;
    }

    /// Signs in through the development provider, in one request.
    pub async fn sign_in_dev(&self, user: &str) -> Response {
        self.get(&format!(
            "/auth/login/dev?next={}&user={user}",
            encode(self.external.as_str())
        ))
        .await
    }
}

/// Asserts the headers that every answer of the gateway has, including errors: no sniffing, no referrer, and no caching
/// unless the answer allows it.
///
/// # Panics
/// If one of them is missing.
pub fn assert_safe(response: &Response) {
    let (url, status, headers) = (response.url(), response.status(), response.headers());
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ] {
        let found: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(found, [value], "{name} of {url}: {status}");
    }
    let cache: Vec<_> = headers.get_all("cache-control").iter().collect();
    assert!(
        cache == ["no-store"] || (status.is_success() && cache == ["public, max-age=300"]),
        "{cache:?} of {url}: {status}"
    );
}

/// The target of a redirect.
///
/// # Panics
/// If the answer is not a redirect.
pub fn location(response: &Response) -> Url {
    let is_redirect = matches!(response.status(), StatusCode::FOUND | StatusCode::SEE_OTHER);
    assert!(is_redirect, "{} from {}", response.status(), response.url());
    let location = response.headers()[LOCATION].to_str().expect("ASCII");
    Url::parse(location).unwrap_or_else(|error| panic!("Location is {location:?}: {error}"))
}

/// The session token in the URL to which a finished sign-in redirects.
///
/// # Panics
/// If the answer is not a redirect, or has no token.
pub fn token_in(response: &Response) -> String {
    parameter(&location(response), "jwt").expect("a session token in Location")
}

/// The value of a query parameter.
pub fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// Percent-encodes a text for a query.
pub fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
