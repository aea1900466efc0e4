//! What SIGHUP does to the configuration: reads it again and gives the part that can be replaced.

use std::sync::Arc;

use super::{Loaded, Reloadable, Sources};

/// Reads the configuration again; on a mistake the text for the log, in one line.
pub type Reload = Arc<dyn Fn() -> Result<Reloadable, String> + Send + Sync>;

/// A function that reads the same sources again. It warns, in the log, of changes that only a restart
/// takes up. The environment is the one the process was started with; flags stay.
#[must_use]
pub fn reload(sources: Sources, in_force: &Loaded) -> Reload {
    let report = in_force.report.clone();
    let external = in_force.config.external.clone();
    Arc::new(move || {
        let newer = super::load(&sources).map_err(|errors| errors.in_one_line())?;
        for warning in newer.warnings() {
            tracing::warn!("{warning}");
        }
        let waiting = report.needs_restart(&newer.report);
        if !waiting.is_empty() {
            tracing::warn!(
                keys = waiting.join(", "),
                "these settings have changed and need a restart"
            );
        }
        let mut reloadable = newer.config.reloadable;
        // The address that is in force stays in force, and so does the gateway's own page on it.
        if reloadable.default_next == newer.config.external {
            reloadable.default_next = external.clone();
        }
        Ok(reloadable)
    })
}
