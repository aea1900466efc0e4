//! Values that plugins keep: the contract in `wit/key-value.wit`, sentence by sentence.
//!
//! | module | what it tries |
//! |---|---|
//! | `limits` | caps to the byte; expired values make room; pruning, forgetting |
//! | `model` | operations in any order |
//! | `processes` | concurrent writes, several processes, the end of one |

use std::time::Duration;

use gateway_model::{ValueChange, ValueRefusal, stored_bytes};
use gateway_store::{MAX_VALUE_KEYS, Store, ValueError, ValueUsage};

use crate::support::{Fixture, NOW, WEEK};

mod limits;
mod model;
mod processes;

/// A cap that is never in the way.
const AMPLE: u64 = 1 << 20;
const MINUTE: Duration = Duration::from_secs(60);

const FULL: ValueError = ValueError::Refused(ValueRefusal::Full);
const NOT_A_NUMBER: ValueError = ValueError::Refused(ValueRefusal::NotANumber);
const DOES_NOT_FIT: ValueError = ValueError::Refused(ValueRefusal::DoesNotFit);

/// The verbs of `wit/key-value.wit`, by their names.
trait Verbs {
    fn set_value(
        &self,
        plugin: &str,
        key: &str,
        value: &[u8],
        lifetime: Option<Duration>,
        cap: u64,
    ) -> impl Future<Output = Result<(), ValueError>> + Send;

    fn delete_value(&self, plugin: &str, key: &str) -> impl Future<Output = Result<bool, ValueError>> + Send;

    fn increment_value(
        &self,
        plugin: &str,
        key: &str,
        by: i64,
        cap: u64,
    ) -> impl Future<Output = Result<i64, ValueError>> + Send;

    fn compare_and_set_value(
        &self,
        plugin: &str,
        key: &str,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
        cap: u64,
    ) -> impl Future<Output = Result<bool, ValueError>> + Send;
}

impl Verbs for Store {
    async fn set_value(
        &self,
        plugin: &str,
        key: &str,
        value: &[u8],
        lifetime: Option<Duration>,
        cap: u64,
    ) -> Result<(), ValueError> {
        let value = value.to_owned();
        let change = ValueChange::Set { value, lifetime };
        self.change_value(plugin, key, change, cap).await.map(drop)
    }

    async fn delete_value(&self, plugin: &str, key: &str) -> Result<bool, ValueError> {
        let changed = self.change_value(plugin, key, ValueChange::Delete, 0).await;
        changed.map(|changed| changed.done)
    }

    async fn increment_value(&self, plugin: &str, key: &str, by: i64, cap: u64) -> Result<i64, ValueError> {
        let changed = self.change_value(plugin, key, ValueChange::Increment(by), cap);
        changed.await.map(|changed| changed.sum)
    }

    async fn compare_and_set_value(
        &self,
        plugin: &str,
        key: &str,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
        cap: u64,
    ) -> Result<bool, ValueError> {
        let (old, new) = (old.map(<[u8]>::to_vec), new.map(<[u8]>::to_vec));
        let change = ValueChange::CompareAndSet { old, new };
        let changed = self.change_value(plugin, key, change, cap).await;
        changed.map(|changed| changed.done)
    }
}

impl Fixture {
    /// The plugin `p` keeps this, for a minute or for ever.
    async fn set(&self, key: &str, value: &[u8], lifetime: Option<Duration>) {
        let set = self.store.set_value("p", key, value, lifetime, AMPLE).await;
        set.unwrap();
    }

    async fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.store.value("p", key).await.unwrap()
    }

    async fn increment(&self, key: &str, by: i64) -> Result<i64, ValueError> {
        self.store.increment_value("p", key, by, AMPLE).await
    }

    async fn compare_and_set(&self, key: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> bool {
        let swapped = self.store.compare_and_set_value("p", key, old, new, AMPLE);
        swapped.await.unwrap()
    }

    async fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        self.store.value_keys("p", prefix, after, limit).await.unwrap()
    }

    async fn usage(&self) -> (u64, u64) {
        let ValueUsage { count, bytes } = self.store.value_usage("p").await.unwrap();
        (count, bytes)
    }

    /// Writes values of ten bytes, the key included, by hand for speed.
    fn fill(&self, count: usize, lifetime: Option<Duration>) {
        let raw = rusqlite::Connection::open(self.path()).unwrap();
        let expires = lifetime.map(|lifetime| (NOW + lifetime.as_secs()) as i64);
        let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
            INSERT INTO plugin_values (plugin, key, expires, value)
            SELECT 'p', CAST(printf('key %05d', i) AS BLOB), ?2, x'00' FROM n";
        raw.execute(sql, rusqlite::params![count as i64, expires])
            .unwrap();
    }
}

