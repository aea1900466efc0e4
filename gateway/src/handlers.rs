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
pub mod update;

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

/// The path at which a sign-in with this provider begins that ends at `next`.
fn login_path(provider: &str, next: &Next) -> String {
    let query: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("next", next.as_str())
        .finish();
    format!("/auth/login/{provider}?{query}")
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
