//! The endpoints, a file each: what they answer, and how each of their errors looks to the caller.

pub mod authorize;
pub mod backchannel_logout;
pub mod callback;
pub mod check;
#[cfg(feature = "dev")]
pub mod dev_login;
pub mod home;
pub(crate) mod landing;
pub mod login;
pub mod logout;
pub mod logout_callback;
pub mod openapi;
pub mod public_key;
pub mod resolve;
pub mod services;
pub mod sign_in;
pub mod update;
pub(crate) mod visit;

use url::{Url, form_urlencoded};

use crate::app::App;
use crate::next::{self, Next, NextError};
use crate::rate_limit::{Limit, TooMany};
use crate::request::{BadRequest, Request};
use crate::response::{self, Response};
use crate::session::CallerError;

/// Where the person goes after the sign-in: `next`, if it is allowed, or the configured default.
fn next_of(app: &App, request: &Request) -> Result<Result<Next, NextError>, BadRequest> {
    let live = app.live.load();
    Ok(match request.parameter("next")? {
        Some(text) => next::parse(text, &live.origins, &app.address.origin),
        None => Ok(Next::from_default(&live.default_next)),
    })
}

/// Counts a sign-in that begins or ends, where it begins to cost something.
fn admit(app: &App, request: &Request) -> Result<(), TooMany> {
    let limits = app.rate_limits.load();
    limits.admit(Limit::SignIn, request.peer, &request.headers)
}

/// Where a provider sends people back to: the redirect URI that has to be registered with it.
///
/// # Errors
/// Never, for names that the configuration accepts.
pub(crate) fn callback_url(external: &Url, provider: &str) -> Result<Url, url::ParseError> {
    let origin = external.origin().ascii_serialization();
    Url::parse(&format!("{origin}/auth/oauth_callback/{provider}"))
}

/// Whether `next` is to be told of a sign-in that fails: `errors=next`. Without it the person is, on a page.
fn tells_next(request: &Request) -> Result<bool, BadRequest> {
    match request.parameter("errors")? {
        None | Some("page") => Ok(false),
        Some("next") => Ok(true),
        Some(_) => Err(BadRequest::Errors),
    }
}

/// The path at which a sign-in with this provider begins that ends at `next`, and tells it of a failure where it
/// `tells_next`.
fn login_path(provider: &str, next: &Next, tells_next: bool) -> String {
    format!("/auth/login/{provider}?{}", query(next, tells_next))
}

/// The path of the page with all ways to sign in.
fn sign_in_path(next: &Next, tells_next: bool) -> String {
    format!("/auth/login?{}", query(next, tells_next))
}

fn query(next: &Next, tells_next: bool) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("next", next.as_str());
    if tells_next {
        query.append_pair("errors", "next");
    }
    query.finish()
}

/// 400, or 503 where the database fails.
pub(crate) fn caller_error(error: CallerError) -> Response {
    match error {
        CallerError::BadRequest(bad) => bad.into(),
        CallerError::Store(error) => {
            tracing::error!(%error, "the database failed");
            response::unavailable("The database is not available")
        }
    }
}
