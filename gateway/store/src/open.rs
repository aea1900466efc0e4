//! Opening the file: is it ours, may we write it, is its schema the one we know.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use gateway_model::Random;
use rusqlite::Connection;
use rusqlite_migration::Migrations;

use crate::connect::{configure, connect};
use crate::error::OpenError;
use crate::inspect::{check_kinds, check_own_log, lock_directory, look};
use crate::lineage;
use crate::open_files::OpenFiles;
use crate::place::{self, Place, Users};
use crate::schema::{APPLICATION_ID, MIGRATIONS, known};
use crate::versions::{self, Versions};
use crate::{owned, restore, wal};

/// How long the writer waits for another process (the command line, a backup) to commit.
pub(crate) const WRITER_PATIENCE: Duration = Duration::from_secs(5);
/// How long we wait for another process whose log is gone: it may be closing the database.
const CLOSING_PATIENCE: Duration = Duration::from_secs(3);

/// A database that is open.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    /// The files that must stay where they are, under an absolute path.
    pub(crate) files: OpenFiles,
    /// The file by which processes know of each other.
    pub(crate) versions: Versions,
}

/// Opens the file for writing; creates it, for its owner alone, where there is none; finishes a restore that was
/// interrupted; brings its schema up to date.
///
/// # Errors
/// See [`OpenError`]. A file that is not ours has not been touched: neither its bytes nor its
/// directory.
pub(crate) fn open(path: &Path, patience: Duration, random: &dyn Random) -> Result<Opened, OpenError> {
    let path = std::path::absolute(path).map_err(|error| OpenError::unwritable(path, &error))?;
    owned::database(&path)?;
    let _only_us = lock_directory(&path)?;
    settle(&path)?;
    let alone = is_alone(&path);
    if look(&path, alone)?.is_none() {
        create(&path)?;
    }
    // Before SQLite opens the file, and given up after it has closed it.
    let place = Place::take(&path)?;

    let mut connection = connect(&path, patience).map_err(|error| OpenError::sqlite(&path, &error))?;
    place.check(&path)?;
    if connection
        .is_readonly("main")
        .map_err(|error| OpenError::sqlite(&path, &error))?
    {
        let hint = "the file is read-only for this user: change its owner or its mode".into();
        return Err(OpenError::Unwritable { path, hint });
    }
    let migrations = Migrations::from_slice(&*MIGRATIONS);
    let found = claim(&mut connection, &path)?;
    if found > known() {
        let known = known();
        return Err(OpenError::TooNew { path, found, known });
    }
    configure(&connection, &path)?;
    if found < known() {
        // The log must say which file it continues from before a migration changes that.
        begin_log(&connection, alone);
        migrations
            .to_latest(&mut connection)
            .map_err(|error| match error {
                rusqlite_migration::Error::RusqliteError { err, .. } => OpenError::sqlite(&path, &err),
                error => OpenError::Sqlite {
                    path: path.clone(),
                    detail: error.to_string(),
                },
            })?;
        if found > 0 {
            tracing::info!(database = %path.display(), from = found, to = known(), "the database's schema was updated");
        }
    }
    begin_log(&connection, alone);
    let versions = Versions::open(&path, random);
    let files =
        OpenFiles::of(path.clone(), Some(place)).map_err(|error| OpenError::unwritable(&path, &error))?;
    versions.record(&files);
    Ok(Opened {
        connection,
        files,
        versions,
    })
}

/// Finishes a restore that was interrupted. While somebody has the database open there can be none; then refuses files
/// that are not those that are open under their names. The directory must be locked.
///
/// # Errors
/// [`OpenError::Replaced`], and those of [`restore::finish`].
pub(crate) fn settle(path: &Path) -> Result<(), OpenError> {
    if !check_files(path)? {
        return restore::finish(path).map(drop);
    }
    if restore::is_interrupted(path) {
        tracing::warn!(
            database = %path.display(),
            "beside the database is a file with `-restore` at its end, as if a restore were to be finished, but the database \
             is in use: move that file away, or the next start installs it"
        );
    }
    Ok(())
}

