//! The writing side: one thread, one connection, and a group commit.
//!
//! The thread takes whatever writes are queued into one transaction, each in a savepoint of its own so
//! that one that fails undoes only itself, commits (one sync for all of them), makes known whom they
//! touch, and only then answers. A commit that fails fails every write in it: none of them has happened.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::error::{OpenError, StoreError, WriteError};
use crate::open_files::OpenFiles;
use crate::versions::{Touches, Versions};
use crate::{connect, lineage};

/// Most writes that wait for the thread; callers beyond that wait for a place, for [`PATIENCE`].
const QUEUE: usize = 1024;
/// So many are done in a fraction of it by a disk that works.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most writes in one transaction, so that the first of them is not kept waiting for long.
const BATCH: usize = 256;

/// Where writes are handed in. Cheap to clone; the thread ends when all clones are gone.
#[derive(Clone, Debug)]
pub(crate) struct Writer(mpsc::Sender<Message>);

enum Message {
    Write(Box<dyn Job>),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

impl Writer {
    /// Starts the thread. `files` are those that must be in their places, also where a connection that has gone bad is
    /// opened again, `patience` is how long it waits for other processes, `versions` where it is made known who was
    /// touched.
    ///
    /// # Errors
    /// [`OpenError::Thread`].
    pub(crate) fn start(
        connection: Connection,
        files: Arc<OpenFiles>,
        patience: Duration,
        versions: Arc<Versions>,
    ) -> Result<Self, OpenError> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let thread = Thread {
            connection: Some(connection),
            files,
            patience,
            versions,
        };
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || thread.run(queue))
            .map_err(OpenError::Thread)?;
        Ok(Self(sender))
    }

    /// Runs `work` in a transaction; when this returns `Ok` it is durable, and nobody goes by what they
    /// have kept of those whom it `touches`. An error of its own undoes what it did. Once handed in it
    /// runs, whether or not the caller still waits.
    ///
    /// # Errors
    /// What `work` says; or that the database failed, and nothing was done.
    pub(crate) async fn write<T, E>(
        &self,
        touches: Touches<T>,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: WriteError,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Work {
            touches,
            work: Some(work),
            result: None,
            reply,
        });
        match timeout(PATIENCE, self.0.reserve()).await {
            Ok(Ok(place)) => place.send(Message::Write(job)),
            Ok(Err(_)) => return Err(StoreError::Closed.into()),
            Err(_) => return Err(StoreError::Overloaded.into()),
        }
        answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// Lets every write that was handed in finish, copies the log back into the database, ends the
    /// thread. Closing twice is fine.
    ///
    /// # Errors
    /// When the log cannot be copied back now; the next to open the database does it then.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        if self.0.send(Message::Close(reply)).await.is_err() {
            return Ok(());
        }
        answer.await.unwrap_or(Ok(()))
    }
}

/// A write, its type forgotten.
trait Job: Send {
    /// Does it; `false`: it failed and has to be undone.
    fn run(&mut self, connection: &Connection) -> bool;

    /// Why the database, and not the work itself, made it fail.
    fn failure(&self) -> Option<&StoreError>;

    /// The slots of those whom it touches, now that it has run.
    fn touched(&self) -> Range<u64>;

    /// Tells the caller. `failure`: the whole transaction has failed.
    fn answer(self: Box<Self>, failure: Option<&StoreError>);
}

