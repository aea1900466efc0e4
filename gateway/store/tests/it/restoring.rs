//! Backups, and restoring them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use gateway_store::{BackupError, OpenError, RestoreError, Store, backup, restore};
use rusqlite::Connection;

use crate::support::{Fixture, person};

async fn sign_in(store: &Store, from: usize, count: usize) {
    for n in from..from + count {
        store
            .begin_sign_in(&person("google", &n.to_string(), None))
            .await
            .unwrap();
    }
}

async fn count(store: &Store) -> usize {
    store.list_users(None, 10_000).await.unwrap().len()
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn copy_to(f: &Fixture, name: &str) -> PathBuf {
    let to = f.directory.path().join(name);
    backup(&f.path(), &to, false, &mut |_| {}).unwrap();
    to
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_a_backup_of_a_busy_database_is_of_one_moment() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 300).await;
    let store = f.store.clone();
    let writing = tokio::spawn(async move {
        for n in 1000.. {
            sign_in(&store, n, 1).await;
        }
    });
    let directory = f.directory.path().to_owned();
    let database = f.path();
    let backups = tokio::task::spawn_blocking(move || {
        let mut users = 300;
        for n in 0..10 {
            let to = directory.join(format!("{n}.db"));
            let (mut last, mut reports) = (0, 0);
            let contents = backup(&database, &to, false, &mut |progress| {
                assert!(last <= progress.copied && progress.copied <= progress.total);
                (last, reports) = (progress.copied, reports + 1);
            })
            .unwrap();
            assert!(reports > 0);
            assert!(contents.users >= users, "it contains the acknowledged users");
            users = contents.users;
            assert_eq!(fs::metadata(&to).unwrap().len(), contents.bytes);
            assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
            let copy = Connection::open(&to).unwrap();
            let sound: String = copy
                .query_row("PRAGMA integrity_check", [], |row| row.get(0))
                .unwrap();
            assert_eq!(sound, "ok");
        }
        names(&directory)
    });
    let names = backups.await.unwrap();
    writing.abort();
    assert!(
        names
            .iter()
            .all(|name| name.starts_with("gateway.db") || name.ends_with(".db")),
        "{names:?}"
    );
}

#[tokio::test]
async fn o1_a_backup_overwrites_nothing_unless_it_is_told_to() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 3).await;
    let to = f.directory.path().join("backup.db");
    fs::write(&to, "something").unwrap();
    assert!(matches!(
        backup(&f.path(), &to, false, &mut |_| {}),
        Err(BackupError::Exists { path }) if path == to
    ));
    assert_eq!(fs::read(&to).unwrap(), b"something");
    backup(&f.path(), &to, true, &mut |_| {}).unwrap();
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    // Never the database itself, by whatever name.
    let link = f.directory.path().join("link.db");
    std::os::unix::fs::symlink(f.path(), &link).unwrap();
    for name in [
        "gateway.db",
        "gateway.db-wal",
        "gateway.db-shm",
        "gateway.db-versions",
        "gateway.db-restore",
        "link.db",
    ] {
        let target = f.directory.path().join(name);
        let refused = backup(&f.path(), &target, true, &mut |_| {});
        assert!(
            matches!(refused, Err(BackupError::Target { .. })),
            "{name}: {refused:?}"
        );
    }
    assert!(matches!(
        backup(&f.path(), f.directory.path(), true, &mut |_| {}),
        Err(BackupError::Target { .. })
    ));
    let nowhere = f.directory.path().join("no/such/directory/b.db");
    assert!(matches!(
        backup(&f.path(), &nowhere, false, &mut |_| {}),
        Err(BackupError::Unwritable { .. })
    ));
    let missing = f.directory.path().join("missing.db");
    assert!(backup(&missing, &nowhere, false, &mut |_| {}).is_err());
    assert!(!missing.exists());
    assert_eq!(count(&f.store).await, 3);
}

#[tokio::test]
async fn o1_a_damaged_database_is_not_backed_up_in_silence() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 500).await;
    f.store.close().await.unwrap();
    let mut bytes = fs::read(f.path()).unwrap();
    let pages = bytes.len() / 4096;
    bytes[(pages - 3) * 4096..(pages - 1) * 4096].fill(0xA5);
    fs::write(f.path(), bytes).unwrap();
    let to = f.directory.path().join("backup.db");
    let refused = backup(&f.path(), &to, false, &mut |_| {});
    assert!(
        matches!(&refused, Err(BackupError::Copy { why, .. }) if why.contains("damaged")),
        "{refused:?}"
    );
    assert!(!to.exists());
}

