//! Makes a complete, checked copy of a database, for a backup or a restore.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use tempfile::TempDir;

use crate::{connect, integrity, lineage, rows, schema};

/// The number of pages between two reports of progress, 4 MiB.
const STEP: i32 = 1024;
/// How long, and how often, a step waits for another process that closes or recovers the database.
const PAUSE: Duration = Duration::from_millis(25);
const PAUSES: u32 = 400;

/// The progress of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The number of pages that are copied.
    pub copied: u64,
    /// The number of all pages.
    pub total: u64,
}

/// The contents of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The number of users, including those who never finished their first sign-in.
    pub users: u64,
    /// The size in bytes.
    pub bytes: u64,
}

/// The reason why there is no copy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    /// Reading the original or writing the copy failed.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("it is damaged ({0})")]
    Damaged(String),
    #[error("it is not a database of this gateway")]
    NotOurs,
    #[error("a newer gateway has written it (schema {found}, this one knows {known}): use that one")]
    TooNew { found: i64, known: i64 },
    #[error("its schema is not this gateway's: {0}")]
    Schema(String),
}

/// A copy in its own directory, which is removed with this value.
pub(crate) struct Copied {
    _directory: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) contents: Contents,
}

/// Copies the state of `source` at this moment, checks the copy and syncs it. Others may write meanwhile. The directory
/// of the copy is created in `parent`, with a name that begins with `prefix`; if the copy fails, it is removed.
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
    // The copy is synced as a whole, and nothing reads it before.
    target.execute_batch("PRAGMA synchronous = OFF")?;
    fill(source, &mut target, progress)?;
    target.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    // Check before anything is written: a planted trigger would run on a write.
    check(&target)?;
    if lineage::has_table(&target)? {
        // No log continues this file.
        lineage::stamp(&target)?;
    }
    let users: i64 = rows::value(&target, "SELECT count(*) FROM users", [])?;
    target.close().map_err(|(_, error)| error)?;
    file.sync_all()?;
    File::open(directory.path())?.sync_all()?;
    let contents = Contents {
        users: u64::try_from(users).unwrap_or(0),
        bytes: file.metadata()?.len(),
    };
    Ok(Copied {
        _directory: directory,
        path,
        contents,
    })
}

/// Checks that a database is ours, has exactly the schema of its version, and is not damaged.
pub(crate) fn check(database: &Connection) -> Result<(), CopyError> {
    let id: i32 = database.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != schema::APPLICATION_ID {
        return Err(CopyError::NotOurs);
    }
    let found = schema::version(database)?;
    let known = schema::known();
    if found > known {
        return Err(CopyError::TooNew { found, known });
    }
    let schema::Difference { foreign, missing } = schema::compare(database, found)?;
    if let Some(difference) = foreign.or(missing) {
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
    // One moment for all steps: without a transaction, every write of the gateway would restart the copy.
    let moment = source.unchecked_transaction()?;
    connect::touch(&moment)?;
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
