//! One request through `wasi:http`, with a timeout.

use std::time::Duration;

use wstd::future::FutureExt as _;
use wstd::http::{Body, Client, Error, ErrorCode, Request};
use wstd::runtime::block_on;

use crate::answer::Failure;

/// The response.
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Posts JSON to `url` and returns the response, with its body only if the status is 200. Does not follow redirects.
///
/// # Errors
/// The reason of the failure, without the contents of headers or bodies.
pub fn post(
    url: &str,
    headers: &[(&str, String)],
    json: String,
    timeout: Duration,
) -> Result<Response, Failure> {
    let mut request = Request::post(url)
        .header("content-type", "application/json")
        .header("content-length", json.len());
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request
        .body(Body::from(json))
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let exchange = async {
        let response = Client::new().send(request).await?;
        let status = response.status().as_u16();
        let body = match status {
            200 => response.into_body().contents().await?.to_vec(),
            _ => Vec::new(),
        };
        Ok::<_, Error>(Response { status, body })
    };
    // One timeout covers everything: connecting, the head, and a slow body.
    match block_on(async { exchange.timeout(wstd::time::Duration::from(timeout)).await }) {
        Ok(response) => response.map_err(|error| failure(&error)),
        Err(_) => Err(Failure::Unavailable(format!(
            "the policy service did not answer: no answer within {timeout:?}"
        ))),
    }
}

/// Whether the service is out of reach, as opposed to other errors, such as an answer that is too large, a wrong
/// certificate, or a request that the gateway denies.
fn failure(error: &Error) -> Failure {
    let sentence = format!("the policy service did not answer: {error:#}");
    match error.downcast_ref::<ErrorCode>() {
        Some(
            ErrorCode::DnsTimeout
            | ErrorCode::DnsError(_)
            | ErrorCode::DestinationUnavailable
            | ErrorCode::DestinationIpUnroutable
            | ErrorCode::ConnectionRefused
            | ErrorCode::ConnectionTerminated
            | ErrorCode::ConnectionTimeout
            | ErrorCode::ConnectionReadTimeout
            | ErrorCode::ConnectionWriteTimeout
            | ErrorCode::HttpResponseIncomplete
            | ErrorCode::HttpResponseTimeout,
        ) => Failure::Unavailable(sentence),
        _ => Failure::Failed(sentence),
    }
}
