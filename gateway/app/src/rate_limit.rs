//! How often one address may ask for what costs much: a sign-in, which asks an upstream provider and writes, a
//! username, of which a client could otherwise try a whole list, and the verification of logout tokens that are not valid.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use hyper::header::HeaderMap;
use ipnet::IpNet;
use parking_lot::Mutex;
use quick_cache::sync::Cache;

use crate::client_address;

/// Addresses that are remembered for each limit. Whoever has more of them is not held back by such a limit anyway;
/// those that are seen once and never again are forgotten first.
const MAX_ADDRESSES: usize = 65_536;

/// Logout tokens that are not valid, from one address for one provider, in a minute.
const REFUSED_LOGOUTS: NonZeroU32 = NonZeroU32::MIN.saturating_add(59);

/// So many in so long, from one address: all of them at once, or spread out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In how long.
    pub period: Duration,
}

/// What the operator has configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimitConfig {
    /// Proxies that are believed when they say who the client is.
    pub trusted_proxies: Vec<IpNet>,
    /// Of sign-ins that begin and callbacks that match one, together.
    pub sign_in: Option<Rate>,
    /// Of `POST /auth/update`.
    pub update: Option<Rate>,
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Sign-ins that begin and callbacks that match one, together.
    SignIn,
    /// `POST /auth/update`.
    Update,
}

impl Limit {
    /// Its name in the configuration, the log and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Update => "update",
        }
    }
}

/// An address has asked too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Too many requests from your network. Please try again later.")]
pub struct TooMany {
    /// When asking again may help: seconds from now, one at least.
    pub retry_after: u64,
}

/// The limits, and who has asked how often.
pub struct RateLimits {
    trusted_proxies: Vec<IpNet>,
    sign_in: Option<PerAddress>,
    update: Option<PerAddress>,
    refused_logouts: Refusals,
}

impl RateLimits {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new(config: &RateLimitConfig) -> Self {
        Self {
            trusted_proxies: config.trusted_proxies.clone(),
            sign_in: config.sign_in.map(PerAddress::new),
            update: config.update.map(PerAddress::new),
            refused_logouts: Refusals::new(),
        }
    }

    /// Whose share of scarce things a connection from `peer` counts against: its address or IPv6 network. `None` where a
    /// proxy may be behind it, whose connections belong to many people.
    #[must_use]
    pub fn client(&self, peer: IpAddr) -> Option<IpAddr> {
        client_address::of_client(peer, &HeaderMap::new(), &self.trusted_proxies).map(network)
    }

    /// Counts a request. One whose client's address is not known is let through.
    ///
    /// # Errors
    /// [`TooMany`] where the client has had its share.
    pub fn admit(&self, limit: Limit, peer: IpAddr, headers: &HeaderMap) -> Result<(), TooMany> {
        let addresses = match limit {
            Limit::SignIn => &self.sign_in,
            Limit::Update => &self.update,
        };
        let Some(addresses) = addresses else { return Ok(()) };
        let Some(client) = client_address::of_client(peer, headers, &self.trusted_proxies) else {
            return Ok(());
        };
        addresses
            .admit(client)
            .inspect_err(|_| count(client, limit.name()))
    }

    /// Whether a logout token for a provider is looked at. Providers send as many as people sign out: those that are valid
    /// do not count.
    ///
    /// # Errors
    /// [`TooMany`] where too many from this client were not.
    pub fn admit_logout(&self, provider: &str, peer: IpAddr, headers: &HeaderMap) -> Result<(), TooMany> {
        let Some(client) = client_address::of_client(peer, headers, &self.trusted_proxies) else {
            return Ok(());
        };
        let admitted = self.refused_logouts.admit(provider, client);
        admitted.inspect_err(|_| count(client, "backchannel_logout"))
    }

    /// Counts a logout token that was not valid.
    pub fn logout_refused(&self, provider: &str, peer: IpAddr, headers: &HeaderMap) {
        if let Some(client) = client_address::of_client(peer, headers, &self.trusted_proxies) {
            self.refused_logouts.count(provider, client);
        }
    }
}

fn count(client: IpAddr, limit: &'static str) {
    crate::metrics::rate_limited(limit).increment(1);
    tracing::info!(%client, limit, "a client has asked too often");
}

impl fmt::Debug for RateLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimits")
            .field("trusted_proxies", &self.trusted_proxies)
            .finish_non_exhaustive()
    }
}

/// One limit.
struct PerAddress {
    quota: Quota,
    addresses: Cache<IpAddr, Arc<DefaultDirectRateLimiter>>,
    clock: DefaultClock,
}

impl PerAddress {
    fn new(rate: Rate) -> Self {
        // A period that is too short to be divided is none that limits anything.
        let each = (rate.period / rate.count.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(each).unwrap_or_else(|| Quota::per_second(NonZeroU32::MAX));
        Self {
            quota: quota.allow_burst(rate.count),
            addresses: Cache::new(MAX_ADDRESSES),
            clock: DefaultClock::default(),
        }
    }

    fn admit(&self, client: IpAddr) -> Result<(), TooMany> {
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::new(RateLimiter::direct(self.quota)));
        let limiter = match self.addresses.get_or_insert_with(&network(client), fresh) {
            Ok(limiter) => limiter,
            Err(never) => match never {},
        };
        limiter.check().map_err(|early| {
            let wait = early.wait_time_from(self.clock.now());
            TooMany {
                retry_after: wait.as_secs().saturating_add(1),
            }
        })
    }
}

