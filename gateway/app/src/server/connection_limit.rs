//! The limit on connections, and the choice of the ones that are closed for new ones.
//!
//! A client can open and keep connections at no cost. With a limit alone, anyone could take all slots, and keep
//! everyone else out for as long as the timeouts permit. So when slots become scarce, a new connection replaces one on
//! which the gateway is waiting for the client: for a request, for the rest of one, or for the response to be read. A
//! connection whose request is being processed is never closed.
//!
//! They are closed in this order:
//!
//! 1. Connections of a client that has more than its share of the slots. The client with the most goes first.
//!    Connections of a proxy belong to many users, so they count against no client.
//! 2. Connections for which the gateway has waited longest.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{AbortHandle, AbortRegistration};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

mod memory;
#[cfg(test)]
mod tests;

pub(super) use memory::HeldMemory;

/// How long a client may always keep the gateway waiting. A request arrives with its connection or one round trip
/// later.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often the gateway looks again if no connection can be closed.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// This part of all slots is kept free, as far as connections can be closed. They are closed together, so that a new
/// connection does not wait for an old one to end.
const PART: usize = 32;
/// This part of all slots is one client's share.
const SHARE: usize = 64;

/// The gateway is processing this connection's request.
const AT_WORK: u64 = u64::MAX;

pub(super) struct ConnectionLimit {
    free: Arc<Semaphore>,
    taken: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    most: usize,
    began: Instant,
    /// Connections that are closing and have not ended yet.
    leaving: AtomicUsize,
    queue: Mutex<Queue>,
    /// The memory of unfinished requests and unread responses beyond the ordinary, in bytes.
    pub(super) held: Arc<AtomicUsize>,
    /// The most memory that one connection can hold, in bytes.
    can_hold: usize,
}

/// The connections to close next.
#[derive(Default)]
struct Queue {
    /// In reverse order. Each with its `waiting_since` when it was chosen.
    next: Vec<(u64, Arc<Connection>)>,
    /// Until when the choice is valid, because clients' shares change. In milliseconds after `began`.
    good_until: u64,
    /// When to choose again if none could be closed. In milliseconds after `began`.
    look_again: u64,
}

pub(super) struct Connection {
    client: Option<IpAddr>,
    /// Since when the gateway has been waiting for the client, in milliseconds after `began`, or [`AT_WORK`].
    waiting_since: AtomicU64,
    /// Bytes of an unfinished request or an unread response.
    pub(super) held: AtomicUsize,
    /// The most that it can hold, in bytes.
    pub(super) can_hold: usize,
    /// The listener's sum of what is held beyond the ordinary.
    pub(super) held_by_all: Arc<AtomicUsize>,
    began: Instant,
    /// Ends the connection immediately.
    cut: AbortHandle,
    /// Ends the connection after the response to the current request.
    finish: AbortHandle,
    end: Mutex<End>,
}

/// The other ends of the connection's abort handles. Checking them at each poll is cheap.
pub(super) struct EndSignals {
    pub(super) cut: AbortRegistration,
    pub(super) finish: AbortRegistration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Leaving,
    Gone,
}

impl Connection {
    /// The gateway waits for the client from now on.
    fn new(limit: &ConnectionLimit, client: Option<IpAddr>) -> (Self, EndSignals) {
        let (cut, cut_signal) = AbortHandle::new_pair();
        let (finish, finish_signal) = AbortHandle::new_pair();
        let connection = Self {
            client,
            waiting_since: AtomicU64::new(now(limit.began)),
            held: AtomicUsize::new(0),
            can_hold: limit.can_hold,
            held_by_all: Arc::clone(&limit.held),
            began: limit.began,
            cut,
            finish,
            end: Mutex::new(End::Open),
        };
        let signals = EndSignals {
            cut: cut_signal,
            finish: finish_signal,
        };
        (connection, signals)
    }

    fn wait(&self) {
        self.waiting_since.store(now(self.began), Ordering::Relaxed);
    }

