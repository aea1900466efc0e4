//! Prevents two processes from using one database file under two names. SQLite keeps the write-ahead log beside the
//! file, under the name by which the file was opened. With two names (a bind mount of the file alone, a hard link, a
//! file that is moved and moved back), each process has its own log, and the two destroy each other's changes.
//!
//! Every process that opens a database therefore holds a shared lock on one byte of the file. The position of the byte
//! is a hash of the directory and of the name in it, and so tells where the log is. A process that finds a lock on any
//! other byte does not open the database. It locks first and looks afterwards, so of two processes that start at the
//! same time, at least one sees the other.
//!
//! The locks belong to open file descriptions (`F_OFD_SETLK`), and thus to the file itself: every name, every bind
//! mount and every container on this machine shows the same locks, and they end with the process, however it ends. They
//! are far behind the bytes that SQLite locks.
//!
//! SQLite's own locks end when its process closes *any* descriptor of the file. A process therefore has one descriptor
//! for all uses of a file, and closes it after SQLite has closed its own.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use parking_lot::Mutex;
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use crate::error::OpenError;
use crate::file_id::FileId;

/// The first of the bytes. SQLite locks a few hundred from 2^30 on.
const AREA: u64 = 1 << 62;
/// The number of the bytes.
const SIZE: u64 = 1 << 61;

/// How long we wait for a process that has locked the whole file: it checks whether the database is in use, or restores
/// a different database in its place.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long we wait for a process under another name: it may be about to notice us and give up.
pub(crate) const ELSEWHERE_PATIENCE: Duration = Duration::from_millis(500);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(10);

/// Repeats an attempt while others are in the way. Each failure says for how long to wait in total.
pub(crate) fn retry<T>(
    mut attempt: impl FnMut() -> Result<T, (OpenError, Duration)>,
) -> Result<T, OpenError> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err((error, patience)) if begun.elapsed() >= patience => return Err(error),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Which processes have a database open, including this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Users {
    None,
    /// At least one, under the same name.
    Here,
    /// At least one, under another name.
    Elsewhere,
}

/// A file that this process has open.
struct Held {
    id: FileId,
    byte: u64,
    file: File,
    /// How many users it has in this process.
    users: usize,
    /// How many of them must be dropped before the descriptor may be closed.
    descriptors: usize,
}

static HELD: Mutex<Vec<Held>> = Mutex::new(Vec::new());

/// Prevents others from opening a database under another name.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) id: FileId,
    left: bool,
}

impl Place {
    /// Takes the place of a database that is about to be opened. Fails with [`OpenError::Elsewhere`] or
    /// [`OpenError::Busy`] if others do not release it in time.
    pub(crate) fn take(path: &Path) -> Result<Self, OpenError> {
        retry(|| match try_take(path) {
            Ok(Ok(id)) => Ok(Self { id, left: false }),
            Ok(Err(Refused::Locked)) => Err((OpenError::Busy(path.to_owned()), PATIENCE)),
            Ok(Err(Refused::Elsewhere)) => Err((OpenError::Elsewhere(path.to_owned()), ELSEWHERE_PATIENCE)),
            Err(error) => Err((OpenError::unwritable(path, &error), Duration::ZERO)),
        })
    }

    /// Checks that SQLite has just opened this file. Must be called before SQLite reads or writes anything.
    pub(crate) fn check(&self, path: &Path) -> Result<(), OpenError> {
        if FileId::of(path).is_ok_and(|id| id == self.id) {
            return Ok(());
        }
        let replaced = io::Error::other("it was replaced while it was being opened: try again");
        Err(OpenError::unwritable(path, &replaced))
    }

