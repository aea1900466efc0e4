//! Which files are opened, which are refused, and that the refused are left alone.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway_model::SystemRandom;
use rusqlite::Connection;
use rusqlite_migration::Migrations;

use super::{APPLICATION_ID, MIGRATIONS};
use crate::error::OpenError;

const PATIENCE: Duration = Duration::from_millis(50);

fn open(path: &Path, patience: Duration) -> Result<(Connection, PathBuf), OpenError> {
    super::open(path, patience, &SystemRandom)
        .map(|opened| (opened.connection, opened.files.path().to_owned()))
}

/// Every file in a directory, byte for byte.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> T {
    connection
        .pragma_query_value(None, name, |row| row.get(0))
        .unwrap()
}

#[test]
fn the_migrations_are_sound() {
    Migrations::from_slice(&*MIGRATIONS).validate().unwrap();
}

#[test]
fn creates_a_durable_private_database_of_ours() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new.db");
    let (connection, opened) = open(&path, PATIENCE).unwrap();
    assert_eq!(opened, path);
    assert_eq!(pragma::<i32>(&connection, "application_id"), APPLICATION_ID);
    assert_eq!(pragma::<String>(&connection, "journal_mode"), "wal");
    assert_eq!(pragma::<i64>(&connection, "synchronous"), 2);
    assert_eq!(pragma::<i64>(&connection, "foreign_keys"), 1);
    assert_eq!(
        usize::try_from(pragma::<i64>(&connection, "user_version")).unwrap(),
        MIGRATIONS.len()
    );
    for (file, _) in contents(directory.path()) {
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            file.display()
        );
    }
    drop(connection);
    open(&path, PATIENCE).unwrap();
}

/// As every gateway before this one has left it.
#[test]
fn brings_an_older_schema_up_to_date() {
    for older in 1..MIGRATIONS.len() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("older.db");
        let mut connection = Connection::open(&path).unwrap();
        connection
            .pragma_update(None, "application_id", APPLICATION_ID)
            .unwrap();
        Migrations::from_slice(&MIGRATIONS[..older])
            .to_latest(&mut connection)
            .unwrap();
        connection
            .execute_batch("INSERT INTO used_states VALUES ('s', 1)")
            .unwrap();
        drop(connection);
        let (connection, _) = open(&path, PATIENCE).unwrap();
        assert_eq!(
            usize::try_from(pragma::<i64>(&connection, "user_version")).unwrap(),
            MIGRATIONS.len()
        );
        connection
            .query_row("SELECT 1 FROM used_states WHERE state = 's'", [], |_| Ok(()))
            .unwrap();
    }
}

/// A new store has counted the pending events, and knows which providers vouch for which addresses.
#[test]
fn a4_an_older_database_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("older.db");
    let mut connection = Connection::open(&path).unwrap();
    connection
        .pragma_update(None, "application_id", APPLICATION_ID)
        .unwrap();
    Migrations::from_slice(&MIGRATIONS[..2])
        .to_latest(&mut connection)
        .unwrap();
    let old = "INSERT INTO users (id, name, email, email_trusted, email_identity, joined, status)
            VALUES ('u', 'Ann', 'ann@example.org', 1, 1, 1, 'active');
        INSERT INTO identities VALUES (1, 'u', 'google', 'https://google.example', '1'),
            (2, 'u', 'github', 'https://github.example', '1');
        INSERT INTO events (id, kind, user_id, at, provider, issuer, subject, claims, verdict, settled_at)
            VALUES ('a', 'login', 'u', 1, 'google', 'i', '1', '{\"a\":1}', NULL, NULL),
            ('b', 'login', 'u', 1, 'google', 'i', '1', '{\"ü\":2}', NULL, NULL),
            ('c', 'login', 'u', 1, 'google', 'i', '1', '{}', 'accepted', 1);";
    connection.execute_batch(old).unwrap();
    drop(connection);
    let (connection, _) = open(&path, PATIENCE).unwrap();
    let usage = |expected: Option<(i64, i64)>| {
        let sql = "SELECT count, bytes FROM pending_event_usage WHERE provider = 'google' AND kind = 'login'";
        let found = connection
            .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
            .ok();
        assert_eq!(found, expected);
    };
    usage(Some((2, 15)));
    let settle = "UPDATE events SET verdict = 'accepted', settled_at = 1, claims = '{}' WHERE id = 'a'";
    connection.execute_batch(settle).unwrap();
    usage(Some((1, 8)));
    connection
        .execute_batch("DELETE FROM events WHERE id IN ('b', 'c')")
        .unwrap();
    usage(None);
    let vouches: String = connection
        .query_row(
            "SELECT group_concat(id) FROM identities WHERE email = 'ann@example.org'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(vouches, "1");
}

