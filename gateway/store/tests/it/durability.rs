//! Crashes, several processes, closing.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use gateway_model::clock::ManualClock;
use gateway_model::{SystemRandom, UserId, UserLimits, UserStatus};
use gateway_store::{DatabaseUrl, OpenError, Store, StoreError, StoreOptions, UserIds};

use crate::support::{Fixture, NOW, RETENTION, pending_events, person};

fn options() -> StoreOptions {
    StoreOptions {
        clock: Arc::new(ManualClock::at(NOW)),
        random: Arc::new(SystemRandom),
        user_ids: UserIds::Random,
        event_retention: RETENTION,
        limits: UserLimits::default(),
    }
}

/// The files of a killed process: the database and its log as they are, no shared memory.
fn image(from: &Path, to: &Path) {
    for name in ["gateway.db", "gateway.db-wal"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[tokio::test]
async fn acknowledged_writes_survive_a_kill() {
    let f = Fixture::new().await;
    let mut known = Vec::new();
    for n in 0..30 {
        let (user, session) = f.sign_in(&person("google", &n.to_string(), None)).await;
        let pending = f.begin(&person("forum", &n.to_string(), None)).await;
        let crashed = tempfile::tempdir().unwrap();
        image(f.directory.path(), crashed.path());
        let after = f.open(crashed.path().join("gateway.db")).await;
        known.push((user, session));
        for (user, session) in &known {
            assert_eq!(
                after
                    .lookup_session(&session.id, &session.user_id)
                    .await
                    .unwrap()
                    .map(|found| (found.session, found.user)),
                Some((Arc::new(session.clone()), Arc::new(user.clone())))
            );
        }
        let waiting = pending_events(&after).await;
        assert!(waiting.iter().any(|(event, _)| event.id == pending.login.id));
        let raw = rusqlite::Connection::open(crashed.path().join("gateway.db")).unwrap();
        let sound: String = raw
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sound, "ok");
    }
}

/// An image taken in mid-write opens and holds all that was acknowledged before. (So few writes that
/// the log is never copied back meanwhile: then the two files would not be of one moment.)
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_image_taken_during_a_write_opens() {
    let f = Fixture::new().await;
    let (first, _) = f.sign_in(&person("google", "first", None)).await;
    let store = f.store.clone();
    let writing = tokio::spawn(async move {
        for n in 0..150 {
            store
                .begin_sign_in(&person("google", &n.to_string(), None))
                .await
                .unwrap();
        }
    });
    let mut images = 0;
    while !writing.is_finished() || images == 0 {
        let crashed = tempfile::tempdir().unwrap();
        image(f.directory.path(), crashed.path());
        let after = f.open(crashed.path().join("gateway.db")).await;
        assert_eq!(after.lookup_user(&first.id).await.unwrap(), Some(first.clone()));
        after.close().await.unwrap();
        images += 1;
    }
    writing.await.unwrap();
}

const KILLS: usize = if cfg!(feature = "test-all") { 8 } else { 2 };
/// The database of the process that will be killed.
const VICTIM: &str = "STORE_TEST_VICTIM";

/// Not a test: the process that the next test starts and kills. It signs people in, four at a time, and prints a
/// line for each acknowledged sign-in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Some(path) = std::env::var_os(VICTIM) else {
        return;
    };
    let store = Store::open(&DatabaseUrl::File(path.into()), options())
        .await
        .unwrap();
    loop {
        let mut together = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let store = store.clone();
            together.spawn(async move {
                let subject = UserId::random(&SystemRandom).unwrap();
                store
                    .begin_sign_in(&person("google", subject.as_str(), None))
                    .await
                    .unwrap()
                    .user
                    .id
            });
        }
        for id in together.join_all().await {
            println!("\nacknowledged {id}");
        }
    }
}

#[tokio::test]
async fn a_killed_process_loses_no_acknowledged_user() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.db");
    let mut acknowledged = Vec::new();
    for round in 1..=KILLS {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "durability::victim", "--nocapture"])
            .env(VICTIM, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(victim.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        let mut said = lines
            .by_ref()
            .filter_map(|line| line.strip_prefix("acknowledged ").map(UserId::from));
        acknowledged.extend(said.by_ref().take(round * 13));
        victim.kill().unwrap();
        // The lines that it printed before it died count as well.
        acknowledged.extend(said);
        victim.wait().unwrap();

        let store = Store::open(&DatabaseUrl::File(path.clone()), options())
            .await
            .unwrap();
        for id in &acknowledged {
            assert!(store.lookup_user(id).await.unwrap().is_some(), "{id} is lost");
        }
        assert_eq!(
            pending_events(&store).await.len() % 2,
            0,
            "no sign-in is half there"
        );
        let raw = rusqlite::Connection::open(&path).unwrap();
        let sound: String = raw
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sound, "ok");
    }
    assert!(acknowledged.len() >= KILLS * 13);
}

