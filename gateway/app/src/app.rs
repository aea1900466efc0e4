//! The one thing that all requests share: built once, never changed but for what SIGHUP replaces.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use gateway_host::PluginHost;
use gateway_model::{Clock, Random, UserLimits};
use gateway_store::Store;
use gateway_token::{SessionKey, SigningKeys};
use gateway_upstream::Provider;
use tokio_util::task::TaskTracker;
use url::Origin;

use crate::config::Reloadable;
use crate::issued::Issued;
use crate::logout_notifier::LogoutNotifier;
use crate::metrics::HttpMetrics;
use crate::pages::Offer;
use crate::rate_limit::RateLimits;
use crate::request_id::RequestIds;

/// What all requests share.
pub struct App {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from.
    pub random: Arc<dyn Random>,
    /// Names requests.
    pub request_ids: RequestIds,
    /// Users, sessions, events.
    pub store: Store,
    /// Permission providers and hooks.
    pub plugins: PluginHost,
    /// What signs permission tokens.
    pub keys: SigningKeys,
    /// Permission tokens that may be given again.
    pub issued: Issued,
    /// What session tokens and sealed state are keyed by.
    pub session_key: SessionKey,
    /// Upstream providers, in the order people are offered them.
    pub providers: Vec<Provider>,
    /// How the ways to sign in look on pages, in that order.
    pub offers: Vec<Offer>,
    /// Whether the development sign-in is offered.
    pub dev: bool,
    /// The gateway's own address.
    pub address: Address,
    /// How long a session lasts.
    pub session_lifetime: Duration,
    /// What one user may take up.
    pub user_limits: UserLimits,
    /// How long a permission token is good for.
    pub token_lifetime: Duration,
    /// Largest request body, in bytes.
    pub max_body: usize,
    /// How long a request's body may take to arrive.
    pub body_timeout: Duration,
    /// What SIGHUP replaces.
    pub live: ArcSwap<Reloadable>,
    /// How often one address may ask; replaced with [`App::live`].
    pub rate_limits: ArcSwap<RateLimits>,
    /// Tells hooks of sign-outs.
    pub logout_notifier: LogoutNotifier,
    /// Work that goes on when its caller has gone, and that a shutdown waits for.
    pub background: TaskTracker,
    /// Counts requests.
    pub http_metrics: HttpMetrics,
}

/// Where the gateway is reached from outside: `EXTERNAL_ADDRESS`.
#[derive(Clone, Debug)]
pub struct Address {
    /// The origin as a tuple, to compare with.
    pub origin: Origin,
    /// The same as text, without a trailing slash: what URLs begin with, and `iss`.
    pub text: String,
    /// Whether it is https.
    pub secure: bool,
}

impl Address {
    /// The address that a URL's origin is.
    #[must_use]
    pub fn new(url: &url::Url) -> Self {
        let origin = url.origin();
        Self {
            text: origin.ascii_serialization(),
            secure: url.scheme() == "https",
            origin,
        }
    }
}

impl App {
    /// The upstream provider of this name.
    #[must_use]
    pub fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.name() == name)
    }

    /// The names of all ways to sign in.
    pub fn provider_names(&self) -> impl Iterator<Item = &str> {
        let stand_ins = DEV_STAND_INS.into_iter().filter(|name| self.is_dev_sign_in(name));
        self.providers
            .iter()
            .map(Provider::name)
            .chain(self.dev.then_some(DEV_PROVIDER))
            .chain(stand_ins)
    }

    /// Whether the development sign-in answers for this name.
    #[must_use]
    pub fn is_dev_sign_in(&self, name: &str) -> bool {
        let stands_in = || DEV_STAND_INS.contains(&name) && self.provider(name).is_none();
        self.dev && (name == DEV_PROVIDER || stands_in())
    }

    /// The names of the ways to sign in, and their names for people.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.offers
            .iter()
            .map(|offer| (offer.name.as_str(), offer.label.as_str()))
    }

    /// How a way to sign in looks on pages.
    #[must_use]
    pub fn offer(&self, name: &str) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.name == name)
    }

    /// The name for people of a way to sign in.
    #[must_use]
    pub fn label<'a>(&'a self, name: &'a str) -> &'a str {
        self.offer(name).map_or(name, |offer| &offer.label)
    }
}

/// The name of the development sign-in.
pub const DEV_PROVIDER: &str = "dev";

/// Names that the development sign-in answers for as well, where no such provider is configured: what clients of the old
/// service know.
const DEV_STAND_INS: [&str; 2] = ["google", "github"];

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("address", &self.address.text)
            .finish_non_exhaustive()
    }
}
