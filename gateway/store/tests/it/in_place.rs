//! A database that is moved, replaced or linked while it is open, and one that is only read: nothing is mixed, and
//! nothing is left beside a file that nobody uses.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use gateway_store::{BackupError, OpenError, RestoreError, Store, StoreError, UserIds, backup, restore};
use rusqlite::Connection;

use crate::support::{Fixture, options, person};

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

/// Every file of a directory, byte for byte.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    files
        .map(|path| (path.clone(), fs::read(path).unwrap_or_default()))
        .collect()
}

fn copy_of(f: &Fixture, to: &Path) {
    backup(&f.path(), to, false, &mut |_| {}).unwrap();
}

async fn read_only(f: &Fixture, path: &Path) -> Result<Store, OpenError> {
    Store::open_to_read(path, options(&f.clock, UserIds::Random)).await
}

#[tokio::test]
async fn o1_a_database_that_is_moved_is_noticed_and_not_written_until_it_is_back() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 3).await;
    f.store.check_file().unwrap();
    let away = f.directory.path().join("away.db");
    let foreign = f.directory.path().join("foreign.db");
    copy_of(&f, &foreign);
    for replaced in [false, true] {
        fs::rename(f.path(), &away).unwrap();
        if replaced {
            fs::copy(&foreign, f.path()).unwrap();
        }
        let error = f.store.check_file().unwrap_err();
        let expected = StoreError::Replaced(f.path().display().to_string());
        assert_eq!(error, expected);
        assert!(error.to_string().contains("put the file back"), "{error}");
        assert_eq!(f.store.ping().await, Err(expected.clone()));
        let refused = f.store.begin_sign_in(&person("google", "9", None)).await;
        assert!(
            matches!(&refused, Err(gateway_store::SignInError::Store(error)) if *error == expected),
            "{refused:?}"
        );
        if replaced {
            assert_eq!(fs::read(f.path()).unwrap(), fs::read(&foreign).unwrap());
        }
        fs::rename(&away, f.path()).unwrap();
        f.store.ping().await.unwrap();
    }
    sign_in(&f.store, 10, 1).await;
    assert_eq!(count(&f.store).await, 4);
}

/// The log beside it belongs to the file that is open: SQLite would apply it.
#[tokio::test]
async fn o1_a_file_in_the_place_of_one_that_is_open_is_not_opened() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 3).await;
    let saved = f.directory.path().join("saved.db");
    copy_of(&f, &saved);
    sign_in(&f.store, 10, 40).await;
    let away = f.directory.path().join("away.db");
    fs::rename(f.path(), &away).unwrap();
    let target = f.directory.path().join("target.db");
    for put in ["nothing", "an empty file", "a backup"] {
        match put {
            "a backup" => drop(fs::copy(&saved, f.path()).unwrap()),
            "an empty file" => fs::write(f.path(), "").unwrap(),
            _ => {}
        }
        let before = contents(f.directory.path());
        for refused in [
            f.try_open(f.path()).await.map(drop).unwrap_err(),
            read_only(&f, &f.path()).await.map(drop).unwrap_err(),
        ] {
            assert!(matches!(&refused, OpenError::Replaced { .. }), "{put}: {refused}");
        }
        let refused = backup(&f.path(), &target, false, &mut |_| {});
        assert!(
            matches!(refused, Err(BackupError::Open(OpenError::Replaced { .. }))),
            "{put}: {refused:?}"
        );
        let refused = restore(&saved, &f.path(), &mut |_| {});
        assert!(
            matches!(refused, Err(RestoreError::InUse { .. })),
            "{put}: {refused:?}"
        );
        assert!(
            contents(f.directory.path()) == before,
            "{put}: something was changed"
        );
    }
    // The gateway is stopped, as the message says. Both files are whole then.
    f.store.close().await.unwrap();
    for (path, users) in [(f.path(), 3), (away, 43)] {
        let store = f.open(path).await;
        assert_eq!(count(&store).await, users);
        store.check().await.unwrap();
        store.close().await.unwrap();
    }
}

