//! `GET /auth/oauth_callback/<provider>`: ends a sign-in. A provider's POST is redirected to the GET: see [`posted`].

use std::sync::Arc;
use std::time::Duration;

use gateway_model::Timestamp;
use gateway_store::StoreError;
use gateway_upstream::{Callback, ErrorKind, Provider, Refusal, UpstreamError};
use hyper::header::SET_COOKIE;
use hyper::{Method, StatusCode};

use crate::app::App;
use crate::cookie;
use crate::pages::Failure;
use crate::rate_limit::TooMany;
use crate::request::{BadRequest, Request};
use crate::response::{self, Response};
use crate::return_url::{self, ReturnUrl, ReturnUrlError};
use crate::sealed_state::SealedState;
use crate::sign_in;

use super::visit::{Visit, bad_return};
use super::{admit, landing};

pub(super) mod posted;

use posted::Answer;

/// How long a user may take at the provider.
pub(super) const LIFETIME: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error("the callback has no state")]
    NoState,
    /// The browser did not send the cookie for this state, or sent one that the gateway did not seal.
    #[error("the state belongs to another browser, or is forged")]
    NotThisBrowser,
    #[error("the state belongs to another provider")]
    OtherProvider,
    #[error("the state has expired")]
    Expired,
    #[error("the state has been used before")]
    Replayed,
    #[error("the sign-in has failed before")]
    FailedBefore,
    #[error(transparent)]
    Posted(#[from] posted::Error),
    #[error("the callback has no code")]
    NoCode,
    /// RFC 6749 section 4.1.2.1.
    #[error("the provider refused: {0}{advice}", advice = .0.advice())]
    Denied(Refusal),
    /// RFC 9207 section 2.4.
    #[error("the provider refused, but the answer comes from another issuer (`iss`)")]
    OtherIssuer,
    #[error(transparent)]
    ReturnUrl(#[from] ReturnUrlError),
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The database failed before a user was signed in.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    SignIn(#[from] sign_in::Error),
}

/// Ends the sign-in: redirects to the application with a token, or shows a page with the reason and a link to a new
/// sign-in.
pub(crate) async fn handle(app: &Arc<App>, request: &Request, provider: &Provider) -> Response {
    let visit = Visit::new(app, &request.headers).with_provider(provider.name());
    if request.method == Method::POST {
        return posted::pass_on(app, request, provider)
            .unwrap_or_else(|error| refuse(&visit, provider.name(), &error.into()));
    }
    let (name, begun) = match begun(app, request) {
        Ok(begun) => begun,
        Err(error) => return refuse(&visit, provider.name(), &error),
    };
    let visit = match next_again(app, &begun.next) {
        Ok(next) => visit.with_provider(&begun.provider).to(&next, begun.tells_next),
        Err(_) => visit,
    };
    let secure = app.address.secure;
    let answer = match finish(app, request, provider, &begun, &visit).await {
        Ok(answer) if answer.status() == StatusCode::FOUND => {
            return response::with(answer, SET_COOKIE, cookie::clear(&name, secure));
        }
        Ok(answer) => answer,
        Err(error) => {
            let answer = refuse(&visit, provider.name(), &error);
            match error {
                // The provider has not been contacted yet.
                Error::Upstream(error) if error.kind() == ErrorKind::Busy => return answer,
                Error::Upstream(_) | Error::SignIn(_) => answer,
                // The state has not been used, so the page can be reloaded as long as the cookie is there.
                _ => return answer,
            }
        }
    };
    drop(visit);
    over(app, answer, begun, &name)
}

/// The state is used up, but the sign-in failed. The cookie stays, so that a reload can say what happened.
fn over(app: &App, answer: Response, begun: SealedState, name: &str) -> Response {
    let secure = app.address.secure;
    let cookie = match begun.over().seal(&app.session_key, name) {
        Ok(sealed) => cookie::set(name, &sealed, secure),
        Err(_) => cookie::clear(name, secure),
    };
    response::with(answer, SET_COOKIE, cookie)
}

/// Opens the cookie of the sign-in that this callback ends. Returns it with the cookie's name.
fn begun(app: &App, request: &Request) -> Result<(String, SealedState), Error> {
    let state = request
        .parameter("state")?
        .filter(|state| !state.is_empty())
        .ok_or(Error::NoState)?;
    let name = cookie::name(state, app.address.secure);
    let sealed = cookie::find(&request.headers, &name)
        .find_map(|value| SealedState::open(&app.session_key, &name, value))
        // defence: cookie-holds-the-state (a test fails without it: docs/defences.md)
        .filter(|sealed| sealed.flow.state == state);
    match sealed {
        Some(sealed) => Ok((name, sealed)),
        // A successful sign-in deletes its cookie. The store remembers its state for ten minutes.
        None if app.store.state_is_used(state).unwrap_or(false) => Err(Error::Replayed),
        None => Err(Error::NotThisBrowser),
    }
}

async fn finish(
    app: &Arc<App>,
    request: &Request,
    provider: &Provider,
    begun: &SealedState,
    visit: &Visit<'_>,
) -> Result<Response, Error> {
    let answer = Answer::of(app, request, provider)?;
    if begun.provider != provider.name() {
        return Err(Error::OtherProvider);
    }
    if begun.ended {
        return Err(Error::FailedBefore);
    }
    let expires = Timestamp(begun.issued).after(LIFETIME);
    // defence: state-expires-in-its-cookie (a test fails without it: docs/defences.md)
    if expires <= app.clock.now() {
        return Err(Error::Expired);
    }
    let next = next_again(app, &begun.next)?;
    // Callbacks that fail earlier do not count. Otherwise a page could use up the limit that everyone behind an address
    // shares.
    admit(app, request)?;
    if let Some(denied) = &answer.error {
        // An error that comes from another issuer must not end this sign-in.
        if answer.iss.as_deref().is_some_and(|iss| !provider.may_be(iss)) {
            return Err(Error::OtherIssuer);
        }
        let description = answer.description.as_deref();
        return Err(Error::Denied(Refusal::new(denied, description)));
    }
    let code = answer.code.as_deref().filter(|code| !code.is_empty());
    let code = code.ok_or(Error::NoCode)?;
    let iss = answer.iss.as_deref();
    let claimed = app.store.claim_state(&begun.flow.state, expires)?;
    let claimed = claimed.ok_or(Error::Replayed)?;
    let callback = Callback { code, iss };
    let hooks_read_claims = app.plugins.has_extensions();
    let person = provider.finish(&begun.flow, callback, hooks_read_claims);
    let mut person = match person.await {
        Ok(person) => person,
        Err(error) => {
            // The provider has not been contacted yet, so the page can be reloaded.
            if error.kind() == ErrorKind::Busy {
                claimed.release();
            }
            return Err(error.into());
        }
    };
    // The name came through the browser, so the user could have changed it. It is used for display only.
    if person.name.is_empty()
        && let Some(name) = answer.user.as_deref().and_then(posted::name)
    {
        person.name = name;
    }
    // The provider accepts its code only once, so this sign-in ends here even if the database fails.
    // defence: state-is-consumed (a test fails without it: docs/defences.md)
    if !claimed.consume().await.map_err(sign_in::Error::from)? {
        return Err(Error::Replayed);
    }
    let outcome = sign_in::complete(app, person).await?;
    Ok(landing::arrive(app, visit, provider.name(), outcome, &next))
}

/// The configured origins may have changed since the sign-in began.
fn next_again(app: &App, text: &str) -> Result<ReturnUrl, ReturnUrlError> {
    // defence: next-is-checked-again (a test fails without it: docs/defences.md)
    return_url::parse(text, &app.live.load().origins, &app.address.origin)
}

/// Shows a page with the reason and a link to a new sign-in, or sends the error to the application.
fn refuse(visit: &Visit<'_>, provider: &str, error: &Error) -> Response {
    let failure = match error {
        Error::BadRequest(bad) => return landing::unreadable(visit, *bad),
        Error::TooMany(too_many) => return landing::too_many(visit, *too_many),
        Error::Upstream(error) => return landing::upstream_failed(visit, provider, error),
        Error::SignIn(error) => return landing::not_signed_in(visit, provider, error),
        Error::Store(error) => return landing::store_busy(visit, provider, error),
        Error::Denied(refusal) => denied(refusal.code().unwrap_or_default()),
        Error::ReturnUrl(error) => bad_return(error),
        Error::OtherProvider | Error::OtherIssuer | Error::NoCode | Error::Posted(_) => Failure::Mismatch,
        Error::Expired => Failure::Expired,
        Error::Replayed => Failure::Completed,
        Error::FailedBefore => Failure::FailedBefore,
        Error::NoState | Error::NotThisBrowser => Failure::Elsewhere,
    };
    tracing::warn!(provider, %error, "a callback was rejected");
    landing::failed(visit, provider, "refused", &failure)
}

/// Maps a provider's error code to a page (RFC 6749 section 4.1.2.1, OpenID Connect Core 1.0 section 3.1.2.6, and
/// LinkedIn's codes for a user who closes its page).
fn denied(code: &str) -> Failure<'static> {
    match code {
        "access_denied" | "consent_required" | "user_cancelled_login" | "user_cancelled_authorize" => {
            Failure::Denied
        }
        "temporarily_unavailable" => Failure::ProviderUnavailable,
        "server_error"
        | "invalid_request"
        | "invalid_scope"
        | "unauthorized_client"
        | "unsupported_response_type" => Failure::ProviderBroken,
        _ => Failure::ProviderRefused,
    }
}
