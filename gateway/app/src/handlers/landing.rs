//! The end of a sign-in: a redirect to the application, or a page with the reason why not.

use gateway_store::{SignInError, StoreError};
use gateway_upstream::{ErrorKind, UpstreamError};
use hyper::header::{RETRY_AFTER, SET_COOKIE};

use crate::app::App;
use crate::cookie;
use crate::pages::Failure;
use crate::rate_limit::TooMany;
use crate::request::BadRequest;
use crate::response::{self, Response};
use crate::return_url::ReturnUrl;
use crate::sign_in::{self, Outcome};

use super::visit::Visit;

pub(crate) fn count(provider: &str, outcome: &'static str) {
    crate::metrics::sign_ins(provider.to_owned(), outcome).increment(1);
}

/// The sign-in went through. The hooks' verdict decides the response.
pub(crate) fn arrive(
    app: &App,
    visit: &Visit<'_>,
    provider: &str,
    outcome: Outcome,
    next: &ReturnUrl,
) -> Response {
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
            visit.answer(&Failure::Rejected(&reason))
        }
        Outcome::Refused => {
            count(provider, "refused");
            visit.answer(&Failure::TryLater)
        }
        Outcome::SessionEnded => {
            count(provider, "refused");
            visit.answer(&Failure::SessionEnded)
        }
    }
}

pub(crate) fn unreadable(visit: &Visit<'_>, bad: BadRequest) -> Response {
    visit.answer(&Failure::Unreadable(bad.status()))
}

pub(crate) fn too_many(visit: &Visit<'_>, too_many: TooMany) -> Response {
    let answer = visit.answer(&Failure::TooMany);
    response::with(answer, RETRY_AFTER, too_many.retry_after.into())
}

/// The provider failed or did not confirm the user. The log has the reason.
pub(crate) fn upstream_failed(visit: &Visit<'_>, provider: &str, error: &UpstreamError) -> Response {
    tracing::error!(provider, %error, "the upstream provider failed");
    count(provider, "upstream_failed");
    visit.answer(&match error.kind() {
        ErrorKind::TimedOut => Failure::ProviderSlow,
        ErrorKind::Down => Failure::ProviderDown,
        ErrorKind::Busy => Failure::Busy,
        ErrorKind::Wrong => Failure::ProviderWrong,
        ErrorKind::Refused => Failure::Unconfirmed,
    })
}

/// 502: the provider's metadata cannot be used. The log has the reason.
pub(crate) fn provider_unusable(
    visit: &Visit<'_>,
    provider: &str,
    error: &dyn std::fmt::Display,
) -> Response {
    tracing::error!(provider, %error, "the upstream provider failed");
    count(provider, "upstream_failed");
    visit.answer(&Failure::ProviderWrong)
}

/// The user may not sign in, or the database failed.
pub(crate) fn not_signed_in(visit: &Visit<'_>, provider: &str, error: &sign_in::Error) -> Response {
    let (outcome, failure) = match error {
        sign_in::Error::Begin(SignInError::Disabled(user)) => {
            tracing::warn!(provider, %user, "a disabled user tried to sign in");
            ("refused", Failure::Disabled)
        }
        sign_in::Error::Begin(error @ SignInError::EmailInUse) => {
            tracing::warn!(
                provider, %error,
                "a sign-in was rejected; if both accounts belong to one person, join them with `gateway user link`"
            );
            ("refused", Failure::EmailInUse)
        }
        sign_in::Error::Begin(error @ SignInError::TooManyNewUsers(_)) => {
            tracing::error!(provider, %error, "a new user is turned away");
            ("failed", Failure::TryLater)
        }
        sign_in::Error::Begin(SignInError::Store(error)) | sign_in::Error::Settle(error) => {
            tracing::error!(provider, %error, "the database failed during a sign-in");
            ("failed", Failure::TryLater)
        }
        sign_in::Error::Abandoned(error) => {
            tracing::error!(provider, %error, "a sign-in was abandoned");
            ("failed", Failure::Broken)
        }
    };
    count(provider, outcome);
    visit.answer(&failure)
}

/// The database failed before anything changed, so the user can reload the page.
pub(crate) fn store_busy(visit: &Visit<'_>, provider: &str, error: &StoreError) -> Response {
    tracing::error!(provider, %error, "the database failed before a sign-in was completed");
    count(provider, "failed");
    visit.answer(&Failure::Reload)
}
