//! The reading side: read-only connections that are taken, used in place, and put back.
//!
//! A read takes microseconds and waits for nobody: in WAL mode every statement sees the latest commit
//! of any process, and no writer holds it up. Nothing is kept between reads but prepared statements.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rusqlite::Connection;

use crate::connect;
use crate::error::StoreError;
use crate::open_files::{OpenFiles, Seen};

/// Most connections that are kept open while nobody uses them. More are opened when more are wanted
/// at once, and closed afterwards.
const KEPT: usize = 32;

/// The file that the connections must read.
#[derive(Debug)]
pub(crate) enum Source {
    /// A database that may be written meanwhile.
    Live(Arc<OpenFiles>),
    /// A database that nobody uses: without its log, and only as long as it stays as it is.
    Unused(Seen),
}

/// The read-only connections to one database.
pub(crate) struct Readers {
    path: PathBuf,
    source: Source,
    idle: Mutex<Vec<Connection>>,
    closed: AtomicBool,
}

impl Readers {
    /// None is open yet.
    pub(crate) const fn new(path: PathBuf, source: Source) -> Self {
        Self {
            path,
            source,
            idle: Mutex::new(Vec::new()),
            closed: AtomicBool::new(false),
        }
    }

    /// Where the database is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that the files that are open are still in their places.
    ///
    /// # Errors
    /// [`StoreError::Replaced`], [`StoreError::Changed`]; [`StoreError::Closed`] where there are none.
    pub(crate) fn check_file(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        match &self.source {
            Source::Live(files) => files.check(),
            Source::Unused(seen) => seen.check(&self.path),
        }
    }

    fn open(&self) -> Result<Connection, StoreError> {
        let opened = match self.source {
            Source::Live(_) => {
                // SQLite would apply the log of the file that is open to one that is in its place.
                self.check_file()?;
                connect::open_reader(&self.path)
            }
            Source::Unused(_) => connect::open_unchanging(&self.path),
        };
        opened.map_err(|error| StoreError::from(error).in_file(&self.path))
    }

    /// Runs `work` with a connection of its own.
    ///
    /// # Errors
    /// What the database says; the connection is then not used again.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        let idle = self.idle.lock().pop();
        let failed = |error: rusqlite::Error| StoreError::from(error).in_file(&self.path);
        let connection = match idle {
            Some(connection) => connection,
            None => self.open()?,
        };
        let result = work(&connection).map_err(failed)?;
        if matches!(self.source, Source::Unused(_)) {
            self.check_file()?;
        }
        let mut idle = self.idle.lock();
        // Asked under the lock, so that `close` leaves none behind.
        if idle.len() < KEPT && !self.closed.load(Ordering::Acquire) {
            idle.push(connection);
        }
        Ok(result)
    }

    /// Closes every connection, those in use as soon as they are put back.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.idle.lock().clear();
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