#[test]
fn claims_an_empty_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("empty.db");
    fs::write(&path, "").unwrap();
    open(&path, PATIENCE).unwrap();
}

#[test]
fn refuses_what_is_not_ours_and_leaves_it_untouched() {
    let other = |setup: &'static str| {
        move |path: &Path| {
            let connection = Connection::open(path).unwrap();
            connection.execute_batch(setup).unwrap();
        }
    };
    type Make = Box<dyn Fn(&Path)>;
    let cases: [(&str, Make); 8] = [
        ("tables, no id", Box::new(other("CREATE TABLE users (id TEXT)"))),
        (
            "another id",
            Box::new(other("PRAGMA application_id = 42; CREATE TABLE users (id TEXT)")),
        ),
        ("no tables, no id", Box::new(other("PRAGMA user_version = 7"))),
        (
            "another in WAL mode",
            Box::new(other("PRAGMA journal_mode = WAL; CREATE TABLE t (v)")),
        ),
        (
            "text",
            Box::new(|path| fs::write(path, "users:\n  - alice\n").unwrap()),
        ),
        ("one byte", Box::new(|path| fs::write(path, "x").unwrap())),
        ("zeros", Box::new(|path| fs::write(path, [0; 8192]).unwrap())),
        ("our id, no SQLite", {
            Box::new(|path| {
                let mut bytes = vec![b'x'; 4096];
                bytes[68..72].copy_from_slice(&APPLICATION_ID.to_be_bytes());
                fs::write(path, bytes).unwrap();
            })
        }),
    ];
    for (name, make) in cases {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("odd ?#%41 name.db");
        make(&path);
        let before = contents(directory.path());
        match open(&path, PATIENCE) {
            Err(OpenError::NotOurs(named)) => assert_eq!(named, path, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(contents(directory.path()), before, "{name}");
    }
}

#[test]
fn refuses_a_foreign_database_with_an_unfinished_transaction_untouched() {
    // As after a crash of its owner: a log that has not been copied back.
    let directory = tempfile::tempdir().unwrap();
    let living = directory.path().join("living.db");
    let owner = Connection::open(&living).unwrap();
    owner
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (v); INSERT INTO t VALUES (1)")
        .unwrap();
    let crashed = tempfile::tempdir().unwrap();
    for name in ["living.db", "living.db-wal"] {
        fs::copy(directory.path().join(name), crashed.path().join(name)).unwrap();
    }
    let before = contents(crashed.path());
    assert!(matches!(
        open(&crashed.path().join("living.db"), PATIENCE),
        Err(OpenError::NotOurs { .. })
    ));
    assert_eq!(contents(crashed.path()), before);
}

#[test]
fn refuses_a_newer_schema() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("newer.db");
    let (connection, _) = open(&path, PATIENCE).unwrap();
    connection.execute_batch("PRAGMA user_version = 1000").unwrap();
    drop(connection);
    let before = contents(directory.path());
    match open(&path, PATIENCE) {
        Err(OpenError::TooNew { found: 1000, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(contents(directory.path()), before);
}

#[test]
fn reports_why_a_database_cannot_be_created() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let subdirectory = directory.path().join("directory");
    fs::create_dir(&subdirectory).unwrap();
    for (path, expected) in [
        (directory.path().join("no/such/directory/x.db"), "create it"),
        (file.join("x.db"), "not a directory"),
        // Where even root may create nothing.
        (PathBuf::from("/proc/x.db"), ""),
    ] {
        match open(&path, PATIENCE) {
            Err(OpenError::Unwritable { hint, .. }) => assert!(hint.contains(expected), "{hint}"),
            other => panic!("{}: {other:?}", path.display()),
        }
    }
    let refused = open(&subdirectory, PATIENCE).map(drop).unwrap_err();
    let said = refused.to_string();
    assert!(said.contains("is a directory, not a regular file"), "{said}");
}

#[test]
fn says_that_a_database_of_ours_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("damaged.db");
    drop(open(&path, PATIENCE).unwrap());
    let mut bytes = fs::read(&path).unwrap();
    // The root page of the schema, after the header.
    bytes[100..4096].fill(0xFF);
    fs::write(&path, bytes).unwrap();
    match open(&path, PATIENCE) {
        Err(OpenError::Corrupt { .. }) => {}
        other => panic!("{other:?}"),
    }
}

/// A kill while the log is copied back leaves a header that is ahead of the file. Everything is there,
/// in the log.
#[test]
fn opens_what_was_killed_while_its_log_was_copied_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("living.db");
    let (connection, _) = open(&path, PATIENCE).unwrap();
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
        INSERT INTO used_states SELECT 'state ' || i, 1 FROM n";
    connection.execute_batch(fill).unwrap();
    let killed = tempfile::tempdir().unwrap();
    for name in ["living.db", "living.db-wal"] {
        fs::copy(directory.path().join(name), killed.path().join(name)).unwrap();
    }
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    let mut half = fs::read(killed.path().join("living.db")).unwrap();
    let whole = fs::read(&path).unwrap();
    assert!(half.len() < whole.len());
    half[..4096].copy_from_slice(&whole[..4096]);
    fs::write(killed.path().join("living.db"), half).unwrap();

    let (opened, _) = open(&killed.path().join("living.db"), PATIENCE).unwrap();
    let states: i64 = opened
        .query_row("SELECT count(*) FROM used_states", [], |row| row.get(0))
        .unwrap();
    assert_eq!(states, 2000);
}

