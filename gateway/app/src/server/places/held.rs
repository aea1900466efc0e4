//! What connections hold in memory, bounded in sum: heads and bodies that have not arrived whole, and answers that are
//! not read.
//!
//! Every request has limits of its own, but thousands of connections could each go up to them. So what goes beyond an
//! ordinary request is counted for all connections together; beyond [`MOST`] those that hold the most are ended, where
//! the gateway is waiting for them.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Places, Seat};

/// What one request may hold without being counted. Ordinary ones never touch the sum.
const ORDINARY: usize = 8 << 10;
/// What all connections may hold beyond that.
const MOST: usize = 64 << 20;
/// What is behind an answer that is not read: the answer and the requests that wait for their turn, as far as buffers go.
const STALLED: usize = 2 * super::super::MAX_HEAD;

/// What one connection holds.
pub(crate) struct Held {
    places: Arc<Places>,
    seat: Arc<Seat>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

impl Held {
    pub(super) const fn new(places: Arc<Places>, seat: Arc<Seat>) -> Self {
        Self { places, seat }
    }

    /// Bytes of a request have arrived.
    pub(crate) fn read(&self, bytes: usize) {
        self.places.hold(&self.seat, bytes);
    }

    /// The peer does not read its answer.
    pub(crate) fn stalls(&self) {
        self.places.hold(&self.seat, STALLED);
    }

    /// The peer reads its answer again.
    pub(crate) fn goes_on(&self) {
        self.seat.release();
    }
}

impl Seat {
    /// The part of what it holds that is counted for all. What was read and given on is not held any more: a body of tiny
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

impl Places {
    fn hold(&self, seat: &Seat, bytes: usize) {
        let before = seat.held.fetch_add(bytes, Ordering::Relaxed);
        let more = seat.counted(before.saturating_add(bytes)) - seat.counted(before);
        if more > 0 && self.held.fetch_add(more, Ordering::Relaxed) + more > MOST {
            self.relieve();
        }
    }

    /// Ends those that hold the most, until a quarter of the sum is free again.
    fn relieve(&self) {
        let mut over = self.held.load(Ordering::Relaxed).saturating_sub(MOST / 4 * 3);
        let mut holding = self.holding();
        holding.sort_unstable_by_key(|(held, _)| Reverse(*held));
        for (held, seat) in holding {
            if over == 0 {
                return;
            }
            if self.end(&seat) {
                over = over.saturating_sub(seat.counted(held));
                seat.release();
            }
        }
    }
}
