//! The files of an open database: the database itself, its log, and the log's index. A process must notice when one of
//! them is moved, removed or replaced, because SQLite does not: it goes on with the files that are open, and another
//! process opens the ones that are there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::error::StoreError;
use crate::file_id::FileId;
use crate::place::Place;
use crate::wal;

/// The files that SQLite keeps beside an open database.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// The files of an open database.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    path: PathBuf,
    /// The real path, if `path` is a link.
    target: Option<PathBuf>,
    database: FileId,
    /// `None` if SQLite opens the file only to read it without its log.
    place: Option<Mutex<Place>>,
    beside: [PathBuf; 2],
    /// `None` while SQLite may be creating or deleting the file.
    ids_beside: Mutex<[Option<FileId>; 2]>,
}

impl OpenFiles {
    /// Records the current files of a database that was just opened. Fails if the file is not the one whose place was
    /// taken.
    pub(crate) fn of(path: PathBuf, place: Option<Place>) -> io::Result<Self> {
        let database = FileId::of(&path)?;
        if place.as_ref().is_some_and(|place| place.id != database) {
            return Err(io::Error::other(
                "it was replaced while it was being opened: try again",
            ));
        }
        let target = fs::canonicalize(&path)?;
        let files = Self {
            target: path.is_symlink().then_some(target),
            database,
            place: place.map(Mutex::new),
            beside: beside(&path),
            ids_beside: Mutex::default(),
            path,
        };
        files.opened();
        Ok(files)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Records the files beside the database, which SQLite has created or found.
    pub(crate) fn opened(&self) {
        *self.ids_beside.lock() = self.beside.each_ref().map(|path| FileId::of(path).ok());
    }

    /// Forgets the files beside the database: its last connection deletes them when it is closed.
    pub(crate) fn closing(&self) {
        *self.ids_beside.lock() = [None; 2];
    }

    /// Releases the place after the database was closed, so that others may open it under another name.
    pub(crate) fn leave(&self) {
        if let Some(place) = &self.place {
            place.lock().leave();
        }
    }

    /// Checks that all files are in their places.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match &self.target {
            None => self.database.check(&self.path)?,
            Some(target) => {
                self.database.check(target)?;
                self.database.check_link(&self.path)?;
            }
        }
        let ids = *self.ids_beside.lock();
        self.beside
            .iter()
            .zip(ids)
            .try_for_each(|(path, id)| id.map_or(Ok(()), |id| id.check(path)))
    }

    /// The record of the files for other processes.
    pub(crate) fn record(&self) -> Record {
        let [log, index] = *self.ids_beside.lock();
        Record([Some(self.database), log, index].map(|id| id.map_or(0, |id| id.inode)))
    }
}

/// The inodes of the files that a process has open, or 0 where it does not know them. Device numbers are left out,
/// because they differ between mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record([u64; 3]);

impl Record {
    /// The length of its written form in bytes.
    pub(crate) const LENGTH: usize = 24;

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        self.0.iter().flat_map(|inode| inode.to_le_bytes()).collect()
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        let (inodes, _) = bytes.as_chunks::<8>();
        let mut inodes = inodes.iter().copied().map(u64::from_le_bytes);
        Self([(); 3].map(|()| inodes.next().unwrap_or_default()))
    }

    /// Returns the first file of a database that is not the recorded one.
    pub(crate) fn replaced(self, database: &Path) -> Option<PathBuf> {
        let [log, index] = beside(database);
        let files = [database.to_owned(), log, index].into_iter().zip(self.0);
        let mut others = files
            .filter(|(path, inode)| *inode != 0 && FileId::of(path).ok().map(|id| id.inode) != Some(*inode));
        others.next().map(|(path, _)| path)
    }
}

fn beside(database: &Path) -> [PathBuf; 2] {
    BESIDE.map(|suffix| wal::path_with(database, suffix))
}

/// The state of a file at one moment, to detect changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    id: FileId,
    bytes: u64,
    modified: (i64, i64),
}

impl Seen {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let file = fs::metadata(path)?;
        Ok(Self {
            id: FileId::of(path)?,
            bytes: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
        })
    }

    /// Checks that the file has not changed.
    pub(crate) fn check(self, path: &Path) -> Result<(), StoreError> {
        match Self::of(path) {
            Ok(now) if now == self => Ok(()),
            _ => Err(StoreError::Changed(path.display().to_string())),
        }
    }
}
