//! Detects whether a path still names the same file.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::StoreError;

/// Identifies a file among all that exist at the same time. While a file is open, its numbers are not reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    pub(crate) inode: u64,
}

impl FileId {
    /// The file that a path names now; follows links.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::of_metadata(&fs::metadata(path)?))
    }

    pub(crate) fn of_metadata(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
        }
    }

    /// Checks that a path is still this file, and not a link to it: SQLite would look for the log beside the link's
    /// target.
    pub(crate) fn check(self, path: &Path) -> Result<(), StoreError> {
        self.compare(path, fs::symlink_metadata(path))
    }

    /// Checks that a path still leads to this file.
    pub(crate) fn check_link(self, path: &Path) -> Result<(), StoreError> {
        self.compare(path, fs::metadata(path))
    }

    fn compare(self, path: &Path, now: io::Result<Metadata>) -> Result<(), StoreError> {
        use io::ErrorKind::{NotADirectory, NotFound};
        let is_another = match now {
            Ok(now) => Self::of_metadata(&now) != self,
            // A file that cannot be examined now may still be the same.
            Err(error) => matches!(error.kind(), NotFound | NotADirectory),
        };
        if is_another {
            return Err(StoreError::Replaced(path.display().to_string()));
        }
        Ok(())
    }
}
