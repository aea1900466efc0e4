//! The writer: one thread, one connection, and group commit.
//!
//! The thread runs all queued writes in one transaction, each in its own savepoint, so that a failed write undoes only
//! itself. It commits (one sync for all), publishes which users changed, and only then answers. If a commit fails,
//! every write in it fails, and none has any effect.

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

/// The most writes that wait for the thread; further callers wait up to [`PATIENCE`] to queue theirs.
const QUEUE: usize = 1024;
/// A working disk needs only a fraction of this for a full queue.
const PATIENCE: Duration = Duration::from_secs(1);
/// The most writes in one transaction, so that the first does not wait long.
const BATCH: usize = 256;

/// The queue of writes. Cheap to clone; the thread ends when all clones are dropped.
#[derive(Clone, Debug)]
pub(crate) struct Writer(mpsc::Sender<Message>);

enum Message {
    Write(Box<dyn Job>),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

impl Writer {
    /// Starts the thread. `files` must be in their places before each transaction, and `patience` is how long it waits
    /// for other processes.
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

    /// Runs `work` in a transaction. When this returns `Ok`, the change is durable, and no process uses cached data of
    /// the users that it `touches`. If `work` fails, its changes are undone. Once queued, it runs even if the caller no
    /// longer waits.
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

    /// Finishes every queued write, copies the log back into the database, and ends the thread. May be called twice. If
    /// the log cannot be copied back, the next process that opens the database does it.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        if self.0.send(Message::Close(reply)).await.is_err() {
            return Ok(());
        }
        answer.await.unwrap_or(Ok(()))
    }
}

/// A write without its type.
trait Job: Send {
    /// Runs it; returns `false` if it failed and must be undone.
    fn run(&mut self, connection: &Connection) -> bool;

    /// The failure of the database that made it fail.
    fn failure(&self) -> Option<&StoreError>;

    /// The slots of the users that it touched.
    fn touched(&self) -> Range<u64>;

    /// Answers the caller. `failure` is that of the whole transaction.
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
            // Also if the work itself has refused: the reason may be another write of this transaction, which is
            // undone.
            (Some(failure), _) => Err(failure.clone().into()),
            (None, Some(result)) => result,
            (None, None) => Err(StoreError::Closed.into()),
        };
        // If the caller no longer waits, the write remains in effect.
        let _ = self.reply.send(result);
    }
}

struct Thread {
    /// `None` after a failure that makes it unreliable; opened again for the next batch.
    connection: Option<Connection>,
    /// Checked before each transaction: writes to a replaced file would be lost.
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
            // Nothing was begun. The check of the files logs it, once.
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
                // Some failures, such as a full disk, make SQLite undo the whole transaction. Then the earlier writes
                // are undone too, and must not be acknowledged.
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
            // This may be the first transaction of a new log, which must say what it continues from.
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
        let closed = match self.connection {
            Some(connection) => close(connection, &self.files),
            None => Ok(()),
        };
        self.versions.leave();
        self.files.leave();
        closed
    }
}

fn close(connection: Connection, files: &OpenFiles) -> Result<(), StoreError> {
    // While another process reads, the log stays, which the statement reports in a row.
    let copied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    let in_place = files.check().is_ok();
    // SQLite would delete the log by its name, which may now be that of another database's log.
    let kept = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !in_place);
    let closed = connection.close().map_err(|(_, error)| error);
    copied.and(kept).and(closed).map_err(StoreError::from)
}

fn execute(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests;
