//! Tells cargo which files of the guests to watch.

use std::fs;
use std::path::Path;

use crate::{BuildError, io_error};

/// Runs the build script again when a source, a manifest or the lock file of a guest changes.
pub(crate) fn sources_of(directory: &Path) -> Result<(), BuildError> {
    let unreadable = |error| io_error("cannot read", directory, error);
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        // A guest that is built by hand has a target directory, and Markdown changes no component.
        if path.ends_with("target") || path.extension().is_some_and(|extension| extension == "md") {
            continue;
        }
        if path.join("Cargo.toml").is_file() {
            sources_of(&path)?;
        } else {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    Ok(())
}
