//! The state that all requests share. It is built once; only the parts that SIGHUP replaces change.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use gateway_host::PluginHost;
use gateway_model::{Clock, Random, UserLimits};
use gateway_store::Store;
use gateway_token::{SessionKey, SigningKeys};
use gateway_upstream::Provider;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use url::Origin;

use crate::config::Reloadable;
use crate::metrics::HttpMetrics;
use crate::pages::Offer;
use crate::rate_limit::RateLimits;
use crate::request_id::RequestIds;
use crate::token_cache::TokenCache;

/// The state that all requests share.
pub struct App {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub random: Arc<dyn Random>,
    /// Authenticates session tokens and sealed state.
    pub session_key: SessionKey,
    pub(crate) request_ids: RequestIds,
    pub(crate) store: Store,
    pub(crate) plugins: PluginHost,
    pub(crate) keys: SigningKeys,
    pub(crate) token_cache: TokenCache,
    /// In the order in which pages list them.
    pub(crate) providers: Vec<Provider>,
    /// How the ways to sign in look on pages, in the same order.
    pub(crate) offers: Vec<Offer>,
    /// Whether the development sign-in is offered.
    pub(crate) dev: bool,
    pub(crate) address: Address,
    pub(crate) session_lifetime: Duration,
    pub(crate) user_limits: UserLimits,
    /// The lifetime of permission tokens.
    pub(crate) token_lifetime: Duration,
    /// In bytes.
    pub(crate) max_body: usize,
    /// How long a request's body may take to arrive.
    pub(crate) body_timeout: Duration,
    /// The part of the configuration that SIGHUP replaces.
    pub(crate) live: ArcSwap<Reloadable>,
    /// Replaced together with `live`.
    pub(crate) rate_limits: ArcSwap<RateLimits>,
    /// Wakes the task that delivers sign-outs to hooks.
    pub(crate) logout_notifier: Notify,
    /// Tasks that outlive the request that started them. A shutdown waits for them.
    pub(crate) background: TaskTracker,
    pub(crate) http_metrics: HttpMetrics,
}

/// The gateway's public address: `EXTERNAL_ADDRESS`.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) origin: Origin,
    /// The origin as text, without a trailing slash: the beginning of URLs, and `iss`.
    pub(crate) text: String,
    /// Whether the scheme is https.
    pub(crate) secure: bool,
}

impl Address {
    pub(crate) fn new(url: &url::Url) -> Self {
        let origin = url.origin();
        Self {
            text: origin.ascii_serialization(),
            secure: url.scheme() == "https",
            origin,
        }
    }
}

impl App {
    pub(crate) fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.name() == name)
    }

    pub(crate) fn provider_names(&self) -> impl Iterator<Item = &str> {
        let stand_ins = DEV_STAND_INS.into_iter().filter(|name| self.is_dev_sign_in(name));
        self.providers
            .iter()
            .map(Provider::name)
            .chain(self.dev.then_some(DEV_PROVIDER))
            .chain(stand_ins)
    }

    /// Whether this name leads to the development sign-in.
    pub(crate) fn is_dev_sign_in(&self, name: &str) -> bool {
        let stands_in = || DEV_STAND_INS.contains(&name) && self.provider(name).is_none();
        self.dev && (name == DEV_PROVIDER || stands_in())
    }

    /// The names of the ways to sign in, with their display names.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.offers
            .iter()
            .map(|offer| (offer.name.as_str(), offer.label.as_str()))
    }

    pub(crate) fn offer(&self, name: &str) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.name == name)
    }

    /// The display name of a way to sign in.
    pub(crate) fn label<'a>(&'a self, name: &'a str) -> &'a str {
        self.offer(name).map_or(name, |offer| &offer.label)
    }
}

pub(crate) const DEV_PROVIDER: &str = "dev";

/// Names that also lead to the development sign-in unless such a provider is configured, because clients of the old
/// service know them.
const DEV_STAND_INS: [&str; 2] = ["google", "github"];
