//! Wakes the task that delivers sign-outs to hooks.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogoutNotifier(Arc<Notify>);

impl LogoutNotifier {
    pub(crate) fn wake(&self) {
        self.0.notify_one();
    }

    /// Completes when `wake` is called, or immediately if it was called since the last time.
    pub(crate) fn woken(&self) -> Notified<'_> {
        self.0.notified()
    }
}
