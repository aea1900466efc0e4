//! `GET /`: the gateway's own page, and its assets.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue};

use crate::app::App;
use crate::cookie;
use crate::origins::Origins;
use crate::pages::branding::Logo;
use crate::pages::{self, Offer};
use crate::request::Request;
use crate::response::{self, PUBLIC_FOR_MINUTES, Response};
use crate::return_url;

use super::visit::{Visit, choices};

/// Shows the page. A token in its address that was not issued to this browser just now is removed by a redirect, before
/// it enters the history: somebody else may want the user to sign in as them. The page's script also requires that the
/// sign-in began in its tab.
pub(crate) fn handle(app: &App, request: &Request) -> Response {
    let is_ours = |token: &str| {
        let name = cookie::arrival_name(token, app.address.secure);
        cookie::find(&request.headers, &name).next().is_some()
    };
    match request.parameter("jwt") {
        Ok(None) => page(app, request),
        Ok(Some(token)) if is_ours(token) => page(app, request),
        Ok(Some(_)) | Err(_) => response::redirect(&format!("{}/#ignored", app.address.text)),
    }
}

fn page(app: &App, request: &Request) -> Response {
    let home = &app.address;
    let choices = match return_url::parse(&home.text, &Origins::default(), &home.origin) {
        Ok(next) => choices(app, &next, false),
        Err(_) => Vec::new(),
    };
    let names: Vec<(&str, &str)> = app.labels().collect();
    Visit::new(app, &request.headers).show(pages::HOME_CSP, |frame| {
        pages::index(frame, &home.text, &choices, &names)
    })
}

pub(crate) fn style(app: &App) -> Response {
    let css = app.live.load().branding.css.clone();
    asset(HeaderValue::from_static("text/css; charset=utf-8"), css)
}

pub(crate) fn script() -> Response {
    asset(
        HeaderValue::from_static("text/javascript; charset=utf-8"),
        pages::JS,
    )
}

pub(crate) fn logo(app: &App) -> Response {
    picture(app.live.load().branding.logo.as_ref())
}

pub(crate) fn provider_picture(app: &App, provider: &str) -> Response {
    picture(app.offer(provider).and_then(Offer::picture))
}

fn picture(picture: Option<&Logo>) -> Response {
    let Some(logo) = picture.cloned() else {
        return response::not_found();
    };
    let policy = HeaderValue::from_static(pages::LOGO_CSP);
    response::with(
        asset(logo.content_type, logo.bytes),
        CONTENT_SECURITY_POLICY,
        policy,
    )
}

fn asset(content_type: HeaderValue, text: impl Into<Bytes>) -> Response {
    response::with(
        response::body(StatusCode::OK, content_type, text),
        CACHE_CONTROL,
        PUBLIC_FOR_MINUTES,
    )
}
