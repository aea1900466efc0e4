//! Whether a path names the same file as before.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::StoreError;

/// What tells a file from every other that exists at the same time. While a file is open, its numbers are not given to
/// another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    pub(crate) inode: u64,
}

impl FileId {
    /// The file that a path names now, links followed.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::of_metadata(&fs::metadata(path)?))
    }

    pub(crate) fn of_metadata(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
        }
    }

    /// Makes sure that a path still is this file, and not a link to it: SQLite would look for the log beside the link's
    /// target.
    ///
    /// # Errors
    /// [`StoreError::Replaced`].
    pub(crate) fn check(self, path: &Path) -> Result<(), StoreError> {
        self.compare(path, fs::symlink_metadata(path))
    }

    /// Makes sure that a path still leads to this file.
    ///
    /// # Errors
    /// [`StoreError::Replaced`].
    pub(crate) fn check_link(self, path: &Path) -> Result<(), StoreError> {
        self.compare(path, fs::metadata(path))
    }

    fn compare(self, path: &Path, now: io::Result<Metadata>) -> Result<(), StoreError> {
        use io::ErrorKind::{NotADirectory, NotFound};
        let is_another = match now {
            Ok(now) => Self::of_metadata(&now) != self,
            // What cannot be looked at now may still be the same file.
            Err(error) => matches!(error.kind(), NotFound | NotADirectory),
        };
        if is_another {
            return Err(StoreError::Replaced(path.display().to_string()));
        }
        Ok(())
    }
}
