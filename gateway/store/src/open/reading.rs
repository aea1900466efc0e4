//! Opens a database that no process uses, for example a backup, for reading only: nothing is written to the file, and
//! nothing appears beside it.

use std::path::Path;

use rusqlite::Connection;

use crate::connect::{open_unchanging, touch};
use crate::error::{At as _, OpenError};
use crate::inspect::{check_kinds, check_own_log, inspect, lock_directory};
use crate::open_files::{OpenFiles, Seen};
use crate::restore::{self, RestoreError};
use crate::schema::{self, known};
use crate::{owned, versions, wal};

/// A database that no process uses.
pub(crate) struct Unused {
    pub(crate) connection: Connection,
    pub(crate) files: OpenFiles,
    /// The file as it was when it was opened: SQLite does not notice changes to it.
    pub(crate) seen: Seen,
}

/// Whether no process uses a database, and nothing must be applied to it before it can be read.
pub(crate) fn is_unused(path: &Path) -> bool {
    // These locks are released immediately. If the file may not be written, no process can have it open for writing.
    let in_use = matches!(restore::hold(path), Err(RestoreError::InUse { .. }));
    !in_use && !restore::is_interrupted(path) && !wal::has_log(path)
}

/// Opens a database that no process uses and that has no log. Returns `None` if a process uses it, if its log or an
/// interrupted restore must still be applied, or if its gateway was upgraded since; [`super::open`] handles all of
/// these.
pub(crate) fn open_unused(path: &Path) -> Result<Option<Unused>, OpenError> {
    let path = std::path::absolute(path).at(path)?;
    owned::database(&path)?;
    let _only_us = lock_directory(&path)?;
    check_kinds(&path)?;
    if !is_unused(&path) {
        return Ok(None);
    }
    check_own_log(&path)?;
    let seen = Seen::of(&path).at(&path)?;
    inspect(&path)?;
    let connection = open_unchanging(&path).at(&path)?;
    let found = schema::version(&connection).at(&path)?;
    // Finds a damaged schema.
    touch(&connection).at(&path)?;
    let known = known();
    match found {
        _ if found == known => {
            let files = OpenFiles::of(path.clone(), None).at(&path)?;
            Ok(Some(Unused {
                connection,
                files,
                seen,
            }))
        }
        _ if found > known => Err(OpenError::TooNew { path, found, known }),
        // A gateway has served from this file.
        _ if versions::exist(&path) => Ok(None),
        _ => Err(OpenError::TooOld { path, found, known }),
    }
}
