//! What there is to be reached: who resolves names, and whose certificates count.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::thread;

use gateway_model::SystemClock;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{OnceCell, oneshot};
use tokio::task::spawn_blocking;
use tokio_rustls::rustls;

use super::error::RequestError;
use super::lookups::LookUps;
use super::shares::{Held, Shares};

/// Connections at once over all plugins, beyond those that each may always have.
const CONNECTIONS: usize = 128;
/// Connections that one plugin may have whatever the others do.
const CONNECTIONS_OF_ONE: usize = 4;
/// Bytes of the stack of a thread that looks a name up.
const STACK: usize = 1 << 20;

/// Who knows the addresses of hosts.
#[async_trait::async_trait]
pub trait Resolver: Send + Sync + fmt::Debug {
    /// The addresses of a host's name (in lower case, in ASCII), the best first. Called once for each
    /// request; connections are made to what it gives and to nothing else.
    ///
    /// # Errors
    /// When nobody says. The text is for the log.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The operating system's resolver, `/etc/hosts` and all. Each look-up has a thread of its own, for it cannot be ended: in
/// a pool, those that hang would keep others waiting. [`LookUps`] bounds how many there are.
#[derive(Debug)]
struct SystemResolver;

#[async_trait::async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let (answer, answered) = oneshot::channel();
        let name = name.to_owned();
        let look_up = move || {
            let addresses = (name.as_str(), 0).to_socket_addrs();
            let _ = answer.send(addresses.map(|found| found.map(|address| address.ip()).collect()));
        };
        thread::Builder::new()
            .name("look-up".to_owned())
            .stack_size(STACK)
            .spawn(look_up)?;
        answered.await.map_err(io::Error::other)?
    }
}

/// The network, as guests that are granted `http` see it.
pub struct Network {
    look_ups: LookUps,
    connections: Arc<Shares>,
    /// `None` for the system's.
    roots: Option<Vec<CertificateDer<'static>>>,
    /// Made at the first use: reading the system's certificates takes a while.
    tls: OnceCell<Arc<ClientConfig>>,
}

impl Network {
    /// The machine's own: its resolver, and the certificates that it trusts.
    #[must_use]
    pub fn system() -> Self {
        Self::with(Arc::new(SystemResolver), None)
    }

    /// One with another resolver, in which servers are trusted that these certificates (X.509, in DER)
    /// vouch for, and no others.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolver>, roots: Vec<Vec<u8>>) -> Self {
        let roots = roots.into_iter().map(CertificateDer::from).collect();
        Self::with(resolver, Some(roots))
    }

    fn with(resolver: Arc<dyn Resolver>, roots: Option<Vec<CertificateDer<'static>>>) -> Self {
        Self {
            look_ups: LookUps::new(resolver),
            connections: Shares::new(CONNECTIONS, CONNECTIONS_OF_ONE, CONNECTIONS),
            roots,
            tls: OnceCell::new(),
        }
    }

    /// Who looks names up.
    pub(super) const fn look_ups(&self) -> &LookUps {
        &self.look_ups
    }

    /// Room for a connection of the plugin.
    ///
    /// # Errors
    /// When it has as many as it may have.
    pub(super) fn connection(&self, plugin: &Arc<str>) -> Result<Held, RequestError> {
        self.connections
            .take(plugin)
            .ok_or(RequestError::TooManyConnections)
    }

    /// How TLS connections are made.
    ///
    /// # Errors
    /// When there are no certificates to trust. The next request tries again.
    pub(super) async fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        let make = || async {
            let roots = self.roots.clone();
            spawn_blocking(move || client(roots))
                .await
                .map_err(|error| error.to_string())?
        };
        self.tls.get_or_try_init(make).await.cloned()
    }
}

/// The machine's time, by which certificates are checked; none where the clock shows a time before 1970. The library's own
/// would panic.
#[derive(Debug)]
struct Time;

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        SystemClock::since_epoch().map(UnixTime::since_unix_epoch)
    }
}

fn client(roots: Option<Vec<CertificateDer<'static>>>) -> Result<Arc<ClientConfig>, String> {
    let roots = roots.unwrap_or_else(|| rustls_native_certs::load_native_certs().certs);
    let mut store = RootCertStore::empty();
    // Old ones that nobody can read are no reason to trust none.
    store.add_parsable_certificates(roots);
    if store.is_empty() {
        return Err("this machine has no certificates of authorities".to_owned());
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(Time))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A session that is taken up again would tie the calls of different plugins and users together.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("resolver", &self.look_ups.resolver())
            .finish_non_exhaustive()
    }
}
