//! Caps to the byte; expired values make room; pruning, forgetting.

use std::time::Duration;

use gateway_model::stored_bytes;
use gateway_store::{MAX_VALUE_KEYS, ValueError};

use super::model::DRIFTED;
use super::{AMPLE, FULL, MINUTE, Verbs as _};
use crate::support::{Fixture, GRACE, WEEK};

/// The counted bytes of a value of `p` that has no lifetime.
const fn cost(key: usize, value: usize) -> u64 {
    stored_bytes(1, key, value, false)
}

impl Fixture {
    async fn set_within(&self, cap: u64, key: &str, value: &[u8]) -> Result<(), ValueError> {
        self.store.set_value("p", key, value, None, cap).await
    }

    async fn swap_within(&self, cap: u64, key: &str, old: &[u8], new: &[u8]) -> Result<bool, ValueError> {
        let swap = self
            .store
            .compare_and_set_value("p", key, Some(old), Some(new), cap);
        swap.await
    }
}

#[tokio::test]
async fn the_cap_is_exact_to_the_byte() {
    let f = Fixture::new().await;
    // A key counts its bytes, and what is refused leaves nothing.
    let first = cost(2, 8);
    assert_eq!(f.set_within(first - 1, "é", &[0; 8]).await, Err(FULL));
    assert_eq!(f.usage().await, (0, 0));
    f.set_within(first, "é", &[0; 8]).await.unwrap();
    assert_eq!(f.usage().await, (1, first));
    // So does a key of nothing.
    let both = first + cost(1, 0);
    assert_eq!(f.set_within(both - 1, "k", b"").await, Err(FULL));
    f.set_within(both, "k", b"").await.unwrap();
    // Another value frees the bytes of the one before.
    let more = cost(2, 9) + cost(1, 0);
    assert_eq!(f.set_within(more - 1, "é", &[1; 9]).await, Err(FULL));
    assert_eq!(f.get("é").await, Some(vec![0; 8]));
    f.set_within(more, "é", &[1; 9]).await.unwrap();
    f.store.delete_value("p", "k").await.unwrap();
    f.set_within(more, "é", &[2; 10]).await.unwrap();
    assert_eq!(f.usage().await, (1, cost(2, 10)));
}

#[tokio::test]
async fn every_kind_of_write_obeys_the_cap() {
    let f = Fixture::new().await;
    let add = |cap, by| f.store.increment_value("p", "n", by, cap);
    let one = cost(1, 1);
    assert_eq!(add(one - 1, 9).await, Err(FULL));
    assert_eq!(add(one, 9).await, Ok(9));
    assert_eq!(add(one, 1).await, Err(FULL));
    assert_eq!(f.get("n").await, Some(b"9".to_vec()));
    let two = cost(1, 2);
    assert_eq!(add(two, 1).await, Ok(10));

    let create = |cap| f.store.compare_and_set_value("p", "s", None, Some(b"1"), cap);
    assert_eq!(create(two + one - 1).await, Err(FULL));
    assert_eq!(f.get("s").await, None);
    let cap = two + one;
    assert_eq!(create(cap).await, Ok(true));
    assert_eq!(f.swap_within(cap, "s", b"1", b"22").await, Err(FULL));
    assert_eq!(
        f.swap_within(cap, "s", b"2", b"22").await,
        Ok(false),
        "there is nothing to write"
    );
    assert_eq!(f.get("s").await, Some(b"1".to_vec()));
    assert_eq!(f.swap_within(two + two, "s", b"1", b"22").await, Ok(true));
    assert_eq!(f.usage().await, (2, two + two));
    // No cap at all, and one that keeps everything out.
    f.set_within(u64::MAX, "k", b"1").await.unwrap();
    assert_eq!(f.set_within(0, "l", b"").await, Err(FULL));
}

/// The operator has lowered the cap: what is there stays, and does not grow.
#[tokio::test]
async fn above_the_cap_a_write_may_only_shrink() {
    let f = Fixture::new().await;
    f.set("k", &[0; 10], None).await;
    f.set("n", b"100", None).await;
    assert_eq!(f.set_within(5, "k", &[1; 11]).await, Err(FULL));
    assert_eq!(f.store.increment_value("p", "n", 900, 5).await, Err(FULL));
    f.set_within(5, "k", &[1; 10]).await.unwrap();
    f.set_within(5, "k", &[2; 9]).await.unwrap();
    assert_eq!(f.swap_within(5, "k", &[2; 9], &[3; 8]).await, Ok(true));
    assert_eq!(f.store.increment_value("p", "n", 1, 5).await, Ok(101));
    assert_eq!(f.store.increment_value("p", "n", -92, 5).await, Ok(9));
    assert_eq!(f.usage().await, (2, cost(1, 8) + cost(1, 1)));
    let gone = f.store.compare_and_set_value("p", "k", Some(&[3; 8]), None, 5);
    assert!(gone.await.unwrap());
    f.set_within(cost(1, 1) + cost(1, 2), "m", b"12").await.unwrap();
}

