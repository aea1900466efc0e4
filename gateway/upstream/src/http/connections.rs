//! Detects whether a request used a new connection or an idle one.
//!
//! reqwest's pool does not report that. But it asks the connector for a connection within the task that sends the
//! request, and only if it has no idle one, so a task-local variable around the request sees it.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::task::{Context, Poll};

use tower_service::Service;

tokio::task_local! {
    /// Whether the pool asked for a new connection.
    static CONNECTED: Cell<bool>;
}

/// Sends a request, and returns whether it used an idle connection.
pub(super) async fn watched<F: Future>(request: F) -> (F::Output, bool) {
    let watched = async {
        let answer = request.await;
        (answer, !CONNECTED.with(Cell::get))
    };
    CONNECTED.scope(Cell::new(false), watched).await
}

/// Whether the connection ended before the answer arrived or while the request was being sent.
pub(super) fn ended(error: &reqwest::Error) -> bool {
    if error.is_timeout() || error.is_connect() {
        return false;
    }
    let has_ended = super::causes(error).find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_canceled() || error.is_closed())
        {
            return Some(true);
        }
        let kind = cause.downcast_ref::<io::Error>()?.kind();
        Some(matches!(
            kind,
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::NotConnected
                | io::ErrorKind::UnexpectedEof
        ))
    });
    has_ended.unwrap_or_default()
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Layer;

impl<S> tower_layer::Layer<S> for Layer {
    type Service = Noting<S>;

    fn layer(&self, connector: S) -> Noting<S> {
        Noting(connector)
    }
}

/// A connector that records each call in [`CONNECTED`].
#[derive(Clone, Debug)]
pub(super) struct Noting<S>(S);

impl<S: Service<R>, R> Service<R> for Noting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        // The variable exists only inside `watched`.
        let _ = CONNECTED.try_with(|connected| connected.set(true));
        self.0.call(request)
    }
}
