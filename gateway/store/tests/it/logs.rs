//! Which log belongs to which file: SQLite would apply any log to any file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway_store::{OpenError, Store};
use rusqlite::Connection;
use rusqlite::backup::Backup;
use tempfile::TempDir;

use crate::support::{Fixture, person};

const LOG: &str = "gateway.db-wal";

/// A gateway's directory after `kill -9`: what was in the files, no locks, no shared memory.
struct Killed(TempDir);

impl Killed {
    fn of(f: &Fixture) -> Self {
        let killed = Self(tempfile::tempdir().unwrap());
        for name in ["gateway.db", LOG, "gateway.db-versions"] {
            fs::copy(f.directory.path().join(name), killed.0.path().join(name)).unwrap();
        }
        killed
    }

    fn database(&self) -> PathBuf {
        self.0.path().join("gateway.db")
    }

    fn log(&self) -> PathBuf {
        self.0.path().join(LOG)
    }

    fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let files = entries.map(|entry| entry.unwrap().path());
        files
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    }

    async fn assert_refused(&self, f: &Fixture, what: &str) {
        let before = self.contents();
        for _ in 0..2 {
            match f.try_open(self.database()).await {
                Err(OpenError::ForeignLog { path, log }) => {
                    assert_eq!((path, log), (self.database(), self.log()), "{what}");
                }
                other => panic!("{what}: {other:?}"),
            }
        }
        assert_eq!(self.contents(), before, "{what}");
    }

    async fn assert_has(&self, f: &Fixture, users: usize, what: &str) {
        let store = f
            .try_open(self.database())
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(count(&store).await, users, "{what}");
        store.check().await.unwrap();
        store.close().await.unwrap();
    }
}

async fn count(store: &Store) -> usize {
    store.list_users(None, 10_000).await.unwrap().len()
}

/// Signs in `count` more people.
async fn sign_in(store: &Store, from: usize, count: usize) {
    for n in from..from + count {
        store
            .begin_sign_in(&person("google", &n.to_string(), None))
            .await
            .unwrap();
    }
}

fn raw(path: &Path) -> Connection {
    Connection::open(path).unwrap()
}

fn copy_back_log(path: &Path) {
    let busy: i64 = raw(path)
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .unwrap();
    assert_eq!(busy, 0);
}

/// Copies the database at the first path to the second.
type Copy = fn(&Path, &Path);

/// Ways to copy a database while a gateway runs.
const COPIES: [(&str, Copy); 4] = [
    ("VACUUM INTO", |from, to| {
        raw(from)
            .execute("VACUUM INTO ?1", [to.to_str().unwrap()])
            .unwrap();
    }),
    (".backup", |from, to| {
        let (from, mut to) = (raw(from), raw(to));
        Backup::new(&from, &mut to)
            .unwrap()
            .run_to_completion(100, Duration::ZERO, None)
            .unwrap();
    }),
    ("gateway backup", |from, to| {
        gateway_store::backup(from, to, false, &mut |_| {}).unwrap();
    }),
    ("cp, before the log starts again", |from, to| {
        copy_back_log(from);
        fs::copy(from, to).unwrap();
        copy_back_log(from);
    }),
];

#[tokio::test]
async fn o1_a_copy_of_a_running_database_is_not_mixed_with_a_later_log() {
    for (what, copy) in COPIES {
        // The same amount again, or enough for the log to start again several times.
        for more in [1, 40, 600] {
            let f = Fixture::new().await;
            sign_in(&f.store, 0, 20).await;
            let backup = f.directory.path().join("backup.db");
            copy(&f.path(), &backup);
            if what.starts_with("cp") {
                // The first log after the copy has to be a new one.
                sign_in(&f.store, 20, 1).await;
                copy_back_log(&f.path());
            }
            sign_in(&f.store, 100, more).await;
            if more == 600 {
                copy_back_log(&f.path());
                sign_in(&f.store, 2000, 3).await;
            }
            let killed = Killed::of(&f);
            fs::copy(&backup, killed.database()).unwrap();
            killed.assert_refused(&f, &format!("{what}, {more} more")).await;
            // As the message says.
            fs::rename(killed.log(), killed.0.path().join("gateway.db-wal.old")).unwrap();
            killed.assert_has(&f, 20, what).await;
        }
    }
}