    /// Whether the gateway is waiting for the client.
    fn waits(&self) -> bool {
        self.waiting_since.load(Ordering::Relaxed) != AT_WORK
    }

    /// Returns since when the gateway has been waiting, if the connection may be closed.
    fn may_go(&self, now: u64) -> Option<u64> {
        let since = self.waiting_since.load(Ordering::Relaxed);
        let has_waited = since.saturating_add(millis(PATIENCE)) <= now;
        (has_waited && !self.cut.is_aborted()).then_some(since)
    }
}

fn now(began: Instant) -> u64 {
    millis(began.elapsed()).min(AT_WORK - 1)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(AT_WORK)
}

/// Permission for one more connection.
pub(super) type Room = OwnedSemaphorePermit;

/// A connection's slot. Freed when it is dropped.
pub(super) struct Slot {
    limit: Arc<ConnectionLimit>,
    number: u64,
    connection: Arc<Connection>,
    free: Option<OwnedSemaphorePermit>,
}

/// The client of a connection.
#[derive(Clone)]
pub struct Peer {
    pub(crate) address: IpAddr,
    connection: Arc<Connection>,
}

impl Peer {
    pub(super) fn new(address: IpAddr, slot: &Slot) -> Self {
        Self {
            address,
            connection: Arc::clone(&slot.connection),
        }
    }

    /// A client whose connection does not belong to this server. For tests.
    pub fn elsewhere(address: IpAddr) -> Self {
        let (connection, _) = Connection::new(&ConnectionLimit::new(1, 0), None);
        connection.waiting_since.store(AT_WORK, Ordering::Relaxed);
        Self {
            address,
            connection: Arc::new(connection),
        }
    }

    /// The request has been read, body included. From now on the gateway takes the time.
    pub(crate) fn is_served(&self) {
        self.connection.waiting_since.store(AT_WORK, Ordering::Relaxed);
    }

    /// From now on the gateway waits for the client: to read the response, and to send another request.
    pub(super) fn is_waited_for(&self) {
        self.connection.wait();
        self.connection.release();
    }
}

