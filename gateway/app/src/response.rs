//! Builds responses, with the headers that all of them have.

use bytes::Bytes;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    LOCATION, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use serde::Serialize;
use serde_json::json;

use crate::pages;

/// A response whose body is in memory.
pub type Response = hyper::Response<Full<Bytes>>;

/// The capacity of a response's header map: the headers that all responses have, and a few more.
const HEADERS: usize = 12;

/// Public keys may be cached by anyone for five minutes.
pub(crate) const PUBLIC_FOR_MINUTES: HeaderValue = HeaderValue::from_static("public, max-age=300");

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

pub(crate) fn body(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

pub(crate) fn json_text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    body(status, JSON, text)
}

/// A JSON value, in one line.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => json_text(status, text),
        Err(error) => {
            tracing::error!(%error, "a response cannot be serialized");
            body(
                StatusCode::INTERNAL_SERVER_ERROR,
                JSON,
                r#"{"error":"Internal error"}"#,
            )
        }
    }
}

/// `{"error": …}`.
pub(crate) fn error(status: StatusCode, message: &str) -> Response {
    json(status, &json!({ "error": message }))
}

/// `{"error": …}` with 503 and `Retry-After`.
pub(crate) fn unavailable(message: &str) -> Response {
    retry_later(error(StatusCode::SERVICE_UNAVAILABLE, message))
}

/// Adds `Retry-After: 1`.
pub(crate) fn retry_later(response: Response) -> Response {
    with(response, RETRY_AFTER, HeaderValue::from_static("1"))
}

pub(crate) fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "Not found")
}

pub(crate) fn method_not_allowed(allow: &'static str) -> Response {
    allowing(error(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"), allow)
}

pub(crate) fn allowing(response: Response, allow: &'static str) -> Response {
    with(response, ALLOW, HeaderValue::from_static(allow))
}

/// A page under a `Content-Security-Policy`.
pub(crate) fn page(policy: &'static str, html: String) -> Response {
    let policy = HeaderValue::from_static(policy);
    with(body(StatusCode::OK, HTML, html), CONTENT_SECURITY_POLICY, policy)
}

pub(crate) fn empty_page() -> Response {
    page(pages::CSP, String::new())
}

/// Sets the status of a failure; with 503, adds `Retry-After`.
pub(crate) fn failed_page(status: StatusCode, mut page: Response) -> Response {
    *page.status_mut() = status;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        retry_later(page)
    } else {
        page
    }
}

/// 302 to an absolute URL.
pub(crate) fn redirect(location: &str) -> Response {
    redirect_by(StatusCode::FOUND, location)
}

/// 303 to an absolute URL: the browser continues with a GET (RFC 9110 section 15.4.4).
pub(crate) fn see_other(location: &str) -> Response {
    redirect_by(StatusCode::SEE_OTHER, location)
}

fn redirect_by(status: StatusCode, location: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else {
        tracing::error!("the target of a redirect is not a URL");
        return error(StatusCode::INTERNAL_SERVER_ERROR, "Internal error");
    };
    let mut response = with(Response::default(), LOCATION, location);
    *response.status_mut() = status;
    response
}

/// Adds the headers that every response has. `Cache-Control` is left as it is if it is already set.
pub(crate) fn finish(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(REFERRER_POLICY, NO_REFERRER);
    headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
}

pub(crate) fn with(mut response: Response, name: HeaderName, value: HeaderValue) -> Response {
    response.headers_mut().append(name, value);
    response
}
