//! The reload of the configuration, by SIGHUP or `gateway reload`.

use std::sync::Arc;

use super::settings::is_reloadable;
use super::{Loaded, Reloadable, Sources};

/// Reads the configuration again. An error is a list of mistakes, a sentence each.
pub type Reload = Arc<dyn Fn() -> Result<Reread, Vec<String>> + Send + Sync>;

/// The new configuration.
#[derive(Debug)]
pub struct Reread {
    /// The part that takes effect immediately.
    pub reloadable: Reloadable,
    /// Settings that are probably not intended, and those that need a restart. They have been logged already.
    pub warnings: Vec<String>,
}

/// Returns a function that reads the same sources again, and logs changes that need a restart. Flags and environment keep
/// the values that the process was started with.
#[must_use]
pub fn reload(sources: Sources, in_force: &Loaded) -> Reload {
    let report = in_force.report.clone();
    let external = in_force.config.external.clone();
    Arc::new(move || {
        let newer = super::load(&sources).map_err(|errors| errors.sentences())?;
        let mut warnings = newer.warnings;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let waiting = report.needs_restart(&newer.report, is_reloadable);
        if !waiting.is_empty() {
            let keys = waiting.join(", ");
            tracing::warn!(keys, "these settings have changed and need a restart");
            warnings.push(format!("these settings have changed and need a restart: {keys}"));
        }
        let mut reloadable = newer.config.reloadable;
        // A new external address needs a restart, so the gateway's own page stays at the current one.
        if reloadable.default_next == newer.config.external {
            reloadable.default_next = external.clone();
        }
        Ok(Reread { reloadable, warnings })
    })
}
