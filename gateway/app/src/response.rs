//! Answers: how each kind is made, and the headers that every one has.

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

/// An answer whose body is in memory.
pub type Response = hyper::Response<Full<Bytes>>;

/// How many headers an answer may have before their map has to grow: those of every answer, and a few more.
const HEADERS: usize = 12;

/// What may be kept for five minutes by anyone: public keys.
pub const PUBLIC_FOR_MINUTES: HeaderValue = HeaderValue::from_static("public, max-age=300");

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// A body of some type.
#[must_use]
pub fn body(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// What is JSON already.
#[must_use]
pub fn json_text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    body(status, JSON, text)
}

/// A JSON value, in one line.
#[must_use]
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => json_text(status, text),
        Err(error) => {
            tracing::error!(%error, "an answer is no JSON");
            body(
                StatusCode::INTERNAL_SERVER_ERROR,
                JSON,
                r#"{"error":"Internal error"}"#,
            )
        }
    }
}

/// `{"error": …}`.
#[must_use]
pub fn error(status: StatusCode, message: &str) -> Response {
    json(status, &json!({ "error": message }))
}

/// `{"error": …}` with 503: the caller may ask again.
#[must_use]
pub fn unavailable(message: &str) -> Response {
    retry_later(error(StatusCode::SERVICE_UNAVAILABLE, message))
}

/// The same answer, saying that asking again in a second may help.
#[must_use]
pub fn retry_later(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// 404.
#[must_use]
pub fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "Not found")
}

/// 405, saying which methods there are.
#[must_use]
pub fn method_not_allowed(allow: &'static str) -> Response {
    allowing(error(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"), allow)
}

/// The same answer, with `Allow`.
#[must_use]
pub fn allowing(mut response: Response, allow: &'static str) -> Response {
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// A page under a `Content-Security-Policy`.
#[must_use]
pub fn page(policy: &'static str, html: String) -> Response {
    let mut response = body(StatusCode::OK, HTML, html);
    response
        .headers_mut()
        .insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// 200 and an empty page.
#[must_use]
pub fn empty_page() -> Response {
    page(pages::CSP, String::new())
}

/// The same page with the status of a failure; with 503, saying that asking again in a second may help.
#[must_use]
pub fn failed_page(status: StatusCode, mut page: Response) -> Response {
    *page.status_mut() = status;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        retry_later(page)
    } else {
        page
    }
}

/// 302 to an absolute URL. A text that is no header value is a mistake of ours: 500.
#[must_use]
pub fn redirect(location: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else {
        tracing::error!("a redirect to what is no URL");
        return error(StatusCode::INTERNAL_SERVER_ERROR, "Internal error");
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(LOCATION, location);
    response
}

/// Adds what every answer has; `Cache-Control` only where the answer has none of its own.
pub fn finish(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(REFERRER_POLICY, NO_REFERRER);
    headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
}

/// The same answer with one more header.
#[must_use]
pub fn with(mut response: Response, name: HeaderName, value: HeaderValue) -> Response {
    response.headers_mut().append(name, value);
    response
}
