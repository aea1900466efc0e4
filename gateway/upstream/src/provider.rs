//! One provider, whichever protocol it speaks.

use std::sync::Arc;

use gateway_model::{Clock, UpstreamUser};
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

use crate::check::{Finding, Findings};
use crate::config::{Icon, ProviderConfig, ProviderKind, ResponseMode};
use crate::error::UpstreamError;
use crate::flow::{Authorization, Callback, Flow, Hints};
use crate::github::GitHub;
use crate::http::HttpLimits;
use crate::logout::{EndSession, LogoutError, LogoutToken, MAX_LOGOUT_TOKENS};
use crate::names::{Names, SystemNames};
use crate::oauth::OAuth;
use crate::oidc::Oidc;

/// Sign-ins that wait for one provider at once: each has its own share, so that one that has stopped answering does not
/// take all of the gateway's connections with it.
pub const MAX_WAITING: usize = 256;

/// One upstream provider, ready to sign people in.
#[derive(Debug)]
pub struct Provider {
    name: String,
    look: (Option<String>, Option<Icon>),
    response_mode: ResponseMode,
    protocol: Protocol,
    places: Semaphore,
    /// For logout tokens, so that neither they nor sign-ins keep the others out.
    logout_places: Semaphore,
}

#[derive(Debug)]
enum Protocol {
    Oidc(Box<Oidc>),
    GitHub(Box<GitHub>),
    OAuth(Box<OAuth>),
}

impl Provider {
    /// Makes one from its configuration. Asks nobody: discovery happens at the first sign-in.
    /// `redirect_uri` is our callback for this provider.
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

    /// The same, where somebody else than the operating system knows the addresses of hosts.
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
        let name = config.name.clone();
        let look = (config.display_name.clone(), config.icon.clone());
        let response_mode = config.response_mode;
        let protocol = match config.kind.clone() {
            ProviderKind::Oidc { issuer } => {
                let oidc = Oidc::new(config, issuer, redirect_uri, limits, clock, names)?;
                Protocol::Oidc(Box::new(oidc))
            }
            ProviderKind::GitHub { web, api } => {
                let github = GitHub::new(config, &web, &api, redirect_uri, limits, clock, names)?;
                Protocol::GitHub(Box::new(github))
            }
            ProviderKind::OAuth2(kind) => {
                let oauth = OAuth::new(config, *kind, redirect_uri, limits, clock, names)?;
                Protocol::OAuth(Box::new(oauth))
            }
        };
        Ok(Self {
            name,
            look,
            response_mode,
            protocol,
            places: Semaphore::new(MAX_WAITING),
            logout_places: Semaphore::new(MAX_LOGOUT_TOKENS),
        })
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its issuer identifier, as in the identities it gives: an absolute URL. For GitHub, which has
    /// none, its web address' origin.
    #[must_use]
    pub fn issuer(&self) -> &str {
        match &self.protocol {
            Protocol::Oidc(oidc) => oidc.issuer(),
            Protocol::GitHub(github) => github.issuer(),
            Protocol::OAuth(oauth) => oauth.issuer(),
        }
    }

    /// What people call it, where that is configured.
    #[must_use]
    pub fn display_name(&self) -> Option<&str> {
        self.look.0.as_deref()
    }

    /// What it is recognised by, where that is configured.
    #[must_use]
    pub const fn icon(&self) -> Option<&Icon> {
        self.look.1.as_ref()
    }

    /// Whether its answers may come in the form of a POST.
    #[must_use]
    pub fn posts_its_answer(&self) -> bool {
        self.response_mode == ResponseMode::FormPost
    }

    /// Whether an answer with this `iss` can be of this provider (RFC 9207 section 2.4), as far as that is known without
    /// asking it.
    #[must_use]
    pub fn may_be(&self, iss: &str) -> bool {
        match &self.protocol {
            Protocol::Oidc(oidc) => oidc.is_issuer(iss),
            Protocol::GitHub(github) => github.is_issuer(iss),
            // Its issuer is the operator's choice.
            Protocol::OAuth(_) => true,
        }
    }

    /// Begins a sign-in, with a new state, nonce and verifier.
    ///
    /// # Errors
    /// When the provider has to be asked where to send people, and does not say.
    pub async fn begin(&self) -> Result<Authorization, UpstreamError> {
        self.begin_with(Hints::default()).await
    }

    /// The same, with what an application asks for.
    ///
    /// # Errors
    /// As [`Provider::begin`].
    pub async fn begin_with(&self, hints: Hints<'_>) -> Result<Authorization, UpstreamError> {
        let _place = self.place()?;
        match &self.protocol {
            Protocol::Oidc(oidc) => oidc.begin(hints).await,
            Protocol::GitHub(github) => Ok(github.begin(hints)),
            Protocol::OAuth(oauth) => Ok(oauth.begin(hints)),
        }
    }

    /// Ends a sign-in: exchanges the code and finds out who the person is.
    ///
    /// # Errors
    /// Whatever keeps the provider from confirming it.
    pub async fn finish(&self, flow: &Flow, callback: Callback<'_>) -> Result<UpstreamUser, UpstreamError> {
        self.finish_with(flow, callback, false).await
    }

    /// The same. Where hooks read claims, the provider is asked for more of them than the profile needs.
    ///
    /// # Errors
    /// As [`Provider::finish`].
    pub async fn finish_with(
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

    /// Asks the provider what a sign-in would ask it, without one, and says what would go wrong.
    pub async fn check(&self) -> Vec<Finding> {
        let mut findings = Findings::default();
        match &self.protocol {
            Protocol::Oidc(oidc) => oidc.check(&mut findings).await,
            Protocol::GitHub(github) => github.check(&mut findings).await,
            Protocol::OAuth(oauth) => oauth.check(&mut findings).await,
        }
        findings.0
    }

    /// Whether people who sign out are to be signed out at the provider too.
    #[must_use]
    pub fn signs_out(&self) -> bool {
        match &self.protocol {
            Protocol::Oidc(oidc) => oidc.signs_out(),
            Protocol::GitHub(_) | Protocol::OAuth(_) => false,
        }
    }

    /// Where a person signs out at the provider, who comes back from there; `None` where it has no such address.
    ///
    /// # Errors
    /// When the provider has to be asked for it, and does not say.
    pub async fn end_session(&self, request: &EndSession<'_>) -> Result<Option<Url>, UpstreamError> {
        match &self.protocol {
            Protocol::Oidc(oidc) => {
                let _place = self.place()?;
                oidc.end_session(request).await
            }
            Protocol::GitHub(_) | Protocol::OAuth(_) => Ok(None),
        }
    }

    /// Whether it has a protocol by which it can say that somebody has signed out there.
    #[must_use]
    pub fn has_logout_tokens(&self) -> bool {
        matches!(self.protocol, Protocol::Oidc(_))
    }

    /// What a logout token says, if it is one of this provider for this client (OpenID Connect Back-Channel Logout 1.0
    /// section 2.6). Whether it has been used before is not known here.
    ///
    /// # Errors
    /// [`LogoutError::Invalid`] where it is not, [`LogoutError::Unknown`] where that cannot be told now.
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
