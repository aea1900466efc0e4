//! Connects to an origin: resolve the name once, check every address, connect to a checked address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gateway_model::address;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::{TlsConnector, rustls};
use url::Host;

use super::error::{Phase, RequestError};
use super::{HttpConfig, HttpOrigin, Network};

/// Most addresses of a name that are tried.
const MAX_TRIED: usize = 4;

/// A connection, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to an allowed origin before `deadline`. If any address is prohibited, makes no connection at all.
pub(super) async fn connect(
    plugin: &Arc<str>,
    network: &Network,
    config: &HttpConfig,
    origin: &HttpOrigin,
    deadline: Instant,
) -> Result<Box<dyn Stream>, RequestError> {
    let addresses = timeout_at(deadline, addresses(plugin, network, config, origin))
        .await
        .map_err(|_| RequestError::Timeout(Phase::Resolve))??;
    // defence: guest-connects-to-the-checked-address (a test fails without it: docs/defences.md)
    let stream = tcp(&addresses, origin.port, deadline).await?;
    if !origin.is_tls {
        return Ok(Box::new(stream));
    }
    let tls = async {
        let client = network.tls().await.map_err(RequestError::Tls)?;
        TlsConnector::from(client)
            .connect(server_name(origin)?, stream)
            .await
            .map_err(|error| RequestError::from_tls(&error))
    };
    let stream = timeout_at(deadline, tls)
        .await
        .map_err(|_| RequestError::Timeout(Phase::Connect))??;
    Ok(Box::new(stream))
}

/// Resolves the origin's host and checks every address.
async fn addresses(
    plugin: &Arc<str>,
    network: &Network,
    config: &HttpConfig,
    origin: &HttpOrigin,
) -> Result<Arc<[IpAddr]>, RequestError> {
    let name = match &origin.host {
        // The allow-list contains this address.
        Host::Ipv4(address) => return Ok([(*address).into()].into()),
        Host::Ipv6(address) => return Ok([(*address).into()].into()),
        Host::Domain(name) => name,
    };
    let addresses = network.look_ups.resolve(plugin, name).await?;
    if addresses.is_empty() {
        return Err(RequestError::Unresolved("it has no address".to_owned()));
    }
    let may_be_private = config.allow_private.contains(name.as_str());
    for address in addresses.iter() {
        // One prohibited address makes the whole answer suspect.
        address::check(*address, may_be_private).map_err(RequestError::Address)?;
    }
    Ok(addresses)
}

/// Connects to the first address that answers. Each gets an equal part of the remaining time.
async fn tcp(addresses: &[IpAddr], port: u16, deadline: Instant) -> Result<TcpStream, RequestError> {
    let mut problem = RequestError::Timeout(Phase::Connect);
    let tried = addresses.len().min(MAX_TRIED);
    for (address, left) in addresses.iter().zip((1..=tried).rev()) {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / u32::try_from(left).unwrap_or(u32::MAX);
        if share == Duration::ZERO {
            break;
        }
        let connecting = TcpStream::connect(SocketAddr::new(*address, port));
        match timeout_at(now + share, connecting).await {
            Ok(Ok(stream)) => {
                // Requests are small, and written in one piece.
                stream.set_nodelay(true).map_err(RequestError::Connect)?;
                return Ok(stream);
            }
            Ok(Err(error)) => problem = RequestError::Connect(error),
            Err(_) => problem = RequestError::Timeout(Phase::Connect),
        }
    }
    Err(problem)
}

/// The name or address in the origin, which the server's certificate must have.
fn server_name(origin: &HttpOrigin) -> Result<ServerName<'static>, RequestError> {
    Ok(match &origin.host {
        Host::Ipv4(address) => ServerName::from(IpAddr::from(*address)),
        Host::Ipv6(address) => ServerName::from(IpAddr::from(*address)),
        Host::Domain(name) => ServerName::try_from(name.clone())
            .map_err(|error| RequestError::Connect(io::Error::new(io::ErrorKind::InvalidInput, error)))?,
    })
}
