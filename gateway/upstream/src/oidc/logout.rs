//! How an OpenID provider signs people out, and how it says that it has.

use gateway_model::{Timestamp, UpstreamSession};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use url::Url;

use super::Oidc;
use super::discovery::Known;
use crate::config::SignOut;
use crate::error::UpstreamError;
use crate::exchange::Tokens;
use crate::json::{self, Members};
use crate::jws;
use crate::logout::{self, EndSession, LogoutError, LogoutToken, MAX_ID_TOKEN_HINT, MAX_LOGOUT_TOKEN};

impl Oidc {
    /// The person's session at the provider, by the claims of a valid ID token.
    pub(super) fn session(&self, claims: &Map<String, Value>, tokens: &Tokens) -> UpstreamSession {
        let id_token = tokens.id_token.as_ref().filter(|_| self.signs_out());
        let id_token = id_token.map(|token| token.expose_secret().to_owned());
        UpstreamSession {
            sid: claims.get("sid").and_then(Value::as_str).map(str::to_owned),
            issued: Members(claims).time("iat").ok().flatten().map(Timestamp),
            id_token: id_token.filter(|token| token.len() <= MAX_ID_TOKEN_HINT),
        }
    }

    /// Whether a sign-out goes as far as the provider.
    pub(crate) fn signs_out(&self) -> bool {
        self.config.sign_out == SignOut::Provider
    }

    /// Where a person signs out at the provider; `None` where it has no such address, or none that is safe to go to.
    pub(crate) async fn end_session(&self, request: &EndSession<'_>) -> Result<Option<Url>, UpstreamError> {
        let provider = self.discovery.known().await?;
        // Only who is to be signed out there minds what it says of this.
        let endpoint = provider
            .metadata
            .members()
            .url("end_session_endpoint")
            .ok()
            .flatten();
        let endpoint = endpoint.filter(|endpoint| self.http.is_secure(endpoint));
        Ok(endpoint.map(|endpoint| request.url(endpoint, &self.config.client_id)))
    }

    /// What a logout token says, if it is this provider's, for this client (Back-Channel Logout 1.0 section 2.6).
    pub(crate) async fn logout_token(&self, token: &str) -> Result<LogoutToken, LogoutError> {
        if token.len() > MAX_LOGOUT_TOKEN {
            return Err(LogoutError::invalid(&"it has more than 16 KiB"));
        }
        let mut provider = self.discovery.known().await?;
        let verify =
            |known: &Known| jws::verify(token, &known.keys, &known.metadata.algorithms, logout::TYPES);
        let signed = match verify(&provider) {
            Err(reason) if reason.may_be_new_key() => {
                provider = self.discovery.again().await?;
                verify(&provider)
            }
            verified => verified,
        };
        let signed = signed.map_err(|reason| LogoutError::invalid(&reason))?;
        // Of a provider of many tenants, the issuer is the one that the token names, if it is one of theirs.
        let named = json::object(&signed.payload).ok();
        let named = named
            .as_ref()
            .and_then(|claims| claims.get("iss"))
            .and_then(Value::as_str);
        let issuer = match named {
            Some(issuer) if self.is_issuer(issuer) && self.may_sign_for(&signed, issuer) => issuer,
            _ => self.discovery.issuer(),
        };
        logout::read(&signed.payload, issuer, &self.config.client_id, self.clock.now())
    }
}
