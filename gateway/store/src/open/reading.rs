//! Opening a database that nobody uses, a backup for instance, only to read it: nothing is written to the file, and
//! nothing appears beside it.

use std::path::Path;

use rusqlite::Connection;

use crate::connect::open_unchanging;
use crate::error::OpenError;
use crate::inspect::{check_kinds, check_own_log, inspect, lock_directory};
use crate::open_files::{OpenFiles, Seen};
use crate::restore::{self, RestoreError};
use crate::schema::known;
use crate::{owned, versions, wal};

/// A database that nobody uses.
pub(crate) struct Unused {
    pub(crate) connection: Connection,
    pub(crate) files: OpenFiles,
    /// The file as it was found: SQLite does not notice changes to it.
    pub(crate) seen: Seen,
}

/// Whether nobody uses a database, and nothing is to be applied to it before it can be read.
pub(crate) fn is_unused(path: &Path) -> bool {
    // Its locks end at once: they are only tried. Where the file may not be written, nobody can have it open for that.
    let in_use = matches!(restore::hold(path), Err(RestoreError::InUse { .. }));
    !in_use && !restore::is_interrupted(path) && !wal::has_log(path)
}

/// Opens a database that nobody uses and that has no log. `None`: somebody uses it, its log or an interrupted restore is
/// still to be applied, or it is the database of a gateway that was updated since; [`super::open`] sees to all of that.
///
/// # Errors
/// See [`OpenError`].
pub(crate) fn open_unused(path: &Path) -> Result<Option<Unused>, OpenError> {
    let path = std::path::absolute(path).map_err(|error| OpenError::unwritable(path, &error))?;
    owned::database(&path)?;
    let _only_us = lock_directory(&path)?;
    check_kinds(&path)?;
    if !is_unused(&path) {
        return Ok(None);
    }
    check_own_log(&path)?;
    let seen = Seen::of(&path).map_err(|error| OpenError::unwritable(&path, &error))?;
    inspect(&path)?;
    let opened = || -> rusqlite::Result<(Connection, i64)> {
        let connection = open_unchanging(&path)?;
        let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        // So that a damaged schema is found here.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok((connection, version))
    };
    let (connection, found) = opened().map_err(|error| OpenError::sqlite(&path, &error))?;
    let known = known();
    match found {
        _ if found == known => {
            let files =
                OpenFiles::of(path.clone(), None).map_err(|error| OpenError::unwritable(&path, &error))?;
            Ok(Some(Unused {
                connection,
                files,
                seen,
            }))
        }
        _ if found > known => Err(OpenError::TooNew { path, found, known }),
        // A gateway has served from it.
        _ if versions::exist(&path) => Ok(None),
        _ => Err(OpenError::TooOld { path, found, known }),
    }
}
