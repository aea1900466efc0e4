//! Requests to providers: no redirects, https but for a provider on loopback, no private address but for a provider that
//! has one, and a limit on time and bytes, for each answer and for all answers of one provider together. An egress proxy is
//! used where one is configured, and a request that met a connection the provider was closing is sent once more.

use std::sync::Arc;
use std::time::Duration;

use gateway_model::SystemClock;
use gateway_model::address::{self, NotPublic};
use parking_lot::Mutex;
use reqwest::redirect::Policy;
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
/// The largest headers of an answer, names and values, in bytes.
const MAX_HEADERS: usize = 64 << 10;
/// Connections to one host that are kept for the next sign-in.
const MAX_IDLE: usize = 32;
/// How long they are kept. Firewalls forget idle connections, and tell nobody.
const IDLE: Duration = Duration::from_secs(30);
/// What all sign-ins through one provider may hold of its answers at once, in bytes. What is made of an answer takes a few
/// times its size.
const MAX_HELD: usize = 16 << 20;
/// The unit in which that is counted.
const UNIT: usize = 1024;

/// How providers are asked, and limits on what one may make us wait for or read.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// For one request, connect to last byte.
    pub timeout: Duration,
    /// Largest body, in bytes.
    pub max_body: usize,
    /// The proxy by which providers are reached that are not on this machine.
    pub proxy: Option<EgressProxy>,
}

/// A request with its whole body.
pub(crate) type HttpRequest = http::Request<Vec<u8>>;
/// An answer with its whole body.
pub(crate) type HttpResponse = http::Response<Vec<u8>>;

/// A client for one provider.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    /// The same without connections that are kept.
    fresh: reqwest::Client,
    max_body: usize,
    /// The provider itself is on loopback, by http.
    loopback: bool,
    /// The provider may be at private addresses.
    private: bool,
    /// What its answers may take, in units.
    room: Arc<Semaphore>,
}

impl Http {
    /// A client for the provider at `home`. It may be at private addresses where the operator says so, or where `home`
    /// is one.
    ///
    /// # Errors
    /// When `home` is neither https nor http on loopback, or there is no TLS to be had.
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
        // No proxy leads to this machine.
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
        // A limit that the operator raised is one that some answers may go up to.
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

    /// Whether an address is one to send a browser to.
    pub(crate) fn is_secure(&self, url: &Url) -> bool {
        url.scheme() == "https" || (self.loopback && is_http_on_loopback(url))
    }

    /// Whether an address is one to ask. Where it has a name, what that leads to is checked when it is looked up.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) fn may_ask(&self, url: &Url) -> Result<(), HttpError> {
        if !self.is_secure(url) {
            return Err(HttpError::Insecure);
        }
        match names::literal(url) {
            Some(address) => address::check(address, self.private).map_err(HttpError::NotPublic),
            None => Ok(()),
        }
    }

    /// What a browser would be answered at an address: the status and where it leads. Nothing of the body is read.
    ///
    /// # Errors
    /// When it cannot be asked.
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

    /// Sends a request. Where it went over a connection that had been kept, and that ended without an answer, the provider
    /// was closing the connection as the request came (RFC 9112 section 9.3.1): it is sent once more, over a new one. That
    /// goes for the exchange of a code too: a provider that had begun on it after all does not give tokens for it twice.
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

    /// The requests of one sign-in.
    pub(crate) fn requests(&self) -> Requests<'_> {
        Requests {
            http: self,
            held: Mutex::new(None),
        }
    }
}

/// The requests of one sign-in. Until it is dropped, it holds room for the answers there have been.
#[derive(Debug)]
pub(crate) struct Requests<'h> {
    http: &'h Http,
    held: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Requests<'_> {
    /// Takes room for what has been read of an answer.
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

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = reqwest::Request::try_from(request).map_err(|error| failure(&error))?;
        self.http.may_ask(request.url())?;
        // Checking a certificate would panic.
        if SystemClock::since_epoch().is_none() {
            return Err(HttpError::Unreachable(
                "the machine's clock shows a time before 1970".into(),
            ));
        }
        let mut answer = self
            .http
            .execute(request)
            .await
            .map_err(|error| failure(&error))?;
        // No protocol here needs either: a redirect would take the code and our secret along, and an
        // error page is not worth reading.
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
            // The protocols' libraries read a value and do not look at what stands behind it.
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

/// The address that was not connected to, where that is the cause.
fn not_public(error: &reqwest::Error) -> Option<NotPublic> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<NotPublic>() {
            return Some(*refused);
        }
        cause = error.source();
    }
    None
}

/// An error and its causes, without the URL: a callback's code could be in it.
fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_connect() {
        "connecting failed".to_owned()
    } else {
        "the connection broke".to_owned()
    };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Why no provider can be asked. Without a word on it, the usual causes would not be found.
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