/// Whether somebody has the database open. Refuses files that are not those that they have open under their names, and a
/// database that somebody has open under another name.
///
/// # Errors
/// [`OpenError::Replaced`], [`OpenError::Elsewhere`], [`OpenError::StrandedLog`], and those of [`check_kinds`].
pub(crate) fn check_files(path: &Path) -> Result<bool, OpenError> {
    check_kinds(path)?;
    let begun = Instant::now();
    while versions::in_use(path) {
        let replaced = versions::recorded(path).and_then(|record| record.replaced(path));
        match replaced {
            None => break,
            // Whoever closes the database deletes its log, and then lets go of the file of versions.
            Some(gone) if gone != path && !gone.exists() && begun.elapsed() < CLOSING_PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Some(path) => return Err(OpenError::Replaced { path }),
        }
    }
    let begun = Instant::now();
    let used = loop {
        let (refused, patience) = match place::users(path) {
            Users::None => break versions::in_use(path),
            Users::Here if versions::in_use(path) => break true,
            // Somebody has removed the file of versions, and with it the record of the log. While the database is open,
            // SQLite has both of these files.
            Users::Here => match ["-wal", "-shm"]
                .map(|suffix| wal::path_with(path, suffix))
                .into_iter()
                .find(|file| !file.exists())
            {
                None => break true,
                Some(path) => (OpenError::Replaced { path }, CLOSING_PATIENCE),
            },
            Users::Elsewhere => (place::elsewhere(path), place::ELSEWHERE_PATIENCE),
        };
        if begun.elapsed() >= patience {
            return Err(refused);
        }
        std::thread::sleep(place::PAUSE);
    };
    check_own_log(path)?;
    Ok(used)
}

/// Whether nobody has the database open.
pub(crate) fn is_alone(path: &Path) -> bool {
    versions::alone(path) && place::users(path) == Users::None
}

/// Makes the file differ from every copy that was made of it before, where nobody else has it open.
fn begin_log(connection: &Connection, alone: bool) {
    let begun = || -> rusqlite::Result<()> {
        if alone && lineage::has_table(connection)? {
            lineage::stamp(connection)?;
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        Ok(())
    };
    if let Err(error) = begun() {
        // A full disk, say: whatever writes next will find out.
        tracing::warn!(%error, "the database's log could not be marked: a backup copied over it may not be noticed");
    }
}

/// Makes an empty file ours, where the operator has put one; sees to it that any other is. Gives how
/// many migrations the database has seen.
fn claim(connection: &mut Connection, path: &Path) -> Result<i64, OpenError> {
    let mut claimed = || -> rusqlite::Result<(i32, i64)> {
        let transaction = connection.transaction()?;
        let mut id: i32 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let things: i64 =
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if id == 0 && version == 0 && things == 0 {
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            id = APPLICATION_ID;
        }
        transaction.commit()?;
        Ok((id, version))
    };
    match claimed() {
        Ok((APPLICATION_ID, version)) => Ok(version),
        Ok(_) => Err(OpenError::NotOurs {
            path: path.to_owned(),
        }),
        Err(error) => Err(OpenError::sqlite(path, &error)),
    }
}

/// A database appears under its name when it is ours, on the disk, and readable by its owner alone
/// (SQLite gives its log and index the same mode): a power cut leaves all of it or nothing.
fn create(path: &Path) -> Result<(), OpenError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let draft = tempfile::Builder::new()
        .prefix(".new-")
        .suffix(".db")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(parent)
        .map_err(|error| OpenError::unwritable(path, &error))?;
    let claimed = || -> rusqlite::Result<()> {
        let connection = Connection::open(draft.path())?;
        // No journal to be left behind: it is the name that is atomic.
        connection.pragma_update_and_check(None, "journal_mode", "off", |_| Ok(()))?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)
    };
    claimed().map_err(|error| OpenError::sqlite(path, &error))?;
    let named = || -> io::Result<()> {
        draft.as_file().sync_all()?;
        draft.persist_noclobber(path)?;
        File::open(parent)?.sync_all()
    };
    named().map_err(|error| OpenError::unwritable(path, &error))
}

pub(crate) mod reading;
#[cfg(test)]
mod tests;
