//! Finds what prevents the use of a database, without changing anything.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use gateway_model::file::kind;
use rusqlite::ErrorCode;

use crate::connect::open_immutable;
use crate::error::{At as _, OpenError};
use crate::lineage::{self, Main, Refusal};
use crate::place::retry;
use crate::schema::APPLICATION_ID;
use crate::wal;

/// How long we wait for another process that opens a database in the same directory.
const OPENING_PATIENCE: Duration = Duration::from_secs(15);

/// Checks the location of a database, and returns the size of the file there, if one exists.
pub(crate) fn look(path: &Path, alone: bool) -> Result<Option<u64>, OpenError> {
    let size = match fs::metadata(path) {
        Ok(file) if !file.is_file() => {
            let (path, kind) = (path.to_owned(), kind(file.file_type()));
            return Err(OpenError::NotAFile { path, kind });
        }
        Ok(file) => {
            check_links(path, &file)?;
            Some(file.len())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(OpenError::unwritable(path, &error)),
    };
    if size.unwrap_or(0) == 0 {
        check_no_log(path)?;
        return Ok(size);
    }
    inspect(path)?;
    // A process that uses the database has checked its log already, and is changing both files.
    // defence: foreign-logs-are-refused (a test fails without it: docs/defences.md)
    if alone {
        check_log(path, false)?;
    }
    Ok(size)
}

/// Rejects a database, or a file beside it, that is not a regular file with one name: a pipe would block, and what is
/// written through a link would end up in another file.
pub(crate) fn check_kinds(path: &Path) -> Result<(), OpenError> {
    let refused = |path: &Path, kind| {
        let path = path.to_owned();
        Err(OpenError::NotAFile { path, kind })
    };
    match fs::metadata(path) {
        Ok(file) if !file.is_file() => return refused(path, kind(file.file_type())),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            return refused(path, "a symbolic link that leads nowhere");
        }
        // Opening it reports the problem.
        _ => {}
    }
    for suffix in ["-wal", "-shm", "-journal", "-versions"] {
        let beside = wal::path_with(path, suffix);
        match fs::symlink_metadata(&beside) {
            Ok(file) if !file.is_file() => return refused(&beside, kind(file.file_type())),
            Ok(file) => check_links(&beside, &file)?,
            // A missing file has no kind.
            Err(_) => {}
        }
    }
    Ok(())
}

/// Rejects a link to a database if a log was left beside the link.
pub(crate) fn check_own_log(path: &Path) -> Result<(), OpenError> {
    if path.is_symlink() {
        for suffix in ["-wal", "-journal"] {
            let log = wal::beside(path, suffix);
            if wal::is_filled(&log) {
                let path = path.to_owned();
                return Err(OpenError::StrandedLog { path, log });
            }
        }
    }
    Ok(())
}

/// Rejects a file that has more than one name.
pub(crate) fn check_links(path: &Path, file: &fs::Metadata) -> Result<(), OpenError> {
    match file.nlink() {
        0 | 1 => Ok(()),
        links => Err(OpenError::Linked {
            path: path.to_owned(),
            links,
        }),
    }
}

/// Rejects a database whose log belongs to another file, or may do so, before SQLite applies it. If `strictly`, the log
/// must prove that it belongs to the file: nothing guards a backup's log as the gateway guards its own.
pub(crate) fn check_log(path: &Path, strictly: bool) -> Result<(), OpenError> {
    let main = || Main::read(&open_immutable(path).ok()?);
    let refused = lineage::refused_log(path, strictly, main);
    let path = path.to_owned();
    match refused {
        Some((log, Refusal::Foreign)) => Err(OpenError::ForeignLog { path, log }),
        Some((log, Refusal::Unknown)) => Err(OpenError::UnknownLog { path, log }),
        None => Ok(()),
    }
}

/// Rejects a missing or empty database whose log is still there: SQLite would delete the log.
fn check_no_log(path: &Path) -> Result<(), OpenError> {
    let log = wal::path_of(path);
    if wal::is_filled(&log) {
        let path = path.to_owned();
        return Err(OpenError::LogAlone { path, log });
    }
    Ok(())
}

/// Checks that a file is one of our databases. `immutable` keeps SQLite from locking it, from rolling back its journal
/// and from creating files beside it. The header is not read without SQLite, because closing a file ends every lock
/// that this process has on it.
///
/// The log is ignored, so a file of ours may seem shorter than its header says: its log is being copied back, or was
/// when its process was killed. `writable_schema` makes SQLite read the header nevertheless.
pub(crate) fn inspect(path: &Path) -> Result<(), OpenError> {
    let id = || -> rusqlite::Result<i32> {
        open_immutable(path)?.pragma_query_value(None, "application_id", |row| row.get(0))
    };
    match id() {
        Ok(APPLICATION_ID) => Ok(()),
        Err(error) if error.sqlite_error_code() != Some(ErrorCode::NotADatabase) => Err(error).at(path),
        _ => Err(OpenError::NotOurs(path.to_owned())),
    }
}

/// Prevents two processes from creating or migrating a database at the same time. It locks the directory, which needs
/// no further file; the lock ends with the returned value. On a file system that cannot lock directories, only SQLite's
/// own locks remain.
pub(crate) fn lock_directory(path: &Path) -> Result<Option<File>, OpenError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let directory = File::open(parent).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => OpenError::Unwritable {
            path: path.to_owned(),
            hint: format!("the directory {} does not exist: create it", parent.display()),
        },
        _ => OpenError::unwritable(path, &error),
    })?;
    retry(|| match directory.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Err((OpenError::Busy(path.to_owned()), OPENING_PATIENCE)),
        Err(TryLockError::Error(_)) => Ok(false),
    })
    .map(|is_locked| is_locked.then_some(directory))
}