    /// Releases the lock. The descriptor stays open until the value is dropped: there may still be reads.
    pub(crate) fn leave(&mut self) {
        let mut held = HELD.lock();
        let Some(file) = held.iter_mut().find(|held| held.id == self.id) else {
            return;
        };
        if !std::mem::replace(&mut self.left, true) {
            file.users -= 1;
        }
        if file.users == 0 {
            // If this fails, the lock ends with the descriptor.
            let _ = bytes::unlock(&file.file, file.byte);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
        let mut held = HELD.lock();
        if let Some(file) = held.iter_mut().find(|held| held.id == self.id) {
            file.descriptors -= 1;
        }
        held.retain(|file| file.descriptors > 0);
    }
}

enum Refused {
    /// Another process has locked the whole file.
    Locked,
    /// Another process has it open under another name.
    Elsewhere,
}

fn try_take(path: &Path) -> io::Result<Result<FileId, Refused>> {
    let byte = byte(path)?;
    // Meanwhile nothing else in this process opens or closes a descriptor of the file.
    let mut held = HELD.lock();
    let id = FileId::of(path)?;
    if let Some(ours) = held.iter_mut().find(|held| held.id == id) {
        if ours.users > 0 && ours.byte != byte {
            return Ok(Err(Refused::Elsewhere));
        }
        if ours.users == 0 {
            ours.byte = byte;
            if let Err(refused) = hold(&ours.file, byte) {
                return Ok(Err(refused));
            }
        }
        ours.users += 1;
        ours.descriptors += 1;
        return Ok(Ok(id));
    }
    let file = descriptor(path)?;
    if FileId::of_metadata(&file.metadata()?) != id {
        // It was replaced just now.
        return Ok(Err(Refused::Locked));
    }
    if let Err(refused) = hold(&file, byte) {
        return Ok(Err(refused));
    }
    held.push(Held {
        id,
        byte,
        file,
        users: 1,
        descriptors: 1,
    });
    Ok(Ok(id))
}

/// Locks the byte, then looks for locks on the others.
fn hold(file: &File, byte: u64) -> Result<(), Refused> {
    match bytes::share(file, byte) {
        Ok(()) => {}
        Err(Errno::EAGAIN | Errno::EACCES) => return Err(Refused::Locked),
        Err(error) => {
            // On a file system without locks, SQLite itself fails. This is a system without this kind of lock.
            tracing::warn!(
                %error,
                "the database file cannot be locked against use under another name: mount its directory, never the file alone"
            );
            return Ok(());
        }
    }
    if is_elsewhere(file, byte) {
        let _ = bytes::unlock(file, byte);
        return Err(Refused::Elsewhere);
    }
    Ok(())
}

/// Which processes have a database open. An unreadable one counts as unused: opening it reports the problem.
pub(crate) fn users(path: &Path) -> Users {
    let look = || -> io::Result<Users> {
        let byte = byte(path)?;
        let held = HELD.lock();
        let id = FileId::of(path)?;
        let ours = held.iter().find(|held| held.id == id);
        let opened;
        let file = match ours {
            Some(ours) => &ours.file,
            None => {
                opened = descriptor(path)?;
                &opened
            }
        };
        let used = ours.filter(|ours| ours.users > 0).map(|ours| ours.byte);
        Ok(
            if used.is_some_and(|used| used != byte) || is_elsewhere(file, byte) {
                Users::Elsewhere
            } else if used.is_some() || bytes::are_locked(file, byte, 1) {
                Users::Here
            } else {
                Users::None
            },
        )
    };
    look().unwrap_or(Users::None)
}

/// Whether this process uses the file. If so, nothing in it but SQLite may open the file and close it again.
pub(crate) fn is_held(path: &Path) -> bool {
    let Ok(id) = FileId::of(path) else { return false };
    HELD.lock().iter().any(|held| held.id == id && held.users > 0)
}

/// Whether a byte other than this one is locked.
fn is_elsewhere(file: &File, byte: u64) -> bool {
    bytes::are_locked(file, AREA, byte - AREA) || bytes::are_locked(file, byte + 1, 0)
}

/// Opens a descriptor for locking. Does not block on a pipe in place of the file.
fn descriptor(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The byte for the location of a database's log. Builds of all versions must agree on it.
fn byte(path: &Path) -> io::Result<u64> {
    // SQLite looks for the log beside the file, not beside a link to it.
    let real: PathBuf = fs::canonicalize(path)?;
    let (Some(directory), Some(name)) = (real.parent(), real.file_name()) else {
        return Err(io::ErrorKind::IsADirectory.into());
    };
    let directory = fs::metadata(directory)?;
    let mut hash = Sha256::new();
    hash.update(directory.dev().to_le_bytes());
    hash.update(directory.ino().to_le_bytes());
    hash.update(name.as_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    let (number, _) = hash.split_first_chunk().unwrap_or((&[0; 8], &[]));
    // Not the first byte of the area, so that one byte precedes it.
    Ok(AREA + 1 + u64::from_le_bytes(*number) % (SIZE - 1))
}

/// Locks of open file descriptions. Only Linux has them; on other systems, a second name is not noticed.
#[cfg(target_os = "linux")]
mod bytes {
    use std::fs::File;

    use nix::errno::Errno;
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;

    use super::AREA;

    /// Takes a shared lock on a byte.
    pub(super) fn share(file: &File, byte: u64) -> Result<(), Errno> {
        set(file, libc::F_RDLCK, byte)
    }

    pub(super) fn unlock(file: &File, byte: u64) -> Result<(), Errno> {
        set(file, libc::F_UNLCK, byte)
    }

    /// Whether another process has locked one of `bytes` bytes from `first` on, or any of the rest if `bytes` is 0.
    pub(super) fn are_locked(file: &File, first: u64, bytes: u64) -> bool {
        let mut found = range(libc::F_WRLCK, first, bytes);
        // If the system cannot say, it could not have locked either.
        let asked = fcntl(file, FcntlArg::F_OFD_GETLK(&mut found));
        let is_locked = asked.is_ok() && found.l_type != short(libc::F_UNLCK);
        // A lock on the whole file does not mark a place: it belongs to a process that checks for users.
        is_locked && u64::try_from(found.l_start).is_ok_and(|start| start >= AREA)
    }

    fn set(file: &File, kind: libc::c_int, byte: u64) -> Result<(), Errno> {
        fcntl(file, FcntlArg::F_OFD_SETLK(&range(kind, byte, 1))).map(drop)
    }

    fn range(kind: libc::c_int, first: u64, bytes: u64) -> libc::flock {
        libc::flock {
            l_type: short(kind),
            l_whence: short(libc::SEEK_SET),
            l_start: libc::off_t::try_from(first).unwrap_or(libc::off_t::MAX),
            l_len: libc::off_t::try_from(bytes).unwrap_or_default(),
            // Locks of this kind require 0.
            l_pid: 0,
        }
    }

    /// The constants are small; `flock` has them in another type than the system's headers do.
    fn short(constant: libc::c_int) -> libc::c_short {
        libc::c_short::try_from(constant).unwrap_or_default()
    }
}

#[cfg(not(target_os = "linux"))]
mod bytes {
    use std::fs::File;

    use nix::errno::Errno;

    pub(super) fn share(_file: &File, _byte: u64) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }

    pub(super) fn unlock(_file: &File, _byte: u64) -> Result<(), Errno> {
        Ok(())
    }

    pub(super) fn are_locked(_file: &File, _first: u64, _bytes: u64) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
