//! What the operator says of a provider.

use std::path::PathBuf;

use secrecy::SecretString;
use url::Url;

use crate::client::ClientAuth;
use crate::mapping::Mapping;

/// One provider, as configured.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// Its name: in URLs, in `provider_id`.
    pub name: String,
    /// Which protocol.
    pub kind: ProviderKind,
    /// The client id.
    pub client_id: String,
    /// How the gateway proves that it is that client.
    pub client_auth: ClientAuth,
    /// Whether its verified addresses may find an existing user.
    pub trusted_email: bool,
    /// Whether it may be at private addresses although its issuer does not say so: a name of the operator's own network.
    pub allow_private_addresses: bool,
    /// All scopes that are asked for.
    pub scopes: Vec<String>,
    /// When the userinfo endpoint is asked.
    pub userinfo: Userinfo,
    /// Where the provider describes itself, if not below its issuer's identifier.
    pub discovery: Option<Url>,
    /// Audiences beside the client id that ID tokens may have (OpenID Connect Core 1.0 section 3.1.3.7, step 3).
    pub audiences: Vec<String>,
    /// Whether its addresses count as verified where it does not say whether they are.
    pub assume_email_verified: bool,
    /// Where the issuer is a template: the tenants whose people may sign in.
    pub tenants: Vec<String>,
    /// Whether ID tokens must repeat the nonce.
    pub nonce: NonceRule,
    /// How the provider sends its answer to the callback.
    pub response_mode: ResponseMode,
    /// Whether authorization requests are pushed (RFC 9126).
    pub par: Par,
    /// What `prompt` asks for (OpenID Connect Core 1.0 section 3.1.2.1).
    pub prompt: Option<String>,
    /// Further parameters of authorization requests.
    pub authorization_parameters: Vec<(String, String)>,
    /// What people call it.
    pub display_name: Option<String>,
    /// What it is recognised by.
    pub icon: Option<Icon>,
    /// How far a sign-out goes.
    pub sign_out: SignOut,
}

/// The placeholder in the identifier of an issuer that stands for all tenants of a provider, as Entra ID writes it.
pub const TENANT: &str = "{tenantid}";

/// Whether ID tokens must repeat the nonce of the sign-in (OpenID Connect Core 1.0 section 3.1.3.7, step 11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonceRule {
    /// They must.
    #[default]
    Required,
    /// They may leave it out; a wrong one is rejected all the same.
    Optional,
    /// None is sent.
    Off,
}

/// How the provider sends its answer to the callback (OAuth 2.0 Multiple Response Type Encoding Practices, and OAuth 2.0
/// Form Post Response Mode).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseMode {
    /// In the query of a GET.
    #[default]
    Query,
    /// In the form of a POST.
    FormPost,
}

/// Whether authorization requests are pushed (RFC 9126).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Par {
    /// Where the provider requires it.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a provider is recognised by on pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Icon {
    /// A mark that the gateway has, by its name.
    Mark(String),
    /// A PNG or SVG file of the operator's.
    File(PathBuf),
}

impl ProviderConfig {
    /// A provider with the defaults of every setting.
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
    /// OAuth 2.0 (RFC 6749) and nothing more: who the person is comes from an endpoint that the operator names.
    OAuth2(Box<OAuth2>),
}

/// A provider that speaks OAuth 2.0 and nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth2 {
    /// What stands for the issuer in its people's identities: an absolute URL that the operator chooses once and for all.
    pub issuer: String,
    /// The authorization endpoint.
    pub authorize: Url,
    /// The token endpoint.
    pub token: Url,
    /// Where it says who the owner of an access token is.
    pub userinfo: Url,
    /// Where in that answer everything is.
    pub mapping: Mapping,
}

impl ProviderKind {
    /// The scopes that are asked for unless others are configured.
    #[must_use]
    pub const fn scopes(&self) -> &'static [&'static str] {
        match self {
            Self::Oidc { .. } => &["openid", "email", "profile"],
            Self::GitHub { .. } => &["read:user", "user:email"],
            Self::OAuth2(_) => &[],
        }
    }

    /// The issuer of the identities that come by it: an OpenID Connect issuer's identifier, or the origin of GitHub's web
    /// address.
    #[must_use]
    pub fn issuer(&self) -> String {
        match self {
            Self::Oidc { issuer } => issuer.clone(),
            Self::GitHub { web, .. } => web.origin().ascii_serialization(),
            Self::OAuth2(oauth2) => oauth2.issuer.clone(),
        }
    }
}