/// A copy of the file of a stopped gateway is complete; the log of the next run does not belong to the copy.
#[tokio::test]
async fn o1_a_copy_of_a_stopped_database_is_not_mixed_with_the_log_of_the_next_run() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 20).await;
    f.store.close().await.unwrap();
    for (what, copy) in [
        (
            "cp",
            (|from, to| {
                fs::copy(from, to).unwrap();
            }) as fn(&Path, &Path),
        ),
        COPIES[0],
        COPIES[1],
        COPIES[2],
    ] {
        let backup = f.directory.path().join(format!("{what}.db"));
        copy(&f.path(), &backup);
        let users = count(&f.open(f.path()).await).await;
        for more in [1, 30] {
            let next = f.open(f.path()).await;
            sign_in(&next, count(&next).await, more).await;
            let killed = Killed::of(&f);
            next.close().await.unwrap();
            fs::copy(&backup, killed.database()).unwrap();
            killed.assert_refused(&f, &format!("{what}, {more} more")).await;
            fs::remove_file(killed.log()).unwrap();
            killed.assert_has(&f, users, what).await;
        }
    }
}

/// A restored backup has its own history.
#[tokio::test]
async fn o1_the_log_of_a_restored_database_is_not_that_of_the_old_one_nor_of_the_backup() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 10).await;
    let (first, second) = (f.directory.path().join("1.db"), f.directory.path().join("2.db"));
    raw(&f.path())
        .execute("VACUUM INTO ?1", [first.to_str().unwrap()])
        .unwrap();
    sign_in(&f.store, 100, 10).await;
    f.store.close().await.unwrap();
    let old = f.directory.path().join("old.db");
    fs::copy(f.path(), &old).unwrap();
    fs::copy(&first, f.path()).unwrap();
    let restored = f.open(f.path()).await;
    sign_in(&restored, 200, 5).await;
    raw(&f.path())
        .execute("VACUUM INTO ?1", [second.to_str().unwrap()])
        .unwrap();
    sign_in(&restored, 300, 5).await;
    for copy in [&first, &second, &old] {
        let killed = Killed::of(&f);
        fs::copy(copy, killed.database()).unwrap();
        killed.assert_refused(&f, &copy.display().to_string()).await;
    }
    Killed::of(&f).assert_has(&f, 20, "its own log").await;
}

#[tokio::test]
async fn o1_what_a_kill_leaves_is_opened_wherever_it_is() {
    let f = Fixture::new().await;
    for n in 0..30 {
        sign_in(&f.store, n * 10, 10).await;
        if n % 7 == 3 {
            copy_back_log(&f.path());
        }
        if n % 11 == 5 {
            // An operator, by hand.
            raw(&f.path()).execute_batch("VACUUM").unwrap();
        }
        if n % 13 == 2 {
            raw(&f.path())
                .execute_batch("CREATE INDEX IF NOT EXISTS by_hand ON users (name)")
                .unwrap();
        }
        let killed = Killed::of(&f);
        // Twice: killed again immediately.
        killed.assert_has(&f, (n + 1) * 10, &n.to_string()).await;
        killed.assert_has(&f, (n + 1) * 10, &n.to_string()).await;
        // Or without the file of versions.
        let killed = Killed::of(&f);
        fs::remove_file(killed.0.path().join("gateway.db-versions")).unwrap();
        killed.assert_has(&f, (n + 1) * 10, &n.to_string()).await;
    }
}

/// How many mixtures of old and new pages there are in each round.
const SEEDS: u64 = if cfg!(feature = "test-all") { 40 } else { 6 };

/// A power cut while the log is copied back leaves any of its pages in the file, or none.
#[tokio::test]
async fn o1_a_file_that_has_part_of_its_log_is_opened() {
    const PAGE: usize = 4096;
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 50).await;
    copy_back_log(&f.path());
    for round in 0..6 {
        sign_in(&f.store, 100 + round * 50, 50).await;
        if round == 2 {
            raw(&f.path()).execute_batch("VACUUM").unwrap();
        }
        let killed = Killed::of(&f);
        let before = fs::read(killed.database()).unwrap();
        copy_back_log(&f.path());
        let after = fs::read(f.path()).unwrap();
        let log = fs::read(killed.log()).unwrap();
        for seed in 0..SEEDS {
            let mut dice = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut mixed = before.clone();
            mixed.resize(after.len().max(before.len()), 0);
            for (page, new) in mixed.chunks_mut(PAGE).zip(after.chunks(PAGE)) {
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                let all = seed == 0;
                if all || dice % 2 == 0 {
                    page.copy_from_slice(new);
                }
            }
            let directory = Killed(tempfile::tempdir().unwrap());
            fs::write(directory.database(), mixed).unwrap();
            fs::write(directory.log(), &log).unwrap();
            let what = format!("round {round}, seed {seed}");
            directory.assert_has(&f, 100 + round * 50, &what).await;
        }
    }
}

