//! Request and response bodies, with limits on size and time.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime_wasi_http::{Error as WasiError, WasiBody};

use super::error::{Phase, RequestError};
use super::record::Exchange;

/// A request body that fails after a number of bytes.
pub(super) struct CappedRequest {
    body: WasiBody,
    left: usize,
    max: usize,
}

impl CappedRequest {
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

/// A response body, limited in size and time. It ends the exchange.
pub(super) struct TimedResponse {
    body: Rest,
    exchange: Exchange,
    left: usize,
    max: usize,
    /// The longest time between two frames, if the guest has set one.
    between: Option<Duration>,
    deadline: Instant,
    sleep: Pin<Box<Sleep>>,
}

/// The rest of a response.
enum Rest {
    Body(Incoming),
    /// An error, because the body is too large. The guest has received the part that fits.
    TooLarge,
    Over,
}

impl TimedResponse {
    /// At most `max` bytes before `deadline`, with at most `between` between two frames.
    pub(super) fn new(
        body: Incoming,
        exchange: Exchange,
        max: usize,
        between: Option<Duration>,
        deadline: Instant,
    ) -> Self {
        let mut response = Self {
            body: Rest::Body(body),
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

    /// Returns the part of `frame` that still fits, if any.
    fn admit(&mut self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        let length = frame.data_ref().map_or(0, Bytes::len);
        if let Some(left) = self.left.checked_sub(length) {
            self.left = left;
            self.wait_anew();
            return Some(frame);
        }
        self.body = Rest::TooLarge;
        let fits = std::mem::take(&mut self.left);
        let data = frame.into_data().ok()?;
        (fits > 0).then(|| Frame::data(data.slice(..fits)))
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
        let error = match &mut this.body {
            Rest::Over => return Poll::Ready(None),
            Rest::TooLarge => RequestError::ResponseTooLarge(this.max),
            Rest::Body(body) => match Pin::new(body).poll_frame(context) {
                // A server that keeps sending must not evade the deadline.
                Poll::Ready(Some(_)) if this.is_over_time() => RequestError::Timeout(Phase::Body),
                Poll::Ready(Some(Ok(frame))) => match this.admit(frame) {
                    Some(frame) => return Poll::Ready(Some(Ok(frame))),
                    None => RequestError::ResponseTooLarge(this.max),
                },
                Poll::Ready(Some(Err(error))) => RequestError::from_hyper(&error, false, this.max),
                Poll::Ready(None) => {
                    this.body = Rest::Over;
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
            },
        };
        this.body = Rest::Over;
        Poll::Ready(Some(Err(this.exchange.fail(&error))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Rest::Body(body) => body.is_end_stream(),
            Rest::TooLarge => false,
            Rest::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Rest::Body(body) => body.size_hint(),
            Rest::TooLarge | Rest::Over => SizeHint::with_exact(0),
        }
    }
}
