//! Tells every process which users have changed, with a number for each in a shared file.
//!
//! The file `<database>-versions` is beside the database and has 4,096 slots of eight bytes. A user's slot is a hash of
//! their id; sharing a slot with other users costs an extra read now and then. A process that has committed a change
//! writes a new, unique number into the slots of the users that changed, and acknowledges the change only then. A
//! process that caches what it reads takes the slot's number *before* it reads. While the slot has that number, the
//! cached data includes every acknowledged change.
//!
//! Every process that has the database open holds a shared lock on the file, by which `gateway restore` notices it.
//! After the slots, the file records which files the database and its log are, so that no process opens others under
//! their names.
//!
//! Nothing depends on the file. If it fails, a process caches nothing any more, and delays its acknowledgements until
//! no process can have earlier data in its cache. An acknowledged change is thus visible to all processes, whatever
//! happens to the file. For [`MAX_AGE`], a process can miss only changes that no store has acknowledged (the process
//! stopped before, or somebody edits the database by hand), and changes while the file is deleted.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gateway_model::{Random, UserId};
use rustix::fs::OFlags;

use crate::open_files::{OpenFiles, Record};
use crate::wal;

/// The longest time that data is cached, whatever the numbers are.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(1);

const SLOTS: u64 = 4096;
/// The length of a slot in bytes.
const WIDTH: u64 = 8;
/// Marks the [`Record`], which comes after the slots.
const FILES: &[u8; 8] = b"AuGWfile";
/// The difference of successive numbers. It is odd, so that they repeat only after 2^64, and irregular, so that half of
/// one number and half of another do not make a third.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The users whose sessions or profiles a write with the result `T` changes.
#[derive(Clone)]
pub(crate) enum Touches<T> {
    Nobody,
    User(UserId),
    /// The user whom the result names, if any.
    Found(fn(&T) -> Option<&UserId>),
    /// The users whom the result names.
    All(fn(&T) -> &[UserId]),
    Everybody,
}

impl<T> Touches<T> {
    /// The slots to change after a write with this result.
    pub(crate) fn slots(&self, result: &T) -> Range<u64> {
        let user = match self {
            Self::Nobody => None,
            Self::User(user) => Some(user),
            Self::Found(user) => user(result),
            Self::All(users) => match users(result) {
                [] => None,
                [user] => Some(user),
                // Two people in one session of their provider are rare.
                [..] => return 0..SLOTS,
            },
            Self::Everybody => return 0..SLOTS,
        };
        user.map_or(0..0, |user| slot(user)..slot(user) + 1)
    }
}

