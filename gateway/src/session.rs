//! Whose request it is.

use gateway_model::{Session, User, UserStatus};
use gateway_store::StoreError;
use hyper::header::AUTHORIZATION;

use crate::app::App;
use crate::request::{BadRequest, Request};

/// Whose request it is.
#[derive(Debug)]
pub enum Caller {
    /// There is no token, or an empty one.
    NoToken,
    /// The token is not one of ours, has expired, or its session has ended.
    NotSignedIn,
    /// The token is good, but its user is gone.
    UnknownUser,
    /// Somebody is signed in.
    SignedIn(Box<(Session, User)>),
}

/// Why it cannot be told whose request it is.
#[derive(Debug, thiserror::Error)]
pub enum CallerError {
    /// There are two tokens.
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Finds out whose request it is.
///
/// # Errors
/// When the token comes twice, or the database fails.
pub async fn caller(app: &App, request: &Request) -> Result<Caller, CallerError> {
    let Some(token) = token(request)?.filter(|token| !token.is_empty()) else {
        return Ok(Caller::NoToken);
    };
    let Ok(claims) = app.session_key.verify(token, app.clock.now()) else {
        return Ok(Caller::NotSignedIn);
    };
    match app.store.lookup_session(&claims.session).await? {
        Some((session, user)) if user.status == UserStatus::Active && user.id == claims.user => {
            Ok(Caller::SignedIn(Box::new((session, user))))
        }
        Some(_) => Ok(Caller::NotSignedIn),
        None if app.store.lookup_user(&claims.user).await?.is_none() => Ok(Caller::UnknownUser),
        None => Ok(Caller::NotSignedIn),
    }
}

/// The token: `Authorization: Bearer` (RFC 6750 section 2.1), else the header `auth-token`, else `jwt`
/// in the query or form. The first that is there counts, even if it is no good.
fn token(request: &Request) -> Result<Option<&str>, BadRequest> {
    let mut bearer = request.headers.get_all(AUTHORIZATION).iter();
    if let Some(value) = bearer.next() {
        if bearer.next().is_some() {
            return Err(BadRequest::Repeated("Authorization"));
        }
        let value = value.to_str().unwrap_or_default();
        // Another scheme is somebody else's business: a proxy's, say.
        if let Some((scheme, token)) = value.split_once(' ')
            && scheme.eq_ignore_ascii_case("bearer")
        {
            return Ok(Some(token.trim()));
        }
    }
    let mut header = request.headers.get_all("auth-token").iter();
    if let Some(value) = header.next() {
        if header.next().is_some() {
            return Err(BadRequest::Repeated("auth-token"));
        }
        return Ok(Some(value.to_str().unwrap_or_default().trim()));
    }
    request.parameter("jwt")
}