#[tokio::test]
async fn a_value_is_kept_until_it_is_replaced_or_deleted() {
    let f = Fixture::new().await;
    assert_eq!(f.get("k").await, None);
    for value in [b"one".as_slice(), b"", b"\0\xFF\0", &[7; 100_000]] {
        f.set("k", value, None).await;
        assert_eq!(f.get("k").await.as_deref(), Some(value));
        assert_eq!(f.usage().await, (1, stored_bytes(1, 1, value.len(), false)));
    }
    f.clock.advance(Duration::from_secs(1 << 40));
    f.store.prune(WEEK).await.unwrap();
    assert!(f.get("k").await.is_some());
    assert!(f.store.delete_value("p", "k").await.unwrap());
    assert_eq!(f.get("k").await, None);
    assert!(!f.store.delete_value("p", "k").await.unwrap());
    assert_eq!(f.usage().await, (0, 0));
}

#[tokio::test]
async fn keys_are_compared_by_their_bytes() {
    let f = Fixture::new().await;
    let keys = [
        "a",
        "A",
        "a\0",
        "a\0b",
        "a ",
        "ä",
        "a\u{308}",
        "1",
        "01",
        "%",
        "\u{10FFFF}",
    ];
    for key in keys {
        f.set(key, key.as_bytes(), None).await;
    }
    for key in keys {
        assert_eq!(f.get(key).await.as_deref(), Some(key.as_bytes()), "{key:?}");
    }
    let bytes = keys
        .iter()
        .map(|key| stored_bytes(1, key.len(), key.len(), false));
    assert_eq!(f.usage().await, (11, bytes.sum()));
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    assert_eq!(f.keys("", None, 100).await, sorted);
}

#[tokio::test]
async fn each_plugin_has_its_own_keys() {
    let f = Fixture::new().await;
    f.set("k", b"1", None).await;
    // Names that are near in every way that a comparison can blur.
    for other in ["P", "p ", "", "p\0", "o", "q"] {
        assert_eq!(f.store.value(other, "k").await.unwrap(), None, "{other:?}");
        assert!(!f.store.delete_value(other, "k").await.unwrap());
        assert!(f.store.value_keys(other, "", None, 10).await.unwrap().is_empty());
        assert_eq!(f.store.value_usage(other).await.unwrap(), ValueUsage::default());
        assert_eq!(f.store.forget_values_of(other).await.unwrap(), 0);
        let swap = f
            .store
            .compare_and_set_value(other, "k", Some(b"1"), Some(b"2"), AMPLE);
        assert!(!swap.await.unwrap());
        // To the byte: what the first keeps takes no room from the second.
        let cap = stored_bytes(other.len(), 1, 1, false);
        assert_eq!(f.store.increment_value(other, "k", 5, cap).await, Ok(5));
        f.store.set_value(other, "k", b"6", None, cap).await.unwrap();
    }
    assert_eq!(f.get("k").await.as_deref(), Some(b"1".as_slice()));
    assert_eq!(f.keys("", None, 10).await, ["k"]);
    assert_eq!(f.store.forget_values_of("p").await.unwrap(), 1);
    assert_eq!(
        f.store.value("q", "k").await.unwrap().as_deref(),
        Some(b"6".as_slice())
    );
}

