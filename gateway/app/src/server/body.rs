//! Request bodies, and connections on which a body was not read to its end.
//!
//! While an unread body is still arriving, the connection cannot carry another request. The response says so (RFC 9112
//! section 9.6), because a client that does not know would lose its next request. The connection is then closed in
//! stages, as the same section advises: closing it immediately would reset it, and a reset can destroy a response that
//! the client has not read yet.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::Request;
use hyper::body::{Frame, Incoming, SizeHint};

/// Whether the rest of a body, or of a malformed head, is still arriving and will not be read.
#[derive(Clone, Debug, Default)]
pub(super) struct Unread(Arc<State>);

#[derive(Debug, Default)]
struct State {
    unread: AtomicBool,
    ending: AtomicBool,
}

impl Unread {
    pub(super) fn get(&self) -> bool {
        self.0.unread.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self) {
        self.0.unread.store(true, Ordering::Relaxed);
    }

    /// The server is shutting down, so there is less time to wait for the client.
    pub(super) fn end(&self) {
        self.0.ending.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.0.ending.load(Ordering::Relaxed)
    }

    /// Keeps this up to date while the request's body is read.
    pub(super) fn watch(&self, request: Request<Incoming>) -> Request<Body> {
        if !hyper::body::Body::is_end_stream(request.body()) {
            self.set();
        }
        request.map(|incoming| Body {
            incoming,
            unread: self.clone(),
        })
    }
}

#[derive(Debug)]
pub(crate) struct Body {
    incoming: Incoming,
    unread: Unread,
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) || self.incoming.is_end_stream() {
            self.unread.0.unread.store(false, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
