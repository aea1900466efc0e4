//! Room for connections, and who makes room when there is none: whoever has kept the gateway waiting for longest.
//!
//! A connection is free to open and to keep, so a limit on them alone would let anybody take all of them and keep
//! everybody else out for as long as the timeouts are. So over the limit a new one takes the place of one that the gateway
//! waits for: for a request, the rest of one, or to take its answer. Those whose requests are being worked on are left
//! alone.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a peer may keep us waiting before it may have to make room.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often, while there is no room, those are looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The part of all places that is made free at once: looking at each costs a little.
const PART: usize = 32;

/// The gateway is at work for it.
const AT_WORK: u64 = u64::MAX;

/// All places of a listener.
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Mutex<HashMap<u64, Arc<Seat>>>,
    next: AtomicU64,
    most: usize,
    began: Instant,
    cut: CancellationToken,
}

/// One connection, as others see it.
struct Seat {
    /// Since when the gateway waits for the peer, in milliseconds after `began`; or [`AT_WORK`].
    waiting_since: AtomicU64,
    began: Instant,
    cut: CancellationToken,
}

impl Seat {
    fn wait(&self) {
        self.waiting_since.store(now(self.began), Ordering::Relaxed);
    }
}

fn now(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(AT_WORK - 1)
}

/// A connection's place; given back when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    seat: Arc<Seat>,
    _free: OwnedSemaphorePermit,
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
        let seat = Seat {
            waiting_since: AtomicU64::new(AT_WORK),
            began: Instant::now(),
            cut: CancellationToken::new(),
        };
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
    }
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            taken: Mutex::default(),
            next: AtomicU64::new(0),
            most,
            began: Instant::now(),
            cut: CancellationToken::new(),
        }
    }

    /// A place, waited for. Where there is none, those whom the gateway has waited for make room.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        loop {
            match timeout(LOOK_AGAIN, Arc::clone(&self.free).acquire_owned()).await {
                Ok(Ok(free)) => return self.seat(free),
                // Nobody closes it.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => self.make_room(),
            }
        }
    }

    fn seat(self: &Arc<Self>, free: OwnedSemaphorePermit) -> Place {
        let seat = Arc::new(Seat {
            waiting_since: AtomicU64::new(now(self.began)),
            began: self.began,
            cut: self.cut.child_token(),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.taken.lock().insert(number, Arc::clone(&seat));
        Place {
            places: Arc::clone(self),
            number,
            seat,
            _free: free,
        }
    }

    /// Ends connections that have kept us waiting, those who have for longest first.
    fn make_room(&self) {
        let patience = u64::try_from(PATIENCE.as_millis()).unwrap_or(AT_WORK);
        let now = now(self.began);
        let mut waiting: Vec<(u64, CancellationToken)> = self
            .taken
            .lock()
            .values()
            .map(|seat| (seat.waiting_since.load(Ordering::Relaxed), &seat.cut))
            .filter(|(since, cut)| since.saturating_add(patience) <= now && !cut.is_cancelled())
            .map(|(since, cut)| (since, cut.clone()))
            .collect();
        let count = (self.most / PART).max(1);
        if waiting.len() > count {
            waiting.select_nth_unstable_by_key(count, |(since, _)| *since);
            waiting.truncate(count);
        }
        metrics::counter!("gateway_connections_closed_for_room_total").increment(waiting.len() as u64);
        for (_, cut) in waiting {
            cut.cancel();
        }
    }

    /// Ends all of them.
    pub(super) fn cut_all(&self) {
        self.cut.cancel();
    }
}

impl Place {
    /// Is cancelled when the connection has to end.
    pub(super) fn cut(&self) -> CancellationToken {
        self.seat.cut.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.lock().remove(&self.number);
    }
}
