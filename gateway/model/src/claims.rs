//! What an upstream provider said of the person who signs in, once it has been validated.

use std::fmt;

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::user::{Email, Identity};

/// A person as an upstream provider describes them.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamUser {
    /// Who they are.
    pub identity: Identity,
    /// The address, only where the provider says (by a JSON `true`) that it is verified.
    pub email: Option<Email>,
    /// The display name; empty where there is none.
    pub name: String,
    /// Where the picture is: an absolute http or https URL.
    pub avatar_url: Option<String>,
    /// The claims as the provider gave them, for the hooks.
    pub claims: Map<String, Value>,
    /// The session that the person has at the provider.
    pub session: UpstreamSession,
}

/// The session that a person has at an upstream provider.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UpstreamSession {
    /// The provider's name for it: `sid` of the ID token (OpenID Connect Back-Channel Logout 1.0 section 2.1).
    pub sid: Option<String>,
    /// When the provider signed the ID token, by its own clock: `iat`.
    pub issued: Option<Timestamp>,
    /// The ID token as it came, where the provider is to be told of a sign-out.
    pub id_token: Option<String>,
}

impl fmt::Debug for UpstreamSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamSession").finish_non_exhaustive()
    }
}
