//! Answers that a provider sends by POST (OAuth 2.0 Form Post Response Mode), as Apple does.
//!
//! A POST from another site does not carry the gateway's cookies, because they are `SameSite=Lax`. That must stay so:
//! otherwise any site could make a browser finish a sign-in. Instead, the answer is sealed into the address of a GET,
//! to which the browser is redirected. The GET carries the cookies, and passes the same checks as an answer in a query.
//! The seal keeps the code and the user's name out of proxies' logs. It does not prove who sent them.

use gateway_model::text::is_unsafe;
use gateway_token::KeyError;
use gateway_upstream::{Provider, text};
use serde_json::Value;
use url::form_urlencoded;

use crate::app::App;
use crate::request::{BadRequest, Request};
use crate::response::{self, Response};

/// The longest address to redirect to, in bytes, because proxies limit the head of a response.
const MAX_LOCATION: usize = 3_500;
/// The longest JSON about a user that is passed on, in bytes. A name takes about a hundred.
const MAX_USER: usize = 1_000;
/// The parameter with the sealed answer.
const SEALED: &str = "answer";

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    #[error("the posted answer has no state")]
    NoState,
    #[error("the posted answer is too long: its code has {0} bytes")]
    TooLong(usize),
    #[error(transparent)]
    Seal(KeyError),
    #[error("the posted answer was not sealed for this sign-in")]
    NotOurs,
}

#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) code: Option<String>,
    /// RFC 9207.
    pub(super) iss: Option<String>,
    pub(super) error: Option<String>,
    /// `error_description`, for the log.
    pub(super) description: Option<String>,
    /// JSON about the user, which Apple sends at the first sign-in only.
    pub(super) user: Option<String>,
}

impl Answer {
    /// Reads the answer from the query, or opens the sealed one in it.
    pub(super) fn of(app: &App, request: &Request, provider: &Provider) -> Result<Self, super::Error> {
        let sealed = request.parameter(SEALED)?.filter(|_| provider.posts_its_answer());
        let Some(sealed) = sealed else {
            return Ok(Self::plain(request)?);
        };
        let state = request.parameter("state")?.unwrap_or_default();
        let opened = app.session_key.open(&context(provider, state), sealed);
        let opened = opened.ok_or(Error::NotOurs)?;
        let mut answer = Self::default();
        for (name, value) in form_urlencoded::parse(&opened) {
            let place = match &*name {
                "code" => &mut answer.code,
                "iss" => &mut answer.iss,
                "error" => &mut answer.error,
                "error_description" => &mut answer.description,
                "user" => &mut answer.user,
                _ => continue,
            };
            *place = Some(value.into_owned());
        }
        Ok(answer)
    }

    fn plain(request: &Request) -> Result<Self, BadRequest> {
        let text = |name| Ok::<_, BadRequest>(request.parameter(name)?.map(str::to_owned));
        Ok(Self {
            code: text("code")?,
            iss: text("iss")?,
            error: text("error")?,
            description: text("error_description")?,
            user: None,
        })
    }
}

/// Redirects the browser with the answer that it posted. The GET does the rest.
pub(super) fn pass_on(app: &App, request: &Request, provider: &Provider) -> Result<Response, Error> {
    let state = request.parameter("state")?.filter(|state| !state.is_empty());
    let state = state.ok_or(Error::NoState)?;
    let mut form = form_urlencoded::Serializer::new(String::new());
    for name in ["code", "iss", "error", "error_description"] {
        if let Some(value) = request.parameter(name)? {
            form.append_pair(name, value);
        }
    }
    if let Some(user) = request.parameter("user")?.filter(|user| user.len() <= MAX_USER) {
        form.append_pair("user", user);
    }
    let too_long = || Error::TooLong(request.parameter("code").ok().flatten().map_or(0, str::len));
    let sealed = match app
        .session_key
        .seal(&context(provider, state), form.finish().as_bytes())
    {
        Err(KeyError::TooLong) => return Err(too_long()),
        sealed => sealed.map_err(Error::Seal)?,
    };
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("state", state)
        .append_pair(SEALED, &sealed)
        .finish();
    let location = format!(
        "{}/auth/oauth_callback/{}?{query}",
        app.address.text,
        provider.name()
    );
    if location.len() > MAX_LOCATION {
        return Err(too_long());
    }
    Ok(response::see_other(&location))
}

/// An answer is sealed for one sign-in with one provider, and separately from everything else under the key.
fn context(provider: &Provider, state: &str) -> String {
    format!("form_post {} {state}", provider.name())
}

/// The name in Apple's JSON (developer.apple.com, "Authenticating users with Sign in with Apple"): `{"name":
/// {"firstName": …, "lastName": …}, "email": …}`.
pub(super) fn name(user: &str) -> Option<String> {
    let user: Value = serde_json::from_str(user).ok()?;
    let names = user.get("name")?;
    let part = |name| {
        let text = names.get(name)?.as_str()?.trim();
        (!text.is_empty()).then_some(text)
    };
    let parts: Vec<&str> = [part("firstName"), part("lastName")]
        .into_iter()
        .flatten()
        .collect();
    let name = text::plain(&parts.join(" "));
    (!name.is_empty() && !name.contains(is_unsafe)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn p9_only_the_name_is_read_from_apples_json() {
        for (user, expected) in [
            (
                r#"{"name":{"firstName":"Ann","lastName":"Lee"},"email":"x@example.org"}"#,
                Some("Ann Lee"),
            ),
            (r#"{"name":{"firstName":" Ann ","lastName":""}}"#, Some("Ann")),
            (r#"{"name":{"firstName":"A\u202enn"}}"#, Some("Ann")),
            (r#"{"name":{}}"#, None),
            (r#"{"name":"Ann"}"#, None),
            (r#"{"name":{"firstName":1}}"#, None),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(name(user).as_deref(), expected, "{user}");
        }
    }
}
