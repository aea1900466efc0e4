//! HTTP/1.1 connections (RFC 9112). Everything that a client could make the gateway hold or wait for is limited. A
//! shutdown loses no response.
//!
//! | a client that | meets |
//! |---|---|
//! | sends a head slowly, or keeps an idle connection | [`ServerLimits::header_timeout`] |
//! | sends a body slowly, or a request that takes long | [`ServerLimits::request_timeout`]: 503 |
//! | sends a body that is not read | the response, then the end of the connection (`body`) |
//! | does not read the responses | `stream`: the connection is cut after the same time |
//! | sends an endless head | `MAX_HEAD`, and hyper's 100 headers: 431 |
//! | sends a malformed request | hyper: 400, with the usual headers added by `heads` |
//! | opens many connections | [`ServerLimits::connections`] and `connection_limit`: idle and slow connections are closed first |
//! | uses much memory on many connections | `connection_limit::memory`: a limit on the sum |

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{AbortRegistration, Abortable, Aborted};
use http_body_util::Full;
use hyper::header::{CONNECTION, DATE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::ServerLimits;
use crate::response;

use self::body::Unread;
use self::connection_limit::{ConnectionLimit, EndSignals, Slot};
use self::date::Timely;
use self::heads::Complete;
use self::stream::Impatient;

pub(crate) use self::body::Body;
pub use self::connection_limit::Peer;
pub(crate) use self::date::prepare;

mod body;
mod connection_limit;
mod date;
mod heads;
mod stream;
#[cfg(test)]
mod tests;

/// The largest head of a request, in bytes: a target of 16 KiB, cookies and tokens.
const MAX_HEAD: usize = 64 << 10;
const CLOSE: HeaderValue = HeaderValue::from_static("close");
/// The pause after the system had no socket left.
const BREATH: Duration = Duration::from_millis(50);

/// Serves until `shutdown`. Then it accepts no new connections and lets requests in flight finish, for at most
/// [`ServerLimits::drain`]. Returns when no connection is left.
///
/// `client` returns the client against whose share a connection counts, or `None` if many users may be behind the
/// address.
pub(crate) async fn run<H, F>(
    listener: TcpListener,
    limits: &ServerLimits,
    client: impl Fn(IpAddr) -> Option<IpAddr> + Send,
    handler: H,
    shutdown: CancellationToken,
) where
    H: Fn(Request<Body>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let slots = Arc::new(ConnectionLimit::new(
        limits.connections,
        MAX_HEAD + limits.max_body,
    ));
    let connections = TaskTracker::new();
    let mut failing = false;
    // While there is no slot, connections wait in the listener's backlog.
    while let Some(room) = shutdown.run_until_cancelled(slots.room()).await {
        let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await else {
            break;
        };
        match accepted {
            Ok((stream, address)) => {
                failing = false;
                let (slot, EndSignals { cut, finish }) = slots.take(room, client(address.ip()));
                let served = connection(stream, address, slot, limits.clone(), handler.clone(), finish);
                connections.spawn(Abortable::new(served, cut));
            }
            Err(error) if is_the_callers(&error) => {}
            Err(error) => {
                // This can last as long as sockets are short. Log it once, not twenty times a second.
                if !failing {
                    tracing::error!(%error, "cannot accept connections; retrying");
                }
                failing = true;
                // Every connection that closes frees a file descriptor.
                drop(room);
                slots.make_room();
                tokio::time::sleep(BREATH).await;
            }
        }
    }
    drop(listener);
    slots.finish_all();
    connections.close();
    if tokio::time::timeout(limits.drain, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "gave up waiting for requests in flight"
        );
        // The database and the plugins close next, so the rest must end first.
        slots.cut_all();
        connections.wait().await;
    }
}

/// The client disconnected before its connection was accepted.
fn is_the_callers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionReset)
}

async fn connection<H, F>(
    stream: TcpStream,
    address: SocketAddr,
    slot: Slot,
    limits: ServerLimits,
    handler: H,
    finish: AbortRegistration,
) where
    H: Fn(Request<Body>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    // Responses are written whole, so waiting to fill a packet would only delay them.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let peer = Peer::new(address.ip(), &slot);
    let unread = Unread::default();
    let stream = Impatient::new(stream, limits.request_timeout, slot.memory(), unread.clone());
    let stream = Complete::new(stream, unread.clone());
    let watched = unread.clone();
    let service = service_fn(move |request| {
        let (peer, unread) = (peer.clone(), watched.clone());
        let request = unread.watch(request);
        // Boxed, because hyper moves it and it has kilobytes.
        let answer = guarded(Box::pin(handler(request, peer.clone())), limits.request_timeout);
        async move {
            let mut answer = answer.await;
            if let Some(date) = date::header() {
                answer.headers_mut().insert(DATE, date);
            }
            if unread.get() {
                answer.headers_mut().insert(CONNECTION, CLOSE);
            }
            peer.is_waited_for();
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // defence: slow-headers-time-out (a test fails without it: docs/defences.md)
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEAD)
        .max_header_size(MAX_HEAD)
        .half_close(false)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = match Abortable::new(Timely(connection.as_mut()), finish).await {
        Ok(ended) => ended,
        Err(Aborted) => {
            unread.end();
            connection.as_mut().graceful_shutdown();
            Timely(connection).await
        }
    };
    match ended {
        Some(Ok(())) => {}
        // A malformed request was answered with 400. Otherwise the client disconnected.
        Some(Err(error)) => tracing::debug!(%error, "a connection ended early"),
        None => {
            tracing::debug!("a connection was closed because the clock is outside the range of HTTP dates")
        }
    }
}

/// Answers in time, even if the handler panics.
async fn guarded(
    answer: impl Future<Output = Response<Full<Bytes>>> + Send,
    timeout: Duration,
) -> Response<Full<Bytes>> {
    match tokio::time::timeout(timeout, AssertUnwindSafe(answer).catch_unwind()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => {
            tracing::error!("a handler panicked");
            last_resort(response::error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal error",
            ))
        }
        Err(_) => {
            tracing::warn!(?timeout, "a request took too long");
            last_resort(response::unavailable("The request took too long"))
        }
    }
}

/// Closes the connection after the response, because the request may not have been read.
fn last_resort(mut answer: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response::finish(&mut answer);
    answer.headers_mut().insert(CONNECTION, CLOSE);
    answer
}
