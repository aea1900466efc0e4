//! `GET /auth/login/<provider>`: begins a sign-in. Writes nothing: what has to be remembered until the
//! browser comes back is sealed into a cookie of its own, so that tabs don't disturb each other.

use gateway_model::Timestamp;
use gateway_token::KeyError;
use gateway_upstream::{Provider, UpstreamError};
use hyper::StatusCode;
use hyper::header::{HeaderValue, SET_COOKIE};

use crate::app::App;
use crate::cookie::room::{self, Begun, Worth};
use crate::next::{Next, NextError};
use crate::rate_limit::TooMany;
use crate::request::{BadRequest, Request};
use crate::response::{self, Response};
use crate::sealed_state::SealedState;
use crate::{cookie, navigation, pages};

use super::callback::LIFETIME;
use super::{admit, landing, login_path, next_of};

/// The most bytes that `Location` and `Set-Cookie` have in one answer. nginx reads the head of an answer into 4 KB unless
/// told otherwise, and there are the status line and a few more headers.
const MAX_HEADERS: usize = 3_700;

/// A `next` of this length must fit beside the address that the browser is sent to. Where not even that does, it is the
/// provider's address that is too long.
const SHORT_NEXT: usize = 300;

/// Why a sign-in cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request makes no sense.
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    /// The person may not be sent there.
    #[error(transparent)]
    Next(#[from] NextError),
    /// With it, the cookie is larger than browsers and proxies accept.
    #[error("The address to return to is too long: it must be shorter than 2,000 characters")]
    NextTooLong,
    /// With the address that the provider's authorization endpoint makes, the answer is larger than proxies accept.
    #[error(
        "the address of its authorization endpoint, with the parameters, has {0} bytes, which is more than proxies accept"
    )]
    ProviderTooLong(usize),
    /// Too many sign-ins come from the caller's address.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// The provider cannot be reached, or makes no sense.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The state cannot be sealed.
    #[error(transparent)]
    Seal(#[from] KeyError),
}

/// Sends the browser to the provider. Where there is no room for one more sign-in, the oldest has to go; where a page may
/// have begun this one without the person, the person is asked first.
///
/// # Errors
/// 400 for a bad `next`, 502 or 504 where the provider cannot be asked.
pub async fn handle(app: &App, request: &Request, provider: &Provider) -> Result<Response, Error> {
    let next = next_of(app, request)??;
    let origins = &app.live.load().origins;
    let by_the_person = navigation::is_by_the_person(&request.headers, origins, &app.address.origin);
    let now = app.clock.now();
    let begun = begun(app, request, now);
    if !by_the_person && room::make(begun.clone(), at_most(provider, &next)).costs_a_sign_in {
        return Ok(ask(request, provider, &next));
    }
    // From here on it costs something. A page that begins one sign-in after the other has not come this far.
    admit(app, request)?;
    let authorization = provider.begin().await?;
    let secure = app.address.secure;
    let name = cookie::name(&authorization.flow.state, secure);
    let state = SealedState {
        flow: authorization.flow,
        provider: provider.name().to_owned(),
        next: next.as_str().to_owned(),
        issued: now.0,
        by_the_person,
        ended: false,
    };
    let sealed = match state.seal(&app.session_key, &name) {
        Err(KeyError::TooLong) => return Err(Error::NextTooLong),
        sealed => sealed?,
    };
    let (location, set) = (authorization.url.as_str(), cookie::set(&name, &sealed, secure));
    let size = cookie::size(&name, sealed.as_bytes());
    let fixed = "location: \r\n".len() + location.len() + line(&set);
    // The seal is base64.
    let in_base64 = |bytes: usize| bytes.div_ceil(3) * 4;
    if fixed.saturating_sub(in_base64(next.as_str().len())) + in_base64(SHORT_NEXT) > MAX_HEADERS {
        return Err(Error::ProviderTooLong(location.len()));
    }
    let left = MAX_HEADERS.checked_sub(fixed);
    let Some(left) = left.filter(|_| size <= cookie::MAX_TOGETHER) else {
        return Err(Error::NextTooLong);
    };

    let room = room::make(begun, size);
    let cleared = room.clear.iter().map(|name| cookie::clear(name, secure));
    let cleared: Vec<HeaderValue> = cleared.collect();
    if cleared.iter().map(line).sum::<usize>() > left {
        return Ok(clear_as_many_as_fit(ask(request, provider, &next), cleared));
    }
    let answer = cleared
        .into_iter()
        .fold(response::redirect(location), |answer, cookie| {
            response::with(answer, SET_COOKIE, cookie)
        });
    Ok(response::with(answer, SET_COOKIE, set))
}

