//! HTTP requests to providers. The client follows no redirects, requires https unless the provider is on loopback, and
//! refuses private addresses unless the provider has one. Time and bytes are limited, for each answer and for all
//! answers of one provider together. A request that met a connection the provider was closing is sent once more.

use std::error::Error;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use gateway_model::SystemClock;
use gateway_model::address::{self, NotPublic};
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderValue};
use parking_lot::Mutex;
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::{Host, Url};

use crate::error::UpstreamError;
use crate::json;
use crate::names::{self, Names, Resolver};
use crate::proxy::EgressProxy;
use crate::trust;

mod connections;
pub(crate) mod error;

pub use self::error::HttpError;

/// GitHub refuses requests without one.
const USER_AGENT: &str = concat!("auth-gateway/", env!("CARGO_PKG_VERSION"));
/// The largest headers of an answer, names and values together, in bytes.
const MAX_HEADERS: usize = 64 << 10;
/// The most idle connections to one host.
const MAX_IDLE: usize = 32;
/// How long idle connections are kept. Firewalls drop them without notice.
const IDLE: Duration = Duration::from_secs(30);
/// The most bytes of answers that all sign-ins through one provider hold at the same time. The values parsed from an
/// answer take a few times its size.
const MAX_HELD: usize = 16 << 20;
/// The unit of that count.
const UNIT: usize = 1024;

/// How the gateway connects to providers, and the limits on their answers.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// The time for one request, from connecting to the last byte.
    pub timeout: Duration,
    /// The largest body, in bytes.
    pub max_body: usize,
    /// The proxy for providers that are not on this machine.
    pub proxy: Option<EgressProxy>,
}

pub(crate) type HttpRequest = http::Request<Vec<u8>>;
pub(crate) type HttpResponse = http::Response<Vec<u8>>;

/// A client for one provider.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    /// The same without idle connections.
    fresh: reqwest::Client,
    max_body: usize,
    /// The provider is on loopback and uses http.
    loopback: bool,
    private: bool,
    /// The space left for answers, in units.
    room: Arc<Semaphore>,
}

impl Http {
    /// A client for the provider at `home`. Private addresses are permitted if the operator says so or `home` is one.
    pub(crate) fn new(
        home: &Url,
        allow_private: bool,
        limits: &HttpLimits,
        names: Arc<dyn Names>,
    ) -> Result<Self, UpstreamError> {
        let loopback = is_http_on_loopback(home);
        if !loopback && home.scheme() != "https" {
            return Err(UpstreamError::Config(format!("{home} must be https")));
        }
        let private = allow_private || names::is_private(home);
        // A proxy cannot connect to this machine.
        let proxy = limits.proxy.as_ref().filter(|_| !loopback);
        let resolver = Resolver::new(names, private, proxy.map(|proxy| proxy.host().to_owned()));
        let authorities = trust::authorities().map_err(UpstreamError::Config)?;
        let client = |idle: usize| {
            let mut client = reqwest::Client::builder()
                // defence: provider-redirects-are-not-followed (a test fails without it: docs/defences.md)
                .redirect(Policy::none())
                .no_proxy()
                .dns_resolver(resolver.clone())
                .connector_layer(connections::Layer)
                .pool_max_idle_per_host(idle)
                .pool_idle_timeout(IDLE)
                // defence: provider-has-a-deadline (a test fails without it: docs/defences.md)
                .timeout(limits.timeout)
                .user_agent(USER_AGENT);
            if let Some(proxy) = proxy {
                client = client.proxy(proxy.proxy());
            }
            if let Some(authorities) = &authorities {
                client = client.tls_certs_only(authorities.clone());
            }
            client.build().map_err(|error| unusable(&chain(&error)))
        };
        // If the operator raised the limit of a body, answers of that size must fit.
        let room = MAX_HELD.max(limits.max_body.saturating_mul(2)) / UNIT;
        Ok(Self {
            client: client(MAX_IDLE)?,
            fresh: client(0)?,
            max_body: limits.max_body,
            loopback,
            private,
            room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))),
        })
    }

    /// Whether a browser may be sent to this URL.
    pub(crate) fn is_secure(&self, url: &Url) -> bool {
        url.scheme() == "https" || (self.loopback && is_http_on_loopback(url))
    }

    /// Checks that the gateway may request this URL. The addresses of a host name are checked when it is resolved.
    pub(crate) fn may_ask(&self, url: &Url) -> Result<(), HttpError> {
        if !self.is_secure(url) {
            return Err(HttpError::Insecure);
        }
        match names::literal(url) {
            Some(address) => address::check(address, self.private).map_err(HttpError::NotPublic),
            None => Ok(()),
        }
    }

    /// The status and `Location` that a browser would receive. The body is not read.
    pub(crate) async fn look(&self, url: &Url) -> Result<(u16, Option<String>), HttpError> {
        self.may_ask(url)?;
        let answer = self
            .client
            .get(url.clone())
            .header("accept", "text/html")
            .send()
            .await
            .map_err(|error| failure(&error))?;
        let location = answer.headers().get(reqwest::header::LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        Ok((answer.status().as_u16(), location.map(str::to_owned)))
    }

    /// Sends a request. If an idle connection ends without an answer, the provider was closing it as the request
    /// arrived (RFC 9112 section 9.3.1), so the request is sent once more over a new connection. That is safe for the
    /// exchange of a code too: a provider that did process the first request does not issue tokens for the same code
    /// twice.
    async fn execute(&self, request: reqwest::Request) -> Result<reqwest::Response, reqwest::Error> {
        let again = request.try_clone();
        let (answer, was_kept) = connections::watched(self.client.execute(request)).await;
        match (answer, again) {
            (Err(error), Some(again)) if was_kept && connections::ended(&error) => {
                self.fresh.execute(again).await
            }
            (answer, _) => answer,
        }
    }

    pub(crate) fn requests(&self) -> Requests<'_> {
        Requests {
            http: self,
            held: Mutex::new(None),
        }
    }
}

