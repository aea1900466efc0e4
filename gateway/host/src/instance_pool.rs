//! Prepared instances: each has already started, and serves one call.
//!
//! They belong to a generation and are discarded with it: a plugin that is replaced, withdrawn or reconfigured uses
//! none of its old ones. They are made on guest threads, with a separate budget, and take no slot of a call. Every
//! plugin has an equal share of them, and at most half of its memory goes to them.

use gateway_sandbox::call::Prepared;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

#[derive(Default)]
pub(crate) struct InstancePool(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    instances: Vec<(Prepared, OwnedSemaphorePermit)>,
    /// The generation serves.
    open: bool,
    /// A task makes more.
    filling: bool,
}

impl Waiting {
    const fn wants(&self, target: usize) -> bool {
        self.open && self.instances.len() < target
    }
}

impl InstancePool {
    /// Allows instances from now on.
    pub(crate) fn open(&self) {
        self.0.lock().open = true;
    }

    /// Discards all instances, and accepts no more.
    pub(crate) fn close(&self) {
        let discarded = {
            let mut waiting = self.0.lock();
            waiting.open = false;
            std::mem::take(&mut waiting.instances)
        };
        // Not under the lock: releasing their memory takes a while.
        drop(discarded);
    }

    pub(crate) fn take(&self) -> Option<Prepared> {
        self.0.lock().instances.pop().map(|(prepared, _)| prepared)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().instances.len()
    }

    /// Returns true if more instances are wanted and no task makes them: then the caller must.
    pub(crate) fn begin_filling(&self, target: usize) -> bool {
        let mut waiting = self.0.lock();
        let begin = !waiting.filling && waiting.wants(target);
        waiting.filling |= begin;
        begin
    }

    /// Adds an instance. Returns whether another is wanted; if not, filling has ended. Both are one step, so that a
    /// call that takes an instance in between is either seen here or starts filling again.
    pub(crate) fn put(&self, prepared: Prepared, place: OwnedSemaphorePermit, target: usize) -> bool {
        let mut waiting = self.0.lock();
        if waiting.open {
            waiting.instances.push((prepared, place));
        }
        waiting.filling = waiting.wants(target);
        waiting.filling
    }

    /// Ends filling early.
    pub(crate) fn give_up_filling(&self) {
        self.0.lock().filling = false;
    }
}