#[tokio::test]
async fn o1_restoring_keeps_the_old_files_and_gives_exactly_the_users_of_the_backup() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 20).await;
    let saved = copy_to(&f, "backup.db");
    sign_in(&f.store, 100, 30).await;
    // As a kill leaves it.
    let killed = tempfile::tempdir().unwrap();
    let database = killed.path().join("gateway.db");
    for name in ["gateway.db", "gateway.db-wal", "gateway.db-versions"] {
        fs::copy(f.directory.path().join(name), killed.path().join(name)).unwrap();
    }
    let restored = restore(&saved, &database, &mut |_| {}).unwrap();
    assert_eq!(restored.contents.users, 20);
    assert_eq!(
        names(killed.path())
            .iter()
            .filter(|name| name.starts_with("gateway.db.before-"))
            .count(),
        2
    );
    let store = f.open(database.clone()).await;
    assert_eq!(count(&store).await, 20);
    store.check().await.unwrap();
    sign_in(&store, 500, 1).await;
    store.close().await.unwrap();
    // The kept files are complete, including the log.
    let old = restored.kept.first().unwrap();
    let store = f.open(old.clone()).await;
    assert_eq!(count(&store).await, 50);
    store.close().await.unwrap();
    // And can be restored in its turn.
    assert_eq!(restore(old, &database, &mut |_| {}).unwrap().contents.users, 50);
    assert_eq!(
        restore(&saved, &database, &mut |_| {}).unwrap().contents.users,
        20
    );
    let store = f.open(database).await;
    assert_eq!(count(&store).await, 20);
}

#[tokio::test]
async fn o1_a_backup_is_restored_where_there_was_nothing() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 4).await;
    let saved = copy_to(&f, "backup.db");
    let other = tempfile::tempdir().unwrap();
    let database = other.path().join("new.db");
    let restored = restore(&saved, &database, &mut |_| {}).unwrap();
    assert!(restored.kept.is_empty());
    assert_eq!(names(other.path()).len(), 1);
    assert_eq!(count(&f.open(database).await).await, 4);
    // So is a copy made by SQLite's own means.
    let vacuumed = other.path().join("vacuumed.db");
    Connection::open(f.path())
        .unwrap()
        .execute("VACUUM INTO ?1", [vacuumed.to_str().unwrap()])
        .unwrap();
    let database = other.path().join("other.db");
    assert_eq!(
        restore(&vacuumed, &database, &mut |_| {}).unwrap().contents.users,
        4
    );
}

#[tokio::test]
async fn o1_an_unsound_backup_is_rejected_and_changes_nothing() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 300).await;
    let saved = copy_to(&f, "backup.db");
    f.store.close().await.unwrap();
    let place = |name: &str, bytes: &[u8]| {
        let path = f.directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let good = fs::read(&saved).unwrap();
    let mut newer = good.clone();
    newer[60..64].copy_from_slice(&1000_u32.to_be_bytes());
    let mut foreign = good.clone();
    foreign[68..72].fill(1);
    let mut damaged = good.clone();
    let half = good.len() / 2 / 4096 * 4096;
    damaged[half..half + 8192].fill(0);
    let stray = place("stray.db", &good);
    Connection::open(&stray)
        .unwrap()
        .execute_batch("PRAGMA foreign_keys = OFF; UPDATE identities SET user_id = 'nobody' WHERE id = 1")
        .unwrap();
    let before = (
        fs::read(f.path()).unwrap(),
        fs::read(f.directory.path().join("gateway.db-versions")).unwrap(),
    );
    for (backup, expected) in [
        (place("empty.db", b""), "not a database"),
        (place("text.db", b"users: []\n"), "not a database"),
        (place("cut.db", &good[..good.len() - 4096]), "damaged"),
        (place("damaged.db", &damaged), "damaged"),
        (place("newer.db", &newer), "newer gateway"),
        (place("foreign.db", &foreign), "not a database"),
        (stray, "refers to"),
        (f.directory.path().join("missing.db"), "No such file"),
        (f.directory.path().to_owned(), "not a regular file"),
        (f.path(), "the database itself"),
    ] {
        let refused = restore(&backup, &f.path(), &mut |_| {});
        let Err(RestoreError::Backup { why, .. }) = refused else {
            panic!("{}: {refused:?}", backup.display());
        };
        assert!(
            why.contains(expected) || why.contains("malformed") && expected == "damaged",
            "{}: {why}",
            backup.display()
        );
    }
    let after = (
        fs::read(f.path()).unwrap(),
        fs::read(f.directory.path().join("gateway.db-versions")).unwrap(),
    );
    assert!(before == after, "the database was changed");
    let left: Vec<_> = names(f.directory.path())
        .into_iter()
        .filter(|name| name.starts_with('.') || name.contains("before"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn o1_a_database_that_is_open_is_not_replaced() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 3).await;
    let saved = copy_to(&f, "backup.db");
    assert!(matches!(
        restore(&saved, &f.path(), &mut |_| {}),
        Err(RestoreError::InUse { .. })
    ));
    // By anybody, even one who only reads and knows nothing of gateways.
    f.store.close().await.unwrap();
    let mut reader = other_process("hold", &[&f.path()]);
    let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().contains("holding")),
        "the other process ended"
    );
    let refused = restore(&saved, &f.path(), &mut |_| {});
    assert!(matches!(refused, Err(RestoreError::InUse { .. })), "{refused:?}");
    reader.kill().unwrap();
    reader.wait().unwrap();
    restore(&saved, &f.path(), &mut |_| {}).unwrap();
}