/// A user's slot, by FNV-1a. The processes of all builds must agree on it.
pub(crate) fn slot(user: &UserId) -> u64 {
    let hash = user
        .as_str()
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
    hash % SLOTS
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Versions {
    path: PathBuf,
    /// `None` if it could not be opened.
    file: Option<File>,
    /// Starts at random, so that no two processes write the same number.
    next: AtomicU64,
    /// Nothing may be cached.
    off: AtomicBool,
}

impl Versions {
    /// Opens the file of an existing database. Creates it, with the owner and the mode of the database, if it is
    /// missing, and rewrites a damaged one. If this fails, nothing is cached.
    pub(crate) fn open(database: &Path, random: &dyn Random) -> Self {
        let path = path_of(database);
        let mut first = [0; 8];
        let opened = random
            .fill(&mut first)
            .map_err(io::Error::other)
            .and_then(|()| open(&path, database));
        let mut versions = Self {
            path,
            file: None,
            next: AtomicU64::new(u64::from_le_bytes(first)),
            off: AtomicBool::new(false),
        };
        let written = opened.and_then(|file| {
            // If files cannot be locked, only SQLite's own locks remain.
            let _ = file.try_lock_shared();
            versions.file = Some(file);
            if versions.is_whole() {
                return Ok(());
            }
            // Others may do the same at the same time, which is harmless: every number is new.
            versions.write(0..SLOTS)
        });
        if let Err(error) = written {
            versions.give_up(&error);
        }
        versions
    }

    /// For a process that writes nothing and caches nothing.
    pub(crate) fn none(database: &Path) -> Self {
        Self {
            path: path_of(database),
            file: None,
            next: AtomicU64::new(0),
            off: AtomicBool::new(true),
        }
    }

    /// Records which files are open here, for processes that open the database meanwhile.
    pub(crate) fn record(&self, files: &OpenFiles) {
        let mut record = FILES.to_vec();
        record.extend(files.record().to_bytes());
        let written = self
            .file()
            .and_then(|file| file.write_all_at(&record, SLOTS * WIDTH));
        if let Err(error) = written {
            self.give_up(&error);
        }
    }

    /// The number in a slot, or `None` if nothing may be cached.
    pub(crate) fn number(&self, slot: u64) -> Option<u64> {
        if self.off.load(Ordering::Acquire) {
            return None;
        }
        let mut number = [0; 8];
        match self
            .file()
            .and_then(|file| file.read_exact_at(&mut number, slot * WIDTH))
        {
            // The file was truncated and has grown again. Zero may occur twice, unlike any other number.
            Ok(()) if number == [0; 8] => self.give_up(&io::Error::other("it was overwritten")),
            Ok(()) => return Some(u64::from_le_bytes(number)),
            Err(error) => self.give_up(&error),
        }
        None
    }

    /// The number in a slot for a caller that will cache what it reads afterwards, or `None` if it must not.
    pub(crate) fn number_to_keep(&self, slot: u64) -> Option<u64> {
        if let Err(error) = self.linked() {
            self.give_up(&error);
        }
        self.number(slot)
    }

    /// Must be called after a commit, with the slots of the users that changed, and before it is acknowledged. Waits if
    /// the file does not work.
    pub(crate) fn bump(&self, mut touched: impl Iterator<Item = Range<u64>>) {
        if let Err(error) = touched.try_for_each(|slots| self.write(slots)) {
            self.give_up(&error);
            std::thread::sleep(MAX_AGE);
        }
    }

    /// Stops all caching.
    pub(crate) fn close(&self) {
        self.off.store(true, Ordering::Release);
    }

    /// Releases the lock after this process has closed the database.
    pub(crate) fn leave(&self) {
        self.close();
        if let Some(file) = &self.file {
            let _ = file.unlock();
        }
    }

    fn write(&self, slots: Range<u64>) -> io::Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        let first = slots.start * WIDTH;
        let numbers = slots.flat_map(|_| self.next.fetch_add(STEP, Ordering::Relaxed).to_le_bytes());
        self.linked()?.write_all_at(&numbers.collect::<Vec<_>>(), first)
    }

    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or(io::ErrorKind::NotFound.into())
    }

    /// The file, unless it was deleted: other processes now open a new one.
    fn linked(&self) -> io::Result<&File> {
        let file = self.file()?;
        if file.metadata()?.nlink() == 0 {
            return Err(io::Error::other("it was deleted"));
        }
        Ok(file)
    }

    fn is_whole(&self) -> bool {
        let mut numbers = [[0; 8]; SLOTS as usize];
        let read = self
            .file()
            .and_then(|file| file.read_exact_at(numbers.as_flattened_mut(), 0));
        read.is_ok() && !numbers.contains(&[0; 8])
    }

    fn give_up(&self, error: &io::Error) {
        if !self.off.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                path = %self.path.display(), %error,
                "the file of versions does not work: until the next start every request reads the database, and \
                 changes to users and sessions take a second longer"
            );
        }
    }
}

fn path_of(database: &Path) -> PathBuf {
    wal::path_with(database, "-versions")
}

/// The recorded files of the processes that have the database open, if they are known.
pub(crate) fn recorded(database: &Path) -> Option<Record> {
    let file = File::open(path_of(database)).ok()?;
    let mut record = [0; FILES.len() + Record::LENGTH];
    file.read_exact_at(&mut record, SLOTS * WIDTH).ok()?;
    let (mark, files) = record.split_first_chunk()?;
    (mark == FILES).then_some(Record::from_bytes(files.try_into().ok()?))
}

pub(crate) fn exist(database: &Path) -> bool {
    path_of(database).exists()
}

/// Whether no gateway, and no command of one, has the database open. The caller must hold the lock of the directory, so
/// that no process opens it meanwhile.
pub(crate) fn alone(database: &Path) -> bool {
    match hold(database) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Whether a process certainly has the database open. If files cannot be locked, this is unknown.
pub(crate) fn in_use(database: &Path) -> bool {
    hold(database).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Locks the file against every other process that opens the database, for the lifetime of the result. Fails if a
/// process has the database open, or if there is no file.
pub(crate) fn hold(database: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path_of(database))?;
    file.try_lock()?;
    Ok(file)
}

fn open(path: &Path, database: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // A planted link must not redirect the writes to another file.
    options
        .read(true)
        .write(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    let file = options.create(true).truncate(false).mode(0o600).open(path)?;
    // Every user who may write the database must be able to write this file, even if root creates it.
    let like = fs::metadata(database)?;
    let _ = fchown(&file, Some(like.uid()), Some(like.gid()));
    file.set_permissions(like.permissions())?;
    Ok(file)
}

#[cfg(test)]
mod tests;