#[tokio::test]
async fn an_expired_value_is_missing() {
    let f = Fixture::new().await;
    for key in ["get", "delete", "add", "swap"] {
        f.set(key, b"7", Some(MINUTE)).await;
    }
    f.clock.advance(MINUTE - Duration::from_secs(1));
    assert!(f.get("get").await.is_some());
    assert_eq!(f.keys("", None, 10).await.len(), 4);
    f.clock.advance(Duration::from_secs(1));
    assert_eq!(f.get("get").await, None);
    assert!(f.keys("", None, 10).await.is_empty());
    assert_eq!(f.usage().await, (0, 0));
    assert!(!f.store.delete_value("p", "delete").await.unwrap());
    assert_eq!(f.increment("add", 1).await, Ok(1), "from 0");
    assert!(!f.compare_and_set("swap", Some(b"7"), Some(b"8")).await);
    assert!(f.compare_and_set("swap", None, Some(b"9")).await);
    // The new value does not have the old one's lifetime.
    f.clock.advance(MINUTE);
    f.store.prune(WEEK).await.unwrap();
    assert_eq!(f.keys("", None, 10).await, ["add", "swap"]);
}

#[tokio::test]
async fn the_latest_set_decides_the_lifetime() {
    let f = Fixture::new().await;
    f.set("for ever", b"1", Some(MINUTE)).await;
    f.set("for ever", b"2", None).await;
    f.set("a minute", b"1", None).await;
    f.set("a minute", b"2", Some(MINUTE)).await;
    f.set("another", b"1", Some(MINUTE)).await;
    f.set("no end", b"1", Some(Duration::MAX)).await;
    f.clock.advance(MINUTE - Duration::from_secs(1));
    f.set("another", b"2", Some(MINUTE)).await;
    f.clock.advance(Duration::from_secs(1));
    assert_eq!(f.keys("", None, 10).await, ["another", "for ever", "no end"]);
    f.clock.advance(MINUTE);
    assert_eq!(f.keys("", None, 10).await, ["for ever", "no end"]);
}

#[tokio::test]
async fn a_lifetime_of_zero_stores_nothing() {
    let f = Fixture::new().await;
    f.set("k", b"1", None).await;
    // Nothing is kept, so nothing is too much.
    let set = f.store.set_value("p", "k", &[0; 100], Some(Duration::ZERO), 10);
    set.await.unwrap();
    assert_eq!(f.get("k").await, None);
    assert_eq!(f.count("SELECT count(*) FROM plugin_values"), 0);
}

#[tokio::test]
async fn increments_add_up() {
    let f = Fixture::new().await;
    let mut sum = 0;
    for by in [0, 5, -7, i64::MAX, -9, i64::MIN + 100, 0] {
        sum += by;
        assert_eq!(f.increment("n", by).await, Ok(sum));
        assert_eq!(f.get("n").await, Some(sum.to_string().into_bytes()));
    }
    f.set("n", b"-41", None).await;
    assert_eq!(f.increment("n", 83).await, Ok(42));
    f.set("n", i64::MIN.to_string().as_bytes(), None).await;
    assert_eq!(f.increment("n", i64::MAX).await, Ok(-1));
}

#[tokio::test]
async fn a_failed_increment_changes_nothing() {
    let f = Fixture::new().await;
    let no_numbers: [&[u8]; 12] = [
        b"",
        b"x",
        b"1.0",
        b" 1",
        b"1\n",
        b"+1",
        b"01",
        b"-0",
        b"-",
        b"0x10",
        b"9223372036854775808",
        b"\xFF",
    ];
    for value in no_numbers {
        f.set("k", value, None).await;
        assert_eq!(f.increment("k", 0).await, Err(NOT_A_NUMBER), "{value:?}");
        assert_eq!(f.get("k").await.as_deref(), Some(value));
    }
    for (number, by) in [(i64::MAX, 1), (i64::MIN, -1), (1, i64::MAX), (-2, i64::MIN)] {
        let text = number.to_string().into_bytes();
        f.set("k", &text, None).await;
        assert_eq!(f.increment("k", by).await, Err(DOES_NOT_FIT));
        assert_eq!(f.get("k").await, Some(text));
    }
}

