//! Instances made ahead of need: each for one call, so that its start-up is over when the call comes.
//!
//! They belong to a generation and go with it: what is replaced, withdrawn or configured anew calls none of
//! its old ones. They are made on guest threads, on a budget of their own, and hold no place among the calls. Every plugin
//! has an equal share of them, and no more than half of its memory goes to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::MAX_PREPARED;
use crate::call::{self, Prepared};
use crate::guest::Sources;
use crate::registry::Generation;

/// The instances of one generation that wait for their calls.
#[derive(Default)]
pub(crate) struct Ready(Mutex<Waiting>);

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

impl Ready {
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
    fn begin_filling(&self, target: usize) -> bool {
        let mut waiting = self.0.lock();
        let begin = !waiting.filling && waiting.wants(target);
        waiting.filling |= begin;
        begin
    }

    /// Puts one there. Gives whether there should be another; where not, filling has ended. Both are one
    /// step, so that whoever takes one in between either is seen here or begins to fill anew.
    fn put(&self, prepared: Prepared, place: OwnedSemaphorePermit, target: usize) -> bool {
        let mut waiting = self.0.lock();
        if waiting.open {
            waiting.instances.push((prepared, place));
        }
        waiting.filling = waiting.wants(target);
        waiting.filling
    }

    /// Filling has ended before there were as many as there should be.
    fn give_up_filling(&self) {
        self.0.lock().filling = false;
    }
}

/// Where instances are made ahead.
pub(crate) struct Preparer {
    guests: Handle,
    /// Bounds those that wait, over all plugins.
    places: Arc<Semaphore>,
    /// How many of them one plugin may have.
    share: AtomicUsize,
}

impl Preparer {
    /// They are made on `guests`.
    pub(crate) fn new(guests: Handle) -> Self {
        Self {
            guests,
            places: Arc::new(Semaphore::new(MAX_PREPARED)),
            share: AtomicUsize::new(MAX_PREPARED),
        }
    }

    /// Divides them among so many plugins. Where there are more plugins than instances, those that are called first have
    /// one.
    pub(crate) fn divide(&self, plugins: usize) {
        let share = (MAX_PREPARED / plugins.max(1)).max(1);
        self.share.store(share, Ordering::Relaxed);
    }

    /// How many instances of the generation should be there.
    pub(crate) fn target(&self, generation: &Generation) -> usize {
        let share = self.share.load(Ordering::Relaxed);
        generation.config.prepared.min(share).min(generation.room() / 2)
    }

    /// Makes as many as the generation is configured to have, in the background, where nobody does so
    /// already. One that cannot be made is left to the call that needs it, which will say why.
    pub(crate) fn fill(&self, generation: &Arc<Generation>, sources: &Sources) {
        let target = self.target(generation);
        if !generation.ready.begin_filling(target) {
            return;
        }
        let (generation, sources) = (Arc::clone(generation), sources.clone());
        let places = Arc::clone(&self.places);
        self.guests.spawn(async move {
            let ready = &generation.ready;
            loop {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    return ready.give_up_filling();
                };
                let deadline = Instant::now() + generation.config.limits.deadline;
                match call::prepare(&generation, sources.clone(), deadline).await {
                    Ok(prepared) => {
                        if !ready.put(prepared, place, target) {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(
                            plugin = &*generation.plugin,
                            "an instance cannot be made ahead: {error:#}"
                        );
                        return ready.give_up_filling();
                    }
                }
            }
        });
    }

    /// No more are made.
    pub(crate) fn close(&self) {
        self.places.close();
    }
}
