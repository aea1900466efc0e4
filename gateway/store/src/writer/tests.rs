//! Group commit: what is answered, and when.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::Duration;

use gateway_model::SystemRandom;
use rusqlite::Connection;

use super::{QUEUE, Writer};
use crate::connect;
use crate::error::{SignInError, StoreError};
use crate::open;
use crate::versions::Touches;

const PATIENCE: Duration = Duration::from_millis(50);

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

fn start(directory: &Path) -> Writer {
    let open::Opened {
        connection,
        files,
        versions,
    } = open::open(&directory.join("test.db"), PATIENCE, &SystemRandom).unwrap();
    connection
        .execute_batch("CREATE TABLE t (v INTEGER UNIQUE)")
        .unwrap();
    Writer::start(connection, Arc::new(files), PATIENCE, Arc::new(versions)).unwrap()
}

fn values(directory: &Path) -> Vec<i64> {
    let reader = connect::open_reader(&directory.join("test.db")).unwrap();
    let mut statement = reader.prepare("SELECT v FROM t ORDER BY v").unwrap();
    statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn insert(connection: &Connection, value: i64) -> Result<(), StoreError> {
    connection.execute("INSERT INTO t VALUES (?1)", [value])?;
    Ok(())
}

/// Queues a write without waiting for its answer.
async fn hand_in<T: Send + 'static>(
    writer: &Writer,
    work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
) -> Answer<T> {
    let writer = writer.clone();
    let mut answer: Answer<T> = Box::pin(async move { writer.write(Touches::Nobody, work).await });
    let first = std::future::poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await;
    assert!(first.is_pending(), "the writer was not busy");
    answer
}

/// Keeps the thread busy with a separate write until the gate is dropped, so that all writes that are
/// queued in the meantime make one batch.
async fn hold(writer: &Writer) -> (Answer<()>, mpsc::Sender<()>) {
    let (gate, closed) = mpsc::channel::<()>();
    let (entering, entered) = tokio::sync::oneshot::channel();
    let held = hand_in(writer, move |_| {
        let _ = entering.send(());
        let _ = closed.recv();
        Ok(())
    })
    .await;
    entered.await.unwrap();
    (held, gate)
}

#[tokio::test]
async fn a_failed_write_undoes_only_itself() {
    let directory = tempfile::tempdir().unwrap();
    let writer = start(directory.path());
    let (held, gate) = hold(&writer).await;
    let first = hand_in(&writer, |c| insert(c, 1)).await;
    let second = hand_in(&writer, |c| insert(c, 2).and_then(|()| insert(c, 1))).await;
    let third = hand_in(&writer, |c| insert(c, 3)).await;
    drop(gate);
    held.await.unwrap();
    assert_eq!(first.await, Ok(()));
    assert!(matches!(second.await, Err(StoreError::Sqlite(_))));
    assert_eq!(third.await, Ok(()));
    assert_eq!(values(directory.path()), [1, 3]);
}

#[tokio::test]
async fn a_refusal_undoes_what_it_did() {
    let directory = tempfile::tempdir().unwrap();
    let writer = start(directory.path());
    let refused = writer.write(Touches::Nobody, |c| {
        insert(c, 1)?;
        Err::<(), _>(SignInError::EmailInUse)
    });
    assert_eq!(refused.await, Err(SignInError::EmailInUse));
    assert_eq!(values(directory.path()), [0; 0]);
}

