//! The exchange of an authorization code for tokens (RFC 6749 section 4.1.3): what is sent, and what is read of the answer.

use std::fmt;

use gateway_model::Timestamp;
use http::StatusCode;
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use crate::client::{ClientAuth, Sent, Server};
use crate::error::{Refusal, UpstreamError};
use crate::http::{HttpError, HttpResponse, Requests};
use crate::json::{self, Members};

const WHAT: &str = "the token endpoint";

/// The exchange of one code.
pub(crate) struct Exchange<'a> {
    pub(crate) endpoint: &'a Url,
    pub(crate) client_id: &'a str,
    pub(crate) auth: &'a ClientAuth,
    pub(crate) server: Server<'a>,
    pub(crate) redirect_uri: &'a Url,
    pub(crate) code: &'a str,
    /// The PKCE verifier (RFC 7636 section 4.5).
    pub(crate) verifier: &'a str,
    pub(crate) now: Timestamp,
}

/// What a token endpoint answered: the members that the gateway uses.
pub(crate) struct Tokens {
    pub(crate) access_token: SecretString,
    /// OpenID Connect Core 1.0 section 3.1.3.3.
    pub(crate) id_token: Option<SecretString>,
    /// What the person let us have, where the provider says so (RFC 6749 section 5.1).
    pub(crate) scopes: Option<Vec<String>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Exchange<'_> {
    /// Sends the request, and reads the answer.
    ///
    /// # Errors
    /// When the endpoint cannot be asked, refuses, or answers without a token.
    pub(crate) async fn send(&self, requests: &Requests<'_>) -> Result<Tokens, UpstreamError> {
        let form = [
            ("grant_type".into(), "authorization_code".into()),
            ("code".into(), self.code.into()),
            ("redirect_uri".into(), self.redirect_uri.as_str().into()),
            ("code_verifier".into(), self.verifier.into()),
        ];
        let request = self
            .auth
            .request(self.endpoint, self.client_id, self.server, &form, self.now)?;
        let sent = Sent::of(&request, self.auth);
        let answer = requests
            .send(request)
            .await
            .map_err(|error| UpstreamError::Http { what: WHAT, error })?;
        read(&answer, &sent)
    }
}

/// Only the members that count are read: others, `expires_in` and `token_type` among them, may be of any type. The
/// token is used as a bearer token (RFC 6750), once and at once; a provider that meant another kind refuses it.
fn read(answer: &HttpResponse, sent: &Sent) -> Result<Tokens, UpstreamError> {
    let status = answer.status();
    // Whatever else it says: the person may try again later.
    if status == StatusCode::TOO_MANY_REQUESTS {
        let error = HttpError::Status(status.as_u16());
        return Err(UpstreamError::Http { what: WHAT, error });
    }
    let members = match json::object(answer.body()) {
        Ok(members) => members,
        Err(_) if !status.is_success() => {
            let error = HttpError::Status(status.as_u16());
            return Err(UpstreamError::Http { what: WHAT, error });
        }
        Err(problem) => return Err(bad(&format!("the answer {problem}"))),
    };
    // GitHub refuses with status 200.
    if !status.is_success() || (members.contains_key("error") && !members.contains_key("access_token")) {
        let text = |name| members.get(name).and_then(Value::as_str);
        let description = text("error_description").map(|description| sent.removed_from(description));
        return Err(UpstreamError::TokenRefused(Refusal::new(
            text("error").unwrap_or_default(),
            description.as_deref(),
        )));
    }
    let members = Members(&members);
    let unfit = |unfit: json::Unfit| bad(&unfit.to_string());
    let secret = |text: &str| SecretString::from(text.to_owned());
    Ok(Tokens {
        access_token: members.required_text("access_token").map(secret).map_err(unfit)?,
        id_token: members.text("id_token").map_err(unfit)?.map(secret),
        scopes: scopes(members),
    })
}

/// The scopes, as one text or as a list. Other shapes say nothing: nobody is kept out by this member.
fn scopes(members: Members<'_>) -> Option<Vec<String>> {
    match members.0.get("scope")? {
        Value::String(text) => {
            // GitHub separates them by commas.
            let scopes = text.split([' ', ',']).filter(|scope| !scope.is_empty());
            Some(scopes.map(str::to_owned).collect())
        }
        Value::Array(scopes) => {
            let scopes = scopes.iter().filter_map(Value::as_str);
            Some(scopes.map(str::to_owned).collect())
        }
        _ => None,
    }
}

fn bad(problem: &str) -> UpstreamError {
    UpstreamError::BadResponse {
        what: WHAT,
        problem: problem.to_owned(),
    }
}
