//! `GET /auth/oauth_callback/<provider>`: ends a sign-in.

use std::sync::Arc;
use std::time::Duration;

use gateway_model::Timestamp;
use gateway_store::StoreError;
use gateway_upstream::{Callback, Provider, UpstreamError};
use hyper::header::SET_COOKIE;

use crate::app::App;
use crate::cookie;
use crate::next::{self, Next, NextError};
use crate::request::{BadRequest, Request};
use crate::response::{self, Response};
use crate::sign_in;

use super::landing;
use super::login::SealedState;

/// How long a person may take at the provider.
const LIFETIME: Duration = Duration::from_secs(600);

/// Why a callback is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request makes no sense.
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    /// There is no `state`.
    #[error("the callback has no state")]
    NoState,
    /// The browser does not bring the cookie that belongs to the state, or one we did not seal.
    #[error("the state belongs to another browser, or is made up")]
    NotThisBrowser,
    /// The state was made for another provider.
    #[error("the state belongs to another provider")]
    OtherProvider,
    /// The person took too long.
    #[error("the state has expired")]
    Expired,
    /// The state has been used before.
    #[error("the state has been used before")]
    Replayed,
    /// There is neither a code nor an error.
    #[error("the callback has no code")]
    NoCode,
    /// The provider says no (RFC 6749 section 4.1.2.1).
    #[error("the provider answered {0:?}")]
    Denied(String),
    /// Where the person was going is not allowed any more.
    #[error(transparent)]
    Next(#[from] NextError),
    /// The provider does not confirm who the person is.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The database failed before anybody was signed in.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sign-in failed on our side.
    #[error(transparent)]
    SignIn(#[from] sign_in::Error),
}

/// Ends the sign-in: back to the application with a token, or a page that says why not.
pub async fn handle(app: &Arc<App>, request: &Request, provider: &Provider) -> Response {
    let answer = match finish(app, request, provider).await {
        Ok(answer) => answer,
        Err(error) => refuse(provider.name(), &error),
    };
    // Whatever came of it, this state is of no more use.
    match request.parameter("state") {
        Ok(Some(state)) => {
            let name = cookie::name(state, app.address.secure);
            response::with(answer, SET_COOKIE, cookie::clear(&name, app.address.secure))
        }
        _ => answer,
    }
}

async fn finish(app: &Arc<App>, request: &Request, provider: &Provider) -> Result<Response, Error> {
    let code = request.parameter("code")?;
    let iss = request.parameter("iss")?;
    let denied = request.parameter("error")?;
    let sealed = state(app, request, provider)?;
    let next = next_again(app, &sealed.next)?;
    // What cannot succeed leaves nothing behind: anybody can send it, as often as they like.
    if let Some(denied) = denied {
        return Err(Error::Denied(denied.chars().take(64).collect()));
    }
    let code = code.filter(|code| !code.is_empty()).ok_or(Error::NoCode)?;
    let expires = Timestamp(sealed.issued).after(LIFETIME);
    let claimed = app.store.claim_state(&sealed.flow.state, expires)?;
    let claimed = claimed.ok_or(Error::Replayed)?;
    let person = provider.finish(&sealed.flow, Callback { code, iss }).await?;
    if !claimed.consume().await? {
        return Err(Error::Replayed);
    }
    let outcome = sign_in::complete(app, person).await?;
    Ok(landing::arrive(provider.name(), outcome, &next))
}

/// What was remembered of the sign-in that this callback ends, if it is this browser's, this
/// provider's, and not too old.
fn state(app: &App, request: &Request, provider: &Provider) -> Result<SealedState, Error> {
    let state = request
        .parameter("state")?
        .filter(|state| !state.is_empty())
        .ok_or(Error::NoState)?;
    let name = cookie::name(state, app.address.secure);
    let sealed: SealedState = cookie::find(&request.headers, &name)
        .and_then(|value| app.session_key.open(&name, value))
        .and_then(|plain| serde_json::from_slice(&plain).ok())
        .ok_or(Error::NotThisBrowser)?;
    if sealed.flow.state != state {
        return Err(Error::NotThisBrowser);
    }
    if sealed.provider != provider.name() {
        return Err(Error::OtherProvider);
    }
    if Timestamp(sealed.issued).after(LIFETIME) <= app.clock.now() {
        return Err(Error::Expired);
    }
    Ok(sealed)
}

/// The origins may have changed while the person was away.
fn next_again(app: &App, text: &str) -> Result<Next, NextError> {
    next::parse(text, &app.live.load().origins, &app.address.origin)
}

fn refuse(provider: &str, error: &Error) -> Response {
    let message = match error {
        Error::BadRequest(bad) => return landing::bad(&bad.to_string()),
        Error::Upstream(error) => return landing::upstream_failed(provider, error),
        Error::SignIn(error) => return landing::not_signed_in(provider, error),
        Error::Store(error) => return landing::store_failed(provider, error),
        Error::Denied(code) if code == "access_denied" => "You did not let the provider sign you in.",
        Error::Denied(_) => "The provider refused to sign you in.",
        Error::Expired => "The sign-in took too long. Please begin again.",
        Error::Replayed => "This sign-in has been completed already. Please begin again.",
        Error::Next(_) => "The application you came from is not known here.",
        Error::NoState | Error::NotThisBrowser | Error::OtherProvider | Error::NoCode => {
            "This sign-in did not begin in this browser. Please begin again."
        }
    };
    tracing::warn!(provider, %error, "a callback was refused");
    landing::count(provider, "refused");
    landing::bad(message)
}