struct Work<F, T, E> {
    touches: Touches<T>,
    work: Option<F>,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Job for Work<F, T, E>
where
    F: FnOnce(&Connection) -> Result<T, E> + Send,
    T: Send,
    E: WriteError,
{
    fn run(&mut self, connection: &Connection) -> bool {
        self.result = self.work.take().map(|work| work(connection));
        matches!(self.result, Some(Ok(_)))
    }

    fn failure(&self) -> Option<&StoreError> {
        self.result.as_ref()?.as_ref().err()?.failure()
    }

    fn touched(&self) -> Range<u64> {
        match &self.result {
            Some(Ok(result)) => self.touches.slots(result),
            // It was undone.
            Some(Err(_)) | None => 0..0,
        }
    }

    fn answer(self: Box<Self>, failure: Option<&StoreError>) {
        let result = match (failure, self.result) {
            // Also where the work itself has refused: it may have done so for what another write of
            // this transaction did, which has not happened after all.
            (Some(failure), _) => Err(failure.clone().into()),
            (None, Some(result)) => result,
            (None, None) => Err(StoreError::Closed.into()),
        };
        // Nobody waits any more: the write stands all the same.
        let _ = self.reply.send(result);
    }
}

struct Thread {
    /// `None` after a failure that makes it doubtful; opened anew for the next batch.
    connection: Option<Connection>,
    /// Looked at before each transaction, so that nothing is acknowledged that nobody will find again.
    files: Arc<OpenFiles>,
    patience: Duration,
    versions: Arc<Versions>,
}

impl Thread {
    fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        let mut closing = Vec::new();
        let mut jobs = Vec::new();
        while let Some(first) = queue.blocking_recv() {
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Write(job) => jobs.push(job),
                    Message::Close(reply) => {
                        queue.close();
                        closing.push(reply);
                    }
                }
                next = if jobs.len() < BATCH {
                    queue.try_recv().ok()
                } else {
                    None
                };
            }
            if !jobs.is_empty() {
                self.commit(std::mem::take(&mut jobs));
            }
        }
        let closed = self.close();
        for reply in closing {
            let _ = reply.send(closed.clone());
        }
    }

    fn commit(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let failure = self.transact(&mut jobs).err();
        match &failure {
            None => self.versions.bump(jobs.iter().map(|job| job.touched())),
            // Nothing was begun. Whoever watches over the file says so, once.
            Some(StoreError::Replaced(_)) => {}
            Some(failure) => {
                tracing::error!(error = %failure, writes = jobs.len(), "a commit failed: its writes have not happened");
                self.recover(failure);
            }
        }
        // defence: answer-comes-second (a test fails without it: docs/defences.md)
        for job in jobs {
            // defence: failed-commits-are-errors (a test fails without it: docs/defences.md)
            job.answer(failure.as_ref());
        }
    }

    fn transact(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        self.files.check()?;
        let connection = match &mut self.connection {
            Some(connection) => connection,
            gone => {
                let connection = gone.insert(connect::reopen(self.files.path(), self.patience)?);
                self.files.opened();
                self.versions.record(&self.files);
                connection
            }
        };
        execute(connection, "BEGIN IMMEDIATE")?;
        let before = connection.total_changes();
        for job in jobs {
            execute(connection, "SAVEPOINT job")?;
            if !job.run(connection) {
                // Some failures (a full disk, say) make SQLite undo the whole transaction: then the
                // writes before this one are undone as well, and must not be acknowledged.
                if connection.is_autocommit() {
                    let failure = job.failure().cloned();
                    return Err(
                        failure.unwrap_or_else(|| StoreError::Sqlite("the transaction ended early".into()))
                    );
                }
                execute(connection, "ROLLBACK TO job")?;
            }
            execute(connection, "RELEASE job")?;
        }
        if connection.total_changes() != before {
            // It may be the first transaction of a new log, which has to say what it continues from.
            lineage::write(connection)?;
        }
        // defence: commit-comes-first (a test fails without it: docs/defences.md)
        execute(connection, "COMMIT")
    }

    fn recover(&mut self, failure: &StoreError) {
        let Some(connection) = &self.connection else {
            return;
        };
        let undone = connection.is_autocommit() || execute(connection, "ROLLBACK").is_ok();
        if !undone || failure.taints_connection() {
            self.files.closing();
            self.versions.record(&self.files);
            self.connection = None;
        }
    }

    fn close(self) -> Result<(), StoreError> {
        let Some(connection) = self.connection else {
            self.versions.leave();
            self.files.leave();
            return Ok(());
        };
        // While another process reads, the log just stays (the statement answers so, in a row).
        let copied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        let in_place = self.files.check().is_ok();
        // SQLite would delete the log by its name, which may be another database's by now.
        let kept = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !in_place);
        let closed = connection.close().map_err(|(_, error)| error);
        self.versions.leave();
        self.files.leave();
        copied.and(kept).and(closed).map_err(StoreError::from)
    }
}

fn execute(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests;
