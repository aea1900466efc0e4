//! Restoring a backup.
//!
//! What is restored is first copied beside the database, checked, synced, and then renamed to `<database>-restore`. That
//! is the moment from which the restore counts: whoever opens the database afterwards, this process or the next one,
//! moves the old files aside, puts the new one in their place, and can be interrupted and begin again at any point.
//! Before that moment nothing of the old database has changed.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use crate::copy::{self, Contents, CopyError, Progress};
use crate::error::OpenError;
use crate::{connect, inspect, owned, place, versions};

/// Directories that a killed restore leaves behind begin so.
const STAGING: &str = ".gateway-restore-";

/// Nothing was restored. The database is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Somebody uses the database.
    #[error(
        "{} is in use, by a gateway or by another process: stop it first (with systemd, `systemctl stop gateway`); \
         `fuser {}` names the processes",
        path.display(), path.display()
    )]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The file cannot be restored.
    #[error("{} cannot be restored: {why}", path.display())]
    Backup {
        /// The backup.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The place of the database cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What is in the database now.
    pub contents: Contents,
    /// Where the old files are now.
    pub kept: Vec<PathBuf>,
}

/// Puts a backup in the place of the database, and keeps the old files aside. Takes a while where there is much.
///
/// # Errors
/// See [`RestoreError`].
pub fn restore(
    backup: &Path,
    database: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Restored, RestoreError> {
    let path = std::path::absolute(database).map_err(|error| OpenError::unwritable(database, &error))?;
    owned::database(&path).map_err(OpenError::from)?;
    // The files are beside the real one.
    let path = fs::canonicalize(&path).unwrap_or(path);
    let parent = path.parent().unwrap_or(Path::new("/"));
    let _only_us = inspect::lock_directory(&path)?;
    inspect::check_kinds(&path)?;
    let _unused = hold(&path)?;
    finish(&path)?;
    clear_staging(parent);

    let refused = |why: String| RestoreError::Backup {
        path: backup.to_owned(),
        why,
    };
    let same = |a: &Path, b: &Path| {
        let identity = |path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
        identity(a).is_some_and(|a| Some(a) == identity(b))
    };
    if same(backup, &path) {
        return Err(refused("it is the database itself".into()));
    }
    let source = open_backup(backup).map_err(&refused)?;
    let copied = copy::copy(&source, parent, STAGING, progress).map_err(|error| match error {
        CopyError::Io(error) => RestoreError::Open(OpenError::unwritable(&path, &error)),
        error => refused(error.to_string()),
    })?;
    drop(source);
    let counts = || -> io::Result<()> {
        fs::rename(&copied.path, beside(&path, "-restore"))?;
        File::open(parent)?.sync_all()
    };
    counts().map_err(|error| OpenError::unwritable(&path, &error))?;
    let kept = install(&path)?;
    Ok(Restored {
        contents: copied.contents,
        kept,
    })
}

/// Whether there is a database, or one that was being restored.
#[must_use]
pub fn exists(database: &Path) -> bool {
    database.exists() || beside(database, "-restore").exists()
}

/// Locks everybody out who might use the database: the gateways, who lock the file of versions and a byte of the database,
/// and everybody who goes through SQLite, who holds its lock while the database is open in WAL mode. The locks end with the
/// files.
///
/// # Errors
/// [`RestoreError::InUse`]; or that the database cannot be opened for writing.
pub(crate) fn hold(path: &Path) -> Result<(Option<File>, Option<File>), RestoreError> {
    let in_use = || RestoreError::InUse {
        path: path.to_owned(),
    };
    let unusable = |error: io::Error| RestoreError::Open(OpenError::unwritable(path, &error));
    let gateways = match versions::hold(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(in_use()),
        // It is not there, or cannot be locked.
        Err(_) => None,
    };
    // To open the file and to close it again would end SQLite's locks.
    if place::is_held(path) {
        return Err(in_use());
    }
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((gateways, None)),
        Err(error) => return Err(unusable(error)),
    };
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok((gateways, Some(file))),
        Err(Errno::AGAIN | Errno::ACCESS) => Err(in_use()),
        Err(error) => Err(unusable(error.into())),
    }
}

