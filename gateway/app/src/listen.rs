//! Listening sockets, and the limit on open files.

use std::io;
use std::net::SocketAddr;

use anyhow::{Result, anyhow};
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted, if the system allows that many (`net.core.somaxconn`). With tokio's default of
/// 128, a larger burst is dropped, and those clients retry a second later.
const BACKLOG: u32 = 4096;

/// Files other than connections to the public listener: the database, the admin listener, requests of plugins.
const OTHER_FILES: usize = 256;

pub(crate) fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener> {
    bound(address)
        .and_then(|socket| socket.listen(BACKLOG))
        .map_err(|error| anyhow!(cannot_listen(address, setting, &error)))
}

pub(crate) fn cannot_listen(address: SocketAddr, setting: &str, error: &io::Error) -> String {
    let variable = match setting {
        "admin.listen" => "GATEWAY_ADMIN_LISTEN",
        "admin.metrics_listen" => "GATEWAY_METRICS_LISTEN",
        _ => "GATEWAY_LISTEN",
    };
    format!("cannot listen on {address}: set {setting} ({variable}) to another address: {error}")
}

/// Returns a socket that is bound to the address and does not listen yet.
pub(crate) fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Connections of the previous process may still use the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Raises the soft limit on open files to the hard limit, because each connection needs a file. The soft limit is often
/// 1024, for programs that use `select`. Returns how many of the `wanted` connections fit beside the files that the
/// gateway needs for itself and for sign-ins through its `providers`: if clients could use all files, the database and
/// the admin listener would have none.
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
    // If there are few files, half of the rest is for clients.
    let room = most
        .saturating_sub(reserved)
        .max(most.saturating_sub(OTHER_FILES) / 2)
        .max(1);
    if room < wanted {
        tracing::warn!(
            most,
            connections = room,
            "the limit on open files (ulimit -n) allows fewer connections than server.connections"
        );
    }
    room.min(wanted)
}
