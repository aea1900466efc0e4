//! A grant as every fake provider keeps it: the authorization request and the token request must match (RFC 6749 sections
//! 4.1.1 and 4.1.3, PKCE in RFC 7636).

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::browser::parameter;

/// The part of an authorization request that the token request must match.
#[derive(Debug)]
pub struct Grant {
    challenge: String,
    /// The redirect URI of the authorization request.
    pub redirect_uri: String,
    /// The nonce for the ID token.
    pub nonce: Option<String>,
}

impl Grant {
    /// Reads an authorization request of `client_id`. Returns the grant and the request's state.
    ///
    /// # Errors
    /// A message that says which parameters are missing or wrong.
    pub fn requested(url: &Url, client_id: &str) -> Result<(Self, String), &'static str> {
        let asked = |name| parameter(url, name);
        let (Some(redirect_uri), Some(state), Some(challenge)) =
            (asked("redirect_uri"), asked("state"), asked("code_challenge"))
        else {
            return Err("redirect_uri, state or code_challenge is missing");
        };
        if asked("client_id").as_deref() != Some(client_id)
            || asked("response_type").as_deref() != Some("code")
            || asked("code_challenge_method").as_deref() != Some("S256")
        {
            return Err("client_id, response_type or code_challenge_method is wrong");
        }
        let grant = Self {
            challenge,
            redirect_uri,
            nonce: asked("nonce"),
        };
        Ok((grant, state))
    }

    /// Whether the form of a token request matches.
    pub fn matches(&self, form: &HashMap<String, String>) -> bool {
        let verifier = form.get("code_verifier").map_or("", String::as_str);
        URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) == self.challenge
            && form.get("redirect_uri") == Some(&self.redirect_uri)
            && form.get("grant_type").map(String::as_str) == Some("authorization_code")
    }
}