/// A restore that is killed anywhere leaves the old database or the new one; restoring again mends it.
#[tokio::test]
async fn o1_a_restore_that_was_killed_leaves_the_old_or_the_new() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 20).await;
    let saved = copy_to(&f, "backup.db");
    sign_in(&f.store, 100, 30).await;
    let old = tempfile::tempdir().unwrap();
    for name in ["gateway.db", "gateway.db-wal", "gateway.db-versions"] {
        fs::copy(f.directory.path().join(name), old.path().join(name)).unwrap();
    }
    // Every state between two steps after the moment from which it counts.
    let steps: [&[&str]; 6] = [
        &[],
        &["main"],
        &["main", "wal"],
        &["main", "wal", "versions"],
        &["wal"],
        &["main", "wal", "versions", "named"],
    ];
    for done in steps {
        let killed = tempfile::tempdir().unwrap();
        let at = |name: &str| killed.path().join(name);
        for name in names(old.path()) {
            fs::copy(old.path().join(&name), at(&name)).unwrap();
        }
        fs::copy(&saved, at("gateway.db-restore")).unwrap();
        let time = {
            use std::os::unix::fs::MetadataExt as _;
            fs::metadata(at("gateway.db-restore")).unwrap().mtime()
        };
        let time: String = Connection::open_in_memory()
            .unwrap()
            .query_row(
                "SELECT strftime('%Y%m%dT%H%M%SZ', ?1, 'unixepoch')",
                [time],
                |row| row.get(0),
            )
            .unwrap();
        for step in done {
            match *step {
                "main" => fs::rename(at("gateway.db"), at(&format!("gateway.db.before-{time}"))).unwrap(),
                "wal" => {
                    fs::rename(at("gateway.db-wal"), at(&format!("gateway.db.before-{time}-wal"))).unwrap()
                }
                "versions" => fs::remove_file(at("gateway.db-versions")).unwrap(),
                _ => fs::rename(at("gateway.db-restore"), at("gateway.db")).unwrap(),
            }
        }
        assert!(gateway_store::restore::exists(&at("gateway.db")), "{done:?}");
        // The first process that opens it finishes the restore.
        let store = f.open(at("gateway.db")).await;
        assert_eq!(count(&store).await, 20, "{done:?}");
        store.close().await.unwrap();
        let kept = f.open(at(&format!("gateway.db.before-{time}"))).await;
        assert_eq!(count(&kept).await, 50, "{done:?}: {:?}", names(killed.path()));
        kept.close().await.unwrap();
    }
    // By a process that is really killed, at any moment.
    let (mut olds, mut news) = (0, 0);
    for n in 0..30_u32 {
        let killed = tempfile::tempdir().unwrap();
        for name in names(old.path()) {
            fs::copy(old.path().join(&name), killed.path().join(&name)).unwrap();
        }
        let database = killed.path().join("gateway.db");
        let mut process = other_process("restore", &[&saved, &database]);
        std::thread::sleep(std::time::Duration::from_micros(u64::from(n) * 2500));
        process.kill().unwrap();
        process.wait().unwrap();
        let store = f.open(database.clone()).await;
        match count(&store).await {
            20 => news += 1,
            50 => olds += 1,
            other => panic!("{other} users"),
        }
        store.check().await.unwrap();
        store.close().await.unwrap();
        assert_eq!(
            restore(&saved, &database, &mut |_| {}).unwrap().contents.users,
            20
        );
        let staging = names(killed.path())
            .into_iter()
            .find(|name| name.starts_with('.'));
        assert_eq!(staging, None, "a directory was left behind");
    }
    println!("{olds} restores were killed before they counted, {news} after");
}