/// Opens a backup for reading. Nothing is written beside it, unless it has a log of its own.
fn open_backup(backup: &Path) -> Result<Connection, String> {
    let file = fs::metadata(backup).map_err(|error| error.to_string())?;
    if !file.is_file() {
        return Err("it is not a regular file".into());
    }
    let backup = fs::canonicalize(backup).map_err(|error| error.to_string())?;
    inspect::inspect(&backup).map_err(|error| match error {
        OpenError::NotOurs { .. } => "it is not a database of this gateway".to_owned(),
        error => error.to_string(),
    })?;
    // What is installed is the backup, and no log that happens to be beside it.
    inspect::check_log_strictly(&backup).map_err(|error| error.to_string())?;
    let has = |suffix| fs::metadata(beside(&backup, suffix)).is_ok_and(|file| file.len() > 0);
    let opened = if has("-wal") || has("-journal") {
        connect::open_reader(&backup)
    } else {
        connect::open_immutable(&backup)
    };
    opened.map_err(|error| error.to_string())
}

/// Whether a restore that counts already was interrupted.
pub(crate) fn is_interrupted(path: &Path) -> bool {
    let real = fs::canonicalize(path);
    let new = beside(real.as_deref().unwrap_or(path), "-restore");
    fs::symlink_metadata(new).is_ok()
}

/// Finishes a restore that counts already and was interrupted, if there is one. The directory must be locked. Returns
/// where the old files are now.
///
/// # Errors
/// When the file is not what a restore leaves; and when a file cannot be moved: the next attempt goes on from there.
pub(crate) fn finish(path: &Path) -> Result<Vec<PathBuf>, OpenError> {
    check_interrupted(path)?;
    install(path)
}

/// Looks at the file of a restore that counts already and was interrupted, if there is one.
///
/// # Errors
/// When the file is not what a restore leaves.
pub(crate) fn check_interrupted(path: &Path) -> Result<Option<PathBuf>, OpenError> {
    let real = fs::canonicalize(path);
    let new = beside(real.as_deref().unwrap_or(path), "-restore");
    if !is_interrupted(path) {
        return Ok(None);
    }
    match check_restored(&new) {
        Ok(()) => Ok(Some(new)),
        Err(why) => Err(OpenError::Unrestored { path: new, why }),
    }
}

/// Makes sure that a file is one that a restore has put there, or as good: whoever starts a gateway did not name it.
fn check_restored(new: &Path) -> Result<(), String> {
    let file = fs::symlink_metadata(new).map_err(|error| error.to_string())?;
    if file.is_symlink() {
        return Err("it is a symbolic link".into());
    }
    if !file.is_file() {
        return Err("it is not a regular file".into());
    }
    if file.nlink() > 1 {
        return Err("it has another name (a hard link)".into());
    }
    owned::file(new).map_err(|error| error.to_string())?;
    let checked = connect::open_unchanging(new)
        .map_err(CopyError::from)
        .and_then(|restored| copy::check(&restored));
    checked.map_err(|error| error.to_string())
}

/// Puts the file of a restore that counts in the place of the database.
fn install(path: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let real = fs::canonicalize(path);
    let path = real.as_deref().unwrap_or(path);
    let new = beside(path, "-restore");
    let time = match fs::symlink_metadata(&new) {
        Ok(file) => file.mtime(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(OpenError::unwritable(path, &error)),
    };
    let kept = old_name(path, time).map_err(|error| OpenError::sqlite(path, &error))?;
    let mut moved = Vec::new();
    let mut put = || -> io::Result<()> {
        for suffix in ["", "-wal", "-journal"] {
            let aside = beside(&kept, suffix);
            if is_there(fs::rename(beside(path, suffix), &aside))? || aside.exists() {
                moved.push(aside);
            }
        }
        // Both say nothing without their database.
        for suffix in ["-shm", "-versions"] {
            is_there(fs::remove_file(beside(path, suffix)))?;
        }
        is_there(fs::rename(&new, path))?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    put().map_err(|error| OpenError::unwritable(path, &error))?;
    Ok(moved)
}

/// `false`: there was no such file, for instance because it was moved before an interruption.
fn is_there(done: io::Result<()>) -> io::Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// `<database>.before-20261130T091500Z`, or with a number after it. The same one again after an interruption.
fn old_name(path: &Path, time: i64) -> rusqlite::Result<PathBuf> {
    let time: String = Connection::open_in_memory()?.query_row(
        "SELECT strftime('%Y%m%dT%H%M%SZ', ?1, 'unixepoch')",
        [time],
        |row| row.get(0),
    )?;
    let mut name = beside(path, &format!(".before-{time}"));
    let taken = |name: &Path| {
        let mut files = ["", "-wal", "-journal"].iter();
        files.any(|suffix| beside(name, suffix).exists() && beside(path, suffix).exists())
    };
    let mut number = 2;
    while taken(&name) {
        name = beside(path, &format!(".before-{time}-{number}"));
        number += 1;
    }
    Ok(name)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Nobody else restores into a directory that this process has locked.
fn clear_staging(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(STAGING.as_bytes())
        {
            // What stays is only in the way of the disk's space.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
