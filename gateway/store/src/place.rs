//! One database file, one place. SQLite keeps the write-ahead log beside the file, under the name by which the file was
//! opened. If two processes open one file under two names (a bind mount of the file alone, a hard link, a file that is
//! moved and moved back), each has a log of its own, and the two destroy each other's changes.
//!
//! So whoever opens a database for more than a glance holds a shared lock on one byte of the file. Which byte says where
//! the log is: it is a hash of the directory and of the name in it. A process that finds a lock on any other byte does not
//! open the database. It locks first and looks then: of two that come at once, at least one sees the other.
//!
//! The locks are those of open file descriptions (`F_OFD_SETLK`). They belong to the file itself, so every name, every
//! bind mount and every container on this machine shows the same ones, and they end with the process, however it ends.
//! They are far behind the bytes that SQLite locks.
//!
//! SQLite's own locks end when its process closes *any* descriptor of the file. So this process has one descriptor for
//! all places where it has the file open, and closes it after SQLite has closed its own.

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

/// Where the bytes begin. SQLite locks those from 2^30 on, a few hundred.
const AREA: u64 = 1 << 62;
/// How many of them there are.
const SIZE: u64 = 1 << 61;

/// How long we wait for a process that holds the whole file locked: it looks whether somebody uses the database, or
/// restores another one in its place.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long we wait for a process under another name: it may be about to find out about us and give up.
pub(crate) const ELSEWHERE_PATIENCE: Duration = Duration::from_millis(500);
/// Between two looks.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// Who has a database open, this process included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Users {
    /// Nobody.
    None,
    /// Somebody, under the same name.
    Here,
    /// Somebody, under another name.
    Elsewhere,
}

/// A file that this process has open.
struct Held {
    id: FileId,
    byte: u64,
    file: File,
    /// How many have it open here.
    users: usize,
    /// How many must be gone before the descriptor may be closed.
    descriptors: usize,
}

static HELD: Mutex<Vec<Held>> = Mutex::new(Vec::new());

/// Keeps others from opening a database under another name.
#[derive(Debug)]
pub(crate) struct Place {
    id: FileId,
    left: bool,
}

