//! `POST /auth/backchannel_logout/<provider>`: a provider reports that a user has signed out there (OpenID Connect
//! Back-Channel Logout 1.0). Only the provider's signature is trusted.

use gateway_store::{StoreError, UpstreamSignOut, UpstreamSignedOut};
use gateway_upstream::{KEYS_ASKED_AGAIN, LogoutError, Provider, UpstreamError};
use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use serde_json::json;

use crate::app::App;
use crate::rate_limit::TooMany;
use crate::request::{BadRequest, Request};
use crate::response::{self, Response};

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error("the body has no logout_token")]
    NoToken,
    #[error(transparent)]
    Token(#[from] LogoutError),
    #[error("the logout token has been used before")]
    Replayed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returns 200 once the sessions have ended on disk. The response does not reveal whether there were any. An invalid
/// token is 400, too many of them from one address are 429, and a token that cannot be checked is 503 (sections 2.7 and
/// 2.8).
pub(crate) async fn handle(app: &App, request: &Request, provider: &Provider) -> Response {
    match end(app, request, provider).await {
        Ok(ended) => {
            count(provider, if ended > 0 { "ended" } else { "nothing" });
            tracing::info!(
                provider = provider.name(),
                ended,
                "the provider signed a user out"
            );
            Response::default()
        }
        Err(error) => {
            let answer = refuse(provider, &error);
            // Most tokens with an unknown key are forged, and cost as much to check as others.
            let unknown_key = matches!(
                error,
                Error::Token(LogoutError::Unknown(UpstreamError::KeyUnknown))
            );
            if unknown_key || answer.status() == StatusCode::BAD_REQUEST {
                let limits = app.rate_limits.load();
                limits.logout_refused(provider.name(), request.peer, &request.headers);
            }
            answer
        }
    }
}

/// Returns the number of sessions that ended.
async fn end(app: &App, request: &Request, provider: &Provider) -> Result<u64, Error> {
    // Anyone can send tokens, and each costs a verification.
    let limits = app.rate_limits.load();
    limits.admit_logout(provider.name(), request.peer, &request.headers)?;
    drop(limits);
    // Only from the body, because proxies log addresses.
    let token = request.body_parameter("logout_token")?;
    let token = token.filter(|token| !token.is_empty()).ok_or(Error::NoToken)?;
    let token = provider.logout_token(token).await?;
    let sign_out = UpstreamSignOut {
        issuer: token.issuer,
        subject: token.subject,
        sid: token.sid,
        token: token.id,
        issued: token.issued,
        until: token.until,
    };
    match app.store.end_upstream_sessions(&sign_out).await? {
        UpstreamSignedOut::Replayed => Err(Error::Replayed),
        UpstreamSignedOut::Ended(ended) => {
            if ended > 0 {
                app.logout_notifier.notify_one();
            }
            Ok(ended)
        }
    }
}

fn refuse(provider: &Provider, error: &Error) -> Response {
    match error {
        Error::Store(error) => {
            count(provider, "failed");
            tracing::error!(provider = provider.name(), %error, "the database failed during a sign-out by the provider");
            response::unavailable("The database is not available")
        }
        Error::Token(LogoutError::Unknown(error)) => {
            count(provider, "failed");
            tracing::error!(provider = provider.name(), %error, "a logout token cannot be verified");
            let answer = response::unavailable("The logout token cannot be verified at the moment");
            match error {
                UpstreamError::KeyUnknown => retry_after(answer, KEYS_ASKED_AGAIN),
                _ => answer,
            }
        }
        Error::TooMany(too_many) => {
            count(provider, "limited");
            retry_after(
                response::error(StatusCode::TOO_MANY_REQUESTS, &too_many.to_string()),
                too_many.retry_after,
            )
        }
        Error::BadRequest(_) | Error::NoToken | Error::Token(LogoutError::Invalid(_)) | Error::Replayed => {
            count(provider, "refused");
            tracing::warn!(provider = provider.name(), %error, "a logout token was rejected");
            let answer = json!({ "error": "invalid_request", "error_description": error.to_string() });
            response::json(StatusCode::BAD_REQUEST, &answer)
        }
    }
}

fn retry_after(mut answer: Response, seconds: u64) -> Response {
    answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    answer
}

fn count(provider: &Provider, outcome: &'static str) {
    crate::metrics::provider_sign_outs(provider.name().to_owned(), outcome).increment(1);
}
