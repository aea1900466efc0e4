//! A closed-loop load generator: each connection sends its next request when it has read the answer.
//! Raw sockets, so that it takes as little as possible from the cores it shares with the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Which requests to send. Each is a whole HTTP/1.1 request, its last blank line included.
#[derive(Clone)]
pub(crate) enum Requests {
    /// The same one again and again.
    Same(Arc<str>),
    /// Each once, in order; the run ends early, and fails, if they run out.
    Each(Arc<[String]>, Arc<AtomicUsize>),
}

impl Requests {
    fn next(&self) -> Option<&str> {
        match self {
            Self::Same(request) => Some(request),
            Self::Each(all, position) => all
                .get(position.fetch_add(1, Ordering::Relaxed))
                .map(String::as_str),
        }
    }
}

/// Requests a second that `connections` connections get through in `duration`.
///
/// # Errors
/// When an answer is not 200, does not contain `expect`, or the connection breaks.
pub(crate) async fn rate(
    to: SocketAddr,
    requests: Requests,
    connections: usize,
    duration: Duration,
    expect: &'static str,
) -> Result<f64> {
    let answered = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let (requests, answered) = (requests.clone(), Arc::clone(&answered));
        tasks.spawn(async move { connection(to, &requests, begin + duration, &answered, expect).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(answered.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64())
}

async fn connection(
    to: SocketAddr,
    requests: &Requests,
    end: Instant,
    answered: &AtomicU64,
    expect: &str,
) -> Result<()> {
    let mut stream = TcpStream::connect(to)
        .await
        .with_context(|| format!("connecting to {to}"))?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(8192);
    while Instant::now() < end {
        let Some(request) = requests.next() else {
            bail!("ran out of users: raise --users")
        };
        stream.write_all(request.as_bytes()).await?;
        buffer.clear();
        loop {
            ensure!(
                stream.read_buf(&mut buffer).await? > 0,
                "the server closed the connection"
            );
            if whole(&buffer)? {
                break;
            }
        }
        let answer = String::from_utf8_lossy(&buffer);
        ensure!(
            answer.starts_with("HTTP/1.1 200") && answer.contains(expect),
            "unexpected answer: {answer}"
        );
        answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// The body that one request is answered with.
///
/// # Errors
/// When the connection breaks or the answer is not text.
pub(crate) async fn body_of(to: SocketAddr, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = Vec::new();
    while !whole(&buffer)? {
        ensure!(
            stream.read_buf(&mut buffer).await? > 0,
            "the server closed the connection"
        );
    }
    let answer = String::from_utf8(buffer)?;
    Ok(answer
        .split_once("\r\n\r\n")
        .context("an answer without a body")?
        .1
        .to_owned())
}

/// Whether the buffer holds the whole answer, going by its Content-Length.
fn whole(buffer: &[u8]) -> Result<bool> {
    let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(false);
    };
    let text = std::str::from_utf8(&buffer[..head])?.to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .context("an answer without Content-Length")?;
    Ok(buffer.len() >= head + 4 + length.trim().parse::<usize>()?)
}