/// As an older gateway leaves its files, which knows of no stamps.
#[tokio::test]
async fn o1_a_log_without_stamps_is_applied() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 5).await;
    copy_back_log(&f.path());
    raw(&f.path())
        .execute_batch("UPDATE users SET name = 'by hand'")
        .unwrap();
    let killed = Killed::of(&f);
    let log = fs::read(killed.log()).unwrap();
    assert!(
        !log.windows(8).any(|bytes| bytes == b"AuGW-log"),
        "it has a stamp"
    );
    killed.assert_has(&f, 5, "without a stamp").await;
    // The next write of the gateway marks it.
    sign_in(&f.store, 5, 1).await;
    let log = fs::read(Killed::of(&f).log()).unwrap();
    assert!(
        log.windows(8).any(|bytes| bytes == b"AuGW-log"),
        "it has no stamp"
    );
}

/// The log of an older gateway, which knows of no stamps, beside a backup that was copied over its database.
#[tokio::test]
async fn o1_a_log_without_stamps_is_refused_where_an_older_gateway_or_another_program_has_written_it() {
    type Write = fn(&Connection);
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 5).await;
    let backup = f.directory.path().join("backup.db");
    gateway_store::backup(&f.path(), &backup, false, &mut |_| {}).unwrap();
    let writes: [(&str, Write); 4] = [
        ("an older gateway that adds pages", |old| {
            old.execute_batch(
                "CREATE TABLE more (x); INSERT INTO more VALUES (zeroblob(100000)); DROP TABLE log_stamp;
                PRAGMA user_version = 3",
            )
            .unwrap();
        }),
        ("an older gateway that adds none", |old| {
            old.execute_batch("INSERT INTO probe (id, at) VALUES (1, 2) ON CONFLICT DO UPDATE SET at = 2")
                .unwrap();
        }),
        ("another program", |old| {
            old.execute_batch("PRAGMA application_id = 7").unwrap();
        }),
        ("a newer version of another program", |old| {
            old.execute_batch("PRAGMA user_version = 4; PRAGMA application_id = 0")
                .unwrap();
        }),
    ];
    for (what, write) in writes {
        let directory = Killed(tempfile::tempdir().unwrap());
        // Like a file of schema 3: another length, and no stamps.
        let old = raw(&directory.database());
        old.execute_batch(
            "PRAGMA journal_mode = wal; PRAGMA user_version = 3; PRAGMA application_id = 0x41754757;
            CREATE TABLE probe (id INTEGER PRIMARY KEY, at INTEGER NOT NULL); CREATE TABLE log_stamp (id);
            PRAGMA wal_checkpoint(TRUNCATE)",
        )
        .unwrap();
        write(&old);
        // The process is killed, so that its log stays.
        let log = fs::read(directory.log()).unwrap();
        drop(old);
        assert!(!log.is_empty(), "{what}");
        fs::copy(&backup, directory.database()).unwrap();
        fs::write(directory.log(), &log).unwrap();
        directory.assert_refused(&f, what).await;
        fs::remove_file(directory.log()).unwrap();
        directory.assert_has(&f, 5, what).await;
    }
}

/// Changes that an operator makes with `sqlite3`, which was killed before it copied them back.
#[tokio::test]
async fn o1_a_log_that_was_written_by_hand_is_applied() {
    for sql in [
        "UPDATE users SET name = 'by hand'",
        "CREATE INDEX by_hand ON users (name)",
        "CREATE TABLE more (x); INSERT INTO more VALUES (zeroblob(100000)); DROP TABLE more",
        "UPDATE users SET name = name || 'x'; VACUUM",
        "PRAGMA application_id = 0x41754757",
    ] {
        let f = Fixture::new().await;
        sign_in(&f.store, 0, 5).await;
        copy_back_log(&f.path());
        let by_hand = raw(&f.path());
        by_hand.execute_batch(sql).unwrap();
        let killed = Killed::of(&f);
        let users = usize::try_from(f.count("SELECT count(*) FROM users")).unwrap();
        killed.assert_has(&f, users, sql).await;
    }
}

