//! Work that blocks: reading files, and long computations.

use tokio::runtime::Handle;

use crate::error::AdmissionError;

/// Runs work on a thread where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    guests: &Handle,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AdmissionError> {
    guests
        .spawn_blocking(work)
        .await
        .map_err(|error| AdmissionError::CompileFailed(error.to_string()))
}
