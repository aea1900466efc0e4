//! Prepares instances before they are needed, on guest threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gateway_sandbox::{HostServices, MAX_PREPARED, call};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::generation::Generation;

pub(crate) struct Preparer {
    guests: Handle,
    /// Bounds the waiting instances of all plugins.
    places: Arc<Semaphore>,
    /// The most waiting instances of one plugin.
    share: AtomicUsize,
}

impl Preparer {
    pub(crate) fn new(guests: Handle) -> Self {
        Self {
            guests,
            places: Arc::new(Semaphore::new(MAX_PREPARED)),
            share: AtomicUsize::new(MAX_PREPARED),
        }
    }

    /// Divides the instances among this number of plugins. If there are more plugins, those that are called first get
    /// one.
    pub(crate) fn divide(&self, plugins: usize) {
        let share = (MAX_PREPARED / plugins.max(1)).max(1);
        self.share.store(share, Ordering::Relaxed);
    }

    /// How many instances of the generation should wait.
    pub(crate) fn target(&self, generation: &Generation) -> usize {
        let share = self.share.load(Ordering::Relaxed);
        generation
            .program
            .config
            .prepared
            .min(share)
            .min(generation.program.room() / 2)
    }

    /// Makes the generation's instances in the background, unless another task does so already. If one cannot be made,
    /// the call that needs it reports why.
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
                            "cannot make an instance ahead: {error:#}"
                        );
                        return ready.give_up_filling();
                    }
                }
            }
        });
    }

    pub(crate) fn close(&self) {
        self.places.close();
    }
}
