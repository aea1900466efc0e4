//! A connection that gives up on a client that does not read. hyper's timers watch only what is read; without this one,
//! a client that never reads its responses would keep its slot forever. The stream also counts the memory of the
//! connection (`connection_limit::memory`), and closes the connection in stages if a body is unread (`body`).

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::body::Unread;
use super::connection_limit::HeldMemory;

/// The part of `patience` for which a client may go on sending an unread body after its response.
const LINGER: u32 = 6;
/// The same during a shutdown.
const LINGER_AT_THE_END: Duration = Duration::from_secs(1);
/// How many bytes of an unread body are discarded at a time.
const DISCARDED: usize = 4 << 10;

/// A TCP connection whose writes fail if they make no progress for some time.
pub(super) struct Impatient {
    stream: TcpStream,
    patience: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    held: HeldMemory,
    unread: Unread,
    /// Runs while the client's side is still open after the gateway's was closed.
    lingering: Option<Pin<Box<Sleep>>>,
    /// Whether `lingering` was shortened because of a shutdown.
    hurries: bool,
}

impl Impatient {
    /// A write may wait for `patience`. If a body is `unread` at the end, the client has a moment to read its response.
    pub(super) fn new(stream: TcpStream, patience: Duration, held: HeldMemory, unread: Unread) -> Self {
        Self {
            stream,
            patience,
            stalled: None,
            held,
            unread,
            lingering: None,
            hurries: false,
        }
    }

    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            if self.stalled.take().is_some() {
                self.held.goes_on();
            }
            return written;
        }
        let Self {
            patience,
            stalled,
            held,
            ..
        } = self;
        let stalled = stalled.get_or_insert_with(|| {
            held.stalls();
            Box::pin(sleep(*patience))
        });
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.held.read(buf.filled().len() - before);
        read
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            stream,
            patience,
            unread,
            lingering,
            hurries,
            ..
        } = &mut *self;
        let mut stream = Pin::new(stream);
        if !unread.get() {
            return stream.poll_shutdown(cx);
        }
        if lingering.is_none() {
            ready!(stream.as_mut().poll_shutdown(cx))?;
        }
        let lingering = lingering.get_or_insert_with(|| Box::pin(sleep(*patience / LINGER)));
        if unread.is_ending() && !std::mem::replace(hurries, true) {
            lingering.set(sleep(LINGER_AT_THE_END));
        }
        if lingering.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut discarded = [MaybeUninit::uninit(); DISCARDED];
        loop {
            let mut buf = ReadBuf::uninit(&mut discarded);
            // An error ends the connection too, and the client is gone.
            match ready!(stream.as_mut().poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}
