//! Connections: HTTP/1.1 (RFC 9112) with a limit on everything that a caller could make us hold or wait
//! for, and an end that loses no answer.
//!
//! | a caller who | is dealt with by |
//! |---|---|
//! | sends a head slowly, or keeps a connection and asks nothing | [`ServerLimits::header_timeout`] |
//! | sends a body slowly, or asks for what takes long | [`ServerLimits::request_timeout`]: 503 |
//! | sends a body that nobody reads | the answer, and the end of the connection (`body`) |
//! | does not read the answers | `stream`: the same time, then the connection is cut |
//! | sends a head without end | `MAX_HEAD`, and hyper's 100 headers: 431 |
//! | sends what is no request | hyper: 400, made whole by `heads` |
//! | opens many connections | [`ServerLimits::connections`]: where places are scarce, connections that keep the gateway waiting make room, those of the client with the most first (`places`) |
//! | holds much memory on many connections | `places::held`: a limit on the sum, beyond which those that hold the most are ended |

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
use self::date::Timely;
use self::heads::Complete;
use self::places::{Orders, Place, Places};
use self::stream::Impatient;

pub use self::body::Body;
pub use self::date::prepare;
pub use self::places::Peer;

mod body;
mod date;
mod heads;
mod places;
mod stream;
#[cfg(test)]
mod tests;

/// The largest head of a request: a 16 KiB target, cookies and tokens.
const MAX_HEAD: usize = 64 << 10;
const CLOSE: HeaderValue = HeaderValue::from_static("close");
/// How long to wait after the system had no socket to give.
const BREATH: Duration = Duration::from_millis(50);

/// Serves until `shutdown`; then takes no new connection and lets requests in flight end. Those that have
/// not when [`ServerLimits::drain`] is over are dropped. Returns when no connection is left.
///
/// `client` says whose share of the places the connections of an address count against; `None` where many people may be
/// behind it.
pub async fn run<H, F>(
    listener: TcpListener,
    limits: &ServerLimits,
    client: impl Fn(IpAddr) -> Option<IpAddr> + Send,
    handler: H,
    shutdown: CancellationToken,
) where
    H: Fn(Request<Body>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let places = Arc::new(Places::new(limits.connections, MAX_HEAD + limits.max_body));
    let connections = TaskTracker::new();
    let mut failing = false;
    // While there is no place, connections wait in the listener's backlog.
    while let Some(room) = shutdown.run_until_cancelled(places.room()).await {
        let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await else {
            break;
        };
        match accepted {
            Ok((stream, address)) => {
                failing = false;
                let (place, Orders { cut, finish }) = places.seat(room, client(address.ip()));
                let served = connection(stream, address, place, limits.clone(), handler.clone(), finish);
                connections.spawn(Abortable::new(served, cut));
            }
            Err(error) if is_the_callers(&error) => {}
            Err(error) => {
                // It may go on for as long as sockets are short: one line, not twenty a second.
                if !failing {
                    tracing::error!(%error, "a connection cannot be accepted; trying again until one can");
                }
                failing = true;
                // Every connection that goes gives its file back.
                drop(room);
                places.make_room();
                tokio::time::sleep(BREATH).await;
            }
        }
    }
    drop(listener);
    places.finish_all();
    connections.close();
    if tokio::time::timeout(limits.drain, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "gave up waiting for requests in flight"
        );
        // What they use is closed next.
        places.cut_all();
        connections.wait().await;
    }
}

/// The caller went away before the connection was accepted.
fn is_the_callers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionReset)
}

async fn connection<H, F>(
    stream: TcpStream,
    address: SocketAddr,
    place: Place,
    limits: ServerLimits,
    handler: H,
    finish: AbortRegistration,
) where
    H: Fn(Request<Body>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    // Answers are written whole; waiting to fill a packet only delays them.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let peer = Peer::new(address.ip(), &place);
    let unread = Unread::default();
    let stream = Impatient::new(stream, limits.request_timeout, place.held(), unread.clone());
    let stream = Complete::new(stream, unread.clone());
    let watched = unread.clone();
    let service = service_fn(move |request| {
        let (peer, unread) = (peer.clone(), watched.clone());
        let request = unread.watch(request);
        // Boxed, because hyper moves it about, and it is kilobytes large.
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
        // A malformed request has been answered 400; the rest is a caller who went away.
        Some(Err(error)) => tracing::debug!(%error, "a connection ended early"),
        None => {
            tracing::debug!("a connection was closed: the machine's clock shows no time that HTTP can write")
        }
    }
}

/// The answer, in time, and whatever happens.
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

/// An answer after which the connection is of no more use: the request may not have been read.
fn last_resort(mut answer: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response::finish(&mut answer);
    answer.headers_mut().insert(CONNECTION, CLOSE);
    answer
}
