//! Which users have changed: a number for each of them, in a file that all processes share.
//!
//! The file stands beside the database, `<database>-versions`, and has 4,096 slots of eight bytes. A
//! user's slot is a hash of their id; that others have the same one costs a read now and then. Who
//! has committed a change writes a number that was never there before into the slots of the users it
//! touches, and acknowledges the change only then. Who wants to keep what it reads takes the slot's
//! number *before* it reads: while the slot has that number, nothing that was acknowledged is missing
//! from what was read.
//!
//! Every process that has the database open holds a shared lock on the file, so that `gateway restore` knows of it. After
//! the slots the file says which files the database and its log are, so that nobody opens others under their names.
//!
//! Nothing is lost with the file. In trouble with it, this process goes without: it keeps nothing any
//! more, and holds its acknowledgements back until nobody keeps anything from before. So
//! acknowledged means seen by everybody, whatever becomes of the file. Only what no store has
//! acknowledged (its process died in between, or somebody edits the database by hand), and a file
//! deleted while it is in use, may be missed for [`MAX_AGE`].

use std::ffi::OsString;
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

/// The longest that anybody keeps what they have read, whatever the numbers say.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(1);

const SLOTS: u64 = 4096;
/// Bytes of a slot.
const WIDTH: u64 = 8;
/// What comes after the slots, before the [`Record`].
const FILES: &[u8; 8] = b"AuGWfile";
/// What is added to a number for the next one. Odd, so that they come round after 2^64; and of no
/// pattern, so that half of one number and half of another are none of them.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Whose session or profile a write that gives a `T` changes.
#[derive(Clone)]
pub(crate) enum Touches<T> {
    /// Nobody's.
    Nobody,
    /// This user's.
    User(UserId),
    /// That of the user, if any, whom the result names.
    Found(fn(&T) -> Option<&UserId>),
    /// That of the users whom the result names.
    All(fn(&T) -> &[UserId]),
    /// Anybody's.
    Everybody,
}

impl<T> Touches<T> {
    /// The slots to be written where the write gave `result`.
    pub(crate) fn slots(&self, result: &T) -> Range<u64> {
        let user = match self {
            Self::Nobody => None,
            Self::User(user) => Some(user),
            Self::Found(user) => user(result),
            Self::All(users) => match users(result) {
                [] => None,
                [user] => Some(user),
                // Rare: two people in one session of their provider.
                [..] => return 0..SLOTS,
            },
            Self::Everybody => return 0..SLOTS,
        };
        user.map_or(0..0, |user| slot(user)..slot(user) + 1)
    }
}

/// A user's slot. All processes must agree, those of other builds too: FNV-1a.
pub(crate) fn slot(user: &UserId) -> u64 {
    let hash = user
        .as_str()
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
    hash % SLOTS
}

/// The file, opened.
#[derive(Debug)]
pub(crate) struct Versions {
    path: PathBuf,
    /// `None` where it could not be opened.
    file: Option<File>,
    /// Begins at random, so that no two processes write the same number.
    next: AtomicU64,
    /// Nothing may be kept.
    off: AtomicBool,
}

impl Versions {
    /// Opens the file of a database that is there; makes it, with the owner and the mode of the
    /// database, where there is none or it is damaged. Where that does not work it is gone without.
    pub(crate) fn open(database: &Path, random: &dyn Random) -> Self {
        let path = path_of(database);
        let mut first = [0; 8];
        let opened = random
            .fill(&mut first)
            .map_err(io::Error::other)
            .and_then(|()| open(&path, database));
        let (file, trouble) = match opened {
            Ok(file) => (Some(file), None),
            Err(error) => (None, Some(error)),
        };
        let versions = Self {
            path,
            file,
            next: AtomicU64::new(u64::from_le_bytes(first)),
            off: AtomicBool::new(false),
        };
        if let Some(file) = &versions.file {
            // Where files cannot be locked, SQLite's own locks are all there is.
            let _ = file.try_lock_shared();
        }
        match trouble {
            Some(error) => versions.give_up(&error),
            None if versions.is_whole() => {}
            // Others may be about to do the same. That does no harm: every number is a new one.
            None => versions
                .write(0..SLOTS)
                .unwrap_or_else(|error| versions.give_up(&error)),
        }
        versions
    }