/// The log and its index are part of an open database: another process would make new ones.
#[tokio::test]
async fn o1_a_log_that_is_removed_under_an_open_database_is_noticed() {
    for name in ["gateway.db-wal", "gateway.db-shm"] {
        let f = Fixture::new().await;
        sign_in(&f.store, 0, 30).await;
        let removed = f.directory.path().join(name);
        fs::remove_file(&removed).unwrap();
        let expected = StoreError::Replaced(removed.display().to_string());
        assert_eq!(f.store.check_file(), Err(expected.clone()), "{name}");
        assert_eq!(f.store.ping().await, Err(expected), "{name}");
        let refused = f.try_open(f.path()).await.map(drop).unwrap_err();
        assert!(
            matches!(&refused, OpenError::Replaced { path } if *path == removed),
            "{refused}"
        );
        assert!(!removed.exists(), "{name}");
        // Stopping completes the file.
        f.store.close().await.unwrap();
        let store = f.open(f.path()).await;
        assert_eq!(count(&store).await, 30, "{name}");
        store.check().await.unwrap();
    }
}

#[tokio::test]
async fn o1_a_database_with_two_names_is_refused_under_both() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 3).await;
    f.store.close().await.unwrap();
    let other = f.directory.path().join("other.db");
    fs::hard_link(f.path(), &other).unwrap();
    let before = contents(f.directory.path());
    for path in [f.path(), other.clone()] {
        let refused = f.try_open(path.clone()).await.map(drop).unwrap_err();
        assert!(
            matches!(&refused, OpenError::Linked { links: 2, .. }),
            "{refused}"
        );
        let target = f.directory.path().join("target.db");
        let refused = backup(&path, &target, false, &mut |_| {});
        assert!(
            matches!(refused, Err(BackupError::Open(OpenError::Linked { .. }))),
            "{refused:?}"
        );
    }
    assert!(contents(f.directory.path()) == before, "something was changed");
    fs::remove_file(other).unwrap();
    assert_eq!(count(&f.open(f.path()).await).await, 3);
    // A file that the gateway itself makes has one name.
    let saved = f.directory.path().join("saved.db");
    copy_of(&f, &saved);
    assert_eq!(fs::metadata(&saved).unwrap().nlink(), 1);
}

/// Nobody has named the file: it is installed only if a restore may have left it.
#[tokio::test]
async fn o1_a_file_that_no_restore_can_have_left_is_not_installed() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 5).await;
    let saved = f.directory.path().join("saved.db");
    copy_of(&f, &saved);
    sign_in(&f.store, 10, 5).await;
    f.store.close().await.unwrap();
    let new = f.directory.path().join("gateway.db-restore");
    let good = fs::read(&saved).unwrap();
    let place = |bytes: &[u8]| {
        fs::write(&new, bytes).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let by_hand = |sql: &str| {
        place(&good);
        Connection::open(&new).unwrap().execute_batch(sql).unwrap();
    };
    let damaged = || {
        let mut bytes = good.clone();
        let half = bytes.len() / 2 / 4096 * 4096;
        bytes[half..half + 8192].fill(0);
        place(&bytes);
    };
    let cases: [(&str, &str, &dyn Fn()); 9] = [
        ("a link", "symbolic link", &|| symlink(&saved, &new).unwrap()),
        ("a directory", "regular file", &|| fs::create_dir(&new).unwrap()),
        ("two names", "another name", &|| {
            fs::hard_link(&saved, &new).unwrap()
        }),
        ("a text", "not a database", &|| place(b"users: []")),
        ("nothing", "not a database", &|| place(b"")),
        ("damaged", "", &damaged),
        ("another program's", "not a database", &|| {
            by_hand("PRAGMA application_id = 7")
        }),
        ("a newer gateway's", "newer gateway", &|| {
            by_hand("PRAGMA user_version = 1000")
        }),
        ("with a trigger", "by_hand", &|| {
            by_hand("CREATE TRIGGER by_hand AFTER INSERT ON users BEGIN DELETE FROM users; END")
        }),
    ];
    for (what, why, put) in cases {
        put();
        let before = contents(f.directory.path());
        let refused = f.try_open(f.path()).await.map(drop).unwrap_err();
        assert!(
            matches!(&refused, OpenError::Unrestored { why: said, .. } if said.contains(why)),
            "{what}: {refused}"
        );
        let target = f.directory.path().join("target.db");
        assert!(backup(&f.path(), &target, false, &mut |_| {}).is_err(), "{what}");
        assert!(restore(&saved, &f.path(), &mut |_| {}).is_err(), "{what}");
        assert!(
            contents(f.directory.path()) == before,
            "{what}: something was changed"
        );
        if new.is_dir() && !new.is_symlink() {
            fs::remove_dir(&new).unwrap();
        } else {
            fs::remove_file(&new).unwrap();
        }
    }
    place(&good);
    fs::set_permissions(&new, fs::Permissions::from_mode(0o666)).unwrap();
    let refused = f.try_open(f.path()).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("chmod go-w"), "{refused}");
    fs::remove_file(&new).unwrap();
    let store = f.open(f.path()).await;
    assert_eq!(count(&store).await, 10);
    // While the database is open, nobody can have restored anything.
    place(&good);
    assert_eq!(count(&f.open(f.path()).await).await, 10);
    assert!(new.exists());
}

