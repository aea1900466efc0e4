//! The userinfo endpoint (OpenID Connect Core 1.0 section 5.3): when the gateway asks it, and validation of its answer.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::Url;

use crate::claims;
use crate::config::Userinfo;
use crate::error::{ErrorKind, UpstreamError};
use crate::http::Requests;
use crate::json::{Members, Object, kind, unfit};
use crate::jws::Unverified;
use crate::logout::names_events;

const WHAT: &str = "the userinfo endpoint";

/// Whether the gateway asks the endpoint, given the ID token's claims.
pub(super) fn is_asked(setting: Userinfo, token: &Map<String, Value>, hooks_read_claims: bool) -> bool {
    match setting {
        Userinfo::Auto => hooks_read_claims || !has_address(token) || claims::name(token).is_empty(),
        Userinfo::Always | Userinfo::Required => true,
        Userinfo::Never => false,
    }
}

/// Whether a failure of the endpoint ends the sign-in.
///
/// Usually the sign-in continues with the ID token's claims. If those have no address and the endpoint is only
/// temporarily unavailable, it ends: without the address the user would get a new account today, and a different
/// account tomorrow. It also ends if the answer is about another user, because then something is wrong with the access
/// token.
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

pub(super) enum Answer {
    Claims(Object),
    /// A signed token that has to be verified (section 5.3.2).
    Token(String),
}

pub(super) async fn ask(
    requests: &Requests<'_>,
    endpoint: &Url,
    token: &SecretString,
) -> Result<Answer, UpstreamError> {
    let accept = [("accept", "application/json, application/jwt;q=0.9")];
    let answer = requests
        .get(WHAT, endpoint.as_str(), &accept, Some(token))
        .await?;
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

/// Reads the claims of an answer, or of a token's payload.
pub(super) fn read(json: &[u8]) -> Result<Object, UpstreamError> {
    Object::read(json).map_err(|problem| UpstreamError::unreadable(WHAT, problem))
}

/// Validates a signed answer (section 5.3.2): it is the provider's, for this client, and has not expired.
pub(super) fn check_token(
    claims: &Map<String, Value>,
    issuer: &str,
    client_id: &str,
    now: u64,
) -> Result<(), UpstreamError> {
    let members = Members(claims);
    let odd = |unfit| UpstreamError::bad_response(WHAT, unfit);
    if members.required_text("iss").map_err(odd)? != issuer {
        return Err(bad("the answer is a token of another issuer (`iss`)"));
    }
    if names_events(claims) {
        return Err(bad(
            "the answer is a logout token or another security event token (`events`)",
        ));
    }
    match members.has_audience(client_id) {
        Some(true) => {}
        Some(false) => return Err(bad("the answer is a token for another client (`aud`)")),
        None => return Err(odd(members.missing("aud", "a string or a list of strings"))),
    }
    if members.time("exp").map_err(odd)?.is_some_and(|end| end <= now) {
        return Err(bad("the answer is a token that has expired (`exp`)"));
    }
    Ok(())
}

/// Checks that the claims are about this user (section 5.3.2).
pub(super) fn check_subject(claims: &Map<String, Value>, subject: &str) -> Result<(), UpstreamError> {
    let found = match claims.get("sub") {
        Some(Value::String(sub)) if sub == subject => return Ok(()),
        Some(Value::String(_)) => return Err(UpstreamError::OtherSubject),
        Some(other) => kind(other),
        None => "missing",
    };
    Err(bad(&unfit("sub", "a string", found).to_string()))
}

pub(super) fn unverified(reason: &Unverified) -> UpstreamError {
    bad(&format!("the answer is a token, but {reason}"))
}

fn bad(problem: &str) -> UpstreamError {
    UpstreamError::bad_response(WHAT, problem)
}
