//! Places and their locks. Separate descriptors stand for other processes: locks of open file descriptions treat them
//! the same. `tests/operations/places.rs` has real ones.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};

use super::{AREA, HELD, Place, Refused, SIZE, Users, byte, descriptor, hold, is_held, try_take, users};
use crate::error::OpenError;
use crate::file_id::FileId;

fn file() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.db");
    fs::write(&path, "a database").unwrap();
    (directory, path)
}

/// As a process that has the file open under the name.
fn other_process(file: &Path, name: &Path) -> File {
    let file = descriptor(file).unwrap();
    assert!(hold(&file, byte(name).unwrap()).is_ok());
    file
}

#[test]
fn o1_a_place_is_the_directory_and_the_name_however_it_is_reached() {
    let (directory, path) = file();
    let here = byte(&path).unwrap();
    assert!((AREA + 1..AREA + SIZE).contains(&here));
    let link = directory.path().join("link.db");
    symlink(&path, &link).unwrap();
    assert_eq!(byte(&link).unwrap(), here, "a link to the file");
    let way = directory.path().join("way");
    symlink(directory.path(), &way).unwrap();
    assert_eq!(
        byte(&way.join("gateway.db")).unwrap(),
        here,
        "a link to the directory"
    );
    let other = directory.path().join("other.db");
    fs::hard_link(&path, &other).unwrap();
    assert_ne!(byte(&other).unwrap(), here);
    let elsewhere = directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::hard_link(&path, elsewhere.join("gateway.db")).unwrap();
    assert_ne!(byte(&elsewhere.join("gateway.db")).unwrap(), here);
}

#[test]
fn o1_one_place_has_any_number_of_users_and_no_other_place_has_any_meanwhile() {
    let (directory, path) = file();
    let other = directory.path().join("other.db");
    fs::hard_link(&path, &other).unwrap();
    assert_eq!(users(&path), Users::None);
    let theirs = other_process(&path, &path);
    assert_eq!((users(&path), users(&other)), (Users::Here, Users::Elsewhere));
    let first = Place::take(&path).unwrap();
    let second = Place::take(&path).unwrap();
    drop(theirs);
    assert_eq!((users(&path), users(&other)), (Users::Here, Users::Elsewhere));
    let refused = Place::take(&other).unwrap_err();
    assert!(
        matches!(&refused, OpenError::Elsewhere(path) if *path == other),
        "{refused}"
    );
    // Another process sees the lock of this one.
    assert!(matches!(
        hold(&descriptor(&path).unwrap(), byte(&other).unwrap()),
        Err(Refused::Elsewhere)
    ));
    drop(first);
    assert_eq!(users(&other), Users::Elsewhere);
    drop(second);
    assert_eq!(users(&other), Users::None);
    let moved = Place::take(&other).unwrap();
    assert_eq!((users(&path), users(&other)), (Users::Elsewhere, Users::Here));
    assert!(try_take(&path).unwrap().is_err());
    drop(moved);
    let theirs = other_process(&path, &other);
    assert!(matches!(try_take(&path).unwrap(), Err(Refused::Elsewhere)));
    assert!(!is_held(&path), "a refusal keeps nothing");
    assert_eq!(users(&other), Users::Here, "a refusal keeps no lock");
    drop(theirs);
}

/// A store that is closed may be kept, and may still read for a moment.
#[test]
fn o1_a_place_that_was_left_is_free_and_its_descriptor_still_open() {
    let (directory, path) = file();
    let other = directory.path().join("other.db");
    fs::hard_link(&path, &other).unwrap();
    let mut left = Place::take(&path).unwrap();
    left.leave();
    left.leave();
    assert!(!is_held(&path));
    let id = FileId::of(&path).unwrap();
    let descriptors = || HELD.lock().iter().filter(|held| held.id == id).count();
    assert_eq!(descriptors(), 1);
    assert_eq!((users(&path), users(&other)), (Users::None, Users::None));
    let theirs = other_process(&path, &other);
    assert_eq!((users(&path), users(&other)), (Users::Elsewhere, Users::Here));
    drop(theirs);
    let mut again = Place::take(&other).unwrap();
    assert_eq!((users(&path), users(&other)), (Users::Elsewhere, Users::Here));
    drop(left);
    assert_eq!(users(&path), Users::Elsewhere, "the other one still holds it");
    again.leave();
    drop(again);
    assert_eq!(descriptors(), 0);
}

/// `gateway restore` locks the whole file, and so do commands for a moment.
#[test]
fn o1_a_lock_on_the_whole_file_is_not_a_place() {
    let (_directory, path) = file();
    let whole = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    fcntl_lock(&whole, FlockOperation::NonBlockingLockExclusive).unwrap();
    // The descriptor is not closed before the lock is looked at: that would end it.
    let file = descriptor(&path).unwrap();
    assert!(matches!(hold(&file, byte(&path).unwrap()), Err(Refused::Locked)));
    assert!(!super::is_elsewhere(&file, byte(&path).unwrap()));
    fcntl_lock(&whole, FlockOperation::Unlock).unwrap();
    assert!(hold(&file, byte(&path).unwrap()).is_ok());
    let refused = fcntl_lock(&whole, FlockOperation::NonBlockingLockExclusive);
    assert!(refused.is_err(), "a restore sees the place");
}

#[test]
fn o1_a_file_that_was_replaced_while_it_was_opened_is_not_used() {
    let (directory, path) = file();
    let place = Place::take(&path).unwrap();
    place.check(&path).unwrap();
    let another = directory.path().join("another.db");
    fs::write(&another, "another database").unwrap();
    fs::rename(&another, &path).unwrap();
    let refused = place.check(&path).unwrap_err();
    assert!(refused.to_string().contains("try again"), "{refused}");
}
