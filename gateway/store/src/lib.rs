//! Users, sessions, events and plugins' values in SQLite. This is the only crate with SQL; its interface consists of
//! model types.
//!
//! | module | purpose |
//! |---|---|
//! | [`url`] | `DATABASE_URL` |
//! | [`error`] | every way in which the database can fail its callers |
//! | `open` | opens a database, for writing or only for reading |
//! | `place` | prevents the use of one file under two names |
//! | `inspect` | finds what prevents the use of a database |
//! | `connect` | connections to a database file |
//! | `file_id`, `open_files` | whether the open files are still at their paths |
//! | `lineage` | whether the log beside a file belongs to it |
//! | `wal` | reads SQLite's log without SQLite |
//! | [`owned`] | whether another user can change or replace a file |
//! | `writer` | one thread, one connection, group commit |
//! | `reader` | read-only connections, used on the caller's thread |
//! | `session_cache` | sessions that were read a moment ago |
//! | `versions` | a small file that tells every process which cached sessions are stale |
//! | `rows` | queries, and the conversion of rows to model types and back |
//! | `sign_in` | the beginning of a sign-in: whose it is, and when an address finds a user |
//! | `addresses` | which addresses issuers have assigned to whom, permanently |
//! | `settle` | the end of a sign-in: verdicts, activation, session |
//! | `events` | events, pending or settled |
//! | `upstream_sessions` | which sessions came from which session at a provider, and sign-outs by a provider |
//! | `users`, `sessions`, `states` | the rest of [`Store`], one table each |
//! | `join` | links, unlinks and merges by operators |
//! | `plugin_values` | plugins' values by key, and their limits |
//! | `prune` | deletes what is no longer needed |
//! | `check` | checks whether a database could be opened |
//! | [`mod@backup`], [`mod@restore`] | backups |
//! | `copy` | a checked copy of a database, for both |
//! | `schema` | the migrations, and whether a database has exactly the schema of its version |
//! | `integrity` | whether a database is damaged |
//!
//! A write: [`Store`] draws the ids and reads the clock, and queues the write. The thread of `writer` runs it in a
//! transaction with all other queued writes, commits, publishes in `versions` which users changed, and answers. By then
//! the write is on disk. A read: [`Store`] takes a connection from `reader` and runs one statement, which sees the
//! latest commit of every process.
//!
//! Only sessions and their users are cached, because every request looks them up. If the session was read a moment ago,
//! the lookup is one `pread` in `versions`, with the result that the database would give: once a write is acknowledged,
//! no process returns what was read before it. A write that bypasses [`Store`] becomes visible after a second.
//!
//! Other processes (the command line while the gateway serves) open the same files in the same way.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gateway_model::{Clock, Random, Timestamp, UserLimits};
use parking_lot::Mutex;
use rusqlite::{Connection, params};
use tempfile::TempDir;

use crate::error::WriteError;
use crate::open::Opened;
use crate::open::reading::{Unused, open_unused};
use crate::reader::{Readers, Source};
use crate::session_cache::SessionCache;
use crate::states::SpentStates;
use crate::versions::{Touches, Versions};
use crate::writer::Writer;

mod addresses;
pub mod backup;
mod check;
mod connect;
mod copy;
pub mod error;
mod events;
mod file_id;
mod inspect;
mod integrity;
mod join;
mod lineage;
mod open;
mod open_files;
pub mod owned;
mod place;
mod plugin_values;
mod prune;
mod reader;
pub mod restore;
mod rows;
mod schema;
mod session_cache;
mod sessions;
mod settle;
mod sign_in;
mod states;
mod upstream_sessions;
pub mod url;
mod users;
mod versions;
mod wal;
mod writer;

pub use backup::{BackupError, backup, is_own_file};
pub use check::{Checked, Depth, check};
pub use copy::{Contents, Progress};
pub use error::{OpenError, SignInError, StoreError, ValueError};
pub use events::{MAX_KEPT_CLAIMS, PAGE};
pub use join::{JoinError, Linked, Merged};
pub use plugin_values::{MAX_VALUE_KEYS, ValueUsage};
pub use prune::Pruned;
pub use restore::{RestoreError, Restored, restore};
pub use session_cache::SignedIn;
pub use settle::Settled;
pub use sign_in::PendingSignIn;
pub use states::ClaimedState;
pub use upstream_sessions::{SignOutHint, UpstreamSignOut, UpstreamSignedOut};
pub use url::{DatabaseUrl, DatabaseUrlError};
pub use users::{Found, FoundBy, SetUsername};

/// How the ids of new users are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserIds {
    /// 128 random bits.
    #[default]
    Random,
    /// The hex MD5 of the email's exact bytes, for permission data with such keys. Only a verified address from a
    /// provider that is trusted for email makes such an id. Every other new user gets a random id.
    EmailMd5,
}

/// The dependencies and settings of a store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The source of the time.
    pub clock: Arc<dyn Clock>,
    /// The source of ids.
    pub random: Arc<dyn Random>,
    /// How the ids of new users are made.
    pub user_ids: UserIds,
    /// How long settled events are kept, and the longest that pending ones are.
    pub event_retention: Duration,
    /// The limits for one user.
    pub limits: UserLimits,
}

/// The users, sessions, events and plugins' values. Cheap to clone: all clones are the same store.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: StoreOptions,
    readers: Arc<Readers>,
    sessions: SessionCache,
    states: SpentStates,
    writer: Writer,
    /// The directory of a temporary database, which is removed when the store is closed or dropped.
    temporary: Mutex<Option<TempDir>>,
}