#[tokio::test]
async fn an_increment_leaves_the_lifetime_as_it_was() {
    let f = Fixture::new().await;
    f.set("a minute", b"1", Some(MINUTE)).await;
    f.set("for ever", b"1", None).await;
    f.clock.advance(MINUTE - Duration::from_secs(1));
    for key in ["a minute", "for ever", "new"] {
        f.increment(key, 9).await.unwrap();
    }
    f.clock.advance(Duration::from_secs(1));
    assert_eq!(f.keys("", None, 10).await, ["for ever", "new"]);
    assert_eq!(f.increment("a minute", 1).await, Ok(1), "begins anew");
    f.clock.advance(MINUTE);
    assert_eq!(f.keys("", None, 10).await, ["a minute", "for ever", "new"]);
}

#[tokio::test]
async fn a_value_is_replaced_only_if_it_is_the_old_one() {
    let f = Fixture::new().await;
    assert!(
        !f.compare_and_set("k", Some(b""), Some(b"1")).await,
        "empty is not none"
    );
    assert!(!f.compare_and_set("k", Some(b"1"), None).await);
    assert!(
        f.compare_and_set("k", None, None).await,
        "there is none, and none is kept"
    );
    assert_eq!(f.get("k").await, None);

    assert!(f.compare_and_set("k", None, Some(b"")).await);
    assert!(!f.compare_and_set("k", None, Some(b"1")).await);
    assert!(f.compare_and_set("k", Some(b""), Some(b"1\0")).await);
    for wrong in [b"1".as_slice(), b"1\0\0", b"", b"2\0"] {
        assert!(!f.compare_and_set("k", Some(wrong), Some(b"2")).await);
        assert!(!f.compare_and_set("k", Some(wrong), None).await);
    }
    assert_eq!(f.get("k").await.as_deref(), Some(b"1\0".as_slice()));
    assert!(f.compare_and_set("k", Some(b"1\0"), Some(b"1\0")).await);
    assert!(f.compare_and_set("k", Some(b"1\0"), None).await);
    assert_eq!(f.get("k").await, None);

    f.set("k", b"1", Some(MINUTE)).await;
    assert!(f.compare_and_set("k", Some(b"1"), Some(b"2")).await);
    f.clock.advance(MINUTE);
    assert_eq!(f.get("k").await.as_deref(), Some(b"2".as_slice()), "no lifetime");
}

#[tokio::test]
async fn keys_are_listed_by_prefix_in_pages() {
    let f = Fixture::new().await;
    let keys = [
        "",
        "a",
        "a\0",
        "a%",
        "a_",
        "ab",
        "a\u{7F}",
        "a\u{10FFFF}",
        "a\u{10FFFF}\u{10FFFF}",
        "a\u{10FFFF}z",
        "b",
        "A",
        "é",
        "\u{10FFFF}",
        "\u{10FFFF}\u{10FFFF}",
    ];
    for key in keys {
        f.set(key, b"", None).await;
    }
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    for prefix in sorted
        .iter()
        .copied()
        .chain(["a\u{10FFFE}", "a\u{10FFFF}\u{10FFFF}!", "zz", "%", "_"])
    {
        for after in [None, Some("zz"), Some("ZZ")].into_iter().chain(keys.map(Some)) {
            for limit in [0, 1, 3, 100] {
                let wanted = sorted.iter().filter(|key| key.starts_with(prefix));
                let wanted = wanted.filter(|key| after.is_none_or(|after| **key > after));
                let wanted: Vec<_> = wanted.take(limit).copied().collect();
                let listed = f.keys(prefix, after, limit).await;
                assert_eq!(listed, wanted, "{prefix:?} after {after:?}, {limit}");
            }
        }
    }
}

#[tokio::test]
async fn at_most_a_thousand_keys_are_listed() {
    let f = Fixture::new().await;
    f.fill(2 * MAX_VALUE_KEYS + 1, None);
    let first = f.keys("key ", None, usize::MAX).await;
    assert_eq!(first.len(), MAX_VALUE_KEYS);
    let second = f
        .keys("key ", first.last().map(String::as_str), MAX_VALUE_KEYS + 1)
        .await;
    assert_eq!(second.len(), MAX_VALUE_KEYS);
    let third = f
        .keys("key ", second.last().map(String::as_str), MAX_VALUE_KEYS)
        .await;
    assert_eq!(third.len(), 1);
    assert!([first, second, third].concat().is_sorted());
}
