//! Numbers that are never there twice, and a file that may go wrong in every way.

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Instant;

use gateway_model::{SystemRandom, UserId};
use tempfile::TempDir;

use super::{MAX_AGE, SLOTS, Touches, Versions, slot};

/// A file in a database's place, and where its versions are.
fn database() -> (TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (path, versions) = (
        directory.path().join("gateway.db"),
        directory.path().join("gateway.db-versions"),
    );
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    (directory, path, versions)
}

fn open(database: &Path) -> Versions {
    Versions::open(database, &SystemRandom)
}

fn bump(versions: &Versions, slot: u64) {
    versions.bump(std::iter::once(slot..slot + 1));
}

/// Whether `work` waits for [`MAX_AGE`]. A machine that stalls for a second can cause this once, not three
/// times.
fn takes_as_long(mut work: impl FnMut()) -> bool {
    let mut once = || {
        let begun = Instant::now();
        work();
        begun.elapsed()
    };
    (0..3).all(|_| once() >= MAX_AGE)
}

#[test]
fn a_slot_is_the_same_in_every_process_and_build() {
    // Published values of FNV-1a.
    for (id, hash) in [
        ("", 0xcbf2_9ce4_8422_2325),
        ("a", 0xaf63_dc4c_8601_ec8c),
        ("foobar", 0x8594_4171_f739_67e8),
    ] {
        assert_eq!(slot(&UserId::from(id)), hash % 4096, "{id:?}");
    }
    let mut used = HashSet::new();
    for _ in 0..SLOTS {
        used.insert(slot(&UserId::random(&SystemRandom).unwrap()));
    }
    assert!(used.len() > 2400, "spread out: {}", used.len());
}

#[test]
fn touched_users_decide_the_slots() {
    let alice = UserId::from("alice");
    let at = slot(&alice);
    let found = Touches::Found(Option::as_ref);
    assert_eq!(found.slots(&Some(alice.clone())), at..at + 1);
    assert!(found.slots(&None).is_empty());
    assert_eq!(Touches::User(alice).slots(&()), at..at + 1);
    assert!(Touches::Nobody.slots(&()).is_empty());
    assert_eq!(Touches::Everybody.slots(&()), 0..SLOTS);
}

#[test]
fn the_file_is_made_like_the_database_and_then_left_as_it_is() {
    for mode in [0o600, 0o660] {
        let (_directory, database, path) = database();
        fs::set_permissions(&database, Permissions::from_mode(mode)).unwrap();
        open(&database);
        let made = fs::read(&path).unwrap();
        assert_eq!(made.len(), 32 * 1024);
        let numbers: HashSet<_> = made.chunks(8).filter(|number| *number != [0; 8]).collect();
        assert_eq!(numbers.len(), 4096, "each another, none zero");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        open(&database);
        assert_eq!(fs::read(&path).unwrap(), made);
    }
}

#[test]
fn a_bump_is_seen_by_every_process_and_changes_only_its_slot() {
    let (directory, database, _) = database();
    let link = directory.path().join("link.db");
    symlink(&database, &link).unwrap();
    let (one, other) = (open(&database), open(&link));
    let all = |versions: &Versions| (0..SLOTS).map(|slot| versions.number(slot)).collect::<Vec<_>>();
    let before = all(&one);
    assert!(before.iter().all(Option::is_some));
    for touched in [0, 1700, SLOTS - 1] {
        bump(&other, touched);
    }
    let after = all(&one);
    assert_eq!(after, all(&other));
    let changed = (0..SLOTS).zip(before.iter().zip(&after));
    let changed: Vec<_> = changed
        .filter(|(_, (before, after))| before != after)
        .map(|(slot, _)| slot)
        .collect();
    assert_eq!(changed, [0, 1700, SLOTS - 1]);
    other.bump(std::iter::once(0..SLOTS));
    assert!(all(&one).iter().zip(&after).all(|(now, before)| now != before));
}

#[test]
fn no_number_occurs_twice() {
    let (_directory, database, _) = database();
    let processes = [open(&database), open(&database), open(&database)];
    let mut seen = HashSet::from([processes[0].number(7)]);
    for round in 0..3000 {
        bump(&processes[round % 3], 7);
        assert!(seen.insert(processes[0].number(7)), "after {round}");
    }
}

#[test]
fn a_damaged_file_is_rewritten_when_it_is_opened() {
    for damage in [vec![], vec![1; 8000], vec![0; 32 * 1024]] {
        let (_directory, database, path) = database();
        fs::write(&path, damage).unwrap();
        let versions = open(&database);
        assert!((0..SLOTS).all(|slot| versions.number_to_keep(slot).is_some()));
    }
}

#[test]
fn a_failed_file_is_never_used_again() {
    let cut = |path: &Path| fs::OpenOptions::new().write(true).open(path)?.set_len(0);
    let zeros = |path: &Path| fs::write(path, vec![0; 32 * 1024]);
    let delete = |path: &Path| fs::remove_file(path);
    let replace = |path: &Path| {
        fs::copy(path, path.with_extension("copy"))?;
        fs::rename(path.with_extension("copy"), path)
    };
    type Spoil<'a> = &'a dyn Fn(&Path) -> std::io::Result<()>;
    let ways: [(&str, Spoil<'_>); 4] = [
        ("cut", &cut),
        ("zeros", &zeros),
        ("deleted", &delete),
        ("replaced", &replace),
    ];
    for (way, spoil) in ways {
        let (_directory, database, path) = database();
        let versions = open(&database);
        let whole = fs::read(&path).unwrap();
        assert!(versions.number_to_keep(7).is_some(), "{way}");
        spoil(&path).unwrap();
        assert_eq!(versions.number_to_keep(7), None, "{way}");
        fs::write(&path, whole).unwrap();
        assert_eq!(versions.number(7), None, "{way}");
    }
}

/// Other processes may cache a row, and cannot be notified: they have dropped it when the write is acknowledged.
#[test]
fn a_bump_without_a_file_waits_until_caches_have_expired() {
    let (_directory, database, path) = database();
    let deleted = open(&database);
    assert!(!takes_as_long(|| bump(&deleted, 7)));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let never_opened = open(&database);
    assert_eq!(never_opened.number_to_keep(7), None);
    std::thread::scope(|scope| {
        for versions in [&deleted, &never_opened] {
            scope.spawn(|| {
                let nobody = || versions.bump([0..0, 0..0].into_iter());
                assert!(!takes_as_long(nobody), "nobody was touched");
                assert!(takes_as_long(|| bump(versions, 7)));
                assert_eq!(versions.number(7), None, "nothing is kept any more");
            });
        }
    });
}
