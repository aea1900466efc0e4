//! One request through `wasi:http`, with a timeout.

use std::time::Duration;

use wstd::future::FutureExt as _;
use wstd::http::{Body, Client, Error, Request};
use wstd::runtime::block_on;

/// Posts JSON to `url` and returns the status of the response. Does not follow redirects.
///
/// # Errors
/// The reason of the failure, without the contents of headers or bodies.
pub fn post(url: &str, headers: &[(&str, String)], json: String, timeout: Duration) -> Result<u16, String> {
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
        Ok::<_, Error>(response.status().as_u16())
    };
    // One timeout covers everything. The hook ignores the response body.
    match block_on(async { exchange.timeout(wstd::time::Duration::from(timeout)).await }) {
        Ok(status) => status.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("no answer within {timeout:?}")),
    }
}
