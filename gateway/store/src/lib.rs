//! Users, sessions, events and what plugins keep, in SQLite. The only crate that knows SQL: it takes and
//! gives model types.
//!
//! | module | what it holds |
//! |---|---|
//! | [`url`] | `DATABASE_URL` |
//! | [`error`] | every way the database can fail its callers |
//! | `open` | is the file ours, may we write it, is its schema the one we know; or only to read it |
//! | `place` | does nobody have the file open under another name |
//! | `inspect` | what is in the way of opening a database |
//! | `connect` | connections to a database file |
//! | `file_id`, `open_files` | are the files at their paths still those that are open |
//! | `lineage` | does the log beside the file belong to it |
//! | `wal` | SQLite's log, read without SQLite |
//! | [`owned`] | may somebody else change the file, or put another in its place |
//! | `writer` | one thread, one connection, group commit |
//! | `reader` | read-only connections, used in place |
//! | `session_cache` | sessions that were read a moment ago |
//! | `versions` | a small file by which every process learns that these are stale |
//! | `rows` | rows to model types and back |
//! | `sign_in` | how a sign-in begins: whose it is, by which rules an address finds a user |
//! | `addresses` | which addresses issuers have given to whom, for good |
//! | `settle` | how a sign-in ends: verdicts, activation, session |
//! | `events` | what hooks have still to be told |
//! | `upstream_sessions` | which sessions came from which session at a provider, and how a provider ends them |
//! | `users`, `sessions`, `states` | the rest of [`Store`], a table each |
//! | `join` | what an operator joins or separates by hand: identities and users |
//! | `plugin_values` | what plugins keep, by key; how much each may |
//! | `prune` | what is no longer needed |
//! | `check` | what opening a database would answer, without opening it |
//! | [`mod@backup`], [`mod@restore`] | a copy of the whole database, and back |
//! | `copy` | what both have in common |
//! | `schema` | the migrations, and whether a database has the tables of its version, and no others |
//! | `integrity` | whether a database is damaged |
//!
//! A write: [`Store`] draws the ids and the time it will need → `writer` queues it → the writer's
//! thread runs it in a transaction with whatever else is queued, commits, makes known in `versions` whom
//! it touches, answers. When the answer is there the write is on the disk. A read: [`Store`] → a
//! connection from `reader` → one statement, which sees the latest commit of every process.
//!
//! Only sessions are cached, with their users, because they are looked up at every request. A lookup of
//! one that was read a moment ago is one `pread` in `versions`. It gives what the database would: from
//! the moment that a write is acknowledged, in this process or in another, nobody is given what was read
//! before it. A write that bypasses [`Store`] is seen after a second.
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
    /// The hex MD5 of the email's exact bytes, for permission data that is keyed that way. Only an address
    /// that counts makes such an id: one that is verified, from a provider that is trusted for email. Every
    /// other new user gets a random id.
    EmailMd5,
}

/// What a store needs beside its database.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where ids come from.
    pub random: Arc<dyn Random>,
    /// How the ids of new users are made.
    pub user_ids: UserIds,
    /// How long settled events are kept, and pending ones at most.
    pub event_retention: Duration,
    /// What one user may take up.
    pub limits: UserLimits,
}

/// The users, sessions, events and plugins' values. Cheap to clone: all clones are one store.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: StoreOptions,
    readers: Arc<Readers>,
    sessions: SessionCache,
    states: SpentStates,
    writer: Writer,
    /// Where a temporary database lives; removed when the store is closed or dropped.
    temporary: Mutex<Option<TempDir>>,
}

impl Store {
    /// Opens the database: creates it, readable by its owner alone, where there is none, and brings
    /// its schema up to date. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// See [`OpenError`]. A file that is not ours has not been touched.
    pub async fn open(url: &DatabaseUrl, options: StoreOptions) -> Result<Self, OpenError> {
        Self::open_with_patience(url, options, open::WRITER_PATIENCE).await
    }

