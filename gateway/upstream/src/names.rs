//! From a provider's host names to addresses that the gateway may connect to: every name is looked up once, every
//! address is checked, and connections are made to checked addresses only.
//!
//! A look-up by the system's resolver holds a thread for as long as it takes, also when nobody waits for it any more. So
//! each provider has its own few: one whose name servers never answer costs the others nothing.

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

/// The most look-ups that run for one provider at once.
const MAX_LOOKUPS: usize = 4;
/// The most names of one provider that are looked up or wait for it. A provider has three or four.
const MAX_NAMES: usize = 16;

/// Somebody who knows the addresses of hosts.
pub trait Names: Send + Sync + fmt::Debug {
    /// The addresses of a host, the best first. May take long: it is called on a thread that may wait.
    ///
    /// # Errors
    /// When nobody knows. The text is for the log.
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

/// The address in a URL that has one in place of a name.
#[must_use]
pub fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

/// Whether a URL that the operator wrote says itself that it leads to a private network: a private address, or a name
/// that nobody on the internet can have (RFC 6761, RFC 6762, RFC 8375; `.internal` is reserved by ICANN).
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

/// Looks up the names of one provider.
#[derive(Clone)]
pub(crate) struct Resolver {
    names: Arc<dyn Names>,
    private: bool,
    /// The host of the egress proxy. The operator chose it, and it may be anywhere.
    proxy: Option<String>,
    places: Arc<Semaphore>,
    /// Those that are being looked up: whoever wants the same name waits for the same answer.
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

    /// The answer to come of a look-up, which goes on where nobody waits for it any more.
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
            let look_up = look_up.ok_or("too many names of this provider are being looked up")?;
            let addresses = look_up.await.map_err(|error| error.to_string())?;
            // One bad address spoils the name: it is not what it should be.
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

    /// Answers a public address, and names that begin with "dead" never, until it is told to.
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
    async fn a13_a_dead_name_takes_one_thread_and_no_other_name_waits_for_it() {
        let (fake, release) = Fake::new();
        let resolver = Resolver::new(Arc::clone(&fake) as Arc<dyn Names>, false, None);
        let waiting: Vec<_> = (0..200)
            .map(|_| tokio::spawn(resolver.resolve("dead.example.org".parse().unwrap())))
            .collect();
        for _ in 0..3 {
            assert_eq!(resolve(&resolver, "alive.example.org").await, Ok(1));
        }
        // Nobody waits for it any more; it still runs, and counts.
        for caller in waiting {
            caller.abort();
        }
        assert_eq!(resolve(&resolver, "alive.example.org").await, Ok(1));
        let asked = fake.asked.lock().clone();
        assert!(asked.iter().filter(|name| name.starts_with("dead")).count() <= 1);
        drop(release);
    }

    #[tokio::test]
    async fn a13_dead_names_of_one_provider_leave_other_providers_alone() {
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
    async fn a13_names_that_lead_to_private_addresses_are_refused() {
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
    async fn p14_a_proxy_may_be_at_a_private_address_and_nobody_else() {
        let proxy = Some("proxy.corp.example.org".to_owned());
        let resolver = Resolver::new(Arc::new(Always(&["10.0.0.1"])), false, proxy.clone());
        assert_eq!(resolve(&resolver, "proxy.corp.example.org").await, Ok(1));
        assert!(resolve(&resolver, "id.example.org").await.is_err());
        let metadata = Resolver::new(Arc::new(Always(&["169.254.169.254"])), false, proxy);
        assert!(resolve(&metadata, "proxy.corp.example.org").await.is_err());
    }

    #[test]
    fn a13_an_issuer_may_say_itself_that_it_is_private() {
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
