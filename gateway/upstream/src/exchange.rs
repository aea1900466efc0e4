//! The exchange of an authorization code for tokens (RFC 6749 section 4.1.3): what is sent, and what is read of the answer.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gateway_model::text::without_unsafe;
use http::Request;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::{Url, form_urlencoded};

use crate::error::{Refusal, UpstreamError};
use crate::http::{HttpError, HttpRequest, HttpResponse, Requests};
use crate::json::{self, Members};

const WHAT: &str = "the token endpoint";

/// How the gateway proves who it is (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    /// The id and the secret in a header.
    Basic,
    /// The id and the secret in the form.
    Post,
}

/// The exchange of one code.
pub(crate) struct Exchange<'a> {
    pub(crate) endpoint: &'a Url,
    pub(crate) client_id: &'a str,
    pub(crate) client_secret: &'a SecretString,
    pub(crate) auth: ClientAuth,
    pub(crate) redirect_uri: &'a Url,
    pub(crate) code: &'a str,
    /// The PKCE verifier (RFC 7636 section 4.5).
    pub(crate) verifier: &'a str,
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
        let request = self.request()?;
        let answer = requests
            .send(request)
            .await
            .map_err(|error| UpstreamError::Http { what: WHAT, error })?;
        self.read(&answer)
    }

    fn request(&self) -> Result<HttpRequest, UpstreamError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", self.code)
            .append_pair("redirect_uri", self.redirect_uri.as_str())
            .append_pair("code_verifier", self.verifier);
        let mut request = Request::post(self.endpoint.as_str())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        match self.auth {
            ClientAuth::Basic => request = request.header(AUTHORIZATION, format!("Basic {}", self.basic())),
            ClientAuth::Post => {
                form.append_pair("client_id", self.client_id)
                    .append_pair("client_secret", self.client_secret.expose_secret());
            }
        }
        request
            .body(form.finish().into_bytes())
            .map_err(|_| bad("the request cannot be written"))
    }

    /// The id and the secret, each encoded as in a form first (RFC 6749 section 2.3.1).
    fn basic(&self) -> String {
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let secret = encode(self.client_secret.expose_secret());
        STANDARD.encode(format!("{}:{secret}", encode(self.client_id)))
    }

    /// Only the members that count are read: others, `expires_in` and `token_type` among them, may be of any type. The
    /// token is used as a bearer token (RFC 6750), once and at once; a provider that meant another kind refuses it.
    fn read(&self, answer: &HttpResponse) -> Result<Tokens, UpstreamError> {
        let status = answer.status();
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
            let description = text("error_description").map(|description| self.without_secrets(description));
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

    /// A description may repeat what was sent. That stays out of the log.
    fn without_secrets(&self, text: &str) -> String {
        let secret = self.client_secret.expose_secret();
        let mut sent = vec![self.basic()];
        for secret in [self.code, self.verifier, secret]
            .into_iter()
            .filter(|sent| !sent.is_empty())
        {
            sent.push(form_urlencoded::byte_serialize(secret.as_bytes()).collect());
            sent.push(secret.to_owned());
        }
        // One may be a part of another.
        sent.sort_by_key(|sent| std::cmp::Reverse(sent.len()));
        let text = without_unsafe(text);
        sent.iter()
            .fold(text, |text, sent| text.replace(sent, "[removed]"))
    }
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
