//! A limit on the memory of all connections: unfinished heads and bodies, and unread responses.
//!
//! Each request has its own limits, but thousands of connections could reach them at the same time. The gateway therefore
//! adds up the memory of all requests that exceed the ordinary. Beyond [`MOST`], the connections that hold the most are closed, if the
//! gateway is waiting for their clients.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Connection, ConnectionLimit};

/// The memory of one request that is not counted, in bytes. Most requests never touch the sum.
const ORDINARY: usize = 8 << 10;
/// The counted memory of all connections at most, in bytes.
const MOST: usize = 64 << 20;
/// The memory behind an unread response, in bytes: the response, and the buffered requests that wait for their turn.
const STALLED: usize = 2 * super::super::MAX_HEAD;

pub(crate) struct HeldMemory {
    limit: Arc<ConnectionLimit>,
    connection: Arc<Connection>,
}

impl HeldMemory {
    pub(super) const fn new(limit: Arc<ConnectionLimit>, connection: Arc<Connection>) -> Self {
        Self { limit, connection }
    }

    /// Bytes of a request have arrived.
    pub(crate) fn read(&self, bytes: usize) {
        self.limit.hold(&self.connection, bytes);
    }

    /// The client does not read its response.
    pub(crate) fn stalls(&self) {
        self.limit.hold(&self.connection, STALLED);
    }

    /// The client reads its response again.
    pub(crate) fn goes_on(&self) {
        self.connection.release();
    }
}

impl Connection {
    /// The part that counts towards the sum. Bytes that were read and passed on are not held any more: a body in tiny
    /// chunks has many more bytes than are kept of it.
    fn counted(&self, held: usize) -> usize {
        held.min(self.can_hold).saturating_sub(ORDINARY)
    }

    /// The request has been answered, or the connection has ended.
    pub(super) fn release(&self) {
        let held = self.held.swap(0, Ordering::Relaxed);
        let counted = self.counted(held);
        if counted > 0 {
            self.held_by_all.fetch_sub(counted, Ordering::Relaxed);
        }
    }
}

impl ConnectionLimit {
    fn hold(&self, connection: &Connection, bytes: usize) {
        let before = connection.held.fetch_add(bytes, Ordering::Relaxed);
        let more = connection.counted(before.saturating_add(bytes)) - connection.counted(before);
        if more > 0 && self.held.fetch_add(more, Ordering::Relaxed) + more > MOST {
            self.relieve();
        }
    }

    /// Closes the connections that hold the most, until a quarter of the limit is free.
    fn relieve(&self) {
        let mut over = self.held.load(Ordering::Relaxed).saturating_sub(MOST / 4 * 3);
        let mut holding = self.holding();
        holding.sort_unstable_by_key(|(held, _)| Reverse(*held));
        for (held, connection) in holding {
            if over == 0 {
                return;
            }
            if self.end(&connection) {
                over = over.saturating_sub(connection.counted(held));
                connection.release();
            }
        }
    }
}