/// A copy that was cut, or that has lost its stamp, says nothing of the log beside it.
#[tokio::test]
async fn o1_a_log_is_not_applied_to_a_file_whose_stamp_cannot_be_read() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 300).await;
    let backup = f.directory.path().join("backup.db");
    gateway_store::backup(&f.path(), &backup, false, &mut |_| {}).unwrap();
    copy_back_log(&f.path());
    let own = fs::read(f.path()).unwrap();
    sign_in(&f.store, 1000, 5).await;
    let saved = fs::read(&backup).unwrap();
    let root: i64 = raw(&backup)
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'log_stamp'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let root = usize::try_from(root).unwrap();
    let without_page = |bytes: &[u8]| {
        let mut bytes = bytes.to_owned();
        bytes[(root - 1) * 4096..root * 4096].fill(0);
        bytes
    };
    let without_row = {
        let path = f.directory.path().join("no-row.db");
        fs::write(&path, &saved).unwrap();
        raw(&path).execute("DELETE FROM log_stamp", []).unwrap();
        fs::read(&path).unwrap()
    };
    for (what, bytes) in [
        ("100 bytes", saved[..100].to_owned()),
        ("a page", saved[..4096].to_owned()),
        ("100,000 bytes", saved[..100_000].to_owned()),
        ("its page zeroed", without_page(&saved)),
        ("its own file, the page zeroed", without_page(&own)),
        ("no row", without_row),
    ] {
        let killed = Killed::of(&f);
        fs::write(killed.database(), &bytes).unwrap();
        let before = killed.contents();
        for _ in 0..2 {
            match f.try_open(killed.database()).await {
                Err(OpenError::UnknownLog { path, log }) => {
                    assert_eq!((path, log), (killed.database(), killed.log()), "{what}");
                }
                Err(OpenError::Corrupt { .. }) => {}
                opened => panic!("{what}: {opened:?}"),
            }
        }
        let refused = gateway_store::restore(
            &killed.database(),
            &f.directory.path().join("restored.db"),
            &mut |_| {},
        );
        assert!(refused.is_err(), "{what}: {refused:?}");
        assert_eq!(killed.contents(), before, "{what}");
        assert!(!f.directory.path().join("restored.db").exists(), "{what}");
    }
    Killed::of(&f).assert_has(&f, 305, "its own log").await;
}

/// Nobody looks after a log beside a backup: it has to prove itself.
#[tokio::test]
async fn o1_a_restore_does_not_apply_a_log_that_is_not_the_backups() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 3).await;
    copy_back_log(&f.path());
    sign_in(&f.store, 100, 2).await;
    let killed = Killed::of(&f);
    let target = f.directory.path().join("restored.db");
    let restored = gateway_store::restore(&killed.database(), &target, &mut |_| {}).unwrap();
    assert_eq!(restored.contents.users, 5, "its own log");
    copy_back_log(&f.path());
    raw(&f.path())
        .execute_batch("UPDATE users SET name = 'by hand'")
        .unwrap();
    let killed = Killed::of(&f);
    let before = killed.contents();
    let refused = gateway_store::restore(&killed.database(), &target, &mut |_| {}).unwrap_err();
    assert!(refused.to_string().contains("gateway.db-wal"), "{refused}");
    assert_eq!(killed.contents(), before);
}

#[tokio::test]
async fn o1_a_log_whose_database_is_gone_is_not_destroyed() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 20).await;
    for empty in [false, true] {
        let killed = Killed::of(&f);
        let main = fs::read(killed.database()).unwrap();
        fs::remove_file(killed.database()).unwrap();
        if empty {
            fs::write(killed.database(), b"").unwrap();
        }
        let before = killed.contents();
        for _ in 0..2 {
            let refused = f.try_open(killed.database()).await.map(drop).unwrap_err();
            assert!(
                matches!(&refused, OpenError::LogAlone { path, log }
                    if (path, log) == (&killed.database(), &killed.log())),
                "{refused}"
            );
        }
        assert_eq!(killed.contents(), before);
        // As the message says.
        fs::write(killed.database(), main).unwrap();
        killed.assert_has(&f, 20, "the file is back").await;
    }
}