/// The requests of one sign-in. Reserves space for their answers until it is dropped.
#[derive(Debug)]
pub(crate) struct Requests<'h> {
    http: &'h Http,
    held: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Requests<'_> {
    /// Reserves space for an answer of which `bytes` have been read and `taken` units are already reserved.
    fn hold(&self, taken: &mut usize, bytes: usize) -> Result<(), HttpError> {
        let units = bytes.div_ceil(UNIT);
        let more = u32::try_from(units.saturating_sub(*taken)).map_err(|_| HttpError::Full)?;
        if more == 0 {
            return Ok(());
        }
        let permit = Arc::clone(&self.http.room)
            .try_acquire_many_owned(more)
            .map_err(|_| HttpError::Full)?;
        match &mut *self.held.lock() {
            Some(held) => held.merge(permit),
            held => *held = Some(permit),
        }
        *taken = units;
        Ok(())
    }

    /// Sends a GET request, with the access token if there is one. An answer other than 200 is an error.
    pub(crate) async fn get(
        &self,
        what: &'static str,
        url: &str,
        headers: &[(&'static str, &'static str)],
        token: Option<&SecretString>,
    ) -> Result<HttpResponse, UpstreamError> {
        let failed = |error| UpstreamError::Http { what, error };
        let mut request = http::Request::get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()));
            let value = value.map_err(|_| {
                UpstreamError::bad_response(what, "the access token cannot be sent in a header")
            })?;
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Vec::new());
        let request = request.map_err(|error| failed(HttpError::Unreachable(error.to_string())))?;
        let answer = self.send(request).await.map_err(failed)?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            status => Err(failed(HttpError::Status(status.as_u16()))),
        }
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = reqwest::Request::try_from(request).map_err(|error| failure(&error))?;
        self.http.may_ask(request.url())?;
        // Certificate verification would panic.
        if SystemClock::since_epoch().is_none() {
            return Err(HttpError::Unreachable(
                "this machine's clock shows a time before 1970".into(),
            ));
        }
        let mut answer = self
            .http
            .execute(request)
            .await
            .map_err(|error| failure(&error))?;
        // No protocol here needs either. A redirect would forward the code and the client secret, and an error page
        // contains nothing useful.
        if answer.status().is_redirection() || answer.status().is_server_error() {
            return Err(HttpError::Status(answer.status().as_u16()));
        }
        let mut response = HttpResponse::new(Vec::new());
        *response.status_mut() = answer.status();
        std::mem::swap(response.headers_mut(), answer.headers_mut());
        let headers = response.headers().iter();
        let headers: usize = headers
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        if headers > MAX_HEADERS {
            return Err(HttpError::HeadersTooLarge);
        }
        let mut taken = 0;
        while let Some(chunk) = answer.chunk().await.map_err(|error| failure(&error))? {
            let length = response.body().len() + chunk.len();
            if length > self.http.max_body {
                return Err(HttpError::TooLarge(self.http.max_body));
            }
            self.hold(&mut taken, headers + length)?;
            response.body_mut().extend_from_slice(&chunk);
        }
        if response.status().is_success() && begins_as_json(response.body()) {
            // Later readers of the answer can rely on these bounds.
            json::check(response.body()).map_err(|bad| match bad {
                json::Bad::TooMany => HttpError::TooManyValues,
                json::Bad::TooDeep => HttpError::TooDeep,
                json::Bad::NotJson | json::Bad::NotObject => HttpError::Json,
            })?;
        }
        Ok(response)
    }
}

fn begins_as_json(body: &[u8]) -> bool {
    matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
}

fn failure(error: &reqwest::Error) -> HttpError {
    if error.is_timeout() {
        HttpError::TimedOut
    } else if let Some(refused) = not_public(error) {
        HttpError::NotPublic(refused)
    } else {
        HttpError::Unreachable(chain(error))
    }
}

/// The address that the resolver rejected, if that is the cause.
fn not_public(error: &reqwest::Error) -> Option<NotPublic> {
    causes(error).find_map(|cause| cause.downcast_ref().copied())
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    iter::successors(error.source(), |&cause| cause.source())
}

/// The error and its causes, without the URL, which could contain a code.
fn chain(error: &reqwest::Error) -> String {
    let text = if error.is_connect() {
        "connecting failed"
    } else {
        "the connection failed"
    };
    causes(error).fold(text.to_owned(), |text, cause| format!("{text}: {cause}"))
}

/// The client cannot be built. The TLS library's message does not name the usual cause.
fn unusable(error: &str) -> UpstreamError {
    let advice = if error.contains("CA certificates") {
        ": install the package ca-certificates, or name a file with PEM certificates in SSL_CERT_FILE"
    } else {
        ""
    };
    UpstreamError::Config(format!("{error}{advice}"))
}

fn is_http_on_loopback(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "http" && loopback
}

#[cfg(test)]
mod tests;