#[tokio::test]
async fn o1_reading_a_database_that_nobody_uses_leaves_it_and_its_directory_as_they_are() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 7).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let saved = elsewhere.path().join("saved.db");
    copy_of(&f, &saved);
    f.store.close().await.unwrap();
    let stopped = elsewhere.path().join("stopped.db");
    fs::copy(f.path(), &stopped).unwrap();
    let before = contents(elsewhere.path());
    let outside = f.directory.path().join("copy-of-a-copy.db");
    for path in [&saved, &stopped] {
        let store = read_only(&f, path).await.unwrap();
        assert_eq!(count(&store).await, 7);
        assert!(store.list_sessions(None).await.unwrap().is_empty());
        assert_eq!(store.find_users("google:3").await.unwrap().len(), 1);
        store.check().await.unwrap();
        let refused = store.begin_sign_in(&person("google", "9", None)).await;
        assert!(refused.is_err(), "{refused:?}");
        store.close().await.unwrap();
        // Without closing, as after an error.
        assert_eq!(count(&read_only(&f, path).await.unwrap()).await, 7);
        backup(path, &outside, true, &mut |_| {}).unwrap();
        assert!(contents(elsewhere.path()) == before, "{}", path.display());
    }
    // An older gateway's would have to be changed.
    Connection::open(&saved)
        .unwrap()
        .execute_batch("PRAGMA user_version = 3")
        .unwrap();
    let before = contents(elsewhere.path());
    let refused = read_only(&f, &saved).await.map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::TooOld { found: 3, .. }), "{refused}");
    assert!(contents(elsewhere.path()) == before);
}

/// A log is part of the database, and a gateway that starts meanwhile writes to the file.
#[tokio::test]
async fn o1_reading_a_database_notices_its_log_and_changes() {
    let f = Fixture::new().await;
    sign_in(&f.store, 0, 7).await;
    let open = read_only(&f, &f.path()).await.unwrap();
    assert_eq!(count(&open).await, 7, "it is open");
    // Closing copies the log into the file, which must not happen between the two copies below.
    open.close().await.unwrap();
    let killed = tempfile::tempdir().unwrap();
    let path = killed.path().join("gateway.db");
    fs::copy(f.path(), &path).unwrap();
    fs::copy(
        f.directory.path().join("gateway.db-wal"),
        killed.path().join("gateway.db-wal"),
    )
    .unwrap();
    let store = read_only(&f, &path).await.unwrap();
    assert_eq!(count(&store).await, 7, "it has a log");
    store.close().await.unwrap();
    let reading = read_only(&f, &path).await.unwrap();
    assert_eq!(count(&reading).await, 7);
    let gateway = f.open(path).await;
    sign_in(&gateway, 10, 1).await;
    let error = reading.list_users(None, 10).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Changed(_)) && error.to_string().contains("again"),
        "{error}"
    );
}
