//! Backs up a database, while a gateway uses it or not.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use crate::copy::{self, Contents, CopyError, Progress};
use crate::error::{At as _, OpenError};
use crate::open::reading::is_unused;
use crate::open_files::Seen;
use crate::place::Place;
use crate::{connect, inspect, open, owned, wal};

/// There is no backup. The target is unchanged.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum BackupError {
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The target exists.
    #[error("{} exists: name another file, or replace it with --overwrite", path.display())]
    Exists { path: PathBuf },
    /// The target is one of the database's own files, or not a regular file.
    #[error("{} cannot be the backup: {why}", path.display())]
    Target { path: PathBuf, why: &'static str },
    /// The backup cannot be written.
    #[error("the backup {} cannot be written: {error}", path.display())]
    Unwritable { path: PathBuf, error: io::Error },
    /// The database could not be copied, or the copy is damaged.
    #[error("{} cannot be backed up: {why}", path.display())]
    Copy { path: PathBuf, why: String },
}

/// Writes a backup of the database to a file that only its owner can read. The file appears when it is complete,
/// checked and on disk. This takes a while if the database is large.
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
    let failed = |why: String| BackupError::Copy {
        path: database.to_owned(),
        why,
    };
    let target_path = std::path::absolute(target).map_err(unwritable)?;
    let parent = target_path.parent().unwrap_or(Path::new("/"));
    look_at(&target_path, database, overwrite)?;
    let source = open_source(database)?;
    let copied = copy::copy(&source.connection, parent, ".gateway-backup-", progress);
    let copied = copied.map_err(|error| match error {
        CopyError::Io(error) => unwritable(error),
        error => failed(error.to_string()),
    })?;
    if let Some(Err(changed)) = source.seen.map(|seen| seen.check(database)) {
        return Err(failed(changed.to_string()));
    }
    let named = || -> io::Result<()> {
        if overwrite {
            fs::rename(&copied.path, &target_path)?;
        } else {
            // Unlike `rename`, this fails if the file was created meanwhile.
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

/// Whether a file is the database, or one that belongs to it. Neither has to exist.
#[must_use]
pub fn is_own_file(database: &Path, file: &Path) -> bool {
    let real = |path: &Path| {
        let path = std::path::absolute(path).ok()?;
        let in_parent = || Some(wal::real(path.parent()?).join(path.file_name()?));
        fs::canonicalize(&path).ok().or_else(in_parent)
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

/// An open database to back up.
struct Source {
    connection: rusqlite::Connection,
    /// If no process uses the database, the copy is valid only if the file is still in this state.
    seen: Option<Seen>,
    /// Released after the connection is closed.
    _place: Option<Place>,
}

/// Opens the database for reading, with the same checks as for serving from it.
fn open_source(database: &Path) -> Result<Source, OpenError> {
    let path = std::path::absolute(database).at(database)?;
    owned::database(&path)?;
    let _only_us = inspect::lock_directory(&path)?;
    open::settle(&path)?;
    if let Ok(file) = fs::metadata(&path) {
        inspect::check_links(&path, &file)?;
    }
    // Try this lock before SQLite takes one: closing a file ends every lock that the process has on it.
    let unused = is_unused(&path);
    inspect::inspect(&path)?;
    if open::is_alone(&path) {
        inspect::check_log(&path, false)?;
    }
    if unused {
        // Nothing may be left beside the file.
        let seen = Seen::of(&path).at(&path)?;
        let connection = connect::open_unchanging(&path).at(&path)?;
        return Ok(Source {
            connection,
            seen: Some(seen),
            _place: None,
        });
    }
    let place = Place::take(&path)?;
    let connection = connect::open_reader(&path).at(&path)?;
    place.check(&path)?;
    // After the first read, SQLite holds its lock, by which `restore` notices this process.
    connect::touch(&connection).at(&path)?;
    Ok(Source {
        connection,
        seen: None,
        _place: Some(place),
    })
}
