//! Resolves the host names of providers, and connects only to addresses that have been checked.
//!
//! A look-up by the system's resolver holds a thread until it ends, even when nobody waits for it any more. So each
//! provider has its own few threads, and one whose name servers never answer does not delay the others.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use gateway_model::address::{Reach, check, reach};
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;
use url::{Host, Url};

/// The most look-ups that run for one provider at the same time.
const MAX_LOOKUPS: usize = 4;
/// The most names of one provider that are being looked up or queued. A provider has three or four.
const MAX_NAMES: usize = 16;

/// A resolver of host names.
pub trait Names: Send + Sync + fmt::Debug {
    /// The addresses of a host, the best first. May block: it is called on a thread for that.
    ///
    /// # Errors
    /// When the name cannot be resolved. The text is for the log.
    fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The operating system's resolver.
#[derive(Clone, Copy, Debug)]
pub struct SystemNames;

impl Names for SystemNames {
    fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let addresses = (name, 0).to_socket_addrs()?;
        Ok(addresses.map(|address| address.ip()).collect())
    }
}

/// The IP address in a URL, if it has one in place of a host name.
pub(crate) fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

/// Whether the URL shows that its host is on a private network: a private address, or a name that does not exist on the
/// internet (RFC 6761, RFC 6762, RFC 8375; ICANN reserves `.internal`).
pub(crate) fn is_private(url: &Url) -> bool {
    const RESERVED: &[&str] = &["localhost", "local", "internal", "home.arpa"];
    if let Some(address) = literal(url) {
        return matches!(reach(address), Reach::Private(_));
    }
    let name = url.host_str().unwrap_or_default().trim_end_matches('.');
    let is_below = |zone: &&str| {
        name.strip_suffix(*zone)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    !name.contains('.') || RESERVED.iter().any(is_below)
}

type LookUp = Shared<BoxFuture<'static, Result<Arc<[IpAddr]>, Arc<str>>>>;

/// The resolver for one provider.
#[derive(Clone)]
pub(crate) struct Resolver {
    names: Arc<dyn Names>,
    private: bool,
    /// The host of the egress proxy. The operator chose it, so its address may be private.
    proxy: Option<String>,
    places: Arc<Semaphore>,
    /// The running look-ups. Concurrent requests for the same name share one.
    running: Arc<Mutex<HashMap<String, LookUp>>>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("names", &self.names)
            .field("private", &self.private)
            .finish_non_exhaustive()
    }
}

impl Resolver {
    pub(crate) fn new(names: Arc<dyn Names>, private: bool, proxy: Option<String>) -> Self {
        Self {
            names,
            private,
            proxy,
            places: Arc::new(Semaphore::new(MAX_LOOKUPS)),
            running: Arc::default(),
        }
    }

    /// Joins or starts a look-up, which runs to its end even if nobody waits for it any more. `None`: too many are
    /// running.
    fn look_up(&self, name: &str) -> Option<LookUp> {
        let mut running = self.running.lock();
        if let Some(look_up) = running.get(name) {
            return Some(look_up.clone());
        }
        if running.len() >= MAX_NAMES {
            return None;
        }
        let (this, name) = (self.clone(), name.to_owned());
        let key = name.clone();
        let task = tokio::spawn(async move {
            let answer = this.ask(&name).await;
            this.running.lock().remove(&name);
            answer
        });
        let answer = async move {
            match task.await {
                Ok(Ok(addresses)) => Ok(addresses.into()),
                Ok(Err(error)) => Err(error.to_string().into()),
                Err(error) => Err(error.to_string().into()),
            }
        };
        let look_up = answer.boxed().shared();
        running.insert(key, look_up.clone());
        Some(look_up)
    }

