//! One request by `wasi:http`, within a time.

use std::time::Duration;

use wstd::future::FutureExt as _;
use wstd::http::{Body, Client, Error, Request};
use wstd::runtime::block_on;

/// Posts JSON to `url` and gives the status of the response. Nothing follows redirects.
///
/// # Errors
/// What went wrong, without anything that a header or a body holds.
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
    // The one timeout is over everything. What stands in the body of the answer is nothing to the hook.
    match block_on(async { exchange.timeout(wstd::time::Duration::from(timeout)).await }) {
        Ok(status) => status.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("no answer within {timeout:?}")),
    }
}
