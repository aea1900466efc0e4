//! As much of HTTP/1.1 as the load generator needs, at as little cost as possible: it takes its time from
//! the cores that it measures.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};
use memchr::memmem::Finder;

/// The gateway's public address, as if it were behind a proxy that ends TLS.
pub(crate) const EXTERNAL: &str = "https://auth.example.org";

/// A whole GET request with a session token.
pub(crate) fn get(target: &str, token: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: auth.example.org\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// The answer that every request of a run must receive.
pub(crate) struct Expected {
    status: &'static [u8],
    text: Finder<'static>,
    blank_line: Finder<'static>,
}

/// A whole answer.
pub(crate) struct Answer {
    /// Whether the server closes the connection after it.
    pub(crate) closes: bool,
}

impl Expected {
    /// 200, with this text in it.
    pub(crate) fn ok(text: &'static str) -> Self {
        Self::new("200", text)
    }

    /// That status, with this text somewhere in the head or the body.
    pub(crate) fn new(status: &'static str, text: &'static str) -> Self {
        Self {
            status: status.as_bytes(),
            text: Finder::new(text),
            blank_line: Finder::new(b"\r\n\r\n"),
        }
    }

    /// The answer, once the buffer holds all of it.
    ///
    /// # Errors
    /// When it is not the expected answer.
    pub(crate) fn answer(&self, buffer: &[u8]) -> Result<Option<Answer>> {
        let Some(answer) = whole(buffer, &self.blank_line)? else {
            return Ok(None);
        };
        ensure!(
            buffer.get(9..12) == Some(self.status) && self.text.find(buffer).is_some(),
            "unexpected answer: {}",
            String::from_utf8_lossy(buffer)
        );
        Ok(Some(answer))
    }
}

/// The answer, if the buffer holds all of it, going by its Content-Length.
fn whole(buffer: &[u8], blank_line: &Finder<'_>) -> Result<Option<Answer>> {
    let Some(end) = blank_line.find(buffer) else {
        return Ok(None);
    };
    let (mut length, mut closes) = (None, false);
    for line in buffer[..end].split(|byte| *byte == b'\n') {
        if let Some(value) = field(line, b"content-length:") {
            length = Some(std::str::from_utf8(value)?.parse::<usize>()?);
        } else if let Some(value) = field(line, b"connection:") {
            closes = value.eq_ignore_ascii_case(b"close");
        }
    }
    let length = length.context("an answer without Content-Length")?;
    Ok((buffer.len() >= end + 4 + length).then_some(Answer { closes }))
}

/// The value of the field, if the line has it.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

/// A connection that one request after the other goes over.
pub(crate) struct Connection {
    to: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) fn open(to: SocketAddr) -> Result<Self> {
        Ok(Self {
            to,
            stream: connect(to)?,
            buffer: Vec::with_capacity(4096),
        })
    }

    /// Sends a request and reads the answer, head and body.
    ///
    /// # Errors
    /// When the connection breaks, or it is another answer than expected.
    pub(crate) fn exchange(&mut self, request: &[u8], expected: &Expected) -> Result<&[u8]> {
        self.stream.write_all(request)?;
        self.buffer.clear();
        loop {
            let filled = self.buffer.len();
            self.buffer.resize(filled + 4096, 0);
            let read = self.stream.read(&mut self.buffer[filled..])?;
            ensure!(read > 0, "the server closed the connection");
            self.buffer.truncate(filled + read);
            if let Some(answer) = expected.answer(&self.buffer)? {
                if answer.closes {
                    self.stream = connect(self.to)?;
                }
                return Ok(&self.buffer);
            }
        }
    }
}

fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The whole answer to one request.
///
/// # Errors
/// When the connection breaks, or the answer is not text or not the expected one.
pub(crate) fn ask(to: SocketAddr, request: &str, expected: &Expected) -> Result<String> {
    let mut connection = Connection::open(to)?;
    let answer = connection.exchange(request.as_bytes(), expected)?;
    Ok(std::str::from_utf8(answer)?.to_owned())
}

/// The body of a whole answer.
pub(crate) fn body(answer: &str) -> Result<&str> {
    Ok(answer
        .split_once("\r\n\r\n")
        .context("an answer without a body")?
        .1)
}
