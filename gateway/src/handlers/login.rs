//! `GET /auth/login/<provider>`: begins a sign-in. Writes nothing: what has to be remembered until the
//! browser comes back is sealed into a cookie of its own, so that tabs don't disturb each other.

use gateway_token::KeyError;
use gateway_upstream::{Flow, Provider, UpstreamError};
use hyper::StatusCode;
use hyper::header::SET_COOKIE;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::cookie;
use crate::next::NextError;
use crate::request::{BadRequest, Request};
use crate::response::{self, Response};

use super::{landing, next_of};

/// What is sealed into the cookie.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SealedState {
    /// What the callback must be matched with.
    pub(crate) flow: Flow,
    /// The provider it must come from.
    pub(crate) provider: String,
    /// Where the person goes then.
    pub(crate) next: String,
    /// When the sign-in began, in seconds since the Unix epoch.
    pub(crate) issued: u64,
}

/// Why a sign-in cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request makes no sense.
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    /// The person may not be sent there.
    #[error(transparent)]
    Next(#[from] NextError),
    /// With it, the cookie is larger than browsers keep.
    #[error("The address to return to is too long")]
    NextTooLong,
    /// The provider cannot be reached, or makes no sense.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The state cannot be sealed.
    #[error(transparent)]
    Seal(#[from] KeyError),
    /// The state is no JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Sends the browser to the provider.
///
/// # Errors
/// 400 for a bad `next`, 502 or 504 where the provider cannot be asked.
pub async fn handle(app: &App, request: &Request, provider: &Provider) -> Result<Response, Error> {
    let next = next_of(app, request)??;
    let authorization = provider.begin().await?;
    let secure = app.address.secure;
    let name = cookie::name(&authorization.flow.state, secure);
    let state = SealedState {
        flow: authorization.flow,
        provider: provider.name().to_owned(),
        next: next.as_str().to_owned(),
        issued: app.clock.now().0,
    };
    let sealed = app.session_key.seal(&name, &serde_json::to_vec(&state)?)?;
    if !cookie::fits(&name, &sealed) {
        return Err(Error::NextTooLong);
    }
    let mut answer = response::redirect(authorization.url.as_str());
    for surplus in cookie::surplus(&request.headers, secure) {
        answer = response::with(answer, SET_COOKIE, cookie::clear(&surplus, secure));
    }
    Ok(response::with(
        answer,
        SET_COOKIE,
        cookie::set(&name, &sealed, secure),
    ))
}

/// The page that says why.
pub fn refuse(provider: &str, error: &Error) -> Response {
    match error {
        Error::BadRequest(bad) => landing::bad(&bad.to_string()),
        Error::Next(bad) => landing::bad(&bad.to_string()),
        Error::NextTooLong => landing::bad(&error.to_string()),
        Error::Upstream(error) => landing::upstream_failed(provider, error),
        Error::Seal(error) => internal(provider, error),
        Error::Json(error) => internal(provider, error),
    }
}

fn internal(provider: &str, error: &dyn std::fmt::Display) -> Response {
    tracing::error!(provider, %error, "a sign-in cannot begin");
    let message = "Something went wrong on our side. Please try again.";
    response::error_page(StatusCode::INTERNAL_SERVER_ERROR, "Sign-in failed", message, None)
}
