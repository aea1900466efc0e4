//! The settings of a provider.

use std::path::PathBuf;

use secrecy::SecretString;
use url::Url;

use crate::client::ClientAuth;
use crate::mapping::Mapping;

/// The settings of one provider.
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "docs/configuration.md describes the setting of the same name"
)]
pub struct ProviderConfig {
    /// Appears in URLs and as `provider_id`.
    pub name: String,
    pub kind: ProviderKind,
    pub client_id: String,
    pub client_auth: ClientAuth,
    /// Whether a verified address may find an existing user.
    pub trusted_email: bool,
    /// Permits private addresses even if the issuer is not one: a host name in the operator's own network.
    pub allow_private_addresses: bool,
    pub scopes: Vec<String>,
    pub userinfo: Userinfo,
    /// The URL of the metadata, if it is not below the issuer identifier.
    pub discovery: Option<Url>,
    /// Audiences beside the client id that ID tokens may have (OpenID Connect Core 1.0 section 3.1.3.7, step 3).
    pub audiences: Vec<String>,
    /// Whether addresses count as verified when the provider does not say.
    pub assume_email_verified: bool,
    /// The tenants whose users may sign in, if the issuer contains [`TENANT`].
    pub tenants: Vec<String>,
    pub nonce: NonceRule,
    pub response_mode: ResponseMode,
    pub par: Par,
    /// OpenID Connect Core 1.0 section 3.1.2.1.
    pub prompt: Option<String>,
    /// Additional parameters of authorization requests.
    pub authorization_parameters: Vec<(String, String)>,
    pub display_name: Option<String>,
    pub icon: Option<Icon>,
    pub sign_out: SignOut,
}

/// The placeholder for the tenant in an issuer identifier, as Entra ID writes it.
pub const TENANT: &str = "{tenantid}";

/// Whether ID tokens must repeat the nonce of the sign-in (OpenID Connect Core 1.0 section 3.1.3.7, step 11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonceRule {
    /// A missing or wrong nonce is rejected.
    #[default]
    Required,
    /// A missing nonce is accepted, a wrong one is rejected.
    Optional,
    /// The gateway sends no nonce.
    Off,
}

/// How the provider sends its answer to the callback (OAuth 2.0 Multiple Response Type Encoding Practices, and OAuth
/// 2.0 Form Post Response Mode).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseMode {
    /// In the query of a GET request.
    #[default]
    Query,
    /// In the form of a POST request.
    FormPost,
}

/// Whether authorization requests are pushed (RFC 9126).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Par {
    /// If the provider requires it.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A provider's icon on pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Icon {
    /// The name of a built-in mark.
    Mark(String),
    /// A PNG or SVG file.
    File(PathBuf),
}

impl ProviderConfig {
    /// A provider with the default of every other setting.
    #[must_use]
    pub fn new(name: &str, kind: ProviderKind, client_id: &str, client_secret: SecretString) -> Self {
        let scopes = kind.scopes().iter().map(|scope| (*scope).to_owned()).collect();
        Self {
            name: name.to_owned(),
            kind,
            client_id: client_id.to_owned(),
            client_auth: ClientAuth::secret(client_secret),
            trusted_email: false,
            allow_private_addresses: false,
            scopes,
            userinfo: Userinfo::default(),
            discovery: None,
            audiences: Vec::new(),
            assume_email_verified: false,
            tenants: Vec::new(),
            nonce: NonceRule::default(),
            response_mode: ResponseMode::default(),
            par: Par::default(),
            prompt: None,
            authorization_parameters: Vec::new(),
            display_name: None,
            icon: None,
            sign_out: SignOut::default(),
        }
    }
}

/// When the gateway asks the userinfo endpoint (OpenID Connect Core 1.0 section 5.3). A failure is logged, and the
/// sign-in continues with the claims of the ID token, except with `Required`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Userinfo {
    /// If the ID token has no name or no address, or hooks read claims.
    #[default]
    Auto,
    /// At every sign-in.
    Always,
    /// Never.
    Never,
    /// At every sign-in. A failure ends the sign-in.
    Required,
}

/// Which sessions a sign-out ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignOut {
    /// Only the gateway's.
    #[default]
    Local,
    /// The provider's too: the user is sent there (OpenID Connect RP-Initiated Logout 1.0).
    Provider,
}

/// The protocol of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// OpenID Connect with discovery.
    Oidc {
        /// The issuer identifier, compared character by character: with and without a final slash are two issuers.
        issuer: String,
    },
    /// GitHub, or a GitHub Enterprise Server.
    GitHub {
        /// `https://github.com`
        web: Url,
        /// `https://api.github.com`
        api: Url,
    },
    /// Plain OAuth 2.0 (RFC 6749): the operator names the endpoint that identifies the user.
    OAuth2(Box<OAuth2>),
}

/// A plain OAuth 2.0 provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth2 {
    /// The issuer in the identities of its users: an absolute URL that the operator chooses and must never change.
    pub issuer: String,
    /// The authorization endpoint.
    pub authorize: Url,
    /// The token endpoint.
    pub token: Url,
    /// The endpoint that describes the owner of an access token.
    pub userinfo: Url,
    /// The places of the profile's members in that description.
    pub mapping: Mapping,
}

impl ProviderKind {
    /// The default scopes.
    #[must_use]
    pub const fn scopes(&self) -> &'static [&'static str] {
        match self {
            Self::Oidc { .. } => &["openid", "email", "profile"],
            Self::GitHub { .. } => &["read:user", "user:email"],
            Self::OAuth2(_) => &[],
        }
    }

    /// The issuer in the identities of its users. For GitHub it is the origin of the web address.
    #[must_use]
    pub fn issuer(&self) -> String {
        match self {
            Self::Oidc { issuer } => issuer.clone(),
            Self::GitHub { web, .. } => web.origin().ascii_serialization(),
            Self::OAuth2(oauth2) => oauth2.issuer.clone(),
        }
    }
}