/// Its writer's thread is still closing the file when the next one opens it.
#[tokio::test]
async fn a_store_that_was_dropped_without_closing_is_opened_again() {
    let f = Fixture::new().await;
    let (user, session) = f.sign_in(&person("google", "1", None)).await;
    let Fixture { store, directory, .. } = f;
    let url = DatabaseUrl::File(directory.path().join("gateway.db"));
    drop(store);
    for n in 0..25 {
        let again = Store::open(&url, options()).await.unwrap();
        again
            .begin_sign_in(&person("forum", &n.to_string(), None))
            .await
            .unwrap();
        let found = again.lookup_session(&session.id, &session.user_id).await.unwrap();
        assert_eq!(
            found.map(|found| (found.session, found.user)),
            Some((Arc::new(session.clone()), Arc::new(user.clone())))
        );
    }
}

#[tokio::test]
async fn changes_by_another_process_are_seen_immediately() {
    let f = Fixture::new().await;
    let command_line = f.open(f.path()).await;
    let (user, session) = f.sign_in(&person("google", "1", None)).await;
    assert!(
        f.store
            .lookup_session(&session.id, &session.user_id)
            .await
            .unwrap()
            .is_some()
    );
    command_line
        .set_status(&user.id, UserStatus::Disabled)
        .await
        .unwrap();
    assert!(
        f.store
            .lookup_session(&session.id, &session.user_id)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(f.user(&user.id).await.unwrap().status, UserStatus::Disabled);
    command_line
        .set_status(&user.id, UserStatus::Active)
        .await
        .unwrap();
    command_line.close().await.unwrap();
    let (_, session) = f.sign_in(&person("google", "1", None)).await;
    let command_line = f.open(f.path()).await;
    assert!(command_line.end_session(&session.id).await.unwrap());
    drop(command_line);
    assert!(
        f.store
            .lookup_session(&session.id, &session.user_id)
            .await
            .unwrap()
            .is_none()
    );
    f.store.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_write_side_by_side() {
    let f = Fixture::new().await;
    let other = f.open(f.path()).await;
    let mut writes = tokio::task::JoinSet::new();
    for n in 0..200 {
        let store = if n % 2 == 0 {
            f.store.clone()
        } else {
            other.clone()
        };
        writes.spawn(async move { store.begin_sign_in(&person("google", &n.to_string(), None)).await });
    }
    assert!(writes.join_all().await.iter().all(Result::is_ok));
    assert_eq!(f.count("SELECT count(*) FROM users"), 200);
}

#[tokio::test]
async fn reads_do_not_wait_for_a_writer() {
    let f = Fixture::new().await;
    let (user, session) = f.sign_in(&person("google", "1", None)).await;
    let other = rusqlite::Connection::open(f.path()).unwrap();
    other
        .execute_batch("BEGIN IMMEDIATE; DELETE FROM sessions")
        .unwrap();
    let seen = f
        .store
        .lookup_session(&session.id, &session.user_id)
        .await
        .unwrap();
    assert_eq!(
        seen.map(|found| (found.session, found.user)),
        Some((Arc::new(session), Arc::new(user))),
        "the latest commit, not what is under way"
    );
}

#[tokio::test]
async fn a_closed_store_leaves_only_the_database_and_its_versions() {
    let f = Fixture::new().await;
    let (user, session) = f.sign_in(&person("google", "1", None)).await;
    let clone = f.store.clone();
    f.store.lookup_session(&session.id, &user.id).await.unwrap();
    f.store.close().await.unwrap();
    f.store.close().await.unwrap();
    let seen = clone.lookup_session(&session.id, &session.user_id).await;
    assert!(matches!(seen, Err(StoreError::Closed)), "{seen:?}");
    assert_eq!(clone.list_users(None, 10).await, Err(StoreError::Closed));
    assert_eq!(clone.end_session(&session.id).await, Err(StoreError::Closed));
    assert_eq!(clone.ping().await, Err(StoreError::Closed));
    let mut files: Vec<_> = fs::read_dir(f.directory.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["gateway.db", "gateway.db-versions"]);
    assert_eq!(
        f.open(f.path()).await.lookup_user(&user.id).await.unwrap(),
        Some(user)
    );
}

#[tokio::test]
async fn a_temporary_database_is_private_and_removed() {
    let one = Store::open(&DatabaseUrl::Temporary, options()).await.unwrap();
    let two = Store::open(&DatabaseUrl::Temporary, options()).await.unwrap();
    one.begin_sign_in(&person("google", "1", None)).await.unwrap();
    assert_eq!(one.list_users(None, 10).await.unwrap().len(), 1);
    assert!(two.list_users(None, 10).await.unwrap().is_empty());
    let shown = format!("{one:?}");
    let path = shown
        .split('"')
        .find(|text| text.ends_with("gateway.db"))
        .unwrap()
        .to_owned();
    assert!(Path::new(&path).exists());
    one.close().await.unwrap();
    assert!(!Path::new(&path).parent().unwrap().exists());
}

#[tokio::test]
async fn a_foreign_database_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("old-service.db");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE users (id TEXT)")
        .unwrap();
    let error = Store::open(&DatabaseUrl::File(path), options())
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::NotOurs { .. }));
    assert!(error.to_string().contains("old-service.db") && error.to_string().contains("DATABASE_URL"));
}
