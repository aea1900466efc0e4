//! What is in the way of using a database, found out without changing anything.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use gateway_model::file::kind;
use rusqlite::ErrorCode;

use crate::connect::open_immutable;
use crate::error::OpenError;
use crate::lineage::{self, Main, Refusal};
use crate::schema::APPLICATION_ID;
use crate::wal;

/// How long we wait for another process that is opening a database in the same directory.
const OPENING_PATIENCE: Duration = Duration::from_secs(15);

/// Looks at the place of a database without changing anything. Returns how large the file is that is there, if one is.
///
/// # Errors
/// What is in the way of using it.
pub(crate) fn look(path: &Path, alone: bool) -> Result<Option<u64>, OpenError> {
    match fs::metadata(path) {
        Ok(file) if !file.is_file() => Err(OpenError::NotAFile {
            path: path.to_owned(),
            kind: kind(file.file_type()),
        }),
        Ok(file) if file.len() > 0 => {
            check_links(path, &file)?;
            inspect(path)?;
            // Whoever uses it already has looked, and is changing both files.
            // defence: foreign-logs-are-refused (a test fails without it: docs/defences.md)
            if alone {
                check_log(path)?;
            }
            Ok(Some(file.len()))
        }
        Ok(file) => {
            check_links(path, &file)?;
            check_no_log(path)?;
            Ok(Some(0))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            check_no_log(path)?;
            Ok(None)
        }
        Err(error) => Err(OpenError::unwritable(path, &error)),
    }
}

/// Refuses anything but regular files, for the database and for what is kept beside it: a pipe would keep us waiting, and what
/// is written through a link would end up in another file.
///
/// # Errors
/// [`OpenError::NotAFile`], [`OpenError::Linked`].
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
        // Whoever opens it finds out.
        _ => {}
    }
    for suffix in ["-wal", "-shm", "-journal", "-versions"] {
        let beside = wal::path_with(path, suffix);
        match fs::symlink_metadata(&beside) {
            Ok(file) if !file.is_file() => return refused(&beside, kind(file.file_type())),
            Ok(file) => check_links(&beside, &file)?,
            // What is not there has no kind.
            Err(_) => {}
        }
    }
    Ok(())
}

/// Refuses a link to a database whose log was left beside the link.
///
/// # Errors
/// [`OpenError::StrandedLog`].
pub(crate) fn check_own_log(path: &Path) -> Result<(), OpenError> {
    if path.is_symlink() {
        for suffix in ["-wal", "-journal"] {
            let mut log = path.as_os_str().to_owned();
            log.push(suffix);
            if fs::metadata(&log).is_ok_and(|file| file.len() > 0) {
                let (path, log) = (path.to_owned(), log.into());
                return Err(OpenError::StrandedLog { path, log });
            }
        }
    }
    Ok(())
}

/// Refuses a file that has more than one name.
///
/// # Errors
/// [`OpenError::Linked`].
pub(crate) fn check_links(path: &Path, file: &fs::Metadata) -> Result<(), OpenError> {
    match file.nlink() {
        0 | 1 => Ok(()),
        links => Err(OpenError::Linked {
            path: path.to_owned(),
            links,
        }),
    }
}

/// Refuses a database whose log belongs to another file, or may do so, before SQLite applies it.
///
/// # Errors
/// [`OpenError::ForeignLog`], [`OpenError::UnknownLog`].
pub(crate) fn check_log(path: &Path) -> Result<(), OpenError> {
    check_log_of(path, false)
}

/// The same, where a log must prove that it belongs to the file: nobody looks after it as after the database's own.
///
/// # Errors
/// [`OpenError::ForeignLog`], [`OpenError::UnknownLog`].
pub(crate) fn check_log_strictly(path: &Path) -> Result<(), OpenError> {
    check_log_of(path, true)
}

fn check_log_of(path: &Path, strictly: bool) -> Result<(), OpenError> {
    let main = || Main::read(&open_immutable(path).ok()?);
    let refused = lineage::refused_log(path, strictly, main);
    let path = path.to_owned();
    match refused {
        Some((log, Refusal::Foreign)) => Err(OpenError::ForeignLog { path, log }),
        Some((log, Refusal::Unknown)) => Err(OpenError::UnknownLog { path, log }),
        None => Ok(()),
    }
}

/// Refuses the place of a database that is missing or empty where its log is still there: SQLite would delete it.
fn check_no_log(path: &Path) -> Result<(), OpenError> {
    let log = wal::path_of(path);
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        let path = path.to_owned();
        return Err(OpenError::LogAlone { path, log });
    }
    Ok(())
}

/// Looks into a file that may be anybody's. `immutable` keeps SQLite from locking it, from rolling
/// back its journal and from making files beside it; going through SQLite at all, and not reading the
/// header ourselves, matters because closing a file drops every lock this process has on it.
///
/// The log is not looked at, so a file of ours may seem to be shorter than its header says: its log is
/// just being copied back, or was when its process was killed. `writable_schema` is what makes SQLite
/// read the header all the same.
pub(crate) fn inspect(path: &Path) -> Result<(), OpenError> {
    let id = || -> rusqlite::Result<i32> {
        open_immutable(path)?.pragma_query_value(None, "application_id", |row| row.get(0))
    };
    match id() {
        Ok(APPLICATION_ID) => Ok(()),
        Ok(_) => Err(OpenError::NotOurs {
            path: path.to_owned(),
        }),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => Err(OpenError::NotOurs {
            path: path.to_owned(),
        }),
        Err(error) => Err(OpenError::sqlite(path, &error)),
    }
}

/// Two that open at once must not both create, or both migrate. The directory is what is locked, so
/// that no further file is needed; the lock ends with the value. A file system that cannot lock
/// directories goes without: SQLite's own locks still hold.
pub(crate) fn lock_directory(path: &Path) -> Result<Option<File>, OpenError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let directory = File::open(parent).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => OpenError::Unwritable {
            path: path.to_owned(),
            hint: format!("the directory {} does not exist: create it", parent.display()),
        },
        _ => OpenError::unwritable(path, &error),
    })?;
    let begun = Instant::now();
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(Some(directory)),
            Err(TryLockError::WouldBlock) if begun.elapsed() < OPENING_PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Busy {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
}
