//! Read-only connections, used on the caller's thread.
//!
//! A read takes microseconds and waits for nothing: in WAL mode every statement sees the latest commit of any process,
//! and no writer delays it. Between reads, only prepared statements are kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rusqlite::Connection;

use crate::connect;
use crate::error::StoreError;
use crate::open_files::{OpenFiles, Seen};

/// The most idle connections that are kept open. If more are needed at the same time, they are opened and closed again.
const KEPT: usize = 32;

/// The file that the connections read.
#[derive(Debug)]
pub(crate) enum Source {
    /// A database that may be written meanwhile.
    Live(Arc<OpenFiles>),
    /// A database that no process uses, read without its log, and only as long as it does not change.
    Unused(Seen),
}

/// The read-only connections to one database.
#[derive(Debug)]
pub(crate) struct Readers {
    pub(crate) path: PathBuf,
    source: Source,
    idle: Mutex<Vec<Connection>>,
    closed: AtomicBool,
}

impl Readers {
    pub(crate) const fn new(path: PathBuf, source: Source) -> Self {
        Self {
            path,
            source,
            idle: Mutex::new(Vec::new()),
            closed: AtomicBool::new(false),
        }
    }

    /// Checks that the open files are still in their places.
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
                // Otherwise SQLite would apply the log of the open file to another file in its place.
                self.check_file()?;
                connect::open_reader(&self.path)
            }
            Source::Unused(_) => connect::open_unchanging(&self.path),
        };
        opened.map_err(|error| StoreError::from(error).in_file(&self.path))
    }

    /// Runs `work` with its own connection, which is not used again if `work` fails.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        let idle = self.idle.lock().pop();
        let connection = idle.map_or_else(|| self.open(), Ok)?;
        let result = work(&connection).map_err(|error| StoreError::from(error).in_file(&self.path))?;
        if matches!(self.source, Source::Unused(_)) {
            self.check_file()?;
        }
        let mut idle = self.idle.lock();
        // Checked under the lock, so that `close` leaves none behind.
        if idle.len() < KEPT && !self.closed.load(Ordering::Acquire) {
            idle.push(connection);
        }
        Ok(result)
    }

    /// Closes every connection; those in use are closed after their read.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.idle.lock().clear();
    }
}
