//! Tells the delivery of sign-outs that there is one.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Wakes the delivery of sign-outs. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct LogoutNotifier(Arc<Notify>);

impl LogoutNotifier {
    /// There is a sign-out to deliver.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Completes when [`LogoutNotifier::wake`] was called, or at once if it was since the last time.
    pub fn woken(&self) -> Notified<'_> {
        self.0.notified()
    }
}
