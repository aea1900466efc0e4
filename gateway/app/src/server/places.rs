//! Room for connections, and which of them make room for new ones.
//!
//! Opening a connection and keeping it costs a caller nothing, so a limit alone would let anybody take every place and
//! keep everybody else out for as long as the timeouts allow. When places become scarce, a new connection therefore
//! replaces one that the gateway is waiting for: for a request, for the rest of one, or for its answer to be read.
//! Connections whose requests are being worked on are left alone.
//!
//! Which one goes is decided in this order:
//!
//! 1. A client that holds more than its share of the places gives up its own, the client with the most of them first.
//!    Connections of a proxy belong to many people, so they count for nobody.
//! 2. Among the others, the connection that has kept the gateway waiting for longest.

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

mod held;
#[cfg(test)]
mod tests;

pub(super) use held::Held;

/// How long a peer may always keep the gateway waiting. A request arrives with its connection or a round trip later.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often the gateway looks again while nobody can make room.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// The part of all places that is kept free for new connections where others can make room. They are freed together: a
/// new connection does not wait until an old one has gone.
const PART: usize = 32;
/// The part of all places that is one client's share.
const SHARE: usize = 64;

/// The gateway is working for this connection.
const AT_WORK: u64 = u64::MAX;

/// All places of a listener.
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Mutex<HashMap<u64, Arc<Seat>>>,
    next: AtomicU64,
    most: usize,
    began: Instant,
    /// Connections that were told to make room and have not ended yet.
    leaving: AtomicUsize,
    queue: Mutex<Queue>,
    /// What unfinished requests and unread answers hold in memory beyond what is ordinary, in bytes.
    pub(super) held: Arc<AtomicUsize>,
    /// The most that one connection can hold, in bytes.
    can_hold: usize,
}

/// The connections that make room next.
#[derive(Default)]
struct Queue {
    /// The next one is last. Each with the time that it was chosen for.
    next: Vec<(u64, Arc<Seat>)>,
    /// Until when the choice is a good one: who has the most places may change.
    good_until: u64,
    /// When looking for others may find some. Both in milliseconds after `began`.
    look_again: u64,
}

/// One connection, as others see it.
pub(super) struct Seat {
    /// Whose share it counts against.
    client: Option<IpAddr>,
    /// Since when the gateway has been waiting for the peer, in milliseconds after `began`; or [`AT_WORK`].
    waiting_since: AtomicU64,
    /// Bytes of a request that is not answered yet, or of an answer that is not read.
    pub(super) held: AtomicUsize,
    /// The most that it can hold, whatever it sends.
    pub(super) can_hold: usize,
    /// What all connections of its listener hold beyond what is ordinary.
    pub(super) held_by_all: Arc<AtomicUsize>,
    began: Instant,
    /// Ends the connection at once.
    cut: AbortHandle,
    /// Ends it when what has been asked for is answered.
    finish: AbortHandle,
    end: Mutex<End>,
}

/// What a connection has to watch for, cheaply: it does so each time that it is polled.
pub(super) struct Orders {
    /// To end at once.
    pub(super) cut: AbortRegistration,
    /// To end when what has been asked for is answered.
    pub(super) finish: AbortRegistration,
}

/// How a connection comes to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It has not.
    Open,
    /// It was told to make room.
    Leaving,
    /// It is over.
    Gone,
}

impl Seat {
    /// One that is waited for from now on.
    fn new(places: &Places, client: Option<IpAddr>) -> (Self, Orders) {
        let (cut, cut_order) = AbortHandle::new_pair();
        let (finish, finish_order) = AbortHandle::new_pair();
        let seat = Self {
            client,
            waiting_since: AtomicU64::new(now(places.began)),
            held: AtomicUsize::new(0),
            can_hold: places.can_hold,
            held_by_all: Arc::clone(&places.held),
            began: places.began,
            cut,
            finish,
            end: Mutex::new(End::Open),
        };
        let orders = Orders {
            cut: cut_order,
            finish: finish_order,
        };
        (seat, orders)
    }

    fn wait(&self) {
        self.waiting_since.store(now(self.began), Ordering::Relaxed);
    }

    /// Whether it is the peer's turn.
    fn waits(&self) -> bool {
        self.waiting_since.load(Ordering::Relaxed) != AT_WORK
    }

    /// Since when the gateway has been waiting for it, where it may be made to go.
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

/// Room for one more connection, which has not come yet.
pub(super) struct Room(OwnedSemaphorePermit);

/// A connection's place; given back when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    seat: Arc<Seat>,
    free: Option<OwnedSemaphorePermit>,
}

/// Who is on the other side of a connection.
#[derive(Clone)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    seat: Arc<Seat>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Peer {
    pub(super) fn new(address: IpAddr, place: &Place) -> Self {
        Self {
            address,
            seat: Arc::clone(&place.seat),
        }
    }

    /// One whose connection is not this server's to end.
    #[must_use]
    pub fn elsewhere(address: IpAddr) -> Self {
        let (seat, _) = Seat::new(&Places::new(1, 0), None);
        seat.waiting_since.store(AT_WORK, Ordering::Relaxed);
        Self {
            address,
            seat: Arc::new(seat),
        }
    }

    /// Its request has been read, body included: from now on it is the gateway that takes time.
    pub fn is_served(&self) {
        self.seat.waiting_since.store(AT_WORK, Ordering::Relaxed);
    }

    /// It is its turn: to take the answer, and to ask again.
    pub(super) fn is_waited_for(&self) {
        self.seat.wait();
        self.seat.release();
    }
}

