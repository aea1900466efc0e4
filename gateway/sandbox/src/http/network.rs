//! The network: name resolution, trusted certificates, and each plugin's share of connections.

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

/// Connections of all plugins at the same time, beyond those that each may always have.
const CONNECTIONS: usize = 128;
/// Connections that each plugin may have regardless of the others.
const CONNECTIONS_OF_ONE: usize = 4;
/// Stack of a thread that looks up a name, in bytes.
const STACK: usize = 1 << 20;

/// Resolves host names.
#[async_trait::async_trait]
pub trait Resolver: Send + Sync + fmt::Debug {
    /// Returns the addresses of a host name, best first. The name is in lower-case ASCII. The gateway connects only to
    /// these addresses.
    ///
    /// # Errors
    /// If the name cannot be resolved. The text is for the log.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The operating system's resolver, including `/etc/hosts`. Each look-up has its own thread because it cannot be
/// cancelled: in a pool, look-ups that hang would block others. [`LookUps`] limits their number.
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

/// The network for guests with the grant `http`.
pub struct Network {
    pub(super) look_ups: LookUps,
    connections: Arc<Shares>,
    /// `None` means the system's certificates.
    roots: Option<Vec<CertificateDer<'static>>>,
    /// Created at first use, because reading the system's certificates takes a while.
    tls: OnceCell<Arc<ClientConfig>>,
}

impl Network {
    /// Uses the machine's resolver and the certificates that it trusts.
    #[must_use]
    pub fn system() -> Self {
        Self::with(Arc::new(SystemResolver), None)
    }

    /// Uses another resolver, and trusts only servers that these authorities (X.509 certificates in DER) vouch for.
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

    /// Takes a connection from the plugin's share.
    pub(super) fn connection(&self, plugin: &Arc<str>) -> Result<Held, RequestError> {
        self.connections
            .take(plugin)
            .ok_or(RequestError::TooManyConnections)
    }

    /// The TLS configuration. If it cannot be created, the next request tries again.
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

/// The machine's time for certificate checks. `None` if the clock is before 1970, where rustls's own provider panics.
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
    // Old certificates that cannot be parsed must not make all others unusable.
    store.add_parsable_certificates(roots);
    if store.is_empty() {
        return Err("this machine has no certificates of certificate authorities".to_owned());
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(Time))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Resumed sessions would link the calls of different plugins and users.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("resolver", &self.look_ups.resolver)
            .finish_non_exhaustive()
    }
}
