//! Where a sign-in lands: back at the application, or on a page that says why not.

use gateway_store::{SignInError, StoreError};
use gateway_upstream::{ErrorKind, UpstreamError};
use hyper::StatusCode;
use hyper::header::{RETRY_AFTER, SET_COOKIE};

use crate::app::App;
use crate::cookie;
use crate::next::Next;
use crate::rate_limit::TooMany;
use crate::request::BadRequest;
use crate::response::{self, Response};
use crate::sign_in::{self, Outcome};

pub(super) const TITLE: &str = "You are not signed in";
const TRY_LATER: &str = "Something went wrong on our side. Please try again in a moment.";

/// Counts a sign-in and how it ended.
pub(crate) fn count(provider: &str, outcome: &'static str) {
    metrics::counter!("gateway_sign_ins_total", "provider" => provider.to_owned(), "outcome" => outcome)
        .increment(1);
}

/// The sign-in went through; the hooks have the last word.
pub(crate) fn arrive(app: &App, provider: &str, outcome: Outcome, next: &Next, again: &str) -> Response {
    let again = Some(again);
    match outcome {
        Outcome::SignedIn(token) => {
            count(provider, "signed_in");
            let answer = response::redirect(&next.with_token(&token));
            if !next.is_home(&app.address.origin) {
                return answer;
            }
            // Without this proof the gateway's own page ignores the token: see `home`.
            let name = cookie::arrival_name(&token, app.address.secure);
            response::with(answer, SET_COOKIE, cookie::set_arrival(&name, app.address.secure))
        }
        Outcome::Rejected(reason) => {
            count(provider, "rejected");
            response::error_page(StatusCode::FORBIDDEN, TITLE, &reason, again)
        }
        Outcome::Refused => {
            count(provider, "refused");
            response::error_page(StatusCode::SERVICE_UNAVAILABLE, TITLE, TRY_LATER, again)
        }
    }
}

/// 400: the request is not one that we or a provider would have sent a browser to.
pub(crate) fn bad(message: &str) -> Response {
    response::error_page(StatusCode::BAD_REQUEST, TITLE, message, None)
}

/// 400: a sign-in that cannot go on, with a link that begins another.
pub(crate) fn refused(title: &str, message: &str, again: &str) -> Response {
    response::error_page(StatusCode::BAD_REQUEST, title, message, Some(again))
}

/// 403: an image, a frame, a script or a prefetch asks for what only a person may begin or end.
pub(crate) fn not_a_navigation() -> Response {
    let message = "A sign-in begins and ends only where a person opens its address.";
    response::error_page(StatusCode::FORBIDDEN, TITLE, message, None)
}

/// The same for parameters that cannot be read at all.
pub(crate) fn unreadable(bad: BadRequest) -> Response {
    response::error_page(bad.status(), TITLE, &bad.to_string(), None)
}

/// 429: too many sign-ins come from this address.
pub(crate) fn too_many(too_many: TooMany) -> Response {
    let answer = response::error_page(StatusCode::TOO_MANY_REQUESTS, TITLE, &too_many.to_string(), None);
    response::with(answer, RETRY_AFTER, too_many.retry_after.into())
}

/// The provider is down, slow, or does not confirm who the person is. The log has the reason.
pub(crate) fn upstream_failed(provider: &str, error: &UpstreamError, again: Option<&str>) -> Response {
    tracing::error!(provider, %error, "the upstream provider failed");
    count(provider, "upstream_failed");
    let (status, message) = match error.kind() {
        ErrorKind::TimedOut => (
            StatusCode::GATEWAY_TIMEOUT,
            "The provider takes too long to answer. Please try again in a moment.",
        ),
        ErrorKind::Down => (
            StatusCode::BAD_GATEWAY,
            "The provider cannot be reached at the moment. Please try again later.",
        ),
        ErrorKind::Busy => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Many people are signing in at the moment. Please try again in a moment.",
        ),
        ErrorKind::Wrong => (
            StatusCode::BAD_GATEWAY,
            "The provider's answer cannot be used. Please try again later.",
        ),
        ErrorKind::Refused => (
            StatusCode::BAD_REQUEST,
            "The provider does not confirm this sign-in. Please begin again.",
        ),
    };
    response::error_page(status, TITLE, message, again)
}

/// 502: what the provider says of itself cannot be used. The log has the reason.
pub(crate) fn provider_unusable(provider: &str, error: &dyn std::fmt::Display) -> Response {
    tracing::error!(provider, %error, "the upstream provider failed");
    count(provider, "upstream_failed");
    let message = "The provider's answer cannot be used. Please try again later.";
    response::error_page(StatusCode::BAD_GATEWAY, TITLE, message, None)
}

/// The person may not sign in, or the database failed.
pub(crate) fn not_signed_in(provider: &str, error: &sign_in::Error, again: &str) -> Response {
    let message = match error {
        sign_in::Error::Begin(SignInError::Disabled(user)) => {
            tracing::warn!(provider, %user, "a disabled user tried to sign in");
            "Your account has been disabled."
        }
        sign_in::Error::Begin(error @ SignInError::EmailInUse) => {
            tracing::warn!(
                provider, %error,
                "a sign-in was refused; if both are one person, join them with `gateway user link`"
            );
            "Your email address belongs to another account. Please sign in the way you did before, or ask whoever runs \
             this site to link the two."
        }
        sign_in::Error::Begin(error @ SignInError::TooManyNewUsers(_)) => {
            tracing::error!(provider, %error, "a new user is turned away");
            count(provider, "failed");
            return response::error_page(StatusCode::SERVICE_UNAVAILABLE, TITLE, TRY_LATER, None);
        }
        sign_in::Error::Begin(SignInError::Store(error)) | sign_in::Error::Settle(error) => {
            return store_failed(provider, error, again);
        }
        sign_in::Error::Abandoned(error) => {
            tracing::error!(provider, %error, "a sign-in was abandoned");
            count(provider, "failed");
            return response::error_page(StatusCode::INTERNAL_SERVER_ERROR, TITLE, TRY_LATER, Some(again));
        }
    };
    count(provider, "refused");
    response::error_page(StatusCode::FORBIDDEN, TITLE, message, Some(again))
}

/// The database failed, and the sign-in with it.
fn store_failed(provider: &str, error: &StoreError, again: &str) -> Response {
    tracing::error!(provider, %error, "the database failed during a sign-in");
    count(provider, "failed");
    response::error_page(StatusCode::SERVICE_UNAVAILABLE, TITLE, TRY_LATER, Some(again))
}

/// The database failed before anything was done: the same request can be made again.
pub(crate) fn store_busy(provider: &str, error: &StoreError, again: &str) -> Response {
    tracing::error!(provider, %error, "the database failed before a sign-in was completed");
    count(provider, "failed");
    let message = "Something went wrong on our side. Please reload this page in a moment.";
    response::error_page(StatusCode::SERVICE_UNAVAILABLE, TITLE, message, Some(again))
}
