//! `GET /auth/public-key` and `GET /.well-known/jwks.json`: the keys that verify permission tokens.

use hyper::StatusCode;
use hyper::header::HeaderValue;

use crate::app::App;
use crate::response::{self, Response};

/// The active key as PEM (RFC 7468, SubjectPublicKeyInfo), in `text/plain`. The old service declared it as HTML.
pub(crate) fn pem(app: &App) -> Response {
    key(
        HeaderValue::from_static("text/plain; charset=utf-8"),
        app.keys.public_key_pem(),
    )
}

/// All keys as a JWK set (RFC 7517 section 5).
pub(crate) fn jwks(app: &App) -> Response {
    key(HeaderValue::from_static("application/json"), app.keys.jwks())
}

fn key(content_type: HeaderValue, text: &str) -> Response {
    response::cached(response::body(StatusCode::OK, content_type, text.to_owned()))
}
