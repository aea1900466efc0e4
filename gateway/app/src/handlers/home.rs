//! `GET /`: the gateway's own page, and what it loads.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue};

use crate::app::App;
use crate::cookie;
use crate::next;
use crate::origins::Origins;
use crate::pages::branding::Logo;
use crate::pages::{self, Offer};
use crate::request::Request;
use crate::response::{self, PUBLIC_FOR_MINUTES, Response};

use super::visit::{Visit, choices};

/// The page, unless it comes with a token that was not issued to this browser just now: somebody else's, who wants the
/// person to be them. It is then left out, before it is in the history. The page itself asks for more: the sign-in has
/// to have begun in its tab.
pub fn handle(app: &App, request: &Request) -> Response {
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

/// The page, the same for everybody: its script asks who they are, and which services there are.
fn page(app: &App, request: &Request) -> Response {
    let home = &app.address;
    let choices = match next::parse(&home.text, &Origins::default(), &home.origin) {
        Ok(next) => choices(app, &next, false),
        Err(_) => Vec::new(),
    };
    let names: Vec<(&str, &str)> = app.labels().collect();
    Visit::new(app, &request.headers).show(pages::HOME_CSP, |frame| {
        pages::index(frame, &home.text, &choices, &names)
    })
}

/// Its style, in the operator's colour.
pub fn style(app: &App) -> Response {
    let css = app.live.load().branding.css.clone();
    asset(HeaderValue::from_static("text/css; charset=utf-8"), css)
}

/// Its script.
pub fn script() -> Response {
    asset(
        HeaderValue::from_static("text/javascript; charset=utf-8"),
        pages::JS,
    )
}

/// The operator's logo.
pub fn logo(app: &App) -> Response {
    picture(app.live.load().branding.logo.as_ref())
}

/// The operator's picture for a provider.
pub fn provider_picture(app: &App, provider: &str) -> Response {
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
