//! `gateway config check`: what is in force and where it comes from, or every mistake and where it is.

use std::io::{self, Write as _};
use std::path::Path;

use super::{Shared, mistakes};
use crate::config;

pub(super) fn run(shared: &Shared) -> anyhow::Result<()> {
    let sources = shared.sources();
    let loaded = config::load(&sources).map_err(|errors| mistakes(&errors))?;
    let mut out = io::stdout().lock();
    match &sources.file {
        Some(path) => writeln!(out, "configuration file: {}", path.display())?,
        None => writeln!(out, "no configuration file")?,
    }
    write!(out, "{}", loaded.report)?;
    out.flush()?;
    for warning in loaded.warnings() {
        writeln!(io::stderr(), "warning: {warning}")?;
    }
    readable(&loaded.config.plugin_dir)
}

/// What the server would not start without, and what no file says.
fn readable(plugin_dir: &Path) -> anyhow::Result<()> {
    std::fs::read_dir(plugin_dir).map(drop).map_err(|error| {
        anyhow::anyhow!(
            "plugin_dir: cannot read {}: {error}; make it, or set plugin_dir or GATEWAY_PLUGIN_DIR to another one",
            plugin_dir.display()
        )
    })
}
