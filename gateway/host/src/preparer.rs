//! Makes instances ahead of need, on guest threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gateway_sandbox::{HostServices, MAX_PREPARED, call};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::generation::Generation;

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
        generation
            .program
            .config
            .prepared
            .min(share)
            .min(generation.program.room() / 2)
    }

    /// Makes as many as the generation is configured to have, in the background, where nobody does so
    /// already. One that cannot be made is left to the call that needs it, which will say why.
    pub(crate) fn fill(&self, generation: &Arc<Generation>, services: &HostServices) {
        let target = self.target(generation);
        if !generation.pool.begin_filling(target) {
            return;
        }
        let (generation, services) = (Arc::clone(generation), services.clone());
        let places = Arc::clone(&self.places);
        self.guests.spawn(async move {
            let ready = &generation.pool;
            loop {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    return ready.give_up_filling();
                };
                let deadline = Instant::now() + generation.program.config.limits.deadline;
                match call::prepare(&generation.program, services.clone(), deadline).await {
                    Ok(prepared) => {
                        if !ready.put(prepared, place, target) {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(
                            plugin = &*generation.program.plugin,
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
