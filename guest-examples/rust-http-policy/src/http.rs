//! One request by `wasi:http`, within a time.

use std::time::Duration;

use wstd::future::FutureExt as _;
use wstd::http::{Body, Client, Error, Request};
use wstd::runtime::block_on;

/// What came back.
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Posts JSON to `url` and gives the whole response. Nothing follows redirects.
///
/// # Errors
/// What went wrong, without anything that a header or a body holds.
pub fn post(
    url: &str,
    headers: &[(&str, String)],
    json: String,
    timeout: Duration,
) -> Result<Response, String> {
    let mut request = Request::post(url)
        .header("content-type", "application/json")
        .header("content-length", json.len());
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request
        .body(Body::from(json))
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = Client::new().send(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().contents().await?.to_vec();
        Ok::<_, Error>(Response { status, body })
    };
    // The one timeout is over everything: connecting, the head, and a body that trickles.
    match block_on(async { exchange.timeout(wstd::time::Duration::from(timeout)).await }) {
        Ok(response) => response.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("no answer within {timeout:?}")),
    }
}
