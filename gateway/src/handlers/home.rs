//! `GET /`: the gateway's own page, and what it loads.

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue};

use crate::app::App;
use crate::pages;
use crate::response::{self, PUBLIC_FOR_MINUTES, Response};

/// The page. Only `gateway dev` tells everybody which services there are.
pub fn page(app: &App) -> Response {
    let services = if app.dev {
        app.plugins.services()
    } else {
        Vec::new()
    };
    response::page(StatusCode::OK, pages::CSP, pages::index(&services))
}

/// Its style.
pub fn style() -> Response {
    asset(HeaderValue::from_static("text/css; charset=utf-8"), pages::CSS)
}

/// Its script.
pub fn script() -> Response {
    asset(
        HeaderValue::from_static("text/javascript; charset=utf-8"),
        pages::JS,
    )
}

fn asset(content_type: HeaderValue, text: &'static str) -> Response {
    response::with(
        response::body(StatusCode::OK, content_type, text),
        CACHE_CONTROL,
        PUBLIC_FOR_MINUTES,
    )
}
