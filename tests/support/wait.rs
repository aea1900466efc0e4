//! Waits for a condition, with a time limit.

use std::time::{Duration, Instant};

/// The time limit of every wait. Far more than anything needs, for busy machines, but less than the twenty minutes that
/// `tests/defences/replay` gives the tests of a defence to fail.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// Calls `probe` repeatedly until it returns something, and returns that.
///
/// For effects of which the gateway gives no notice, such as loading a changed file.
///
/// # Panics
/// When [`PATIENCE`] ends, naming `what`.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "this never happened: {what}");
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}