impl Place {
    /// Takes the place of a database that is about to be opened.
    ///
    /// # Errors
    /// [`OpenError::Elsewhere`], [`OpenError::Busy`]; or that the file cannot be opened.
    pub(crate) fn take(path: &Path) -> Result<Self, OpenError> {
        let begun = Instant::now();
        loop {
            let (refused, patience) =
                match try_take(path).map_err(|error| OpenError::unwritable(path, &error))? {
                    Ok(id) => return Ok(Self { id, left: false }),
                    Err(Refused::Locked) => (
                        OpenError::Busy {
                            path: path.to_owned(),
                        },
                        PATIENCE,
                    ),
                    Err(Refused::Elsewhere) => (elsewhere(path), ELSEWHERE_PATIENCE),
                };
            if begun.elapsed() >= patience {
                return Err(refused);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The file that it is a place of.
    pub(crate) const fn file(&self) -> FileId {
        self.id
    }

    /// Makes sure that it is this file that SQLite has just opened. Before it reads or writes anything.
    ///
    /// # Errors
    /// When there is another one now.
    pub(crate) fn check(&self, path: &Path) -> Result<(), OpenError> {
        if FileId::of(path).is_ok_and(|id| id == self.id) {
            return Ok(());
        }
        let replaced = io::Error::other("it was replaced while it was being opened: try again");
        Err(OpenError::unwritable(path, &replaced))
    }

    /// The database is closed. The descriptor stays open until the value is dropped: there may still be reads.
    pub(crate) fn leave(&mut self) {
        let mut held = HELD.lock();
        let Some(file) = held.iter_mut().find(|held| held.id == self.id) else {
            return;
        };
        if !std::mem::replace(&mut self.left, true) {
            file.users -= 1;
        }
        if file.users == 0 {
            // A lock that cannot be given up ends with the descriptor.
            let _ = bytes::unlock(&file.file, file.byte);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
        let mut held = HELD.lock();
        let found = held.iter().position(|held| held.id == self.id);
        if let Some(file) = found.and_then(|at| held.get_mut(at)) {
            file.descriptors -= 1;
        }
        held.retain(|file| file.descriptors > 0);
    }
}

/// Why a place is not free at this moment.
enum Refused {
    /// Somebody has the whole file locked.
    Locked,
    /// Somebody has it open under another name.
    Elsewhere,
}

fn try_take(path: &Path) -> io::Result<Result<FileId, Refused>> {
    let byte = byte(path)?;
    // Nobody else in this process opens or closes a descriptor of the file meanwhile.
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
        // It was replaced at this moment.
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

/// Locks the byte, then looks at the others.
fn hold(file: &File, byte: u64) -> Result<(), Refused> {
    match bytes::share(file, byte) {
        Ok(()) => {}
        Err(Errno::EAGAIN | Errno::EACCES) => return Err(Refused::Locked),
        Err(error) => {
            // Where no file can be locked, SQLite fails by itself. What remains is a system that does not know these locks.
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

/// Who has a database open. One that cannot be looked at is nobody's: whoever opens it finds out.
pub(crate) fn users(path: &Path) -> Users {
    let look = || -> io::Result<Users> {
        let byte = byte(path)?;
        let held = HELD.lock();
        let id = FileId::of(path)?;
        if let Some(ours) = held.iter().find(|held| held.id == id) {
            return Ok(match ours {
                Held {
                    users: 1..,
                    byte: other,
                    ..
                } if *other != byte => Users::Elsewhere,
                Held { file, .. } if is_elsewhere(file, byte) => Users::Elsewhere,
                Held { users: 1.., .. } => Users::Here,
                Held { file, .. } => here(file, byte),
            });
        }
        let file = descriptor(path)?;
        if is_elsewhere(&file, byte) {
            return Ok(Users::Elsewhere);
        }
        Ok(here(&file, byte))
    };
    look().unwrap_or(Users::None)
}

fn here(file: &File, byte: u64) -> Users {
    if bytes::are_locked(file, byte, 1) {
        Users::Here
    } else {
        Users::None
    }
}

/// Whether this process uses the file: then nobody in it but SQLite may open the file and close it again.
pub(crate) fn is_held(path: &Path) -> bool {
    let Ok(id) = FileId::of(path) else { return false };
    HELD.lock().iter().any(|held| held.id == id && held.users > 0)
}

/// The refusal of a database that is open under another name.
pub(crate) fn elsewhere(path: &Path) -> OpenError {
    OpenError::Elsewhere {
        path: path.to_owned(),
    }
}

/// Whether somebody holds a byte that is not this one.
fn is_elsewhere(file: &File, byte: u64) -> bool {
    bytes::are_locked(file, AREA, byte - AREA) || bytes::are_locked(file, byte + 1, 0)
}

/// A descriptor for locking. A pipe in the place of the file does not keep us waiting.
fn descriptor(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The byte that says where the log of a database is. Builds of all versions must agree on it.
fn byte(path: &Path) -> io::Result<u64> {
    // As SQLite does it: the log is beside the file, not beside a link to it.
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
    // Never the first byte, so that there is one before it.
    Ok(AREA + 1 + u64::from_le_bytes(*number) % (SIZE - 1))
}

/// Locks of open file descriptions. Other systems than Linux have none; there, nothing is noticed.
#[cfg(target_os = "linux")]
mod bytes {
    use std::fs::File;

    use nix::errno::Errno;
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;

    use super::AREA;

    /// Locks a byte, so that others can lock it in the same way.
    pub(super) fn share(file: &File, byte: u64) -> Result<(), Errno> {
        set(file, libc::F_RDLCK, byte)
    }

    pub(super) fn unlock(file: &File, byte: u64) -> Result<(), Errno> {
        set(file, libc::F_UNLCK, byte)
    }

    /// Whether somebody else has locked one of so many bytes; 0: any from the first one on.
    pub(super) fn are_locked(file: &File, first: u64, bytes: u64) -> bool {
        let mut found = range(libc::F_WRLCK, first, bytes);
        // What cannot be asked was not locked before either.
        let asked = fcntl(file, FcntlArg::F_OFD_GETLK(&mut found));
        let is_locked = asked.is_ok() && found.l_type != short(libc::F_UNLCK);
        // A lock on the whole file is no place: somebody tries whether it is in use.
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
            // Must be 0 for locks of this kind.
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
