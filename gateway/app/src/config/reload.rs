//! What SIGHUP does to the configuration: reads it again and gives the part that can be replaced.

use std::sync::Arc;

use super::settings::is_reloadable;
use super::{Loaded, Reloadable, Sources};

/// Reads the configuration again; the mistakes where there are any, a sentence each.
pub type Reload = Arc<dyn Fn() -> Result<Reread, Vec<String>> + Send + Sync>;

/// What was read, and what is worth a word.
#[derive(Debug)]
pub struct Reread {
    /// What is to be in force.
    pub reloadable: Reloadable,
    /// What works and is probably not meant, and what needs a restart. It is in the log already.
    pub warnings: Vec<String>,
}

/// A function that reads the same sources again. It warns, in the log, of changes that only a restart
/// takes up. The environment is the one the process was started with; flags stay.
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
        // The address that is in force stays in force, and so does the gateway's own page on it.
        if reloadable.default_next == newer.config.external {
            reloadable.default_next = external.clone();
        }
        Ok(Reread { reloadable, warnings })
    })
}
