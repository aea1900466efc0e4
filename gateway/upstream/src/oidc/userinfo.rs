//! The userinfo endpoint (OpenID Connect Core 1.0 section 5.3): when it is asked, and what its answer is good for.

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use url::Url;

use crate::claims;
use crate::config::Userinfo;
use crate::error::{ErrorKind, UpstreamError};
use crate::http::{HttpError, Requests};
use crate::json::{Members, Object, Unfit, kind, unfit};
use crate::logout::names_events;
use crate::text::plain;

const WHAT: &str = "the userinfo endpoint";

/// Whether the endpoint is asked, from what the ID token says already and whether hooks read claims.
pub(super) fn is_asked(setting: Userinfo, token: &Map<String, Value>, hooks_read_claims: bool) -> bool {
    match setting {
        Userinfo::Auto => hooks_read_claims || !has_address(token) || claims::name(token).is_empty(),
        Userinfo::Always | Userinfo::Required => true,
        Userinfo::Never => false,
    }
}

/// Whether a failure of the endpoint ends the sign-in, for want of what it would have said.
///
/// Where the ID token has an address, or the endpoint does not give anything to us anyway, the person signs in with what
/// the ID token says. Where there is no address and the endpoint is out of order for the moment, they would get an account
/// of their own today that is not theirs tomorrow. An answer about somebody else always does: something is wrong with the
/// access token.
pub(super) fn is_fatal(setting: Userinfo, token: &Map<String, Value>, error: &UpstreamError) -> bool {
    let passes = matches!(
        error.kind(),
        ErrorKind::TimedOut | ErrorKind::Down | ErrorKind::Busy
    );
    let other = *error == UpstreamError::OtherSubject;
    other || setting == Userinfo::Required || (passes && !has_address(token))
}

fn has_address(token: &Map<String, Value>) -> bool {
    claims::text(token, "email").is_some()
}

/// What the endpoint answered.
pub(super) enum Answer {
    /// Claims.
    Claims(Object),
    /// A signed token that has to be verified (section 5.3.2).
    Token(String),
}

/// Asks the endpoint.
pub(super) async fn ask(
    requests: &Requests<'_>,
    endpoint: &Url,
    token: &SecretString,
) -> Result<Answer, UpstreamError> {
    let failed = |error| UpstreamError::Http { what: WHAT, error };
    let request = Request::get(endpoint.as_str())
        .header(ACCEPT, "application/json, application/jwt;q=0.9")
        .header(AUTHORIZATION, format!("Bearer {}", token.expose_secret()))
        .body(Vec::new())
        .map_err(|_| bad("the access token cannot be sent in a header"))?;
    let answer = requests.send(request).await.map_err(failed)?;
    if answer.status() != StatusCode::OK {
        return Err(failed(HttpError::Status(answer.status().as_u16())));
    }
    if is_jwt(answer.headers()) {
        let token = String::from_utf8(answer.into_body()).map_err(|_| bad("the answer is not a token"))?;
        return Ok(Answer::Token(token.trim().to_owned()));
    }
    read(answer.body()).map(Answer::Claims)
}

fn is_jwt(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/jwt")
}

/// The claims of an answer, or of a token's payload.
pub(super) fn read(json: &[u8]) -> Result<Object, UpstreamError> {
    Object::read(json).map_err(|problem| bad(&format!("the answer {problem}")))
}

/// What a signed answer has to say besides (section 5.3.2): it is the provider's, for us, and has not expired.
pub(super) fn check_token(
    claims: &Map<String, Value>,
    issuer: &str,
    client_id: &str,
    now: u64,
) -> Result<(), UpstreamError> {
    let members = Members(claims);
    let odd = |unfit: Unfit| bad(&unfit.to_string());
    if members.required_text("iss").map_err(odd)? != issuer {
        return Err(bad("the answer is a token of another issuer (`iss`)"));
    }
    if names_events(claims) {
        return Err(bad(
            "the answer is a logout token or another security event token (`events`)",
        ));
    }
    let is_ours = match claims.get("aud") {
        Some(Value::String(audience)) => audience == client_id,
        Some(Value::Array(audiences)) => audiences.iter().any(|audience| audience == client_id),
        _ => return Err(odd(members.missing("aud", "a string or a list of strings"))),
    };
    if !is_ours {
        return Err(bad("the answer is a token for another client (`aud`)"));
    }
    if members.time("exp").map_err(odd)?.is_some_and(|end| end <= now) {
        return Err(bad("the answer is a token that has expired (`exp`)"));
    }
    Ok(())
}

/// Whether claims are about this person (section 5.3.2: others must not be used).
///
/// # Errors
/// [`UpstreamError::OtherSubject`] where they are about somebody else, which ends the sign-in: something is wrong with the
/// access token.
pub(super) fn check_subject(claims: &Map<String, Value>, subject: &str) -> Result<(), UpstreamError> {
    match claims.get("sub") {
        Some(Value::String(sub)) if sub == subject => Ok(()),
        Some(Value::String(_)) => Err(UpstreamError::OtherSubject),
        Some(other) => Err(bad(&unfit("sub", "a string", kind(other)).to_string())),
        None => Err(bad(&unfit("sub", "a string", "missing").to_string())),
    }
}

/// A signed answer that is not believed.
pub(super) fn unverified(reason: &impl std::fmt::Display) -> UpstreamError {
    bad(&format!("the answer is a token, but {reason}"))
}

fn bad(problem: &str) -> UpstreamError {
    UpstreamError::BadResponse {
        what: WHAT,
        problem: plain(problem),
    }
}
