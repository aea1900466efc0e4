//! The bodies of a request and its response, no longer than they may be.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime_wasi_http::{Error as WasiError, WasiBody};

use super::error::{Phase, RequestError};
use super::exchange::Exchange;

/// What a guest sends, up to a number of bytes.
pub(super) struct CappedRequest {
    body: WasiBody,
    left: usize,
    max: usize,
}

impl CappedRequest {
    /// `max` bytes of `body` at most.
    pub(super) const fn new(body: WasiBody, max: usize) -> Self {
        Self { body, left: max, max }
    }
}

impl Body for CappedRequest {
    type Data = Bytes;
    type Error = WasiError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WasiError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(left) = self.left.checked_sub(length) else {
                let max = u64::try_from(self.max).ok();
                return Poll::Ready(Some(Err(WasiError::HttpRequestBodySize(max))));
            };
            self.left = left;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a server answers, up to a number of bytes and a time. The exchange ends with it.
pub(super) struct TimedResponse {
    /// `None` once it has ended or failed.
    body: Option<Incoming>,
    exchange: Exchange,
    left: usize,
    max: usize,
    /// Longest time between two frames, where the guest has said so.
    between: Option<Duration>,
    deadline: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl TimedResponse {
    /// `max` bytes of `body` at most, until `deadline`, `between` of silence at most.
    pub(super) fn new(
        body: Incoming,
        exchange: Exchange,
        max: usize,
        between: Option<Duration>,
        deadline: Instant,
    ) -> Self {
        let mut response = Self {
            body: Some(body),
            exchange,
            left: max,
            max,
            between,
            deadline,
            sleep: Box::pin(sleep_until(deadline)),
        };
        response.wait_anew();
        response
    }

    fn wait_anew(&mut self) {
        if let Some(until) = self
            .between
            .and_then(|between| Instant::now().checked_add(between))
        {
            self.sleep.as_mut().reset(until.min(self.deadline));
        }
    }

    fn is_over_time(&self) -> bool {
        Instant::now() >= self.deadline
    }
}

impl Body for TimedResponse {
    type Data = Bytes;
    type Error = WasiError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WasiError>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let error = match Pin::new(body).poll_frame(context) {
            // A server that always has a little more must not outrun the clock.
            Poll::Ready(Some(_)) if this.is_over_time() => RequestError::Timeout(Phase::Body),
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(left) = this.left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    this.left = left;
                    this.wait_anew();
                    return Poll::Ready(Some(Ok(frame)));
                }
                RequestError::ResponseTooLarge(this.max)
            }
            Poll::Ready(Some(Err(error))) => RequestError::from_hyper(&error, false, this.max),
            Poll::Ready(None) => {
                this.body = None;
                return Poll::Ready(None);
            }
            Poll::Pending => {
                ready!(this.sleep.as_mut().poll(context));
                let phase = if this.is_over_time() {
                    Phase::Body
                } else {
                    Phase::Silence
                };
                RequestError::Timeout(phase)
            }
        };
        this.body = None;
        Poll::Ready(Some(Err(this.exchange.fail(&error))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
