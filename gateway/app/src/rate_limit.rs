//! Rate limits for each address, on requests that cost much: sign-ins, which contact an upstream provider and write to
//! the database; usernames, because a client could otherwise try a whole list; and invalid logout tokens.

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

/// The most addresses that each limit remembers. A client with more addresses evades such a limit anyway. Addresses
/// that are seen only once are forgotten first.
const MAX_ADDRESSES: usize = 65_536;

/// Invalid logout tokens from one address for one provider, per minute.
const REFUSED_LOGOUTS: NonZeroU32 = NonZeroU32::MIN.saturating_add(59);

/// A number of requests in a period, from one address. They may come in a burst or spread out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) count: NonZeroU32,
    pub(crate) period: Duration,
}

/// The configured limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimitConfig {
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// For beginning sign-ins and for callbacks that match one, together.
    pub(crate) sign_in: Option<Rate>,
    /// For `POST /auth/update`.
    pub(crate) update: Option<Rate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    SignIn,
    Update,
}

impl Limit {
    /// The name in the configuration, the log and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Update => "update",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Too many requests from your network. Please try again later.")]
pub(crate) struct TooMany {
    /// When to try again: seconds from now, at least one.
    pub(crate) retry_after: u64,
}

pub(crate) struct RateLimits {
    trusted_proxies: Vec<IpNet>,
    sign_in: Option<PerAddress>,
    update: Option<PerAddress>,
    refused_logouts: Refusals,
}

impl RateLimits {
    pub(crate) fn new(config: &RateLimitConfig) -> Self {
        Self {
            trusted_proxies: config.trusted_proxies.clone(),
            sign_in: config.sign_in.map(PerAddress::new),
            update: config.update.map(PerAddress::new),
            refused_logouts: Refusals::new(),
        }
    }

    fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        client_address::of_client(peer, headers, &self.trusted_proxies)
    }

    /// The client against whose share of the server's connections one from `peer` counts: its address or IPv6 network.
    /// `None` if the peer may be a proxy, whose connections belong to many users.
    pub(crate) fn client(&self, peer: IpAddr) -> Option<IpAddr> {
        self.client_of(peer, &HeaderMap::new()).map(network)
    }

    /// Counts a request. A request is admitted if its client's address is unknown.
    pub(crate) fn admit(&self, limit: Limit, peer: IpAddr, headers: &HeaderMap) -> Result<(), TooMany> {
        let addresses = match limit {
            Limit::SignIn => &self.sign_in,
            Limit::Update => &self.update,
        };
        let Some(addresses) = addresses else { return Ok(()) };
        let Some(client) = self.client_of(peer, headers) else {
            return Ok(());
        };
        addresses
            .admit(client)
            .inspect_err(|_| count(client, limit.name()))
    }

    /// Whether to verify a logout token for a provider. Valid tokens do not count, because a provider sends as many as
    /// users sign out.
    pub(crate) fn admit_logout(
        &self,
        provider: &str,
        peer: IpAddr,
        headers: &HeaderMap,
    ) -> Result<(), TooMany> {
        let Some(client) = self.client_of(peer, headers) else {
            return Ok(());
        };
        let admitted = self.refused_logouts.admit(provider, client);
        admitted.inspect_err(|_| count(client, "backchannel_logout"))
    }

    /// Counts an invalid logout token.
    pub(crate) fn logout_refused(&self, provider: &str, peer: IpAddr, headers: &HeaderMap) {
        if let Some(client) = self.client_of(peer, headers) {
            self.refused_logouts.count(provider, client);
        }
    }
}

fn count(client: IpAddr, limit: &'static str) {
    crate::metrics::rate_limited(limit).increment(1);
    tracing::info!(%client, limit, "a client exceeded a rate limit");
}

struct PerAddress {
    quota: Quota,
    addresses: Cache<IpAddr, Arc<DefaultDirectRateLimiter>>,
    clock: DefaultClock,
}

impl PerAddress {
    fn new(rate: Rate) -> Self {
        // A period too short to be divided does not limit anything.
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
        let Ok(limiter) = self.addresses.get_or_insert_with(&network(client), fresh);
        limiter.check().map_err(|early| {
            let wait = early.wait_time_from(self.clock.now());
            TooMany {
                retry_after: wait.as_secs().saturating_add(1),
            }
        })
    }
}

/// Clients that sent invalid logout tokens, by provider.
struct Refusals {
    clients: Cache<(Box<str>, IpAddr), Arc<Client>>,
    clock: DefaultClock,
}

struct Client {
    limiter: DefaultDirectRateLimiter,
    /// Until when the client's tokens are rejected.
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
        let Ok(client) = self.clients.get_or_insert_with(&key, fresh);
        if let Err(early) = client.limiter.check() {
            *client.until.lock() = Some(early.earliest_possible());
        }
    }
}

/// The owner of an IPv6 address has all 2^64 addresses of its network (RFC 4291 section 2.5.4).
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
        // The same network.
        assert!(!ask(&limits, Limit::SignIn, "2001:db8::ffff"));
        assert!(ask(&limits, Limit::SignIn, "2001:db8:0:1::1"));
    }

    #[test]
    fn a_rejection_says_when_to_retry() {
        let limits = limits(2);
        let peer = "192.0.2.1".parse().unwrap();
        let ask = || limits.admit(Limit::SignIn, peer, &HeaderMap::new());
        assert_eq!([ask(), ask()], [Ok(()), Ok(())]);
        let wait = ask().unwrap_err().retry_after;
        assert!((1..=1800).contains(&wait), "{wait}");
    }

    #[test]
    fn peers_that_may_be_proxies_are_not_limited() {
        let limits = limits(1);
        assert!((0..100).all(|_| ask(&limits, Limit::SignIn, "127.0.0.1")));
    }

    #[test]
    fn p21_an_address_that_sends_many_invalid_logout_tokens_is_rejected() {
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
        // Other clients do not have to wait, nor do tokens of other providers.
        assert_eq!(asks("google", "192.0.2.2"), Ok(()));
        assert_eq!(asks("work", "192.0.2.1"), Ok(()));
    }

    #[test]
    fn a_limit_that_is_off_admits_everything() {
        let limits = RateLimits::new(&RateLimitConfig::default());
        assert!((0..1000).all(|_| ask(&limits, Limit::SignIn, "192.0.2.1")));
    }

    #[test]
    fn the_number_of_remembered_addresses_is_bounded() {
        let limits = limits(1);
        for address in 0..200_000u32 {
            let peer = IpAddr::from((0x2000_0000 + address).to_be_bytes());
            assert!(limits.admit(Limit::SignIn, peer, &HeaderMap::new()).is_ok());
        }
        assert!(limits.sign_in.unwrap().addresses.len() <= 65_536);
    }
}
