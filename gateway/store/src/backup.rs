//! Backing up, beside a running gateway or without one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use crate::copy::{self, Contents, CopyError, Progress};
use crate::error::OpenError;
use crate::open::reading::is_unused;
use crate::open_files::Seen;
use crate::place::Place;
use crate::{connect, inspect, open, owned};

/// There is no backup. The target is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The target is there.
    #[error("{} exists: name another file, or replace it with --overwrite", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// The target is one of the database's own files, or not a file.
    #[error("{} cannot be the backup: {why}", path.display())]
    Target {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// The backup cannot be written.
    #[error("the backup {} cannot be written: {error}", path.display())]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The database could not be copied, or what was copied is damaged.
    #[error("{} cannot be backed up: {why}", path.display())]
    Copy {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// Writes a backup of the database to a file that its owner alone can read. The file appears when it is complete,
/// checked and on the disk. Takes a while where there is much.
///
/// # Errors
/// See [`BackupError`].
pub fn backup(
    database: &Path,
    target: &Path,
    overwrite: bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Contents, BackupError> {
    let unwritable = |error| BackupError::Unwritable {
        path: target.to_owned(),
        error,
    };
    let target_path = std::path::absolute(target).map_err(unwritable)?;
    let parent = target_path.parent().unwrap_or(Path::new("/"));
    look_at(&target_path, database, overwrite)?;
    let source = open_source(database)?;
    let copied =
        copy::copy(&source.connection, parent, ".gateway-backup-", progress).map_err(
            |error| match error {
                CopyError::Io(error) => unwritable(error),
                error => BackupError::Copy {
                    path: database.to_owned(),
                    why: error.to_string(),
                },
            },
        )?;
    if let Some(Err(changed)) = source.seen.map(|seen| seen.check(database)) {
        return Err(BackupError::Copy {
            path: database.to_owned(),
            why: changed.to_string(),
        });
    }
    let named = || -> io::Result<()> {
        if overwrite {
            fs::rename(&copied.path, &target_path)?;
        } else {
            // Unlike `rename`, this fails if somebody has made the file meanwhile.
            TempPath::try_from_path(&copied.path)?.persist_noclobber(&target_path)?;
        }
        File::open(parent)?.sync_all()
    };
    match named() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(BackupError::Exists {
            path: target.to_owned(),
        }),
        Err(error) => Err(unwritable(error)),
        Ok(()) => Ok(copied.contents),
    }
}

fn look_at(target: &Path, database: &Path, overwrite: bool) -> Result<(), BackupError> {
    let refused = |why| BackupError::Target {
        path: target.to_owned(),
        why,
    };
    if is_own_file(database, target) {
        return Err(refused("it is one of the database's own files"));
    }
    match fs::metadata(target) {
        Ok(file) if !file.is_file() => Err(refused("it is not a regular file")),
        Ok(_) if !overwrite => Err(BackupError::Exists {
            path: target.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Whether a file is the database, or one that belongs to it. Neither need be there.
#[must_use]
pub fn is_own_file(database: &Path, file: &Path) -> bool {
    let real = |path: &Path| {
        let path = std::path::absolute(path).ok()?;
        let beside_it = || {
            let parent = path.parent()?;
            let parent = fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned());
            Some(parent.join(path.file_name()?))
        };
        fs::canonicalize(&path).ok().or_else(beside_it)
    };
    let (Some(file), Some(database)) = (real(file), real(database)) else {
        return false;
    };
    let suffix = file
        .as_os_str()
        .as_encoded_bytes()
        .strip_prefix(database.as_os_str().as_encoded_bytes());
    let own: [&[u8]; 6] = [b"", b"-wal", b"-shm", b"-journal", b"-versions", b"-restore"];
    suffix.is_some_and(|suffix| own.contains(&suffix))
}

/// The database that is backed up.
struct Source {
    connection: rusqlite::Connection,
    /// If nobody uses it, the copy is only good if the file is still like this.
    seen: Option<Seen>,
    /// Given up after the connection.
    _place: Option<Place>,
}

/// Opens the database for reading, after the same checks as for serving from it.
fn open_source(database: &Path) -> Result<Source, OpenError> {
    let path = std::path::absolute(database).map_err(|error| OpenError::unwritable(database, &error))?;
    owned::database(&path)?;
    let _only_us = inspect::lock_directory(&path)?;
    open::settle(&path)?;
    if let Ok(file) = fs::metadata(&path) {
        inspect::check_links(&path, &file)?;
    }
    // Its lock is tried before SQLite has one: whoever closes a file drops every lock that the process has on it.
    let unused = is_unused(&path);
    inspect::inspect(&path)?;
    if open::is_alone(&path) {
        inspect::check_log(&path)?;
    }
    if unused {
        // Nothing may be left beside the file.
        let seen = Seen::of(&path).map_err(|error| OpenError::unwritable(&path, &error))?;
        let connection = connect::open_unchanging(&path).map_err(|error| OpenError::sqlite(&path, &error))?;
        return Ok(Source {
            connection,
            seen: Some(seen),
            _place: None,
        });
    }
    let place = Place::take(&path)?;
    let connection = connect::open_reader(&path).map_err(|error| OpenError::sqlite(&path, &error))?;
    place.check(&path)?;
    // From the first read on SQLite holds its lock, by which `restore` knows of this process.
    connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .map_err(|error| OpenError::sqlite(&path, &error))?;
    Ok(Source {
        connection,
        seen: None,
        _place: Some(place),
    })
}
