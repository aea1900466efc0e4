//! What the operator says of a provider.

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

/// One provider, as configured.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// Its name: in URLs, in `provider_id`.
    pub name: String,
    /// Which protocol.
    pub kind: ProviderKind,
    /// The client id.
    pub client_id: String,
    /// The client secret.
    pub client_secret: SecretString,
    /// Whether its verified addresses may find an existing user.
    pub trusted_email: bool,
    /// Whether it may be at private addresses although its issuer does not say so: a name of the operator's own network.
    pub allow_private_addresses: bool,
    /// Scopes beyond the protocol's own.
    pub scopes: Vec<String>,
}

/// Which protocol a provider speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// OpenID Connect with discovery.
    Oidc {
        /// The exact issuer identifier, character for character: `https://accounts.google.com` and the
        /// same with a slash at its end are two.
        issuer: String,
    },
    /// GitHub's OAuth, or a GitHub Enterprise Server.
    GitHub {
        /// `https://github.com`
        web: Url,
        /// `https://api.github.com`
        api: Url,
    },
}

impl ProviderKind {
    /// The issuer of the identities that come by it: an OpenID Connect issuer's identifier, or the origin of GitHub's web
    /// address.
    #[must_use]
    pub fn issuer(&self) -> String {
        match self {
            Self::Oidc { issuer } => issuer.clone(),
            Self::GitHub { web, .. } => web.origin().ascii_serialization(),
        }
    }
}

/// Limits on what an upstream may make us wait for or read.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// For one request, connect to last byte.
    pub timeout: Duration,
    /// Largest body, in bytes.
    pub max_body: usize,
}