    async fn open_with_patience(
        url: &DatabaseUrl,
        options: StoreOptions,
        patience: Duration,
    ) -> Result<Self, OpenError> {
        let url = url.clone();
        let random = Arc::clone(&options.random);
        let opened = tokio::task::spawn_blocking(move || {
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
            } = open::open(Path::new(&path), patience, random.as_ref())?;
            let (files, versions) = (Arc::new(files), Arc::new(versions));
            let readers = Readers::new(files.path().to_owned(), Source::Live(Arc::clone(&files)));
            let writer = Writer::start(connection, files, patience, Arc::clone(&versions))?;
            Ok::<_, OpenError>((writer, readers, versions, temporary))
        });
        // The task only fails when it panics or the runtime goes down.
        let (writer, readers, versions, temporary) = opened
            .await
            .map_err(|error| OpenError::Thread(std::io::Error::other(error)))??;
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

    /// Opens a database only to read it. If nobody uses it and it has no log, as a backup has none, the file stays as it
    /// is and nothing appears beside it; every write answers [`StoreError::ReadOnly`]. Otherwise like [`Store::open`].
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open_to_read(path: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        let database = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
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
            Ok::<_, OpenError>(Some((writer, readers, versions)))
        });
        let opened = opened
            .await
            .map_err(|error| OpenError::Thread(std::io::Error::other(error)))??;
        match opened {
            Some((writer, readers, versions)) => Ok(Self::of(options, writer, readers, versions, None)),
            None => Self::open(&DatabaseUrl::File(path.to_owned()), options).await,
        }
    }

    /// Whether the files that are open are still in their places. A few looks at the directory, for calling often.
    ///
    /// # Errors
    /// [`StoreError::Replaced`], [`StoreError::Closed`].
    pub fn check_file(&self) -> Result<(), StoreError> {
        self.0.readers.check_file()
    }

    /// Finishes every write that was begun, copies the log back into the database, closes. Whoever uses
    /// the store afterwards is told [`StoreError::Closed`]; closing twice is fine.
    ///
    /// # Errors
    /// When the log cannot be copied back now. Nothing is lost: the next to open does it.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.0.readers.close();
        self.0.sessions.close();
        let closed = self.0.writer.close().await;
        *self.0.temporary.lock() = None;
        closed
    }

    /// Whether reads and writes work now, by doing one of each, sync to disk included. For `/ready`.
    ///
    /// # Errors
    /// What does not work.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.check_file()?;
        self.read(|connection| rows::optional::<i64>(connection, "SELECT at FROM probe WHERE id = 1", []))?;
        let now = rows::seconds(self.now());
        self.write(Touches::Nobody, move |connection| {
            let sql = "INSERT INTO probe (id, at) VALUES (1, ?1) ON CONFLICT DO UPDATE SET at = excluded.at";
            rows::run(connection, sql, params![now])?;
            Ok(())
        })
        .await
    }

    fn now(&self) -> Timestamp {
        self.0.options.clock.now()
    }

    fn random(&self) -> &dyn Random {
        self.0.options.random.as_ref()
    }

    fn user_ids(&self) -> UserIds {
        self.0.options.user_ids
    }

    fn limits(&self) -> UserLimits {
        self.0.options.limits
    }

    fn event_retention(&self) -> Duration {
        self.0.options.event_retention
    }

    /// A read that takes microseconds, in place.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        self.0.readers.read(work)
    }

    /// A read that may go through a whole table, off the threads that serve.
    async fn read_much<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = Arc::clone(&self.0.readers);
        let read = tokio::task::spawn_blocking(move || readers.read(work));
        // The task only fails when it panics or the runtime goes down.
        read.await
            .unwrap_or_else(|error| Err(StoreError::Sqlite(error.to_string())))
    }

    /// A write; durable when it returns, and known to every process that has kept something of those
    /// whom it touches.
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
        written.map_err(|error| error.in_file(self.0.readers.path()))
    }
}
