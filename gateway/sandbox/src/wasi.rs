//! WASI for language runtimes that import it without needing it: no files, sockets, environment variables or arguments.
//! stdin is empty; stdout and stderr go to the log.

use bytes::Bytes;
use gateway_model::SystemClock;
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{HostWallClock, WasiCtx, WasiCtxBuilder};

use crate::log::{GuestLog, LineWriter};

/// Most random bytes that `get-random-bytes` returns, because the host allocates them.
const MAX_RANDOM: u64 = 64 << 10;
/// Most bytes in one write of a guest.
const MAX_WRITE: usize = 4096;

/// Prefixes of the WASI 0.2 imports that need no grant.
pub(crate) const PACKAGES: &[&str] = &[
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// A context with nothing but stdout and stderr, which write to `log`.
pub(crate) fn empty_context(log: &GuestLog) -> WasiCtx {
    let mut builder = WasiCtxBuilder::new();
    builder
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(MAX_RANDOM)
        .wall_clock(WallClock)
        .stdout(LogStream::new(log, "stdout"))
        .stderr(LogStream::new(log, "stderr"));
    builder.build()
}

/// The machine's time of day. If the clock is before 1970, it is wrong, and guests see the end of the year 9999, when
/// everything has expired.
struct WallClock;

impl HostWallClock for WallClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        SystemClock::since_epoch().unwrap_or(Duration::from_secs(253_402_300_799))
    }
}

/// A guest's stdout or stderr. All handles write to the same line.
#[derive(Clone)]
struct LogStream(Arc<Mutex<LineWriter>>);

impl LogStream {
    fn new(log: &GuestLog, source: &'static str) -> Self {
        Self(Arc::new(Mutex::new(LineWriter::new(log.clone(), source))))
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.lock().write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE)
    }
}

#[async_trait::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl AsyncWrite for LogStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.lock().write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
