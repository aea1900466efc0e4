//! The admin listener: health, readiness, metrics, plugins. For the machine's operator and nobody else:
//! it has an address of its own, asks for a token that only the gateway's user can read (`token`), and
//! answers no web page: not one that says so (`Origin`, `Sec-Fetch-Site`), nor one whose name was pointed at this address
//! (`Host`).
//!
//! | path | answers |
//! |---|---|
//! | `GET /health` | 200 while the process lives |
//! | `GET /ready` | 200 while it can serve, else 503 with the reason; which plugins are being admitted |
//! | `GET /metrics` | Prometheus' text format |
//! | `GET /plugins` | how each plugin stands, JSON |
//! | `POST /plugins/NAME/reload`, `/rollback` | the same of one plugin, once it is in force |

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gateway_host::{PluginHost, PluginStatus};
use gateway_store::Store;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use hyper::http::uri::Authority;
use hyper::{Method, Request, StatusCode, Uri};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::ServerLimits;
use crate::metrics::Metrics;
use crate::navigation;
use crate::response::{self, Response};
use crate::server::{self, Body, Peer};

pub use self::token::{SameToken, TokenFile, check as check_token, check_distinct, token};

mod plugins;
#[cfg(test)]
mod tests;
mod token;

/// An operator and a monitoring system or two.
const LIMITS: ServerLimits = ServerLimits {
    connections: 64,
    header_timeout: Duration::from_secs(5),
    // A plugin may have to be compiled, or wait for others that are.
    request_timeout: Duration::from_secs(600),
    max_body: 0,
    drain: Duration::from_secs(1),
};

/// What it tells of.
#[derive(Clone, Debug)]
pub struct AdminState {
    /// Figures.
    pub metrics: Metrics,
    /// Plugins.
    pub plugins: PluginHost,
    /// The database.
    pub store: Store,
    /// Whether the public listener serves.
    pub ready: Arc<AtomicBool>,
    /// When the process began to serve.
    pub started: Instant,
}

/// For so long after the start the gateway is not ready while a plugin that has nothing to serve is admitted: a load
/// balancer waits for plugins that take a moment to compile, and not for one that takes minutes.
const ADMISSION: Duration = Duration::from_secs(30);
/// Who may ask what.
#[derive(Debug, Default)]
pub struct Tokens {
    /// The token that can do everything; `None`: nobody can.
    pub operators: Option<SecretString>,
    /// The token that reads metrics.
    pub monitors: Option<SecretString>,
    /// Whether everybody may read metrics who can reach the listener.
    pub open: bool,
}

/// Serves until `shutdown`.
pub async fn run(listener: TcpListener, tokens: Tokens, state: AdminState, shutdown: CancellationToken) {
    let own = match listener.local_addr() {
        Ok(address) => address.ip(),
        Err(error) => {
            tracing::error!(%error, "the admin listener has no address");
            return;
        }
    };
    let guard = Guard::new(own, &tokens);
    let shared = Arc::new((state, guard));
    let handler = move |request: Request<Body>, peer: Peer| {
        let shared = Arc::clone(&shared);
        async move {
            peer.is_served();
            let (state, guard) = &*shared;
            let mut answer = match guard.admit(request.uri(), request.headers()) {
                Ok(()) => handle(state, request.uri().path(), request.method()).await,
                Err(refused) => {
                    tracing::warn!(reason = %refused, "an admin request was refused");
                    refused.into()
                }
            };
            response::finish(&mut answer);
            answer
        }
    };
    // It has places of its own, so that an operator gets in whatever happens on the public listener. Everybody who can
    // reach it is on the operator's own machine or network.
    server::run(listener, &LIMITS, |_| None, handler, shutdown).await;
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("Not for web pages")]
    WebPage,
    #[error("Ask for the address that the admin listener has, not for a name")]
    Host,
    #[error("The admin token is missing or wrong")]
    Token,
    #[error("Only /metrics is answered with this token, or on this listener")]
    MetricsOnly,
}

impl From<Refused> for Response {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        match refused {
            Refused::WebPage => response::error(StatusCode::FORBIDDEN, &message),
            Refused::MetricsOnly => response::error(StatusCode::FORBIDDEN, &message),
            Refused::Host => response::error(StatusCode::MISDIRECTED_REQUEST, &message),
            Refused::Token => response::with(
                response::error(StatusCode::UNAUTHORIZED, &message),
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer"),
            ),
        }
    }
}