    /// For a process that writes nothing and keeps nothing.
    pub(crate) fn none(database: &Path) -> Self {
        Self {
            path: path_of(database),
            file: None,
            next: AtomicU64::new(0),
            off: AtomicBool::new(true),
        }
    }

    /// Says which files are open here, for those who open the database meanwhile.
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

    /// The number in a slot; `None`: nothing may be kept.
    pub(crate) fn number(&self, slot: u64) -> Option<u64> {
        if self.off.load(Ordering::Acquire) {
            return None;
        }
        let mut number = [0; 8];
        match self
            .file()
            .and_then(|file| file.read_exact_at(&mut number, slot * WIDTH))
        {
            // What is in a file that was cut short and has grown again. It may be there twice.
            Ok(()) if number == [0; 8] => self.give_up(&io::Error::other("it was overwritten")),
            Ok(()) => return Some(u64::from_le_bytes(number)),
            Err(error) => self.give_up(&error),
        }
        None
    }

    /// The number in a slot, for who is going to keep what it reads afterwards; `None`: it must not.
    pub(crate) fn number_to_keep(&self, slot: u64) -> Option<u64> {
        if let Err(error) = self.linked() {
            self.give_up(&error);
        }
        self.number(slot)
    }

    /// Called after a commit, with the slots of those it touched; when this returns, it may be
    /// acknowledged. Waits where the file does not work.
    pub(crate) fn bump(&self, mut touched: impl Iterator<Item = Range<u64>>) {
        if let Err(error) = touched.try_for_each(|slots| self.write(slots)) {
            self.give_up(&error);
            std::thread::sleep(MAX_AGE);
        }
    }

    /// Nothing may be kept from now on.
    pub(crate) fn close(&self) {
        self.off.store(true, Ordering::Release);
    }

    /// The database is not open in this process any more.
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

    /// The file, unless it was deleted: those who open one now have another.
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
    // As SQLite does it: whoever comes by a symbolic link must find the same file.
    let database = fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    let mut path = OsString::from(database);
    path.push("-versions");
    path.into()
}

/// The files that whoever has the database open has open; `None`: it is not known.
pub(crate) fn recorded(database: &Path) -> Option<Record> {
    let file = File::open(path_of(database)).ok()?;
    let mut record = [0; FILES.len() + Record::LENGTH];
    file.read_exact_at(&mut record, SLOTS * WIDTH).ok()?;
    let (mark, files) = record.split_first_chunk()?;
    (mark == FILES).then_some(Record::from_bytes(files.try_into().ok()?))
}

/// Whether there is such a file.
pub(crate) fn exist(database: &Path) -> bool {
    path_of(database).exists()
}

/// Whether no gateway, and no command of one, has the database open. Who wants to know must hold the lock of the
/// directory, so that nobody opens it meanwhile.
pub(crate) fn alone(database: &Path) -> bool {
    match hold(database) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Whether somebody certainly has the database open. Where files cannot be locked, nobody knows.
pub(crate) fn in_use(database: &Path) -> bool {
    hold(database).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Locks the file against everybody else who opens the database, for as long as the result lives.
///
/// # Errors
/// When somebody has the database open, or there is no file.
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
    // What is written must not end up in a file to which somebody has made a link.
    options
        .read(true)
        .write(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    let file = options.create(true).truncate(false).mode(0o600).open(path)?;
    // Whoever may write the database must be able to write this, even if it is root who makes it.
    let like = fs::metadata(database)?;
    let _ = fchown(&file, Some(like.uid()), Some(like.gid()));
    file.set_permissions(like.permissions())?;
    Ok(file)
}

#[cfg(test)]
mod tests;