/// At least the size of the cookie of a sign-in with this provider that ends at `next`.
fn at_most(provider: &Provider, next: &Next) -> usize {
    // A state, nonce and verifier of 32 bytes each, their lengths, and what a name and the seal add.
    let plain = provider.name().len() + next.as_str().len() + 150;
    plain.div_ceil(3) * 4 + 32
}

/// The sign-ins that this browser has begun.
fn begun<'a>(app: &App, request: &'a Request, now: Timestamp) -> Vec<Begun<'a>> {
    let worth = |name: &str, value: &[u8]| {
        let sealed = std::str::from_utf8(value).ok();
        let state = sealed.and_then(|sealed| SealedState::open(&app.session_key, name, sealed));
        match state {
            Some(state) if state.ended || Timestamp(state.issued).after(LIFETIME) <= now => Worth::Nothing,
            Some(state) if state.by_the_person => Worth::ByThePerson(state.issued),
            Some(state) => Worth::ByAPage(state.issued),
            None => Worth::Nothing,
        }
    };
    cookie::sign_ins(&request.headers, app.address.secure)
        .map(|(name, value)| Begun {
            name,
            size: cookie::size(name, value),
            worth: worth(name, value),
        })
        .collect()
}

/// The page that asks the person whether to go on. Its link is a page of ours, so that no other page can follow it.
fn ask(request: &Request, provider: &Provider, next: &Next) -> Response {
    // The configured default need not be an address that may be asked for.
    let again = match request.parameter("next") {
        Ok(Some(_)) => login_path(provider.name(), next),
        _ => format!("/auth/login/{}", provider.name()),
    };
    response::page(StatusCode::OK, pages::CSP, pages::go_on(&again))
}

/// More cookies have to go than one answer may clear. The rest goes when the person has gone on.
fn clear_as_many_as_fit(answer: Response, cleared: Vec<HeaderValue>) -> Response {
    let mut left = MAX_HEADERS - 500; // the page's policy is a header as well
    cleared
        .into_iter()
        .take_while(|cookie| {
            let fits = left.checked_sub(line(cookie));
            left = fits.unwrap_or_default();
            fits.is_some()
        })
        .fold(answer, |answer, cookie| {
            response::with(answer, SET_COOKIE, cookie)
        })
}

/// How many bytes of an answer's head a cookie takes.
fn line(cookie: &HeaderValue) -> usize {
    "set-cookie: \r\n".len() + cookie.len()
}

/// The page that says why.
pub fn refuse(provider: &str, error: &Error) -> Response {
    match error {
        Error::BadRequest(_) | Error::Next(_) | Error::NextTooLong => landing::bad(&error.to_string()),
        Error::TooMany(too_many) => landing::too_many(*too_many),
        Error::Upstream(error) => landing::upstream_failed(provider, error, None),
        Error::ProviderTooLong(_) => landing::provider_unusable(provider, error),
        Error::Seal(error) => internal(provider, error),
    }
}

fn internal(provider: &str, error: &dyn std::fmt::Display) -> Response {
    tracing::error!(provider, %error, "a sign-in cannot begin");
    let message = "Something went wrong on our side. Please try again.";
    response::error_page(StatusCode::INTERNAL_SERVER_ERROR, "Sign-in failed", message, None)
}