/// Who has failed how often at which provider.
struct Refusals {
    clients: Cache<(Box<str>, IpAddr), Arc<Client>>,
    clock: DefaultClock,
}

struct Client {
    limiter: DefaultDirectRateLimiter,
    /// Until when it is not listened to.
    until: Mutex<Option<<DefaultClock as governor::clock::Clock>::Instant>>,
}

impl Refusals {
    fn new() -> Self {
        Self {
            clients: Cache::new(MAX_ADDRESSES),
            clock: DefaultClock::default(),
        }
    }

    fn admit(&self, provider: &str, client: IpAddr) -> Result<(), TooMany> {
        let Some(client) = self.clients.get(&(provider.into(), network(client))) else {
            return Ok(());
        };
        let (until, now) = (*client.until.lock(), self.clock.now());
        match until.map(|until| until.duration_since(now)) {
            Some(wait) if !wait.is_zero() => Err(TooMany {
                retry_after: wait.as_secs().saturating_add(1),
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn count(&self, provider: &str, client: IpAddr) {
        let fresh = || {
            Ok::<_, std::convert::Infallible>(Arc::new(Client {
                limiter: RateLimiter::direct(Quota::per_minute(REFUSED_LOGOUTS)),
                until: Mutex::new(None),
            }))
        };
        let key = (provider.into(), network(client));
        let client = match self.clients.get_or_insert_with(&key, fresh) {
            Ok(client) => client,
            Err(never) => match never {},
        };
        if let Err(early) = client.limiter.check() {
            *client.until.lock() = Some(early.earliest_possible());
        }
    }
}

/// Whoever has an IPv6 address has the 2^64 of its network (RFC 4291 section 2.5.4).
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use hyper::header::HeaderMap;

    use super::{Limit, Rate, RateLimitConfig, RateLimits};

    fn limits(sign_in: u32) -> RateLimits {
        let rate = |count: u32| Rate {
            count: count.try_into().unwrap(),
            period: Duration::from_secs(3600),
        };
        RateLimits::new(&RateLimitConfig {
            trusted_proxies: Vec::new(),
            sign_in: Some(rate(sign_in)),
            update: Some(rate(1)),
        })
    }

    fn ask(limits: &RateLimits, limit: Limit, peer: &str) -> bool {
        let peer: IpAddr = peer.parse().unwrap();
        limits.admit(limit, peer, &HeaderMap::new()).is_ok()
    }

    #[test]
    fn each_address_has_its_share_of_each_limit() {
        let limits = limits(3);
        for peer in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
            let answers = [(); 5].map(|()| ask(&limits, Limit::SignIn, peer));
            assert_eq!(answers, [true, true, true, false, false], "{peer}");
            assert!(ask(&limits, Limit::Update, peer));
            assert!(!ask(&limits, Limit::Update, peer));
        }
        // Of the same network.
        assert!(!ask(&limits, Limit::SignIn, "2001:db8::ffff"));
        assert!(ask(&limits, Limit::SignIn, "2001:db8:0:1::1"));
    }

    #[test]
    fn says_when_to_ask_again() {
        let limits = limits(2);
        let peer = "192.0.2.1".parse().unwrap();
        let ask = || limits.admit(Limit::SignIn, peer, &HeaderMap::new());
        assert_eq!([ask(), ask()], [Ok(()), Ok(())]);
        let wait = ask().unwrap_err().retry_after;
        assert!((1..=1800).contains(&wait), "{wait}");
    }

    #[test]
    fn who_may_be_a_proxy_is_not_limited() {
        let limits = limits(1);
        assert!((0..100).all(|_| ask(&limits, Limit::SignIn, "127.0.0.1")));
    }

    #[test]
    fn p21_an_address_that_sends_logout_tokens_which_are_not_valid_is_not_listened_to() {
        let limits = RateLimits::new(&RateLimitConfig::default());
        let headers = HeaderMap::new();
        let peer = |text: &str| text.parse::<IpAddr>().unwrap();
        let asks = |provider: &str, from: &str| limits.admit_logout(provider, peer(from), &headers);
        let mut sent = 0;
        let too_many = loop {
            match asks("google", "192.0.2.1") {
                Ok(()) => limits.logout_refused("google", peer("192.0.2.1"), &headers),
                Err(too_many) => break too_many,
            }
            sent += 1;
            assert!(sent < 100_000);
        };
        assert!(sent > 60, "{sent}");
        assert!((1..=2).contains(&too_many.retry_after), "{too_many:?}");
        // Nobody else has to wait, and no other provider's tokens.
        assert_eq!(asks("google", "192.0.2.2"), Ok(()));
        assert_eq!(asks("work", "192.0.2.1"), Ok(()));
    }

    #[test]
    fn off_is_off() {
        let limits = RateLimits::new(&RateLimitConfig::default());
        assert!((0..1000).all(|_| ask(&limits, Limit::SignIn, "192.0.2.1")));
    }

    #[test]
    fn remembers_only_so_many() {
        let limits = limits(1);
        for address in 0..200_000u32 {
            let peer = IpAddr::from((0x2000_0000 + address).to_be_bytes());
            assert!(limits.admit(Limit::SignIn, peer, &HeaderMap::new()).is_ok());
        }
        assert!(limits.sign_in.unwrap().addresses.len() <= 65_536);
    }
}
