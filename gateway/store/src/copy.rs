//! A whole and checked copy of a database: what a backup is, and what a restore puts in place.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OptionalExtension as _};
use tempfile::TempDir;

use crate::{integrity, lineage, schema};

/// Pages between two reports, 4 MiB.
const STEP: i32 = 1024;
/// How long a step waits where the database is being closed or recovered by another process, and how often.
const PAUSE: Duration = Duration::from_millis(25);
const PAUSES: u32 = 400;

/// How much of the database has been copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Pages that are copied.
    pub copied: u64,
    /// Pages that there are.
    pub total: u64,
}

/// What is in a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// How many users there are, those who never finished their first sign-in included.
    pub users: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    /// The original fails, or the copy cannot be written.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The copy cannot be written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// What was copied does not fit together.
    #[error("it is damaged ({0})")]
    Damaged(String),
    /// It is not one of ours.
    #[error("it is not a database of this gateway")]
    NotOurs,
    /// A newer gateway has written it.
    #[error("a newer gateway has written it (schema {found}, this one knows {known}): use that one")]
    TooNew { found: i64, known: i64 },
    /// Its schema is not the one that its version has.
    #[error("its schema is not this gateway's: {0}")]
    Schema(String),
}

/// A copy in a directory of its own, which goes away with it.
pub(crate) struct Copied {
    _directory: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) contents: Contents,
}

/// Copies what `source` shows at this moment, checks it and syncs it. Others may write meanwhile. The directory of the
/// copy is made in `parent`, and its name begins with `prefix`.
///
/// # Errors
/// See [`CopyError`]. Nothing is left behind.
pub(crate) fn copy(
    source: &Connection,
    parent: &Path,
    prefix: &str,
    progress: &mut dyn FnMut(Progress),
) -> Result<Copied, CopyError> {
    let directory = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
    let path = directory.path().join("copy.db");
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    let mut target = Connection::open(&path)?;
    // It is synced as a whole, and nobody sees it before.
    target.execute_batch("PRAGMA synchronous = OFF")?;
    fill(source, &mut target, progress)?;
    target.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    // Before anything is written to it: a trigger would see that.
    check(&target)?;
    if lineage::has_table(&target)? {
        // No log continues from this file.
        lineage::stamp(&target)?;
    }
    let users: Option<i64> = target
        .query_row("SELECT count(*) FROM users", [], |row| row.get(0))
        .optional()?;
    target.close().map_err(|(_, error)| error)?;
    file.sync_all()?;
    File::open(directory.path())?.sync_all()?;
    let contents = Contents {
        users: users.and_then(|users| u64::try_from(users).ok()).unwrap_or(0),
        bytes: file.metadata()?.len(),
    };
    Ok(Copied {
        _directory: directory,
        path,
        contents,
    })
}

/// Makes sure that a database is ours, with the schema of its version and no other, and sound.
///
/// # Errors
/// See [`CopyError`].
pub(crate) fn check(database: &Connection) -> Result<(), CopyError> {
    let id: i32 = database.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != schema::APPLICATION_ID {
        return Err(CopyError::NotOurs);
    }
    let found: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = schema::known();
    if found > known {
        return Err(CopyError::TooNew { found, known });
    }
    if let Some(difference) = schema::difference(database, found)? {
        return Err(CopyError::Schema(difference));
    }
    match integrity::problem(database)? {
        Some(problem) => Err(CopyError::Damaged(problem)),
        None => Ok(()),
    }
}

fn fill(
    source: &Connection,
    target: &mut Connection,
    progress: &mut dyn FnMut(Progress),
) -> rusqlite::Result<()> {
    // One moment for all steps: without a transaction every write of the gateway would make the copy begin anew.
    let moment = source.unchecked_transaction()?;
    moment.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let backup = Backup::new(&moment, target)?;
    let mut pauses = 0;
    loop {
        let step = backup.step(STEP)?;
        let now = backup.progress();
        let [total, remaining] =
            [now.pagecount, now.remaining].map(|pages| u64::try_from(pages).unwrap_or_default());
        progress(Progress {
            copied: total.saturating_sub(remaining),
            total,
        });
        match step {
            StepResult::Done => break,
            StepResult::Busy | StepResult::Locked if pauses < PAUSES => {
                pauses += 1;
                std::thread::sleep(PAUSE);
            }
            StepResult::Busy | StepResult::Locked => {
                return Err(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                    None,
                ));
            }
            _ => pauses = 0,
        }
    }
    drop(backup);
    moment.commit()
}
