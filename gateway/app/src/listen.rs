//! Listening: addresses, and how many connections there is room for.

use std::io;
use std::net::SocketAddr;

use anyhow::{Result, anyhow};
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted, where the system lets so many (`net.core.somaxconn`): with tokio's own 128, more
/// that come at once are not answered, and try again a second later.
const BACKLOG: u32 = 4096;

/// Files that are not connections of the public listener: the database, the admin listener, requests of plugins.
const OTHER_FILES: usize = 256;

/// Listens on an address.
///
/// # Errors
/// When it cannot, with the setting to change.
pub(crate) fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener> {
    listen(address).map_err(|error| anyhow!(cannot_listen(address, setting, &error)))
}

/// Why an address cannot be listened on, and what to do about it.
pub(crate) fn cannot_listen(address: SocketAddr, setting: &str, error: &io::Error) -> String {
    let variable = match setting {
        "admin.listen" => "GATEWAY_ADMIN_LISTEN",
        "admin.metrics_listen" => "GATEWAY_METRICS_LISTEN",
        _ => "GATEWAY_LISTEN",
    };
    format!("cannot listen on {address}: set {setting} ({variable}) to another address: {error}")
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bound(address)?.listen(BACKLOG)
}

/// A socket that has an address and does not listen there yet.
///
/// # Errors
/// When the address is taken, or cannot be had.
pub(crate) fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // The port may be in use by connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Raises the soft limit on open files, which is 1024 in many places for programs that use `select`, to the
/// hard one: a connection is a file. Returns how many of the `wanted` connections fit beside the files that the gateway
/// needs for itself, sign-ins through its `providers` included: if callers could take all files, the database and the
/// admin listener would have none.
pub(crate) fn room_for_sockets(wanted: usize, providers: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let mut most = limit.maximum;
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit on open files cannot be raised");
            most = limit.current;
        }
    }
    let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let reserved = OTHER_FILES + providers.saturating_mul(gateway_upstream::MAX_WAITING);
    // Where there are few files at all, half of what is left is for callers.
    let room = most
        .saturating_sub(reserved)
        .max(most.saturating_sub(OTHER_FILES) / 2)
        .max(1);
    if room < wanted {
        tracing::warn!(
            most,
            connections = room,
            "there may be fewer connections than server.connections says, for the limit on open files (ulimit -n)"
        );
    }
    room.min(wanted)
}