impl ConnectionLimit {
    /// At most `most` connections, each of which can hold `can_hold` bytes.
    pub(super) fn new(most: usize, can_hold: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            taken: Mutex::default(),
            next: AtomicU64::new(0),
            most,
            began: Instant::now(),
            leaving: AtomicUsize::new(0),
            queue: Mutex::default(),
            held: Arc::default(),
            can_hold,
        }
    }

    /// Waits for a free slot, and closes connections if few are free.
    pub(super) async fn room(&self) -> Room {
        loop {
            self.make_room();
            match timeout(LOOK_AGAIN, Arc::clone(&self.free).acquire_owned()).await {
                Ok(Ok(free)) => return free,
                // The semaphore is never closed.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => {}
            }
        }
    }

    /// Assigns the slot to a connection, which counts against the share of `client`, if known.
    pub(super) fn take(self: &Arc<Self>, room: Room, client: Option<IpAddr>) -> (Slot, EndSignals) {
        let (connection, signals) = Connection::new(self, client);
        let connection = Arc::new(connection);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.taken.lock().insert(number, Arc::clone(&connection));
        let slot = Slot {
            limit: Arc::clone(self),
            number,
            connection,
            free: Some(room),
        };
        (slot, signals)
    }

    /// Closes as many connections as needed to keep a part of the slots free.
    pub(super) fn make_room(&self) {
        let coming = self
            .free
            .available_permits()
            .saturating_add(self.leaving.load(Ordering::Acquire));
        let wanted = (self.most / PART + 1).saturating_sub(coming);
        if wanted == 0 {
            return;
        }
        let now = now(self.began);
        let mut queue = self.queue.lock();
        if now > queue.good_until {
            queue.next.clear();
        }
        let mut count = 0;
        while count < wanted {
            let Some((since, connection)) = queue.next.pop() else {
                if now < queue.look_again {
                    break;
                }
                queue.next = self.line_up(now);
                queue.good_until = now + millis(PATIENCE);
                if queue.next.is_empty() {
                    queue.look_again = now + millis(LOOK_AGAIN);
                    break;
                }
                continue;
            };
            // It may have received a request since it was chosen.
            if connection.may_go(now) == Some(since) && self.end(&connection) {
                count += 1;
            }
        }
    }

    /// Tells a connection to close. Returns `false` if it is closing already.
    pub(super) fn end(&self, connection: &Connection) -> bool {
        {
            let mut end = connection.end.lock();
            if *end != End::Open {
                return false;
            }
            *end = End::Leaving;
            self.leaving.fetch_add(1, Ordering::AcqRel);
        }
        connection.cut.abort();
        crate::metrics::closed_for_room().increment(1);
        true
    }

    /// Chooses the connections to close next, in reverse order.
    fn line_up(&self, now: u64) -> Vec<(u64, Arc<Connection>)> {
        let share = (self.most / SHARE).max(1);
        let mut slots_of: HashMap<IpAddr, usize> = HashMap::new();
        let mut waiting: Vec<(u64, Arc<Connection>)> = Vec::new();
        for connection in self.taken.lock().values() {
            if let Some(client) = connection.client {
                *slots_of.entry(client).or_default() += 1;
            }
            if let Some(since) = connection.may_go(now) {
                waiting.push((since, Arc::clone(connection)));
            }
        }
        waiting.sort_unstable_by_key(|(since, _)| *since);
        // A connection's rank is the number of slots that its client has left once the connections with a longer wait
        // are closed.
        let mut ranked: Vec<(Reverse<usize>, u64, Arc<Connection>)> = waiting
            .into_iter()
            .map(|(since, connection)| {
                let left = connection.client.and_then(|client| slots_of.get_mut(&client));
                let rank = left.map_or(share, |left| {
                    let rank = (*left).max(share);
                    *left = left.saturating_sub(1);
                    rank
                });
                (Reverse(rank), since, connection)
            })
            .collect();
        let count = self.most / PART + 1;
        let order = |(rank, since, _): &(Reverse<usize>, u64, Arc<Connection>)| (*rank, *since);
        if ranked.len() > count {
            ranked.select_nth_unstable_by_key(count, order);
            ranked.truncate(count);
        }
        ranked.sort_unstable_by_key(|entry| Reverse(order(entry)));
        ranked
            .into_iter()
            .map(|(_, since, connection)| (since, connection))
            .collect()
    }

    /// The connections that hold counted memory and may be closed, with how much they hold.
    pub(super) fn holding(&self) -> Vec<(usize, Arc<Connection>)> {
        let taken = self.taken.lock();
        let holding = taken
            .values()
            .map(|connection| (connection.held.load(Ordering::Relaxed), connection))
            .filter(|(held, connection)| *held > 0 && connection.waits() && !connection.cut.is_aborted());
        holding
            .map(|(held, connection)| (held, Arc::clone(connection)))
            .collect()
    }

    /// Ends all connections after the responses to their current requests.
    pub(super) fn finish_all(&self) {
        self.taken
            .lock()
            .values()
            .for_each(|connection| connection.finish.abort());
    }

    /// Ends all connections immediately.
    pub(super) fn cut_all(&self) {
        self.taken
            .lock()
            .values()
            .for_each(|connection| connection.cut.abort());
    }
}

impl Slot {
    pub(super) fn memory(&self) -> HeldMemory {
        HeldMemory::new(Arc::clone(&self.limit), Arc::clone(&self.connection))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.limit.taken.lock().remove(&self.number);
        self.connection.release();
        // The permit first: the connection may be counted twice for a moment, but is never missed.
        drop(self.free.take());
        let end = std::mem::replace(&mut *self.connection.end.lock(), End::Gone);
        if end == End::Leaving {
            self.limit.leaving.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
