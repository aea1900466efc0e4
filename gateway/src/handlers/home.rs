//! `GET /`: the gateway's own page, and what it loads.

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue};

use crate::app::App;
use crate::cookie;
use crate::pages;
use crate::request::Request;
use crate::response::{self, PUBLIC_FOR_MINUTES, Response};

/// The page, unless it comes with a token that was not issued to this browser just now: somebody else's, who wants the
/// person to be them. It is then left out, before it is in the history. The page itself asks for more: the sign-in has
/// to have begun in its tab.
pub fn handle(app: &App, request: &Request) -> Response {
    let is_ours = |token: &str| {
        let name = cookie::arrival_name(token, app.address.secure);
        cookie::find(&request.headers, &name).next().is_some()
    };
    match request.parameter("jwt") {
        Ok(None) => page(app),
        Ok(Some(token)) if is_ours(token) => page(app),
        Ok(Some(_)) | Err(_) => response::redirect(&format!("{}/#ignored", app.address.text)),
    }
}

/// The page. Only `gateway dev` tells everybody which services there are.
fn page(app: &App) -> Response {
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
