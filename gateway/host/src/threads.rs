//! The threads that run guests.

use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::HostError;

/// A runtime for guests. Dropping it does not wait for its threads: a thread of another runtime must not block.
#[derive(Debug)]
pub struct GuestThreads {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl GuestThreads {
    /// Starts this many threads for guests, and at most `max_blocking` for work that blocks.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(guests: usize, max_blocking: usize) -> Result<Self, HostError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(guests.max(1))
            .max_blocking_threads(max_blocking)
            .thread_name("guest")
            .enable_all()
            .build()
            .map_err(HostError::Thread)?;
        let handle = runtime.handle().clone();
        Ok(Self {
            runtime: Some(runtime),
            handle,
        })
    }

    /// Where to spawn guests.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for GuestThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