#[tokio::test]
async fn expired_values_take_no_room() {
    let f = Fixture::new().await;
    // More than goes in one transaction, and not a byte of it may be left for the last write.
    f.fill(2 * MAX_VALUE_KEYS + 100, Some(MINUTE));
    f.set("other", b"12345", None).await;
    let (other, key) = (cost(5, 5), cost(3, 7));
    let cap = other + key;
    assert_eq!(f.set_within(cap, "key", &[0; 7]).await, Err(FULL));
    f.clock.advance(MINUTE);
    assert_eq!(f.usage().await, (1, other), "at once");
    f.set_within(cap, "key", &[0; 7]).await.unwrap();
    assert_eq!(f.usage().await, (2, cap));
    assert_eq!(f.set_within(cap, "k", b"").await, Err(FULL));
    assert_eq!(f.count(DRIFTED), 0);
}

#[tokio::test]
async fn every_kind_of_write_makes_room() {
    let f = Fixture::new().await;
    let full = cost(1, 99);
    for n in 0..3 {
        f.set("old", &[0; 97], Some(MINUTE)).await;
        f.clock.advance(MINUTE);
        match n {
            0 => f.set_within(full, "a", &[0; 99]).await.unwrap(),
            1 => assert_eq!(f.store.increment_value("p", "a", 1, cost(1, 1)).await, Ok(1)),
            _ => {
                let swap = f
                    .store
                    .compare_and_set_value("p", "a", None, Some(&[0; 99]), full);
                assert!(swap.await.unwrap());
            }
        }
        assert_eq!(f.store.forget_values_of("p").await.unwrap(), 1);
    }
    // A value that has expired is not "the one before": it does not entitle to as many bytes.
    f.set("k", &[0; 50], Some(MINUTE)).await;
    f.set("other", &[0; 45], None).await;
    f.clock.advance(MINUTE);
    let cap = cost(5, 45) + cost(1, 9);
    assert_eq!(f.set_within(cap, "k", &[0; 50]).await, Err(FULL));
    f.set_within(cap, "k", &[0; 9]).await.unwrap();
}

#[tokio::test]
async fn pruning_deletes_expired_values_of_every_plugin() {
    let f = Fixture::new().await;
    f.fill(2100, Some(MINUTE));
    f.set("stays", b"1", None).await;
    f.set("stays a while", b"1", Some(MINUTE + Duration::from_secs(1)))
        .await;
    for (plugin, lifetime) in [("o", Some(MINUTE)), ("q", Some(MINUTE)), ("r", None)] {
        let set = f.store.set_value(plugin, "k", b"1", lifetime, AMPLE);
        set.await.unwrap();
    }
    f.clock.advance(MINUTE + GRACE - Duration::from_secs(1));
    f.store.prune(WEEK).await.unwrap();
    assert_eq!(f.count("SELECT count(*) FROM plugin_values"), 2105);
    f.clock.advance(Duration::from_secs(1));
    f.store.prune(WEEK).await.unwrap();
    assert_eq!(f.count("SELECT count(*) FROM plugin_values"), 3);
    assert_eq!(f.count("SELECT count(*) FROM plugin_value_usage"), 2);
    assert_eq!(f.count(DRIFTED), 0);
    // It has expired, and is kept for as long as the clock may be wrong.
    assert_eq!(f.keys("", None, 10).await, ["stays"]);
}

#[tokio::test]
async fn an_operator_deletes_all_values_of_a_plugin() {
    let f = Fixture::new().await;
    f.fill(2100, None);
    f.store.set_value("q", "k", b"1", None, AMPLE).await.unwrap();
    assert_eq!(f.usage().await, (2100, 2100 * cost(9, 1)));
    assert_eq!(f.store.forget_values_of("p").await.unwrap(), 2100);
    assert_eq!(f.store.forget_values_of("p").await.unwrap(), 0);
    assert_eq!(f.usage().await, (0, 0));
    assert!(f.keys("", None, 10).await.is_empty());
    assert!(f.store.value("q", "k").await.unwrap().is_some());
    // The name may be used again.
    f.set("k", b"1", None).await;
    assert_eq!(f.usage().await, (1, cost(1, 1)));
}

