//! Recognition of stamps. `tests/it/logs.rs` tests which logs are refused.

use std::fs;
use std::time::Duration;

use gateway_model::SystemRandom;
use proptest::prelude::{any, prop_assert_eq, proptest};

use super::{CELL, LENGTH, Stamp, Story, TABLE_LEAF};
use crate::{open, wal};

#[test]
fn o1_a_stamp_is_found_in_the_log_and_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let open::Opened { connection, .. } = open::open(&path, Duration::ZERO, &SystemRandom).unwrap();
    let first = super::read(&connection).unwrap().unwrap();
    assert_eq!(Stamp::from_bytes(&first.to_bytes()), Some(first));
    assert_eq!(first.to_bytes().len(), LENGTH);
    let mut known = vec![first];
    for _ in 0..20 {
        super::stamp(&connection).unwrap();
        let stamp = super::read(&connection).unwrap().unwrap();
        assert_eq!(stamp.before, known.last().unwrap().number);
        known.push(stamp);
    }
    let story = Story::of(&wal::path_of(&path)).unwrap();
    // The first is in the file.
    assert_eq!(story.stamps, known[1..]);
    let file = fs::read(&path).unwrap();
    let pages: Vec<_> = file.chunks(4096).filter_map(Stamp::on_page).collect();
    assert_eq!(pages, [first]);
}

/// A log is read to the last transaction that is whole, as SQLite does it.
#[test]
fn o1_a_log_is_read_as_far_as_sqlite_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let open::Opened { connection, .. } = open::open(&path, Duration::ZERO, &SystemRandom).unwrap();
    for _ in 0..10 {
        super::stamp(&connection).unwrap();
    }
    let log = fs::read(wal::path_of(&path)).unwrap();
    let whole = Story::of(&wal::path_of(&path)).unwrap().stamps.len();
    let cut = directory.path().join("cut");
    let stamps = |bytes: &[u8]| {
        fs::write(&cut, bytes).unwrap();
        Story::of(&cut).unwrap().stamps.len()
    };
    assert_eq!(stamps(&log), whole);
    for length in (0..log.len()).step_by(997) {
        let expected = length.saturating_sub(32) / (4096 + 24);
        assert_eq!(stamps(&log[..length]), expected, "{length} bytes");
        let mut flipped = log.clone();
        flipped[length] ^= 1;
        let sound = if length < 32 { 0 } else { expected };
        assert_eq!(stamps(&flipped), sound, "a bit of byte {length}");
    }
    assert_eq!(
        Story::of(&directory.path().join("missing")).unwrap().stamps.len(),
        0
    );
}

proptest! {
    #[test]
    fn o1_only_a_stamp_is_read_as_one(page in any::<Vec<u8>>(), at in any::<u16>(), cells in any::<u16>()) {
        let mut page = page;
        page.resize(page.len().max(100), 0);
        page[0] = TABLE_LEAF;
        page[3..5].copy_from_slice(&cells.to_be_bytes());
        page[8..10].copy_from_slice(&at.to_be_bytes());
        let found = Stamp::on_page(&page);
        let row = page.get(usize::from(at)..).unwrap_or_default();
        let is_one = cells == 1 && row.starts_with(&CELL) && row[CELL.len()..].starts_with(b"AuGW-log") && row.len() >= CELL.len() + LENGTH;
        prop_assert_eq!(found.is_some(), is_one);
    }
}