#[tokio::test]
async fn a_commit_that_fails_fails_every_write_in_it_and_the_next_one_works() {
    let directory = tempfile::tempdir().unwrap();
    let writer = start(directory.path());
    let (held, gate) = hold(&writer).await;
    let good = hand_in(&writer, |c| insert(c, 1)).await;
    // Accepted now, refused at COMMIT.
    let bad = hand_in(&writer, |c| {
        c.execute_batch(
            "PRAGMA defer_foreign_keys = ON;
             INSERT INTO identities (user_id, provider, issuer, subject) VALUES ('nobody', 'p', 'i', 's')",
        )?;
        Ok(())
    })
    .await;
    // Answers from what the first one did, which will not have happened.
    let refusing = hand_in(&writer, |c| {
        insert(c, 1)?;
        Ok(())
    })
    .await;
    drop(gate);
    held.await.unwrap();
    let failure = good.await.unwrap_err();
    assert!(
        matches!(&failure, StoreError::Sqlite(detail) if detail.contains("FOREIGN KEY")),
        "{failure}"
    );
    assert_eq!(bad.await, Err(failure.clone()));
    assert_eq!(refusing.await, Err(failure));
    assert_eq!(values(directory.path()), [0; 0]);

    assert_eq!(writer.write(Touches::Nobody, |c| insert(c, 2)).await, Ok(()));
    assert_eq!(values(directory.path()), [2]);
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_and_recovers_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let writer = start(directory.path());
    let limit = |pages: i64| {
        move |c: &Connection| {
            c.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
                .map_err(StoreError::from)
        }
    };
    writer.write(Touches::Nobody, limit(1)).await.unwrap();
    let fill = |c: &Connection| {
        c.execute("INSERT INTO used_states VALUES (hex(randomblob(100000)), 1)", [])?;
        Ok::<(), StoreError>(())
    };
    let (held, gate) = hold(&writer).await;
    let before = hand_in(&writer, |c| insert(c, 1)).await;
    let full = hand_in(&writer, fill).await;
    drop(gate);
    held.await.unwrap();
    assert_eq!(full.await, Err(StoreError::Full));
    // Whichever way SQLite undid it: acknowledged means there, refused means not there.
    let there = if before.await.is_ok() { vec![1] } else { vec![] };
    assert_eq!(values(directory.path()), there);

    writer.write(Touches::Nobody, limit(1_000_000)).await.unwrap();
    assert_eq!(writer.write(Touches::Nobody, fill).await, Ok(()));
}

#[tokio::test]
async fn writes_to_a_stuck_disk_are_rejected_when_the_queue_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let writer = start(directory.path());
    let (held, gate) = hold(&writer).await;
    let mut queued = Vec::new();
    for value in 0..QUEUE as i64 {
        queued.push(hand_in(&writer, move |c| insert(c, value)).await);
    }
    let one_more = writer.write(Touches::Nobody, |c| insert(c, -1));
    let answer = tokio::time::timeout(Duration::from_secs(60), one_more).await;
    assert_eq!(answer.expect("it waits"), Err(StoreError::Overloaded));
    drop(gate);
    held.await.unwrap();
    for answer in queued {
        assert_eq!(answer.await, Ok(()));
    }
    assert_eq!(values(directory.path()), (0..QUEUE as i64).collect::<Vec<_>>());
    assert_eq!(writer.write(Touches::Nobody, |c| insert(c, -2)).await, Ok(()));
}

#[tokio::test]
async fn another_process_that_holds_the_lock_is_busy_and_then_not() {
    let directory = tempfile::tempdir().unwrap();
    let writer = start(directory.path());
    let other = Connection::open(directory.path().join("test.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(
        writer.write(Touches::Nobody, |c| insert(c, 1)).await,
        Err(StoreError::Busy)
    );
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(writer.write(Touches::Nobody, |c| insert(c, 2)).await, Ok(()));
    assert_eq!(values(directory.path()), [2]);
}

#[tokio::test]
async fn a_bad_connection_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let writer = start(directory.path());
    // The transaction ends under the writer's feet.
    let stray = writer.write(Touches::Nobody, |c| {
        c.execute_batch("ROLLBACK")?;
        Err::<(), _>(StoreError::Io("pretended".into()))
    });
    assert_eq!(stray.await, Err(StoreError::Io("pretended".into())));
    writer
        .write(Touches::Nobody, |c| {
            let durable: i64 = c.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
            let strict: i64 = c.query_row("PRAGMA foreign_keys", [], |row| row.get(0))?;
            assert_eq!((durable, strict), (2, 1));
            insert(c, 1)
        })
        .await
        .unwrap();
    assert_eq!(values(directory.path()), [1]);
}

#[tokio::test]
async fn a_write_is_done_though_its_caller_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let writer = start(directory.path());
    let (held, gate) = hold(&writer).await;
    drop(hand_in(&writer, |c| insert(c, 1)).await);
    drop(gate);
    held.await.unwrap();
    writer.close().await.unwrap();
    assert_eq!(values(directory.path()), [1]);
}

#[tokio::test]
async fn closing_finishes_what_was_begun_and_refuses_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let writer = start(directory.path());
    let (held, gate) = hold(&writer).await;
    let queued = hand_in(&writer, |c| insert(c, 1)).await;
    let closing = {
        let writer = writer.clone();
        tokio::spawn(async move { writer.close().await })
    };
    drop(gate);
    held.await.unwrap();
    assert_eq!(queued.await, Ok(()));
    closing.await.unwrap().unwrap();
    assert_eq!(
        writer.write(Touches::Nobody, |c| insert(c, 2)).await,
        Err(StoreError::Closed)
    );
    assert_eq!(writer.close().await, Ok(()));
    assert_eq!(values(directory.path()), [1]);
}
