//! Tells cargo which files of the guests to watch.

use std::fs;
use std::path::Path;

use crate::{BuildError, io_error};

/// Has the build script run again when a source, a manifest or the lock file of a guest changes.
///
/// # Errors
/// When a directory cannot be read.
pub(crate) fn sources_of(directory: &Path) -> Result<(), BuildError> {
    let unreadable = |error| io_error("cannot read", directory, error);
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        // Somebody who works on a guest by itself has a target directory there, and a page of text
        // changes no component.
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
