//! Restores a backup.
//!
//! The backup is first copied beside the database, checked, synced, and then renamed to `<database>-restore`. This
//! rename commits the restore: the next process that opens the database, this one or another, moves the old files aside
//! and puts the new one in their place. It can be interrupted and started again at any point. Before the rename,
//! nothing of the old database has changed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use crate::copy::{self, Contents, CopyError, Progress};
use crate::error::{At as _, OpenError};
use crate::file_id::FileId;
use crate::wal::{self, beside};
use crate::{connect, inspect, owned, place, versions};

/// The prefix of directories that a killed restore leaves behind.
const STAGING: &str = ".gateway-restore-";

/// Nothing was restored. The database is unchanged.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum RestoreError {
    /// A process uses the database.
    #[error(
        "{} is in use, by a gateway or by another process: stop it first (with systemd, `systemctl stop gateway`); \
         `fuser {}` names the processes",
        path.display(), path.display()
    )]
    InUse { path: PathBuf },
    /// The backup cannot be restored.
    #[error("{} cannot be restored: {why}", path.display())]
    Backup { path: PathBuf, why: String },
    /// The location of the database cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// The result of a restore.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The contents of the database now.
    pub contents: Contents,
    /// The paths of the old files now.
    pub kept: Vec<PathBuf>,
}

/// Replaces the database with a backup, and keeps the old files aside. This takes a while if the backup is large.
///
/// # Errors
/// See [`RestoreError`].
pub fn restore(
    backup: &Path,
    database: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Restored, RestoreError> {
    let path = std::path::absolute(database).at(database)?;
    owned::database(&path).map_err(OpenError::from)?;
    let path = wal::real(&path);
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
    if FileId::of(backup).is_ok_and(|id| FileId::of(&path).is_ok_and(|other| id == other)) {
        return Err(refused("it is the database itself".into()));
    }
    let source = open_backup(backup).map_err(&refused)?;
    let copied = copy::copy(&source, parent, STAGING, progress).map_err(|error| match error {
        CopyError::Io(error) => RestoreError::Open(OpenError::unwritable(&path, &error)),
        error => refused(error.to_string()),
    })?;
    drop(source);
    let commit = || -> io::Result<()> {
        fs::rename(&copied.path, beside(&path, "-restore"))?;
        File::open(parent)?.sync_all()
    };
    commit().at(&path)?;
    let kept = install(&path)?;
    Ok(Restored {
        contents: copied.contents,
        kept,
    })
}

/// Whether a database exists, or an interrupted restore of one.
#[must_use]
pub fn exists(database: &Path) -> bool {
    database.exists() || beside(database, "-restore").exists()
}

/// Locks out all possible users of the database: gateways, which lock the file of versions and a byte of the database,
/// and everything that goes through SQLite, which holds its lock while the database is open in WAL mode. The locks end
/// with the returned files.
pub(crate) fn hold(path: &Path) -> Result<(Option<File>, Option<File>), RestoreError> {
    let in_use = || RestoreError::InUse {
        path: path.to_owned(),
    };
    let gateways = match versions::hold(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(in_use()),
        // It does not exist, or cannot be locked.
        Err(_) => None,
    };
    // Opening the file and closing it again would end SQLite's locks.
    if place::is_held(path) {
        return Err(in_use());
    }
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((gateways, None)),
        opened => opened.at(path)?,
    };
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok((gateways, Some(file))),
        Err(Errno::AGAIN | Errno::ACCESS) => Err(in_use()),
        Err(error) => Err(OpenError::unwritable(path, &error.into()).into()),
    }
}

/// Opens a backup for reading. Writes nothing beside it, unless the backup has its own log.
fn open_backup(backup: &Path) -> Result<Connection, String> {
    let file = fs::metadata(backup).map_err(|error| error.to_string())?;
    if !file.is_file() {
        return Err("it is not a regular file".into());
    }
    let backup = fs::canonicalize(backup).map_err(|error| error.to_string())?;
    inspect::inspect(&backup).map_err(|error| match error {
        OpenError::NotOurs(_) => "it is not a database of this gateway".to_owned(),
        error => error.to_string(),
    })?;
    // Install the backup, without an unrelated log that happens to be beside it.
    inspect::check_log(&backup, true).map_err(|error| error.to_string())?;
    let opened = if wal::has_log(&backup) {
        connect::open_reader(&backup)
    } else {
        connect::open_immutable(&backup)
    };
    opened.map_err(|error| error.to_string())
}

/// The name that a file gets when its restore is committed.
fn restored(path: &Path) -> PathBuf {
    wal::path_with(path, "-restore")
}

/// Whether a committed restore was interrupted.
pub(crate) fn is_interrupted(path: &Path) -> bool {
    fs::symlink_metadata(restored(path)).is_ok()
}

/// Finishes a committed restore that was interrupted, if there is one, and returns the paths of the old files. The
/// directory must be locked. If a file cannot be moved, the next attempt continues from there.
pub(crate) fn finish(path: &Path) -> Result<Vec<PathBuf>, OpenError> {
    check_interrupted(path)?;
    install(path)
}

/// Checks the file of a committed restore that was interrupted, if there is one.
pub(crate) fn check_interrupted(path: &Path) -> Result<Option<PathBuf>, OpenError> {
    if !is_interrupted(path) {
        return Ok(None);
    }
    let new = restored(path);
    match check_restored(&new) {
        Ok(()) => Ok(Some(new)),
        Err(why) => Err(OpenError::Unrestored { path: new, why }),
    }
}

/// Checks that a file is as good as one that a restore has put there: the operator who starts a gateway did not name
/// it.
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

/// Puts the file of a committed restore in place of the database.
fn install(path: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let path = &wal::real(path);
    let new = restored(path);
    let time = match fs::symlink_metadata(&new) {
        Ok(file) => file.mtime(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(OpenError::unwritable(path, &error)),
    };
    let kept = old_name(path, time).at(path)?;
    let mut moved = Vec::new();
    let mut put = || -> io::Result<()> {
        for suffix in ["", "-wal", "-journal"] {
            let aside = beside(&kept, suffix);
            if is_there(fs::rename(beside(path, suffix), &aside))? || aside.exists() {
                moved.push(aside);
            }
        }
        // Both are useless without their database.
        for suffix in ["-shm", "-versions"] {
            is_there(fs::remove_file(beside(path, suffix)))?;
        }
        is_there(fs::rename(&new, path))?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    put().at(path)?;
    Ok(moved)
}

/// Returns `false` if the file was missing, for instance because it was moved before an interruption.
fn is_there(done: io::Result<()>) -> io::Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// `<database>.before-20261130T091500Z`, or with a number appended. The same again after an interruption.
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

/// Removes the remains of killed restores. This process has locked the directory, so no other restores into it.
fn clear_staging(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(STAGING.as_bytes())
        {
            // If this fails, it only takes disk space.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
