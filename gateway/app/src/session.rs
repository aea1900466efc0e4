//! The session that a request belongs to.

use std::borrow::Cow;

use gateway_store::{SignedIn, StoreError};
use gateway_token::SessionClaims;
use hyper::header::{AUTHORIZATION, HeaderMap};

use crate::app::App;
use crate::request::{BadRequest, Request};
use crate::response::{self, Response};

#[derive(Debug)]
pub(crate) enum Caller {
    /// The token is missing or empty.
    NoToken,
    /// The token is invalid or expired, or its session has ended.
    NotSignedIn,
    /// The token is valid, but its user was deleted.
    UnknownUser,
    SignedIn(SignedIn),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CallerError {
    /// The request has two tokens.
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<CallerError> for Response {
    fn from(error: CallerError) -> Self {
        match error {
            CallerError::BadRequest(bad) => bad.into(),
            CallerError::Store(error) => {
                tracing::error!(%error, "the database failed");
                response::unavailable("The database is not available")
            }
        }
    }
}

pub(crate) async fn caller(app: &App, request: &Request) -> Result<Caller, CallerError> {
    let Some(token) = token(request)?.filter(|token| !token.is_empty()) else {
        return Ok(Caller::NoToken);
    };
    let Ok(claims) = app.session_key.verify(&token, app.clock.now()) else {
        return Ok(Caller::NotSignedIn);
    };
    match app.store.lookup_session(&claims.session, &claims.user).await? {
        Some(signed_in) => Ok(Caller::SignedIn(signed_in)),
        None if app.store.lookup_user(&claims.user).await?.is_none() => Ok(Caller::UnknownUser),
        None => Ok(Caller::NotSignedIn),
    }
}

/// Returns the claims of a token that this gateway issued, even if it has expired. Only for sign-outs.
pub(crate) fn claims_ignoring_expiry(
    app: &App,
    request: &Request,
) -> Result<Option<SessionClaims>, BadRequest> {
    let token = token(request)?;
    Ok(token.and_then(|token| app.session_key.verify_ignoring_expiry(&token).ok()))
}

/// The token: `Authorization: Bearer` (RFC 6750 section 2.1), otherwise the header `auth-token`, otherwise `jwt` in the
/// query or form. The first that is present is used, even if it is invalid.
fn token(request: &Request) -> Result<Option<Cow<'_, str>>, BadRequest> {
    match token_in(&request.headers)? {
        Some(token) => Ok(Some(token)),
        None => Ok(request.parameter("jwt")?.map(Cow::from)),
    }
}

/// Invalid UTF-8 is never a valid token, but it is the token that the caller sent.
fn token_in(headers: &HeaderMap) -> Result<Option<Cow<'_, str>>, BadRequest> {
    if let Some(value) = only(headers, AUTHORIZATION.as_str(), "Authorization")? {
        let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        let (scheme, token) = value.split_at(end);
        // Other schemes are for other programs, such as a proxy.
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return Ok(Some(text(token)));
        }
    }
    let header = only(headers, "auth-token", "auth-token")?;
    Ok(header.map(text))
}

fn text(token: &[u8]) -> Cow<'_, str> {
    let token = token.trim_ascii();
    // Much faster for valid UTF-8.
    str::from_utf8(token).map_or_else(|_| String::from_utf8_lossy(token), Cow::from)
}

/// A header that may occur only once.
fn only<'a>(headers: &'a HeaderMap, name: &str, shown: &'static str) -> Result<Option<&'a [u8]>, BadRequest> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value.map(|value| value.as_bytes())),
        (_, Some(_)) => Err(BadRequest::Repeated(shown)),
    }
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use hyper::header::HeaderName;

    use super::{BadRequest, token_in};

    fn found(headers: &[(&'static str, &[u8])]) -> Result<Option<String>, BadRequest> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), (*value).try_into().unwrap());
        }
        Ok(token_in(&map)?.map(Into::into))
    }

    #[test]
    fn authorization_takes_precedence() {
        for (value, token) in [
            (b"Bearer T".as_slice(), "T"),
            (b"bEARER   T ", "T"),
            (b"Bearer", ""),
            (b"Bearer ", ""),
            (b"Bearer \xff", "\u{fffd}"),
            (b"Bearer a b", "a b"),
        ] {
            let headers = [("authorization", value), ("auth-token", b"other".as_slice())];
            assert_eq!(found(&headers), Ok(Some(token.to_owned())), "{value:?}");
        }
    }

    #[test]
    fn other_schemes_are_skipped() {
        for value in [
            b"Basic T".as_slice(),
            b"",
            b"BearerT",
            b"\xff Bearer",
            b"DPoP Bearer T",
        ] {
            let headers = [("authorization", value)];
            assert_eq!(found(&headers), Ok(None), "{value:?}");
            let headers = [("authorization", value), ("auth-token", b"other".as_slice())];
            assert_eq!(found(&headers), Ok(Some("other".to_owned())), "{value:?}");
        }
    }

    #[test]
    fn auth_token_is_used_even_if_it_is_empty_or_not_text() {
        assert_eq!(found(&[("auth-token", b"")]), Ok(Some(String::new())));
        assert_eq!(found(&[("auth-token", b"\xff")]), Ok(Some("\u{fffd}".to_owned())));
        assert_eq!(found(&[]), Ok(None));
    }

    #[test]
    fn two_tokens_are_rejected() {
        let twice = [
            ("authorization", b"Bearer T".as_slice()),
            ("authorization", b"Bearer T"),
        ];
        assert_eq!(found(&twice), Err(BadRequest::Repeated("Authorization")));
        let twice = [("auth-token", b"T".as_slice()), ("auth-token", b"T")];
        assert_eq!(found(&twice), Err(BadRequest::Repeated("auth-token")));
    }
}
