//! How much the statements read, and the end of a range of keys.

use std::time::Duration;

use gateway_model::SystemRandom;
use rusqlite::Connection;

use super::entry::EXPIRED;
use super::{FORGET, KEYS, USAGE, VALUE, key_range};
use crate::open;
use crate::prune::PLUGIN_VALUES;

/// The steps of a statement, as SQLite will take them.
fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    // Bound values make no difference to the plan.
    let mut steps = statement.raw_query();
    let mut plan = Vec::new();
    while let Some(row) = steps.next().unwrap() {
        plan.push(row.get("detail").unwrap());
    }
    plan
}

/// Neither reading a value nor listing keys goes through a namespace, and nothing is sorted.
#[test]
fn a_value_and_a_range_of_keys_are_found_by_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let open::Opened { connection, .. } =
        open::open(&directory.path().join("test.db"), Duration::ZERO, &SystemRandom).unwrap();
    assert_eq!(
        plan(&connection, VALUE),
        ["SEARCH plugin_values USING PRIMARY KEY (plugin=? AND key=?)"]
    );
    assert_eq!(
        plan(&connection, KEYS),
        ["SEARCH plugin_values USING PRIMARY KEY (plugin=? AND key>? AND key<?)"]
    );
}

/// Deleting and summing read no more values than necessary.
#[test]
fn expired_values_are_found_by_index() {
    let directory = tempfile::tempdir().unwrap();
    let open::Opened { connection, .. } =
        open::open(&directory.path().join("test.db"), Duration::ZERO, &SystemRandom).unwrap();
    for (sql, by_expiry) in [(EXPIRED, 1), (PLUGIN_VALUES, 1), (USAGE, 2), (FORGET, 0)] {
        let plan = plan(&connection, sql);
        let of_values = plan.iter().filter(|step| step.contains("SEARCH"));
        let found =
            of_values.filter(|step| step.contains("plugin_values_by_expiry (plugin=? AND expires<?)"));
        assert_eq!(found.count(), by_expiry, "{plan:?}");
        assert!(
            !plan.iter().any(|step| step.contains("SCAN") && step != "SCAN u"),
            "{plan:?}"
        );
    }
}

#[test]
fn a_range_of_keys_ends_before_the_first_that_has_another_beginning() {
    let range = |prefix, after| key_range(prefix, after);
    assert_eq!(range("a", None), (b"a".to_vec(), b"b".to_vec()));
    assert_eq!(range("", None), (b"".to_vec(), vec![0xFF]));
    // The last code point there is: its last byte still has a next.
    let (first, end) = range("\u{10FFFF}", None);
    assert_eq!(
        (first.as_slice(), end.as_slice()),
        ("\u{10FFFF}".as_bytes(), &[0xF4, 0x8F, 0xBF, 0xC0][..])
    );
    assert!(end.as_slice() > "\u{10FFFF}\u{10FFFF}\u{10FFFF}".as_bytes());
    assert!(vec![0xFF].as_slice() > "\u{10FFFF}\u{10FFFF}".as_bytes());
    // Whichever of the two is later begins it.
    assert_eq!(range("b", Some("a")).0, b"b");
    assert_eq!(range("b", Some("b")).0, b"b\0");
    assert_eq!(range("b", Some("ba")).0, b"ba\0");
    let (first, end) = range("b", Some("c"));
    assert!(first > end, "nothing");
}
