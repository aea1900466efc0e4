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
    /// When the userinfo endpoint is asked.
    pub userinfo: Userinfo,
    /// How far a sign-out goes.
    pub sign_out: SignOut,
}

impl ProviderConfig {
    /// A provider with the defaults of every setting.
    #[must_use]
    pub fn new(name: &str, kind: ProviderKind, client_id: &str, client_secret: SecretString) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            client_id: client_id.to_owned(),
            client_secret,
            trusted_email: false,
            allow_private_addresses: false,
            scopes: Vec::new(),
            userinfo: Userinfo::default(),
            sign_out: SignOut::default(),
        }
    }
}

/// When the userinfo endpoint of an OpenID Connect provider is asked (OpenID Connect Core 1.0 section 5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Userinfo {
    /// Where it may add something: the ID token has no name or no address, or hooks read claims. A failure is logged,
    /// and the person signs in with what the ID token says.
    #[default]
    Auto,
    /// At every sign-in. A failure is logged, and the person signs in with what the ID token says.
    Always,
    /// Never.
    Never,
    /// At every sign-in. A failure ends the sign-in.
    Required,
}

/// How far a sign-out goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignOut {
    /// The session at the gateway ends, and the one at the provider goes on.
    #[default]
    Local,
    /// The person is sent to the provider, which ends its session too (OpenID Connect RP-Initiated Logout 1.0).
    Provider,
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