/// Who may ask.
struct Guard {
    own: IpAddr,
    operators: Option<[u8; 32]>,
    monitors: Option<[u8; 32]>,
    open: bool,
}

impl Guard {
    fn new(own: IpAddr, tokens: &Tokens) -> Self {
        let digest = |token: &Option<SecretString>| {
            let token = token.as_ref()?;
            Some(Sha256::digest(token.expose_secret().as_bytes()).into())
        };
        Self {
            own,
            operators: digest(&tokens.operators),
            monitors: digest(&tokens.monitors),
            open: tokens.open,
        }
    }

    fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
        // Images and scripts of a page come without `Origin`.
        if headers.contains_key(ORIGIN) || navigation::is_from_another_page(headers) {
            return Err(Refused::WebPage);
        }
        let digest = token_in(headers).map(|token| <[u8; 32]>::from(Sha256::digest(token.as_bytes())));
        // Digests are compared, so that the time it takes tells nothing of the token.
        let has = |token: Option<[u8; 32]>| digest.is_some() && digest == token;
        let (is_operator, is_monitor) = (has(self.operators), has(self.monitors));
        // Prometheus may know the listener by a name. A page that has led a browser here by a name does not know the token.
        if !is_monitor && !self.is_asked(uri, headers) {
            return Err(Refused::Host);
        }
        match () {
            () if is_operator => Ok(()),
            () if uri.path() == "/metrics" && (is_monitor || self.open) => Ok(()),
            () if is_monitor || self.open => Err(Refused::MetricsOnly),
            () => Err(Refused::Token),
        }
    }

    /// Whether the request is for this listener. A page on a name that leads here by its owner's doing
    /// (DNS rebinding) has no `Origin` to give it away, being same-origin to its browser; but it has that
    /// name for a `Host`.
    fn is_asked(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let Ok(host) = Authority::try_from(host.as_bytes()) else {
            return false;
        };
        // A target in absolute form overrides the header (RFC 9112 section 3.2.2).
        self.is_own(host.host()) && uri.host().is_none_or(|host| self.is_own(host))
    }

    fn is_own(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        match bare.unwrap_or(host).parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback() || ip == self.own || self.own.is_unspecified(),
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// The token of a request that has one.
fn token_in(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn handle(state: &AdminState, path: &str, method: &Method) -> Response {
    if let Some(answer) = plugins::handle(&state.plugins, path, method).await {
        return answer;
    }
    if !matches!(path, "/health" | "/ready" | "/metrics") {
        return response::not_found();
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        return response::method_not_allowed("GET, HEAD");
    }
    match path {
        "/health" => response::json(StatusCode::OK, &json!({ "status": "ok" })),
        "/ready" => ready(state).await,
        _ => {
            let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response::body(StatusCode::OK, content_type, state.metrics.render())
        }
    }
}

/// A plugin that does not load is not a reason to take everybody's sign-in away: it is listed, not held against the
/// gateway.
async fn ready(state: &AdminState) -> Response {
    let plugins = state.plugins.status();
    let named = |is: fn(&PluginStatus) -> bool| -> Vec<&str> {
        let plugins = plugins.iter().filter(|plugin| is(plugin));
        plugins.map(|plugin| plugin.name.as_str()).collect()
    };
    let admitted = named(|plugin| plugin.being_admitted);
    let problem = if !state.ready.load(Ordering::Acquire) {
        Some("starting or shutting down".to_owned())
    } else if waits_for_plugins(&plugins, state.started.elapsed()) {
        Some("plugins are being admitted".to_owned())
    } else {
        state.store.ping().await.err().map(|error| error.to_string())
    };
    match problem {
        None => response::json(
            StatusCode::OK,
            &json!({
                "status": "ready",
                "plugins_with_problems": named(|plugin| plugin.problem.is_some()),
                "plugins_being_admitted": admitted,
            }),
        ),
        Some(problem) => response::retry_later(response::json(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "status": "not ready", "problem": problem, "plugins_being_admitted": admitted }),
        )),
    }
}

fn waits_for_plugins(plugins: &[PluginStatus], since_start: Duration) -> bool {
    since_start < ADMISSION
        && plugins
            .iter()
            .any(|plugin| plugin.being_admitted && plugin.generation.is_none() && plugin.problem.is_none())
}
