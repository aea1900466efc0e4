//! The grant `http`: guests' requests through `wasi:http/outgoing-handler`.
//!
//! The guest calls `handle`. This module checks the request against the plugin's configuration; `connect` resolves the
//! name once, checks every address, and connects to one of the checked addresses; `exchange` sends the request on its
//! own connection; `body` limits the size and time of the bodies. Every failure is an `error-code` for the guest and a
//! line in the log. The host does not follow redirects. A guest that follows one makes a new request, which is checked
//! in the same way.
//!
//! | module | contents |
//! |---|---|
//! | `config`, `origin` | the operator's decisions |
//! | `network` | [`Network`]: the resolver and the trusted certificates |
//! | `lookups`, `shares` | each plugin's share of look-ups and connections |
//! | `connect`, `exchange`, `body` | the steps of a request |
//! | `record` | log lines and metrics |
//! | `error` | the errors |

mod body;
mod config;
mod connect;
mod error;
mod exchange;
mod lookups;
mod network;
mod origin;
mod record;
mod shares;

use std::future::Future;
use std::sync::Arc;

use http::{HeaderName, Method, Request, header};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error as WasiError, ForbiddenHeaderFilter, RequestOptions, WasiBody,
    WasiHttpCtx, WasiHttpHooks,
};

use self::error::RequestError;
use self::exchange::Sent;
use self::record::Exchange;
use crate::PluginConfig;

pub use self::config::HttpConfig;
pub use self::network::{Network, Resolver};
pub use self::origin::{HostName, HttpOrigin, OriginError};

/// Largest response head, in bytes.
const HEAD_BYTES: usize = 64 << 10;
/// Most response headers.
const MAX_HEADERS: usize = 100;
/// Most bytes in the names and values of request headers.
const MAX_REQUEST_HEADERS: usize = 32 << 10;
/// Longest method, in bytes. The longest in IANA's registry has less than half.
const MAX_METHOD: usize = 32;
/// Longest path with query, in bytes.
const MAX_PATH: usize = 8 << 10;
/// Most bytes of headers that a guest can build up in the host. Beyond that, the call traps.
const FIELD_BYTES: usize = 64 << 10;
/// Most bytes in one write of a guest to a body, and the most writes that wait for the connection.
const CHUNK_BYTES: usize = 8 << 10;
const CHUNKS: usize = 7;

/// The requests of one call.
pub(crate) struct Http {
    pub(crate) context: WasiHttpCtx,
    pub(crate) outgoing: Outgoing,
}

/// Decides about the requests of one call.
pub(crate) struct Outgoing {
    plugin: Arc<str>,
    function: &'static str,
    config: Arc<PluginConfig>,
    /// `None` in a trial call.
    network: Option<Arc<Network>>,
    /// The number of requests so far.
    made: usize,
}

impl Http {
    pub(crate) fn new(
        plugin: Arc<str>,
        function: &'static str,
        config: Arc<PluginConfig>,
        network: Option<Arc<Network>>,
    ) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(FIELD_BYTES);
        Self {
            context,
            outgoing: Outgoing {
                plugin,
                function,
                config,
                network,
                made: 0,
            },
        }
    }

    /// Starts the call of `function`. Earlier requests no longer count.
    pub(crate) const fn begin(&mut self, function: &'static str) {
        (self.outgoing.function, self.outgoing.made) = (function, 0);
    }
}

impl Outgoing {
    /// Checks a request, and returns its origin.
    fn check(
        &self,
        exchange: &mut Exchange,
        request: &Request<WasiBody>,
    ) -> Result<(Arc<Network>, HttpOrigin), RequestError> {
        let config = &self.config.http;
        if self.made > config.requests {
            return Err(RequestError::TooMany(config.requests));
        }
        let scheme = request.uri().scheme_str().unwrap_or_default();
        let authority = request.uri().authority().ok_or(OriginError::NotAnOrigin)?;
        // The same code parses the operator's origins, and connections use the parsed origin, so no two parsers have to
        // agree. User information is an error.
        let origin: HttpOrigin = format!("{scheme}://{authority}").parse()?;
        exchange.origin = Some(origin.clone());
        let network = self.network.clone().ok_or(RequestError::NoNetwork)?;
        if !config.allow.contains(&origin) {
            return Err(RequestError::NotAllowed);
        }
        if request.method() == Method::CONNECT || request.method().as_str().len() > MAX_METHOD {
            return Err(RequestError::Method);
        }
        let path = request
            .uri()
            .path_and_query()
            .map_or(0, |path| path.as_str().len());
        if path > MAX_PATH {
            return Err(RequestError::PathTooLong(path));
        }
        check_headers(request, scheme, &origin, config.max_body)?;
        Ok((network, origin))
    }
}

fn check_headers(
    request: &Request<WasiBody>,
    scheme: &str,
    origin: &HttpOrigin,
    max_body: usize,
) -> Result<(), RequestError> {
    let headers = request.headers();
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len())
        .sum();
    if bytes > MAX_REQUEST_HEADERS {
        return Err(RequestError::HeadersTooLarge(bytes));
    }
    // If one server serves two hosts, another `Host` would circumvent the allow-list.
    for host in headers.get_all(header::HOST) {
        let host = host.to_str().map_err(|_| RequestError::Host)?;
        if format!("{scheme}://{host}").parse().as_ref() != Ok(origin) {
            return Err(RequestError::Host);
        }
    }
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    if let Some(length) = length.and_then(|length| length.parse::<u64>().ok())
        && usize::try_from(length).map_or(true, |length| length > max_body)
    {
        return Err(RequestError::BodyTooLarge(max_body));
    }
    Ok(())
}

/// Headers of the connection (RFC 9110 section 7.6.1), which is the gateway's, and trailers. `Host` is allowed here,
/// because it is compared with the origin later.
fn is_forbidden(name: &HeaderName) -> bool {
    *name == header::TE
        || *name == header::TRAILER
        || (*name != header::HOST && DEFAULT_FORBIDDEN_HEADERS.contains(name))
}

impl WasiHttpHooks for Outgoing {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_forbidden)
    }

    /// Allows every scheme, so that all checks are in one place.
    fn is_supported_scheme(&mut self, _: &http::uri::Scheme) -> bool {
        true
    }

    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), WasiError>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, WasiError>> + Send> {
        self.made = self.made.saturating_add(1);
        let mut exchange = Exchange::begin(Arc::clone(&self.plugin), self.function, request.method());
        match self.check(&mut exchange, &request) {
            Ok((network, origin)) => {
                let config = Arc::clone(&self.config);
                let options = options.unwrap_or_default();
                Box::new(async move {
                    exchange::run(exchange, &network, &config.http, &origin, request, options).await
                })
            }
            Err(error) => {
                // A guest that continues regardless must not fill the log.
                let error = if self.made > self.config.http.requests.saturating_add(1) {
                    exchange.fail_silently(&error)
                } else {
                    exchange.fail(&error)
                };
                Box::new(async move { Err(error) })
            }
        }
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        CHUNKS
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::is_forbidden;

    #[test]
    fn headers_of_the_connection_are_forbidden() {
        for name in [
            "connection",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authorization",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "http2-settings",
        ] {
            assert!(is_forbidden(&HeaderName::from_static(name)), "{name}");
        }
        for name in [
            "host",
            "authorization",
            "content-length",
            "cookie",
            "accept",
            "x-forwarded-for",
        ] {
            assert!(!is_forbidden(&HeaderName::from_static(name)), "{name}");
        }
    }
}