    async fn ask(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let (names, name) = (Arc::clone(&self.names), name.to_owned());
        let asking = tokio::task::spawn_blocking(move || {
            let _place = place;
            names.look_up(&name)
        });
        asking.await.map_err(io::Error::other)?
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let look_up = self.look_up(name.as_str());
        let proxy = self.proxy.as_deref();
        let is_proxy = proxy.is_some_and(|proxy| proxy.eq_ignore_ascii_case(name.as_str()));
        let private = self.private || is_proxy;
        Box::pin(async move {
            let look_up = look_up.ok_or("too many host names of this provider are being looked up")?;
            let addresses = look_up.await.map_err(|error| error.to_string())?;
            // One forbidden address disqualifies the name, because an honest one has none.
            for address in &*addresses {
                check(*address, private)?;
            }
            let addresses: Vec<SocketAddr> = addresses
                .iter()
                .map(|address| SocketAddr::new(*address, 0))
                .collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io;
    use std::net::IpAddr;
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use parking_lot::Mutex;
    use reqwest::dns::Resolve as _;
    use url::Url;

    use super::{MAX_LOOKUPS, MAX_NAMES, Names, Resolver, is_private};

    /// Resolves every name to a public address; names that begin with "dead" only after `release`.
    #[derive(Debug)]
    struct Fake {
        asked: Mutex<Vec<String>>,
        release: Mutex<Receiver<()>>,
    }

    impl Fake {
        fn new() -> (Arc<Self>, Sender<()>) {
            let (told, release) = channel();
            let fake = Self {
                asked: Mutex::default(),
                release: Mutex::new(release),
            };
            (Arc::new(fake), told)
        }
    }

    impl Names for Fake {
        fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
            self.asked.lock().push(name.to_owned());
            if name.starts_with("dead") {
                // Until the sender is gone.
                let _ = self.release.lock().recv();
            }
            Ok(vec![[1, 1, 1, 1].into()])
        }
    }

    async fn resolve(resolver: &Resolver, name: &str) -> Result<usize, String> {
        let answer = resolver.resolve(name.parse().unwrap()).await;
        answer.map(Iterator::count).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a13_a_name_that_hangs_uses_one_thread_and_delays_no_other() {
        let (fake, release) = Fake::new();
        let resolver = Resolver::new(Arc::clone(&fake) as Arc<dyn Names>, false, None);
        let waiting: Vec<_> = (0..200)
            .map(|_| tokio::spawn(resolver.resolve("dead.example.org".parse().unwrap())))
            .collect();
        for _ in 0..3 {
            assert_eq!(resolve(&resolver, "alive.example.org").await, Ok(1));
        }
        // Nobody waits for it any more, but it still runs and counts.
        for caller in waiting {
            caller.abort();
        }
        assert_eq!(resolve(&resolver, "alive.example.org").await, Ok(1));
        let asked = fake.asked.lock().clone();
        assert!(asked.iter().filter(|name| name.starts_with("dead")).count() <= 1);
        drop(release);
    }

    #[tokio::test]
    async fn a13_hanging_names_of_one_provider_do_not_affect_others() {
        let (fake, release) = Fake::new();
        let names = Arc::clone(&fake) as Arc<dyn Names>;
        let bad = Resolver::new(Arc::clone(&names), false, None);
        let good = Resolver::new(names, false, None);
        let mut refused = HashSet::new();
        for number in 0..100 {
            let look_up = bad.look_up(&format!("dead-{number}.example.org"));
            if look_up.is_none() {
                refused.insert(number);
            }
        }
        assert_eq!(refused.len(), 100 - MAX_NAMES);
        assert_eq!(resolve(&good, "alive.example.org").await, Ok(1));
        let dead = |name: &&String| name.starts_with("dead");
        assert!(fake.asked.lock().iter().filter(dead).count() <= MAX_LOOKUPS);
        drop(release);
    }

    #[derive(Debug)]
    struct Always(&'static [&'static str]);

    impl Names for Always {
        fn look_up(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Ok(self.0.iter().map(|address| address.parse().unwrap()).collect())
        }
    }

    #[tokio::test]
    async fn a13_names_with_private_addresses_are_rejected() {
        for (addresses, to_public, to_private) in [
            (&["1.1.1.1", "2606:4700::1111"][..], true, true),
            (&["127.0.0.1"], false, true),
            (&["10.1.2.3"], false, true),
            (&["::1"], false, true),
            (&["fd00::1"], false, true),
            (&["::ffff:192.168.0.1"], false, true),
            (&["1.1.1.1", "127.0.0.1"], false, true),
            (&["169.254.169.254"], false, false),
            (&["10.0.0.1", "169.254.169.254"], false, false),
            (&["0.0.0.0"], false, false),
        ] {
            for (private, good) in [(false, to_public), (true, to_private)] {
                let resolver = Resolver::new(Arc::new(Always(addresses)), private, None);
                let answer = resolve(&resolver, "id.example.org").await;
                assert_eq!(answer.is_ok(), good, "{addresses:?} {private}: {answer:?}");
            }
        }
    }

    #[tokio::test]
    async fn p14_only_the_proxy_may_be_at_a_private_address() {
        let proxy = Some("proxy.corp.example.org".to_owned());
        let resolver = Resolver::new(Arc::new(Always(&["10.0.0.1"])), false, proxy.clone());
        assert_eq!(resolve(&resolver, "proxy.corp.example.org").await, Ok(1));
        assert!(resolve(&resolver, "id.example.org").await.is_err());
        let metadata = Resolver::new(Arc::new(Always(&["169.254.169.254"])), false, proxy);
        assert!(resolve(&metadata, "proxy.corp.example.org").await.is_err());
    }

    #[test]
    fn a13_private_issuers_are_recognised() {
        for (issuer, is) in [
            ("http://127.0.0.1:8080", true),
            ("https://[::1]", true),
            ("https://10.0.0.5", true),
            ("https://[fd00::5]", true),
            ("http://localhost:1", true),
            ("https://keycloak:8443", true),
            ("https://id.corp.internal", true),
            ("https://id.local.", true),
            ("https://accounts.google.com", false),
            ("https://id.example.org", false),
            ("https://internal.example.org", false),
            ("https://notlocal.thelocal", false),
            ("https://1.1.1.1", false),
            ("https://169.254.169.254", false),
        ] {
            assert_eq!(is_private(&Url::parse(issuer).unwrap()), is, "{issuer}");
        }
    }
}
