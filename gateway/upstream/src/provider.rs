//! One provider, whichever protocol it speaks.

use std::sync::Arc;

use gateway_model::{Clock, UpstreamUser};
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

use crate::check::{Finding, Findings};
use crate::config::{Icon, ProviderConfig, ProviderKind, ResponseMode};
use crate::error::UpstreamError;
use crate::exchange::Client;
use crate::flow::{Authorization, Callback, Flow, Hints};
use crate::github::GitHub;
use crate::http::HttpLimits;
use crate::logout::{EndSession, LogoutError, LogoutToken, MAX_LOGOUT_TOKENS};
use crate::names::{Names, SystemNames};
use crate::oauth::OAuth;
use crate::oidc::Oidc;

/// The most sign-ins that wait for one provider at the same time. Each provider has its own limit, so one that has
/// stopped answering cannot take all of the gateway's connections.
pub const MAX_WAITING: usize = 256;

/// One upstream provider.
#[derive(Debug)]
pub struct Provider {
    protocol: Protocol,
    places: Semaphore,
    /// Separate, so that neither logout tokens nor sign-ins crowd out the other.
    logout_places: Semaphore,
}

#[derive(Debug)]
enum Protocol {
    Oidc(Box<Oidc>),
    GitHub(Box<GitHub>),
    OAuth(Box<OAuth>),
}

impl Provider {
    /// Creates a provider without contacting it: discovery happens at the first sign-in.
    /// `redirect_uri` is the gateway's callback for this provider.
    ///
    /// # Errors
    /// [`UpstreamError::Config`].
    pub fn new(
        config: ProviderConfig,
        redirect_uri: Url,
        limits: &HttpLimits,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, UpstreamError> {
        Self::with_names(config, redirect_uri, limits, clock, Arc::new(SystemNames))
    }

    /// Like [`Provider::new`], with another resolver than the operating system's.
    ///
    /// # Errors
    /// [`UpstreamError::Config`].
    pub fn with_names(
        config: ProviderConfig,
        redirect_uri: Url,
        limits: &HttpLimits,
        clock: Arc<dyn Clock>,
        names: Arc<dyn Names>,
    ) -> Result<Self, UpstreamError> {
        let kind = config.kind.clone();
        let client = Client {
            config,
            redirect_uri,
            clock,
        };
        let protocol = match kind {
            ProviderKind::Oidc { issuer } => {
                Protocol::Oidc(Box::new(Oidc::new(client, issuer, limits, names)?))
            }
            ProviderKind::GitHub { web, api } => {
                Protocol::GitHub(Box::new(GitHub::new(client, &web, &api, limits, names)?))
            }
            ProviderKind::OAuth2(kind) => {
                Protocol::OAuth(Box::new(OAuth::new(client, *kind, limits, names)?))
            }
        };
        Ok(Self {
            protocol,
            places: Semaphore::new(MAX_WAITING),
            logout_places: Semaphore::new(MAX_LOGOUT_TOKENS),
        })
    }

    fn config(&self) -> &ProviderConfig {
        match &self.protocol {
            Protocol::Oidc(oidc) => &oidc.client.config,
            Protocol::GitHub(github) => &github.client.config,
            Protocol::OAuth(oauth) => &oauth.client.config,
        }
    }

    /// The name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config().name
    }

    /// The issuer identifier in the identities of its users: an absolute URL. GitHub has none, so it is the origin of
    /// GitHub's web address.
    #[must_use]
    pub fn issuer(&self) -> &str {
        match &self.protocol {
            Protocol::Oidc(oidc) => &oidc.discovery.issuer,
            Protocol::GitHub(github) => &github.issuer,
            Protocol::OAuth(oauth) => &oauth.kind.issuer,
        }
    }

    /// The configured display name.
    #[must_use]
    pub fn display_name(&self) -> Option<&str> {
        self.config().display_name.as_deref()
    }

    /// The configured icon.
    #[must_use]
    pub fn icon(&self) -> Option<&Icon> {
        self.config().icon.as_ref()
    }

    /// Whether the provider may answer with a POST of a form.
    #[must_use]
    pub fn posts_its_answer(&self) -> bool {
        self.config().response_mode == ResponseMode::FormPost
    }