fn other_process(what: &str, arguments: &[&Path]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "restoring::another_process",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("STORE_TEST_DOES", what)
        .env("STORE_TEST_ARGUMENTS", std::env::join_paths(arguments).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "the other process of tests"]
#[expect(
    clippy::disallowed_methods,
    reason = "the test passes the command in the environment"
)]
fn another_process() {
    let Ok(what) = std::env::var("STORE_TEST_DOES") else {
        return;
    };
    let arguments = std::env::var_os("STORE_TEST_ARGUMENTS").unwrap_or_default();
    let paths: Vec<PathBuf> = std::env::split_paths(OsStr::new(&arguments)).collect();
    if what == "restore" {
        restore(&paths[0], &paths[1], &mut |_| {}).unwrap();
        return;
    }
    let connection = Connection::open(&paths[0]).unwrap();
    let users: i64 = connection
        .query_row("SELECT count(*) FROM users", [], |row| row.get(0))
        .unwrap();
    println!("holding {users}");
    std::thread::sleep(std::time::Duration::from_secs(600));
}

#[tokio::test]
async fn o1_a_second_restore_in_the_same_second_keeps_both() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 2).await;
    let saved = copy_to(&f, "backup.db");
    f.store.close().await.unwrap();
    let mut kept = BTreeSet::new();
    for _ in 0..5 {
        let restored = restore(&saved, &f.path(), &mut |_| {}).unwrap();
        assert_eq!(restored.kept.len(), 1);
        for file in restored.kept {
            assert!(file.exists() && kept.insert(file.clone()), "{}", file.display());
        }
    }
    assert!(matches!(
        f.try_open(f.path()).await.map(drop),
        Ok(()) | Err(OpenError::Busy { .. })
    ));
}

/// Somebody who can hand a backup to an operator can hand them a trigger.
#[tokio::test]
async fn o1_a_foreign_object_in_a_backup_is_rejected_by_name() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 3).await;
    let saved = fs::read(copy_to(&f, "backup.db")).unwrap();
    let target = f.directory.path().join("restored.db");
    let evil = f.directory.path().join("evil.db");
    let changed = |sql: &str| {
        fs::write(&evil, &saved).unwrap();
        Connection::open(&evil).unwrap().execute_batch(sql).unwrap();
    };
    for (sql, name) in [
        (
            "CREATE TRIGGER evil AFTER INSERT ON sessions BEGIN DELETE FROM sessions; END",
            "the trigger \"evil\"",
        ),
        ("CREATE VIEW evil AS SELECT * FROM users", "the view \"evil\""),
        ("CREATE TABLE evil (a)", "the table \"evil\""),
        ("CREATE UNIQUE INDEX evil ON users (name)", "the index \"evil\""),
        ("DROP TRIGGER events_removed", "the trigger \"events_removed\""),
        (
            "DROP TRIGGER events_removed;
            CREATE TRIGGER events_removed AFTER DELETE ON events BEGIN DELETE FROM users; END",
            "the trigger \"events_removed\"",
        ),
        ("ALTER TABLE users ADD COLUMN evil TEXT", "the table \"users\""),
        ("PRAGMA user_version = 0", "user_version"),
        ("PRAGMA user_version = -1", "user_version"),
        ("PRAGMA user_version = 1", "does not belong to schema 1"),
    ] {
        changed(sql);
        let Err(RestoreError::Backup { why, .. }) = restore(&evil, &target, &mut |_| {}) else {
            panic!("{sql}: it was restored");
        };
        assert!(why.contains(name), "{sql}: {why}");
        assert!(!target.exists(), "{sql}");
        let refused = backup(&evil, &target, false, &mut |_| {}).unwrap_err();
        assert!(refused.to_string().contains(name), "{sql}: {refused}");
        assert!(!target.exists(), "{sql}");
    }
    // Tables that SQLite itself adds are allowed.
    changed("ANALYZE; VACUUM");
    assert_eq!(restore(&evil, &target, &mut |_| {}).unwrap().contents.users, 3);
}
