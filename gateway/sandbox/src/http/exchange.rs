//! Sends one checked request on its own connection, with limits on size and time, and aborts it when its caller is
//! gone.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error as WasiError, RequestOptions, WasiBody};

use super::body::{CappedRequest, TimedResponse};
use super::connect::connect;
use super::error::{Outcome, Phase, RequestError};
use super::record::Exchange;
use super::{HEAD_BYTES, HttpConfig, HttpOrigin, MAX_HEADERS, MAX_REQUEST_HEADERS, Network};

/// The result type of `wasi:http`'s host: a response, and a future that drives its body.
pub(super) type Sent = (
    Response<WasiBody>,
    Box<dyn Future<Output = Result<(), WasiError>> + Send>,
);

/// The connection's task, which is aborted when this is dropped.
type Connection = AbortOnDropHandle<()>;

/// Sends a checked request to `origin`. Dropping the future or its result closes the connection.
pub(super) async fn run(
    mut exchange: Exchange,
    network: &Network,
    config: &HttpConfig,
    origin: &HttpOrigin,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<Sent, WasiError> {
    let deadline = after(exchange.started, config.timeout);
    match head(
        &exchange.plugin,
        exchange.started,
        deadline,
        network,
        config,
        origin,
        request,
        options,
    )
    .await
    {
        Ok((response, connection)) => {
            exchange.outcome = Outcome::Ok;
            let between = options.between_bytes_timeout;
            let response = response.map(|body| {
                TimedResponse::new(body, exchange, config.max_body, between, deadline).boxed_unsync()
            });
            let rest = Box::new(async move {
                // The body reports errors.
                let _ = connection.await;
                Ok(())
            });
            Ok((response, rest))
        }
        Err(error) => Err(exchange.fail(&error)),
    }
}

/// Connects, sends the request, and waits for the response head.
#[expect(
    clippy::too_many_arguments,
    reason = "everything that a request needs; one caller"
)]
async fn head(
    plugin: &Arc<str>,
    started: Instant,
    deadline: Instant,
    network: &Network,
    config: &HttpConfig,
    origin: &HttpOrigin,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<(Response<Incoming>, Connection), RequestError> {
    let request = prepare(request, origin, config)?;
    let sooner = |from: Instant, timeout: Option<Duration>| {
        timeout.map_or(deadline, |timeout| after(from, timeout).min(deadline))
    };
    let room = network.connection(plugin)?;
    let until = sooner(started, options.connect_timeout);
    let stream = connect(plugin, network, config, origin, until).await?;
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| RequestError::from_hyper(&error, true, config.max_body))?;
    // The connection has the exchange's deadline too, so a guest that does not read the response, or does not finish
    // its request body, cannot keep it open.
    let connection: Connection = AbortOnDropHandle::new(tokio::spawn(async move {
        let _room = room;
        // The response reports the error too.
        let _ = timeout_at(deadline, connection).await;
    }));
    let until = sooner(Instant::now(), options.first_byte_timeout);
    let response = match timeout_at(until, sender.send_request(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) if Instant::now() >= deadline => return Err(RequestError::Timeout(Phase::Head)),
        Ok(Err(error)) => return Err(RequestError::from_hyper(&error, true, config.max_body)),
        Err(_) => return Err(RequestError::Timeout(Phase::Head)),
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(RequestError::Protocol(
            "it switches protocols without being asked".to_owned(),
        ));
    }
    // The length that the server announces. Without one, the body is counted as it arrives.
    let length = response.body().size_hint().lower();
    if usize::try_from(length).map_or(true, |length| length > config.max_body) {
        return Err(RequestError::ResponseTooLarge(config.max_body));
    }
    Ok((response, connection))
}

/// Prepares the request for writing: in origin form (RFC 9112 section 3.2.1), with our own `Host` first.
fn prepare(
    request: Request<WasiBody>,
    origin: &HttpOrigin,
    config: &HttpConfig,
) -> Result<Request<CappedRequest>, RequestError> {
    let (mut parts, body) = request.into_parts();
    let path = match parts.uri.path_and_query() {
        None => PathAndQuery::from_static("/"),
        Some(path) if path.as_str().starts_with('/') => path.clone(),
        Some(query) => {
            PathAndQuery::try_from(format!("/{}", query.as_str())).map_err(|_| RequestError::Path)?
        }
    };
    parts.uri = Uri::from(path);
    let host = HeaderValue::try_from(origin.authority()).map_err(|_| RequestError::Host)?;
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, host);
    // A connection carries one request.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in parts.headers.iter().filter(|(name, _)| *name != header::HOST) {
        headers
            .try_append(name, value.clone())
            .map_err(|_| RequestError::HeadersTooLarge(MAX_REQUEST_HEADERS))?;
    }
    parts.headers = headers;
    Ok(Request::from_parts(
        parts,
        CappedRequest::new(body, config.max_body),
    ))
}

/// `duration` after `then`, or an hour after it if the sum overflows.
fn after(then: Instant, duration: Duration) -> Instant {
    then.checked_add(duration)
        .unwrap_or_else(|| then + Duration::from_secs(3600))
}