/// With the SQLite shell, say: the sums are right all the same.
#[tokio::test]
async fn an_operator_changes_values_by_hand() {
    let f = Fixture::new().await;
    f.fill(5, None);
    f.store.set_value("q", "k", b"1", None, AMPLE).await.unwrap();
    let raw = rusqlite::Connection::open(f.path()).unwrap();
    for (sql, usage) in [
        (
            "UPDATE plugin_values SET value = x'0000' WHERE key = CAST('key 00003' AS BLOB)",
            (5, 4 * cost(9, 1) + cost(9, 2)),
        ),
        (
            "UPDATE plugin_values SET key = x'61' WHERE key = CAST('key 00003' AS BLOB)",
            (5, 4 * cost(9, 1) + cost(1, 2)),
        ),
        (
            "UPDATE plugin_values SET expires = 1 WHERE key = x'61'",
            (4, 4 * cost(9, 1)),
        ),
        (
            "INSERT OR IGNORE INTO plugin_values (plugin, key, value) VALUES ('p', x'61', x'00')",
            (4, 4 * cost(9, 1)),
        ),
        (
            "UPDATE plugin_values SET plugin = 'p' WHERE plugin = 'q'",
            (5, 4 * cost(9, 1) + cost(1, 1)),
        ),
        (
            "UPDATE plugin_values SET plugin = 'new' WHERE plugin = 'p'",
            (0, 0),
        ),
        (
            "UPDATE plugin_values SET plugin = 'p'",
            (5, 4 * cost(9, 1) + cost(1, 1)),
        ),
        ("DELETE FROM plugin_values", (0, 0)),
    ] {
        raw.execute_batch(sql).unwrap();
        assert_eq!(f.usage().await, usage, "{sql}");
        assert_eq!(f.count(DRIFTED), 0, "{sql}");
    }
}

/// The file on disk, not the sum of what was handed over: that is what fills a disk.
#[tokio::test]
async fn a17_tiny_values_take_no_more_on_disk_than_the_cap() {
    const CAP: u64 = 1 << 20;
    let f = Fixture::new().await;
    let pages = |f: &Fixture| f.count("SELECT page_count FROM pragma_page_count");
    let before = pages(&f);
    // By a loop in SQL: a hundred thousand writes that wait for the disk take their minutes.
    let raw = rusqlite::Connection::open(f.path()).unwrap();
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 15000)
        INSERT INTO plugin_values (plugin, key, expires, value)
        SELECT 'p', CAST(printf('%04x', i * 40503 % 65521) AS BLOB), 1 << 40, x'' FROM n";
    raw.execute_batch(fill).unwrap();
    let (count, bytes) = f.usage().await;
    assert_eq!((count, bytes), (15_000, 15_000 * stored_bytes(1, 4, 0, true)));
    assert!(f.set_within(CAP, "more", b"").await == Err(FULL), "{bytes}");
    let on_disk = u64::try_from(pages(&f) - before).unwrap() * 4096;
    assert!(on_disk <= bytes, "{on_disk} on disk, {bytes} counted");
    assert!(
        on_disk > 5 * 4 * 15_000,
        "{on_disk}: keys and values alone are far less"
    );
    assert_eq!(f.count(DRIFTED), 0);
}

/// Each length at which the layout changes, as the database and as this program count it.
#[tokio::test]
async fn a17_the_database_counts_as_the_program_does() {
    let f = Fixture::new().await;
    for plugin in ["p", "a-plugin-of-a-longer-name"] {
        for key in [1, 4, 256] {
            let key = "k".repeat(key);
            for value in [0, 1, 700, 950, 955, 975, 978, 979, 980, 5000, 100_000] {
                for lifetime in [None, Some(MINUTE)] {
                    let bytes = vec![0; value];
                    let set = f.store.set_value(plugin, &key, &bytes, lifetime, u64::MAX);
                    set.await.unwrap();
                    let usage = f.store.value_usage(plugin).await.unwrap();
                    let bytes = stored_bytes(plugin.len(), key.len(), value, lifetime.is_some());
                    assert_eq!(
                        (usage.count, usage.bytes),
                        (1, bytes),
                        "{plugin} {value} {lifetime:?}"
                    );
                }
            }
            f.store.forget_values_of(plugin).await.unwrap();
        }
    }
    assert_eq!(f.count(DRIFTED), 0);
}

/// Values of an earlier gateway count from the first start on.
#[test]
fn a17_what_is_kept_already_is_counted() {
    let raw = rusqlite::Connection::open_in_memory().unwrap();
    raw.execute_batch(include_str!("../../../../../migrations/0002_plugin_values.sql"))
        .unwrap();
    raw.execute_batch(
        "INSERT INTO plugin_values (plugin, key, expires, value) VALUES ('p', x'61', 7, x'00')",
    )
    .unwrap();
    raw.execute_batch(include_str!(
        "../../../../../migrations/0005_plugin_value_storage.sql"
    ))
    .unwrap();
    let stored: i64 = raw
        .query_row("SELECT stored FROM plugin_value_usage", [], |row| row.get(0))
        .unwrap();
    assert_eq!(u64::try_from(stored).unwrap(), stored_bytes(1, 1, 1, true));
}
