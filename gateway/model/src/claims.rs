//! What an upstream provider said of the person who signs in, once it has been validated.

use serde_json::{Map, Value};

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
}
