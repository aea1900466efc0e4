//! Instances made ahead of need: each for one call, so that its start-up is over when the call comes.
//!
//! They belong to a generation and go with it: what is replaced, withdrawn or configured anew calls none of
//! its old ones. They are made on guest threads, on a budget of their own, and hold no place among the calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
pub(crate) struct Ready {
    waiting: Mutex<Waiting>,
    /// Somebody makes more.
    filling: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    instances: Vec<(Prepared, OwnedSemaphorePermit)>,
    /// The generation serves.
    open: bool,
}

impl Ready {
    /// From now on there may be some.
    pub(crate) fn open(&self) {
        self.waiting.lock().open = true;
    }

    /// Discards those that there are; there will be no more.
    pub(crate) fn close(&self) {
        let discarded = {
            let mut waiting = self.waiting.lock();
            waiting.open = false;
            std::mem::take(&mut waiting.instances)
        };
        // Not under the lock: giving their memory back takes a while.
        drop(discarded);
    }

    /// One of them, if there is one.
    pub(crate) fn take(&self) -> Option<Prepared> {
        self.waiting.lock().instances.pop().map(|(prepared, _)| prepared)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.waiting.lock().instances.len()
    }

    /// Whether there should be more than there are.
    fn wants(&self, target: usize) -> bool {
        let waiting = self.waiting.lock();
        waiting.open && waiting.instances.len() < target
    }

    fn put(&self, prepared: Prepared, place: OwnedSemaphorePermit) {
        let mut waiting = self.waiting.lock();
        if waiting.open {
            waiting.instances.push((prepared, place));
        }
    }
}

/// Where instances are made ahead.
pub(crate) struct Kitchen {
    guests: Handle,
    /// Bounds those that wait, over all plugins.
    places: Arc<Semaphore>,
}

impl Kitchen {
    /// They are made on `guests`.
    pub(crate) fn new(guests: Handle) -> Self {
        Self {
            guests,
            places: Arc::new(Semaphore::new(MAX_PREPARED)),
        }
    }

    /// Makes as many as the generation is configured to have, in the background, where nobody does so
    /// already. One that cannot be made is left to the call that needs it, which will say why.
    pub(crate) fn fill(&self, generation: &Arc<Generation>, sources: &Sources) {
        let ready = &generation.ready;
        let target = generation.config.prepared;
        if !ready.wants(target) || ready.filling.swap(true, Ordering::AcqRel) {
            return;
        }
        let (generation, sources) = (Arc::clone(generation), sources.clone());
        let places = Arc::clone(&self.places);
        self.guests.spawn(async move {
            let ready = &generation.ready;
            while ready.wants(target)
                && let Ok(place) = Arc::clone(&places).try_acquire_owned()
            {
                let deadline = Instant::now() + generation.config.limits.deadline;
                match call::prepare(&generation, sources.clone(), deadline).await {
                    Ok(prepared) => ready.put(prepared, place),
                    Err(error) => {
                        tracing::debug!(
                            plugin = &*generation.plugin,
                            "an instance cannot be made ahead: {error:#}"
                        );
                        break;
                    }
                }
            }
            ready.filling.store(false, Ordering::Release);
        });
    }

    /// No more are made.
    pub(crate) fn close(&self) {
        self.places.close();
    }
}
