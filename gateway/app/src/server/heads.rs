//! Completes the responses that hyper sends to malformed requests. They have no body, and lack the headers that every
//! response has.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::body::Unread;
use super::date;
use crate::response::{self, Response};

/// A stream that adds the missing headers.
pub(super) struct Complete<S> {
    stream: S,
    /// The rest of the head that replaces hyper's.
    instead: Bytes,
    unread: Unread,
}

impl<S> Complete<S> {
    pub(super) const fn new(stream: S, unread: Unread) -> Self {
        Self {
            stream,
            instead: Bytes::new(),
            unread,
        }
    }
}

/// Returns the completed head, or `None` if the bytes are not an incomplete head.
fn completed(written: &[u8]) -> Option<Bytes> {
    let head = written.strip_suffix(b"\r\n")?;
    if !head.starts_with(b"HTTP/1.1 4") || !head.ends_with(b"\r\n") {
        return None;
    }
    let mut bare = Response::default();
    response::finish(&mut bare);
    let mut whole = head.to_vec();
    for (name, value) in bare.headers() {
        let line = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat();
        if head.windows(line.len()).any(|part| part == line) {
            return None;
        }
        whole.extend(line);
    }
    if let Some(date) = date::header() {
        whole.extend([b"date: ", date.as_bytes(), b"\r\n"].concat());
    }
    whole.extend(b"\r\n");
    Some(whole.into())
}

impl<S: AsyncRead + Unpin> AsyncRead for Complete<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Complete<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self {
            stream,
            instead,
            unread,
        } = &mut *self;
        let mut stream = Pin::new(stream);
        if instead.is_empty() {
            match completed(buf) {
                Some(whole) => {
                    // hyper does not read the rest of such a request.
                    unread.set();
                    *instead = whole;
                }
                None => return stream.poll_write(cx, buf),
            }
        }
        while !instead.is_empty() {
            match ready!(stream.as_mut().poll_write(cx, instead))? {
                0 => return Poll::Ready(Ok(0)),
                written => instead.advance(written),
            }
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match bufs {
            [alone] => self.poll_write(cx, alone),
            _ => Pin::new(&mut self.stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::{Complete, Unread};

    /// Passes these writes through a pipe of this capacity, and returns the output.
    async fn arrived(writes: &[&str], room: usize) -> String {
        let (from, mut to) = duplex(room);
        let mut from = Complete::new(from, Unread::default());
        let write = async move {
            for text in writes {
                from.write_all(text.as_bytes()).await.unwrap();
            }
        };
        let mut text = String::new();
        let (_, read) = tokio::join!(write, to.read_to_string(&mut text));
        read.unwrap();
        text
    }

    #[tokio::test]
    async fn a_bare_head_is_completed_however_slowly_it_is_taken() {
        for room in [1, 7, 4096] {
            let text = arrived(&["HTTP/1.1 431 x\r\ncontent-length: 0\r\n\r\n"], room).await;
            let head = text.strip_suffix("\r\n\r\n").unwrap();
            let mut lines: Vec<_> = head.split("\r\n").collect();
            lines.retain(|line| !line.starts_with("date: "));
            lines.sort_unstable();
            assert_eq!(
                lines,
                [
                    "HTTP/1.1 431 x",
                    "cache-control: no-store",
                    "content-length: 0",
                    "referrer-policy: no-referrer",
                    "x-content-type-options: nosniff",
                ]
            );
        }
    }

    #[tokio::test]
    async fn other_writes_are_unchanged() {
        let ours = "HTTP/1.1 404 x\r\nx-content-type-options: nosniff\r\n\r\n";
        for writes in [
            &[ours][..],
            &["HTTP/1.1 100 Continue\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\n\r\n"],
            &["HTTP/1.1 400 x\r\n\r\nbody"],
            &["HTTP/1.1 4", "00 x\r\n\r\n"],
            &["\r\n"],
            &[""],
        ] {
            assert_eq!(arrived(writes, 4096).await, writes.concat());
        }
    }
}