impl Places {
    /// At most `most` places, on each of which a connection can hold so many bytes.
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

    /// Room for one more connection, waited for. Where there is little, others make room.
    pub(super) async fn room(&self) -> Room {
        loop {
            self.make_room();
            match timeout(LOOK_AGAIN, Arc::clone(&self.free).acquire_owned()).await {
                Ok(Ok(free)) => return Room(free),
                // Nobody closes it.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => {}
            }
        }
    }

    /// Seats a connection that counts against the share of `client`, or of nobody.
    pub(super) fn seat(self: &Arc<Self>, room: Room, client: Option<IpAddr>) -> (Place, Orders) {
        let (seat, orders) = Seat::new(self, client);
        let seat = Arc::new(seat);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.taken.lock().insert(number, Arc::clone(&seat));
        let place = Place {
            places: Arc::clone(self),
            number,
            seat,
            free: Some(room.0),
        };
        (place, orders)
    }

    /// Ends as many connections as it takes to have a part of the places free, as far as they may be ended.
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
            let Some((since, seat)) = queue.next.pop() else {
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
            // It may have asked for something since it was chosen.
            if seat.may_go(now) == Some(since) && self.end(&seat) {
                count += 1;
            }
        }
    }

    /// Tells a connection to make room. Returns whether it had not been told yet.
    pub(super) fn end(&self, seat: &Seat) -> bool {
        {
            let mut end = seat.end.lock();
            if *end != End::Open {
                return false;
            }
            *end = End::Leaving;
            self.leaving.fetch_add(1, Ordering::AcqRel);
        }
        seat.cut.abort();
        crate::metrics::closed_for_room().increment(1);
        true
    }

    /// The connections that make room next, the first of them last.
    fn line_up(&self, now: u64) -> Vec<(u64, Arc<Seat>)> {
        let share = (self.most / SHARE).max(1);
        let mut seats_of: HashMap<IpAddr, usize> = HashMap::new();
        let mut waiting: Vec<(u64, Arc<Seat>)> = Vec::new();
        for seat in self.taken.lock().values() {
            if let Some(client) = seat.client {
                *seats_of.entry(client).or_default() += 1;
            }
            if let Some(since) = seat.may_go(now) {
                waiting.push((since, Arc::clone(seat)));
            }
        }
        waiting.sort_unstable_by_key(|(since, _)| *since);
        // How many places its client has while a connection is there, if those that have waited for longer go before it.
        let mut ranked: Vec<(Reverse<usize>, u64, Arc<Seat>)> = waiting
            .into_iter()
            .map(|(since, seat)| {
                let left = seat.client.and_then(|client| seats_of.get_mut(&client));
                let rank = left.map_or(share, |left| {
                    let rank = (*left).max(share);
                    *left = left.saturating_sub(1);
                    rank
                });
                (Reverse(rank), since, seat)
            })
            .collect();
        let count = self.most / PART + 1;
        let order = |(rank, since, _): &(Reverse<usize>, u64, Arc<Seat>)| (*rank, *since);
        if ranked.len() > count {
            ranked.select_nth_unstable_by_key(count, order);
            ranked.truncate(count);
        }
        ranked.sort_unstable_by_key(|entry| Reverse(order(entry)));
        ranked.into_iter().map(|(_, since, seat)| (since, seat)).collect()
    }

    /// The connections that hold something which is counted, as far as they may be ended, with how much it is.
    pub(super) fn holding(&self) -> Vec<(usize, Arc<Seat>)> {
        let taken = self.taken.lock();
        let holding = taken
            .values()
            .map(|seat| (seat.held.load(Ordering::Relaxed), seat))
            .filter(|(held, seat)| *held > 0 && seat.waits() && !seat.cut.is_aborted());
        holding.map(|(held, seat)| (held, Arc::clone(seat))).collect()
    }

    /// Ends all of them when what has been asked for is answered.
    pub(super) fn finish_all(&self) {
        self.taken.lock().values().for_each(|seat| seat.finish.abort());
    }

    /// Ends all of them at once.
    pub(super) fn cut_all(&self) {
        self.taken.lock().values().for_each(|seat| seat.cut.abort());
    }
}

impl Place {
    /// Where the connection counts what it keeps in memory.
    pub(super) fn held(&self) -> Held {
        Held::new(Arc::clone(&self.places), Arc::clone(&self.seat))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.lock().remove(&self.number);
        self.seat.release();
        // The place first: it may be counted twice for a moment, but is never missed.
        drop(self.free.take());
        let end = std::mem::replace(&mut *self.seat.end.lock(), End::Gone);
        if end == End::Leaving {
            self.places.leaving.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
