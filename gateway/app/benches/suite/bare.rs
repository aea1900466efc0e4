//! The bare hyper server that the gateway is measured against. It answers every request with the same bytes and does
//! nothing else. It runs in its own process, like the gateway.

use std::convert::Infallible;
use std::process::Command;

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, DATE, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use crate::site::Server;

/// Starts one that sends this answer of another server.
///
/// # Errors
/// When it does not start.
pub(crate) fn start(answer: &str) -> Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--bare").arg(answer);
    Server::start(command)
}

/// Serves on a free port of loopback, whose address it prints, until it is killed.
///
/// # Errors
/// When it cannot listen, or `answer` is not an HTTP response.
#[tokio::main]
pub(crate) async fn serve(answer: &str) -> Result<()> {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer without a body")?;
    let headers = headers(head)?;
    let body = Bytes::from(body.to_owned());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (headers, body) = (headers.clone(), body.clone());
        tokio::spawn(async move {
            let answer = service_fn(move |_: Request<Incoming>| {
                let mut response = Response::new(Full::new(body.clone()));
                *response.headers_mut() = headers.clone();
                std::future::ready(Ok::<_, Infallible>(response))
            });
            // A client that goes away in mid-answer is its own business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

/// The headers, but for those that hyper makes.
fn headers(head: &str) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(": ").context("a line that is not a header")?;
        let name: HeaderName = name.parse()?;
        if name != CONTENT_LENGTH && name != DATE {
            headers.append(name, HeaderValue::from_str(value)?);
        }
    }
    Ok(headers)
}
