//! The exchange of an authorization code for tokens (RFC 6749 section 4.1.3).

use std::sync::Arc;

use gateway_model::Clock;
use http::StatusCode;
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::Url;

use crate::authorize::Parameters;
use crate::client::{Sent, Server};
use crate::config::ProviderConfig;
use crate::error::{Refusal, UpstreamError};
use crate::http::{HttpError, Requests};
use crate::json::{self, Members};

const WHAT: &str = "the token endpoint";

/// The gateway as a client of one provider.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) config: ProviderConfig,
    pub(crate) redirect_uri: Url,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The members of a token response that the gateway uses.
pub(crate) struct Tokens {
    pub(crate) access_token: SecretString,
    /// OpenID Connect Core 1.0 section 3.1.3.3.
    pub(crate) id_token: Option<SecretString>,
    /// The granted scopes, if the provider lists them (RFC 6749 section 5.1).
    pub(crate) scopes: Option<Vec<String>>,
}

opaque_debug!(Tokens);

/// The answer of an endpoint at which clients authenticate: a JSON object, which may be a refusal.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) members: Map<String, Value>,
    sent: Sent,
}

impl Answer {
    /// The error that the endpoint reports (RFC 6749 section 5.2), without anything that was sent to it.
    pub(crate) fn refusal(&self) -> Refusal {
        let text = |name| self.members.get(name).and_then(Value::as_str);
        let description = text("error_description").map(|description| self.sent.removed_from(description));
        Refusal::new(text("error").unwrap_or_default(), description.as_deref())
    }
}

impl Client {
    /// Posts a form to an endpoint at which clients authenticate.
    pub(crate) async fn post(
        &self,
        requests: &Requests<'_>,
        what: &'static str,
        endpoint: &Url,
        server: Server<'_>,
        form: &Parameters<'_>,
    ) -> Result<Answer, UpstreamError> {
        let failed = |error| UpstreamError::Http { what, error };
        let auth = &self.config.client_auth;
        let request = auth.request(endpoint, &self.config.client_id, server, form, self.clock.now())?;
        let sent = Sent::of(&request, auth);
        let answer = requests.send(request).await.map_err(failed)?;
        let status = answer.status();
        // A later attempt may succeed, regardless of the body.
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(failed(HttpError::Status(status.as_u16())));
        }
        match json::object(answer.body()) {
            Ok(members) => Ok(Answer {
                status,
                members,
                sent,
            }),
            Err(_) if !status.is_success() => Err(failed(HttpError::Status(status.as_u16()))),
            Err(problem) => Err(UpstreamError::unreadable(what, problem)),
        }
    }

    /// Exchanges a code. `verifier` is the PKCE verifier (RFC 7636 section 4.5).
    ///
    /// Other members of the answer, `expires_in` and `token_type` among them, may have any type. The access token is
    /// used as a bearer token (RFC 6750), once and immediately; a provider that meant another kind rejects it.
    pub(crate) async fn exchange(
        &self,
        requests: &Requests<'_>,
        server: Server<'_>,
        code: &str,
        verifier: &str,
    ) -> Result<Tokens, UpstreamError> {
        let form = vec![
            ("grant_type".into(), "authorization_code".into()),
            ("code".into(), code.into()),
            ("redirect_uri".into(), self.redirect_uri.as_str().into()),
            ("code_verifier".into(), verifier.into()),
        ];
        let answer = self
            .post(requests, WHAT, server.token_endpoint, server, &form)
            .await?;
        let has = |name| answer.members.contains_key(name);
        // GitHub sends refusals with status 200.
        if !answer.status.is_success() || (has("error") && !has("access_token")) {
            return Err(UpstreamError::TokenRefused(answer.refusal()));
        }
        let members = Members(&answer.members);
        let unfit = |unfit| UpstreamError::bad_response(WHAT, unfit);
        let secret = |text: &str| SecretString::from(text.to_owned());
        Ok(Tokens {
            access_token: members.required_text("access_token").map(secret).map_err(unfit)?,
            id_token: members.text("id_token").map_err(unfit)?.map(secret),
            scopes: scopes(members),
        })
    }
}

/// The scopes, as one string or as a list. Other types are ignored: no sign-in fails because of this member.
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
