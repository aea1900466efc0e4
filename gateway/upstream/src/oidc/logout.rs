//! RP-initiated sign-out, and the provider's logout tokens.

use std::sync::Arc;

use gateway_model::{Timestamp, UpstreamSession};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use url::Url;

use super::Oidc;
use super::discovery::{Known, Token};
use crate::config::SignOut;
use crate::error::UpstreamError;
use crate::exchange::Tokens;
use crate::json::{self, Members};
use crate::jws::Unverified;
use crate::logout::{self, EndSession, LogoutError, LogoutToken, MAX_ID_TOKEN_HINT, MAX_LOGOUT_TOKEN};

impl Oidc {
    /// The user's session at the provider, from the claims of a valid ID token.
    pub(super) fn session(&self, claims: &Map<String, Value>, tokens: &Tokens) -> UpstreamSession {
        let id_token = tokens.id_token.as_ref().filter(|_| self.signs_out());
        let id_token = id_token.map(|token| token.expose_secret().to_owned());
        let time = |name| Members(claims).time(name).ok().flatten().map(Timestamp);
        UpstreamSession {
            sid: claims.get("sid").and_then(Value::as_str).map(str::to_owned),
            issued: time("iat"),
            authenticated: time("auth_time"),
            id_token: id_token.filter(|token| token.len() <= MAX_ID_TOKEN_HINT),
        }
    }

    pub(crate) fn signs_out(&self) -> bool {
        self.client.config.sign_out == SignOut::Provider
    }

    /// The sign-out URL; `None` if the provider has no such endpoint, or an insecure one.
    pub(crate) async fn end_session(&self, request: &EndSession<'_>) -> Result<Option<Url>, UpstreamError> {
        let provider = self.discovery.known().await?;
        // A malformed member affects nobody else, so it counts as absent.
        let endpoint = provider
            .metadata
            .members()
            .url("end_session_endpoint")
            .ok()
            .flatten();
        let endpoint = endpoint.filter(|endpoint| self.http.is_secure(endpoint));
        Ok(endpoint.map(|endpoint| request.url(endpoint, &self.client.config.client_id)))
    }

    /// Validates a logout token (Back-Channel Logout 1.0 section 2.6).
    pub(crate) async fn logout_token(&self, token: &str) -> Result<LogoutToken, LogoutError> {
        if token.len() > MAX_LOGOUT_TOKEN {
            return Err(LogoutError::invalid(&"it has more than 16 KiB"));
        }
        let provider = self.discovery.known().await?;
        let verify = move |provider: Arc<Known>| async move {
            let algorithms = provider.metadata.algorithms.clone();
            self.verify(&provider, token, algorithms, logout::TYPES).await
        };
        let mut signed = verify(Arc::clone(&provider)).await;
        if signed.as_ref().is_err_and(Unverified::may_be_new_key) {
            let newer = self.discovery.again(Token::Logout).await?;
            let was_asked = !Arc::ptr_eq(&newer, &provider);
            signed = verify(newer).await;
            // Another token has just used up the limit on fetching keys, so this one cannot be decided now.
            if !was_asked && signed.as_ref().is_err_and(Unverified::is_unknown_key) {
                return Err(LogoutError::Unknown(UpstreamError::KeyUnknown));
            }
        }
        let signed = signed.map_err(|reason| LogoutError::invalid(&reason))?;
        // A provider with many tenants issues tokens in the name of one of them.
        let claims = json::object(&signed.payload).unwrap_or_default();
        let issuer = match claims.get("iss").and_then(Value::as_str) {
            Some(issuer) if self.is_issuer(issuer) && self.may_sign_for(&signed, issuer) => issuer,
            _ => &self.discovery.issuer,
        };
        let client = &self.client;
        logout::read(
            &signed.payload,
            issuer,
            &client.config.client_id,
            client.clock.now(),
        )
    }
}