#[test]
fn says_that_another_process_holds_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("held.db");
    let (holder, _) = open(&path, PATIENCE).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(open(&path, PATIENCE), Err(OpenError::Busy { .. })));
}

#[test]
fn many_that_open_a_new_file_at_once_all_get_the_same_database() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raced.db");
    std::thread::scope(|scope| {
        let openers: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| open(&path, Duration::from_secs(5)).map(drop)))
            .collect();
        for opener in openers {
            opener.join().unwrap().unwrap();
        }
    });
}

#[test]
fn o1_a_file_beside_the_database_has_only_one_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.db");
    drop(open(&path, PATIENCE).unwrap());
    let other = directory.path().join("other");
    fs::write(&other, "somebody's").unwrap();
    for suffix in ["-versions", "-shm"] {
        let beside = directory.path().join(format!("gateway.db{suffix}"));
        let _ = fs::remove_file(&beside);
        for is_hard in [false, true] {
            if is_hard {
                fs::hard_link(&other, &beside).unwrap();
            } else {
                std::os::unix::fs::symlink(&other, &beside).unwrap();
            }
            match open(&path, PATIENCE) {
                Err(OpenError::NotAFile { path, kind }) if !is_hard => {
                    assert_eq!((&path, kind), (&beside, "a symbolic link"));
                }
                Err(OpenError::Linked { path, links: 2 }) if is_hard => assert_eq!(path, beside),
                opened => panic!("{suffix}: {opened:?}"),
            }
            assert_eq!(fs::read_to_string(&other).unwrap(), "somebody's");
            fs::remove_file(&beside).unwrap();
        }
    }
    open(&path, PATIENCE).unwrap();
}

#[test]
fn o1_a_log_beside_a_link_is_not_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let (path, moved) = (
        directory.path().join("gateway.db"),
        directory.path().join("moved.db"),
    );
    drop(open(&path, PATIENCE).unwrap());
    fs::rename(&path, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &path).unwrap();
    open(&path, PATIENCE).unwrap();
    let log = directory.path().join("gateway.db-wal");
    fs::write(&log, "acknowledged before the gateway was killed").unwrap();
    let before = contents(directory.path());
    match open(&path, PATIENCE) {
        Err(OpenError::StrandedLog { log: found, .. }) => assert_eq!(found, log),
        opened => panic!("{opened:?}"),
    }
    assert_eq!(contents(directory.path()), before);
}
