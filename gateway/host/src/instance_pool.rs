//! Instances made ahead of need: each for one call, so that its start-up is over when the call comes.
//!
//! They belong to a generation and go with it: what is replaced, withdrawn or configured anew calls none of
//! its old ones. They are made on guest threads, on a budget of their own, and hold no place among the calls. Every plugin
//! has an equal share of them, and no more than half of its memory goes to them.

use gateway_sandbox::call::Prepared;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

/// The instances of one generation that wait for their calls.
#[derive(Default)]
pub(crate) struct InstancePool(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    instances: Vec<(Prepared, OwnedSemaphorePermit)>,
    /// The generation serves.
    open: bool,
    /// Somebody makes more.
    filling: bool,
}

impl Waiting {
    const fn wants(&self, target: usize) -> bool {
        self.open && self.instances.len() < target
    }
}

impl InstancePool {
    /// From now on there may be some.
    pub(crate) fn open(&self) {
        self.0.lock().open = true;
    }

    /// Discards those that there are; there will be no more.
    pub(crate) fn close(&self) {
        let discarded = {
            let mut waiting = self.0.lock();
            waiting.open = false;
            std::mem::take(&mut waiting.instances)
        };
        // Not under the lock: giving their memory back takes a while.
        drop(discarded);
    }

    /// One of them, if there is one.
    pub(crate) fn take(&self) -> Option<Prepared> {
        self.0.lock().instances.pop().map(|(prepared, _)| prepared)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().instances.len()
    }

    /// Whether there should be more than there are, and nobody makes them yet: then the caller does.
    pub(crate) fn begin_filling(&self, target: usize) -> bool {
        let mut waiting = self.0.lock();
        let begin = !waiting.filling && waiting.wants(target);
        waiting.filling |= begin;
        begin
    }

    /// Puts one there. Gives whether there should be another; where not, filling has ended. Both are one
    /// step, so that whoever takes one in between either is seen here or begins to fill anew.
    pub(crate) fn put(&self, prepared: Prepared, place: OwnedSemaphorePermit, target: usize) -> bool {
        let mut waiting = self.0.lock();
        if waiting.open {
            waiting.instances.push((prepared, place));
        }
        waiting.filling = waiting.wants(target);
        waiting.filling
    }

    /// Filling has ended before there were as many as there should be.
    pub(crate) fn give_up_filling(&self) {
        self.0.lock().filling = false;
    }
}
