//! Opens a database for writing, after checking that the file is ours, that we may write it, and that we know its
//! schema.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use gateway_model::Random;
use rusqlite::Connection;

use crate::connect::{configure, connect};
use crate::error::{At as _, OpenError};
use crate::inspect::{check_kinds, check_own_log, lock_directory, look};
use crate::lineage;
use crate::open_files::OpenFiles;
use crate::place::{self, ELSEWHERE_PATIENCE, Place, Users, retry};
use crate::schema::{self, APPLICATION_ID, MIGRATIONS, known};
use crate::versions::{self, Versions};
use crate::{owned, restore, wal};

/// How long the writer waits for another process (the command line, a backup) to commit.
pub(crate) const WRITER_PATIENCE: Duration = Duration::from_secs(5);
/// How long we wait for a process whose log is gone: it may be closing the database.
const CLOSING_PATIENCE: Duration = Duration::from_secs(3);

/// A database that is open.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    /// The files that must stay in place, under absolute paths.
    pub(crate) files: OpenFiles,
    pub(crate) versions: Versions,
}

/// Opens the file for writing: creates it, readable by its owner alone, if it does not exist; finishes an interrupted
/// restore; migrates the schema. If the file is not ours, neither it nor its directory is changed.
pub(crate) fn open(path: &Path, patience: Duration, random: &dyn Random) -> Result<Opened, OpenError> {
    let path = std::path::absolute(path).at(path)?;
    owned::database(&path)?;
    let _only_us = lock_directory(&path)?;
    settle(&path)?;
    let alone = is_alone(&path);
    if look(&path, alone)?.is_none() {
        create(&path)?;
    }
    // Taken before SQLite opens the file, and released after SQLite has closed it.
    let place = Place::take(&path)?;

    let mut connection = connect(&path, patience).at(&path)?;
    place.check(&path)?;
    if connection.is_readonly("main").at(&path)? {
        let hint = "the file is read-only for this user: change its owner or its mode".into();
        return Err(OpenError::Unwritable { path, hint });
    }
    let found = claim(&mut connection, &path)?;
    let known = known();
    if found > known {
        return Err(OpenError::TooNew { path, found, known });
    }
    configure(&connection, &path)?;
    if found < known {
        // The log must say which file it continues from before a migration changes that.
        begin_log(&connection, alone);
        schema::migrate(&mut connection, &*MIGRATIONS).at(&path)?;
        if found > 0 {
            tracing::info!(database = %path.display(), from = found, to = known, "the database's schema was updated");
        }
    }
    begin_log(&connection, alone);
    let versions = Versions::open(&path, random);
    let files = OpenFiles::of(path.clone(), Some(place)).at(&path)?;
    versions.record(&files);
    Ok(Opened {
        connection,
        files,
        versions,
    })
}

/// Finishes an interrupted restore, for which the directory must be locked. While another process has the database
/// open, no restore can have been interrupted; then this only checks that its files are still in their places.
pub(crate) fn settle(path: &Path) -> Result<(), OpenError> {
    if !check_files(path)? {
        return restore::finish(path).map(drop);
    }
    if restore::is_interrupted(path) {
        tracing::warn!(
            database = %path.display(),
            "a file whose name ends in `-restore` is beside the database, as an interrupted restore leaves it, but the \
             database is in use: move that file away, or the next start installs it"
        );
    }
    Ok(())
}

/// Returns whether a process has the database open. Rejects files that are not the ones that process has open, and a
/// database that is open under another name.
pub(crate) fn check_files(path: &Path) -> Result<bool, OpenError> {
    check_kinds(path)?;
    retry(|| {
        let replaced = if versions::in_use(path) {
            versions::recorded(path).and_then(|record| record.replaced(path))
        } else {
            None
        };
        let Some(gone) = replaced else { return Ok(()) };
        // A process that closes the database deletes its log, and then unlocks the file of versions.
        let is_closing = gone != path && !gone.exists();
        let patience = if is_closing {
            CLOSING_PATIENCE
        } else {
            Duration::ZERO
        };
        Err((OpenError::Replaced { path: gone }, patience))
    })?;
    let used = retry(|| match place::users(path) {
        Users::None => Ok(versions::in_use(path)),
        Users::Here if versions::in_use(path) => Ok(true),
        // The file of versions was removed, and with it the record of the log. While the database is open, SQLite has
        // both of these files.
        Users::Here => match ["-wal", "-shm"]
            .map(|suffix| wal::path_with(path, suffix))
            .into_iter()
            .find(|file| !file.exists())
        {
            None => Ok(true),
            Some(path) => Err((OpenError::Replaced { path }, CLOSING_PATIENCE)),
        },
        Users::Elsewhere => Err((OpenError::Elsewhere(path.to_owned()), ELSEWHERE_PATIENCE)),
    })?;
    check_own_log(path)?;
    Ok(used)
}

/// Whether no process has the database open.
pub(crate) fn is_alone(path: &Path) -> bool {
    versions::alone(path) && place::users(path) == Users::None
}

/// Makes the file differ from every earlier copy of it, if no other process has it open.
fn begin_log(connection: &Connection, alone: bool) {
    let begun = || -> rusqlite::Result<()> {
        if alone && lineage::has_table(connection)? {
            lineage::stamp(connection)?;
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        Ok(())
    };
    if let Err(error) = begun() {
        // For example, the disk is full: the next write reports that.
        tracing::warn!(%error, "the database's log could not be marked: a backup copied over it may not be noticed");
    }
}

/// Claims an empty file, which the operator may have created, and rejects a file that is not ours. Returns how many
/// migrations the database has.
fn claim(connection: &mut Connection, path: &Path) -> Result<i64, OpenError> {
    let mut claimed = || -> rusqlite::Result<(i32, i64)> {
        let transaction = connection.transaction()?;
        let mut id: i32 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version = schema::version(&transaction)?;
        let things: i64 =
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if id == 0 && version == 0 && things == 0 {
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            id = APPLICATION_ID;
        }
        transaction.commit()?;
        Ok((id, version))
    };
    match claimed().at(path)? {
        (APPLICATION_ID, version) => Ok(version),
        _ => Err(OpenError::NotOurs(path.to_owned())),
    }
}

/// Creates a database that appears under its name only when it is ours, on disk, and readable by its owner alone
/// (SQLite gives its log and index the same mode): a power cut leaves all of it or nothing.
fn create(path: &Path) -> Result<(), OpenError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let draft = tempfile::Builder::new()
        .prefix(".new-")
        .suffix(".db")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(parent)
        .at(path)?;
    let claimed = || -> rusqlite::Result<()> {
        let connection = Connection::open(draft.path())?;
        // No journal is left behind: the rename makes it atomic.
        connection.pragma_update_and_check(None, "journal_mode", "off", |_| Ok(()))?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)
    };
    claimed().at(path)?;
    let named = || -> io::Result<()> {
        draft.as_file().sync_all()?;
        draft.persist_noclobber(path)?;
        File::open(parent)?.sync_all()
    };
    named().at(path)
}

pub(crate) mod reading;
#[cfg(test)]
mod tests;
