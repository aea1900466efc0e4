//! Waiting for something to become true, with an end.

use std::time::{Duration, Instant};

/// The longest that anything a test waits for may take. Far more than it needs, for busy machines; less than the
/// twenty minutes that `tests/defences/replay` gives the tests of a defence to fail.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// Asks again and again until `probe` gives something, which is the answer.
///
/// For what the gateway does in its own time and tells nobody: taking up a changed file, for example.
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
