//! `GET /openapi.json`: what the API takes and answers, for programs. It is the same for everybody and says nothing
//! of how the gateway is configured.

use hyper::StatusCode;
use hyper::header::CACHE_CONTROL;

use crate::response::{self, PUBLIC_FOR_MINUTES, Response};

/// OpenAPI 3.1.
pub const DOCUMENT: &str = include_str!("../../openapi.json");

/// The document.
pub fn document() -> Response {
    response::with(
        response::json_text(StatusCode::OK, DOCUMENT),
        CACHE_CONTROL,
        PUBLIC_FOR_MINUTES,
    )
}