impl Store {
    /// Opens the database: creates it, readable by its owner alone, if it does not exist, and migrates its schema. Must
    /// be called within a tokio runtime.
    ///
    /// # Errors
    /// See [`OpenError`]. A file that is not ours is not changed.
    pub async fn open(url: &DatabaseUrl, options: StoreOptions) -> Result<Self, OpenError> {
        let url = url.clone();
        let random = Arc::clone(&options.random);
        let (writer, readers, versions, temporary) = blocking(move || {
            let (path, temporary) = match url {
                DatabaseUrl::File(path) => (path, None),
                DatabaseUrl::Temporary => {
                    let directory = tempfile::Builder::new()
                        .prefix("auth-gateway-")
                        .tempdir()
                        .map_err(OpenError::Temporary)?;
                    (directory.path().join("gateway.db"), Some(directory))
                }
            };
            let Opened {
                connection,
                files,
                versions,
            } = open::open(&path, open::WRITER_PATIENCE, random.as_ref())?;
            let (files, versions) = (Arc::new(files), Arc::new(versions));
            let readers = Readers::new(files.path().to_owned(), Source::Live(Arc::clone(&files)));
            let writer = Writer::start(connection, files, open::WRITER_PATIENCE, Arc::clone(&versions))?;
            Ok((writer, readers, versions, temporary))
        })
        .await?;
        Ok(Self::of(options, writer, readers, versions, temporary))
    }

    fn of(
        options: StoreOptions,
        writer: Writer,
        readers: Readers,
        versions: Arc<Versions>,
        temporary: Option<TempDir>,
    ) -> Self {
        Self(Arc::new(Inner {
            options,
            readers: Arc::new(readers),
            sessions: SessionCache::new(versions),
            states: SpentStates::default(),
            writer,
            temporary: Mutex::new(temporary),
        }))
    }

    /// Opens a database only for reading. If no process uses it and it has no log (a backup has none), the file does
    /// not change, nothing appears beside it, and every write fails with [`StoreError::ReadOnly`]. Otherwise like
    /// [`Store::open`].
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open_to_read(path: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        let database = path.to_owned();
        let opened = blocking(move || {
            let Some(Unused {
                connection,
                files,
                seen,
            }) = open_unused(&database)?
            else {
                return Ok(None);
            };
            let versions = Arc::new(Versions::none(files.path()));
            let readers = Readers::new(files.path().to_owned(), Source::Unused(seen));
            let writer = Writer::start(
                connection,
                Arc::new(files),
                open::WRITER_PATIENCE,
                Arc::clone(&versions),
            )?;
            Ok(Some((writer, readers, versions)))
        });
        match opened.await? {
            Some((writer, readers, versions)) => Ok(Self::of(options, writer, readers, versions, None)),
            None => Self::open(&DatabaseUrl::File(path.to_owned()), options).await,
        }
    }

    /// Checks that the open files are still in their places. This costs a few system calls and may be called often.
    ///
    /// # Errors
    /// [`StoreError::Replaced`], [`StoreError::Closed`].
    pub fn check_file(&self) -> Result<(), StoreError> {
        self.0.readers.check_file()
    }

    /// Finishes every queued write, copies the log back into the database, and closes it. Later uses of the store fail
    /// with [`StoreError::Closed`]. May be called twice.
    ///
    /// # Errors
    /// If the log cannot be copied back. Nothing is lost: the next process that opens the database does it.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.0.readers.close();
        self.0.sessions.close();
        let closed = self.0.writer.close().await;
        *self.0.temporary.lock() = None;
        closed
    }

    /// Checks that reads and writes work, by doing one of each, including a sync to disk. For `/ready`.
    ///
    /// # Errors
    /// The error of the one that failed.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.check_file()?;
        self.read(|connection| rows::optional::<i64>(connection, "SELECT at FROM probe WHERE id = 1", []))?;
        let now = rows::seconds(self.now());
        self.write(Touches::Nobody, move |connection| {
            let sql = "INSERT INTO probe (id, at) VALUES (1, ?1) ON CONFLICT DO UPDATE SET at = excluded.at";
            Ok(rows::execute(connection, sql, params![now])?)
        })
        .await
    }

    fn now(&self) -> Timestamp {
        self.0.options.clock.now()
    }

    fn random(&self) -> &dyn Random {
        self.0.options.random.as_ref()
    }

    /// A read that takes microseconds, on this thread.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        self.0.readers.read(work)
    }

    /// A read that may scan a whole table, on a thread that serves no requests.
    async fn read_much<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = Arc::clone(&self.0.readers);
        let read = tokio::task::spawn_blocking(move || readers.read(work));
        // The task fails only if it panics or the runtime shuts down.
        read.await
            .unwrap_or_else(|error| Err(StoreError::Sqlite(error.to_string())))
    }

    /// A write. When it returns, it is durable, and no process uses cached data of the users that it touches.
    async fn write<T, E>(
        &self,
        touches: Touches<T>,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: WriteError,
    {
        let written = self.0.writer.write(touches, work).await;
        written.map_err(|error| error.in_file(&self.0.readers.path))
    }
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    // The task fails only if it panics or the runtime shuts down.
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| OpenError::Thread(std::io::Error::other(error)))?
}
