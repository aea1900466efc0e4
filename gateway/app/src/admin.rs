//! The admin listener: health, readiness, metrics, plugins. Only the machine's operator may use it. It has a separate
//! address, requires a token that only the gateway's user can read (`token`), and refuses web pages: those that
//! identify themselves (`Origin`, `Sec-Fetch-Site`), and those whose host name was pointed at this address (`Host`).
//!
//! | path | response |
//! |---|---|
//! | `GET /health` | 200 while the process is alive |
//! | `GET /ready` | 200 while the gateway can serve, otherwise 503 with the reason; the plugins that are being admitted |
//! | `GET /metrics` | Prometheus' text format |
//! | `GET /plugins` | the status of each plugin, JSON |
//! | `POST /plugins/NAME/reload`, `/rollback` | the status of the plugin, once the result is in force |

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

pub(crate) use self::token::{SameToken, TokenFile, check as check_token, check_distinct, token};

mod plugins;
#[cfg(test)]
mod tests;
mod token;

/// Enough for an operator and a monitoring system or two.
const LIMITS: ServerLimits = ServerLimits {
    connections: 64,
    header_timeout: Duration::from_secs(5),
    // A plugin may have to be compiled, or wait for the compilation of others.
    request_timeout: Duration::from_secs(600),
    max_body: 0,
    drain: Duration::from_secs(1),
};

#[derive(Clone, Debug)]
pub(crate) struct AdminState {
    pub(crate) metrics: Metrics,
    pub(crate) plugins: PluginHost,
    pub(crate) store: Store,
    /// Whether the public listener serves.
    pub(crate) ready: Arc<AtomicBool>,
    /// When the process started to serve.
    pub(crate) started: Instant,
}

/// For this long after the start, the gateway is not ready while a plugin without a serving generation is being
/// admitted. So a load balancer waits for plugins that take a moment to compile, but not for one that takes minutes.
const ADMISSION: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// The token for everything. Without it, only metrics can be read.
    pub(crate) operators: Option<SecretString>,
    /// The token that can only read metrics.
    pub(crate) monitors: Option<SecretString>,
    /// Whether reading metrics needs no token.
    pub(crate) open: bool,
}

/// Serves until `shutdown`.
pub(crate) async fn run(
    listener: TcpListener,
    tokens: Tokens,
    state: AdminState,
    shutdown: CancellationToken,
) {
    let own = match listener.local_addr() {
        Ok(address) => address.ip(),
        Err(error) => {
            tracing::error!(%error, "cannot read the address of the admin listener");
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
    // Separate connection limits, so that an operator can connect whatever happens on the public listener. No limit per
    // client, because all clients are on the operator's own machine or network.
    server::run(listener, &LIMITS, |_| None, handler, shutdown).await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("Not for web pages")]
    WebPage,
    #[error("Use the address of the admin listener, not a name")]
    Host,
    #[error("The admin token is missing or wrong")]
    Token,
    #[error("This token, or this listener, is only for /metrics")]
    MetricsOnly,
}

impl From<Refused> for Response {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::WebPage | Refused::MetricsOnly => StatusCode::FORBIDDEN,
            Refused::Host => StatusCode::MISDIRECTED_REQUEST,
            Refused::Token => StatusCode::UNAUTHORIZED,
        };
        let answer = response::error(status, &refused.to_string());
        if refused == Refused::Token {
            return response::with(answer, WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

/// Decides which requests are admitted. Holds digests of the tokens.
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
        // Requests for a page's images and scripts have no `Origin`.
        if headers.contains_key(ORIGIN) || navigation::is_from_another_page(headers) {
            return Err(Refused::WebPage);
        }
        let digest = token_in(headers).map(|token| <[u8; 32]>::from(Sha256::digest(token.as_bytes())));
        // Comparing digests takes a time that does not depend on the token.
        let has = |token: Option<[u8; 32]>| digest.is_some() && digest == token;
        let (is_operator, is_monitor) = (has(self.operators), has(self.monitors));
        // Prometheus may use a name for the listener. A page that uses one (DNS rebinding) does not know the token.
        if !is_monitor && !self.is_asked(uri, headers) {
            return Err(Refused::Host);
        }
        let reads_metrics = is_monitor || self.open;
        if is_operator || (reads_metrics && uri.path() == "/metrics") {
            return Ok(());
        }
        Err(if reads_metrics {
            Refused::MetricsOnly
        } else {
            Refused::Token
        })
    }

    /// Whether the request is for this listener. A page whose host name was pointed at this address (DNS rebinding)
    /// sends no `Origin`, because its browser sees the same origin, but it sends that name as `Host`.
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

/// A gateway with a broken plugin is ready, because users can still sign in. The answer lists the plugin.
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
    let waits = |plugin: &PluginStatus| {
        plugin.being_admitted && plugin.generation.is_none() && plugin.problem.is_none()
    };
    since_start < ADMISSION && plugins.iter().any(waits)
}