    /// Whether a callback with this `iss` (RFC 9207 section 2.4) can come from this provider, as far as that is known
    /// without contacting it.
    #[must_use]
    pub fn may_be(&self, iss: &str) -> bool {
        match &self.protocol {
            Protocol::Oidc(oidc) => oidc.is_issuer(iss),
            Protocol::GitHub(github) => github.is_issuer(iss),
            // The operator chose the issuer; the provider does not know it.
            Protocol::OAuth(_) => true,
        }
    }

    /// Begins a sign-in, with a new state, nonce and verifier.
    ///
    /// # Errors
    /// When the provider's metadata is not known and cannot be fetched, or a pushed authorization request fails.
    pub async fn begin(&self, hints: Hints<'_>) -> Result<Authorization, UpstreamError> {
        let _place = self.place()?;
        match &self.protocol {
            Protocol::Oidc(oidc) => oidc.begin(hints).await,
            Protocol::GitHub(github) => Ok(github.begin(hints)),
            Protocol::OAuth(oauth) => Ok(oauth.begin(hints)),
        }
    }

    /// Finishes a sign-in: exchanges the code and returns the user. If `hooks_read_claims`, an OpenID provider is also
    /// asked for claims beyond the profile.
    ///
    /// # Errors
    /// Any failure that keeps the provider from confirming who the user is.
    pub async fn finish(
        &self,
        flow: &Flow,
        callback: Callback<'_>,
        hooks_read_claims: bool,
    ) -> Result<UpstreamUser, UpstreamError> {
        let _place = self.place()?;
        match &self.protocol {
            Protocol::Oidc(oidc) => oidc.finish(flow, callback, hooks_read_claims).await,
            Protocol::GitHub(github) => github.finish(flow, callback).await,
            Protocol::OAuth(oauth) => oauth.finish(flow, callback).await,
        }
    }

    /// Sends the requests that a sign-in would send, and reports what would go wrong.
    pub async fn check(&self) -> Vec<Finding> {
        let mut findings = Findings::default();
        match &self.protocol {
            Protocol::Oidc(oidc) => oidc.check(&mut findings).await,
            Protocol::GitHub(github) => github.check(&mut findings).await,
            Protocol::OAuth(oauth) => oauth.check(&mut findings).await,
        }
        findings.0
    }

    /// Whether a sign-out includes the provider's session.
    #[must_use]
    pub fn signs_out(&self) -> bool {
        matches!(&self.protocol, Protocol::Oidc(oidc) if oidc.signs_out())
    }

    /// The URL at which a user signs out at the provider and is sent back; `None` if the provider has no such endpoint.
    ///
    /// # Errors
    /// When the provider's metadata is not known and cannot be fetched.
    pub async fn end_session(&self, request: &EndSession<'_>) -> Result<Option<Url>, UpstreamError> {
        let Protocol::Oidc(oidc) = &self.protocol else {
            return Ok(None);
        };
        let _place = self.place()?;
        oidc.end_session(request).await
    }

    /// Whether the protocol has back-channel logout.
    #[must_use]
    pub fn has_logout_tokens(&self) -> bool {
        matches!(self.protocol, Protocol::Oidc(_))
    }

    /// Validates a logout token (OpenID Connect Back-Channel Logout 1.0 section 2.6). The caller must check that it has
    /// not been used before.
    ///
    /// # Errors
    /// [`LogoutError::Invalid`] if it is not this provider's token for this client, [`LogoutError::Unknown`] if that
    /// cannot be decided now.
    pub async fn logout_token(&self, token: &str) -> Result<LogoutToken, LogoutError> {
        let Protocol::Oidc(oidc) = &self.protocol else {
            return Err(LogoutError::invalid(&"this provider has none"));
        };
        let _place = self
            .logout_places
            .try_acquire()
            .map_err(|_| UpstreamError::Overloaded)?;
        oidc.logout_token(token).await
    }

    fn place(&self) -> Result<SemaphorePermit<'_>, UpstreamError> {
        self.places.try_acquire().map_err(|_| UpstreamError::Overloaded)
    }
}
