//! The `Date` header. HTTP dates cover the years 1970 to 9999. If the clock shows another time, responses have no
//! `Date` (RFC 9110 section 6.6.1), and hyper must not format one: it would panic.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use gateway_model::{SystemClock, Timestamp};
use http_body_util::Full;
use hyper::Response;
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::time::{LAST, http_date};

/// Seconds since the Unix epoch, if HTTP has a date for them.
fn now() -> Option<u64> {
    let seconds = SystemClock::since_epoch()?.as_secs();
    (seconds <= LAST).then_some(seconds)
}

/// The value of `Date`, formatted once a second on each thread.
pub(super) fn header() -> Option<HeaderValue> {
    thread_local! {
        static WRITTEN: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
    }
    let now = now()?;
    WRITTEN.with_borrow_mut(|written| match written {
        Some((second, value)) if *second == now => Some(value.clone()),
        _ => {
            let value = HeaderValue::try_from(http_date(Timestamp(now))).ok()?;
            *written = Some((now, value.clone()));
            Some(value)
        }
    })
}

/// Ends a hyper connection where polling it would panic. hyper formats the date whenever a second has passed since the
/// last one on this thread, even if it does not send it.
pub(super) struct Timely<F>(pub(super) F);

impl<F: Future + Unpin> Future for Timely<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        thread_local! {
            static HAS_DATE: Cell<bool> = const { Cell::new(false) };
        }
        match now() {
            Some(_) => HAS_DATE.set(true),
            // Before 1970, no second has passed since the last date, which is later.
            None if HAS_DATE.get() && SystemClock::since_epoch().is_none() => {}
            None => return Poll::Ready(None),
        }
        Pin::new(&mut self.0).poll(context).map(Some)
    }
}

/// Lets hyper format the date on this thread while the clock is right, so that connections are served when it is not.
pub(crate) fn prepare() {
    let service = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(tokio::io::empty()), service);
    let connection = pin!(Timely(pin!(connection)));
    // Ends immediately: there is nothing to read.
    let _ = connection.poll(&mut Context::from_waker(Waker::noop()));
}
