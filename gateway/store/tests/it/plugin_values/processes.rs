//! Concurrent writes, several processes, the end of one.

use std::fs;

use gateway_model::stored_bytes;
use gateway_store::{StoreError, ValueError};
use tokio::task::JoinSet;

use super::{AMPLE, FULL, MINUTE, Verbs as _};
use crate::support::Fixture;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_concurrent_increment_counts() {
    let f = Fixture::new().await;
    let other = f.open(f.path()).await;
    let mut increments = JoinSet::new();
    for n in 0..64 {
        let store = [&f.store, &other][n % 2].clone();
        increments.spawn(async move { store.increment_value("p", "n", 3, AMPLE).await.unwrap() });
    }
    let mut sums = increments.join_all().await;
    sums.sort_unstable();
    assert_eq!(
        sums,
        (1..=64).map(|n| 3 * n).collect::<Vec<i64>>(),
        "each sum once"
    );
    assert_eq!(f.get("n").await, Some(b"192".to_vec()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_several_concurrent_swaps_wins() {
    let f = Fixture::new().await;
    let other = f.open(f.path()).await;
    let mut before: Option<Vec<u8>> = None;
    for round in 0..3_u8 {
        let mut swaps = JoinSet::new();
        for n in 0..64_u8 {
            let store = [&f.store, &other][usize::from(n % 2)].clone();
            let (old, new) = (before.clone(), vec![round, n]);
            swaps.spawn(async move {
                let swap = store.compare_and_set_value("p", "k", old.as_deref(), Some(&new), AMPLE);
                swap.await.unwrap().then_some(new)
            });
        }
        let winners: Vec<_> = swaps.join_all().await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1);
        before = f.get("k").await;
        assert_eq!(before.as_ref(), winners.first());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writes_obey_the_cap_together() {
    let f = Fixture::new().await;
    let other = f.open(f.path()).await;
    // Room for ten of them, and not for eleven.
    let cap = 10 * stored_bytes(1, 2, 8, false) + 5;
    let mut writes = JoinSet::new();
    for n in 0..64 {
        let store = [&f.store, &other][n % 2].clone();
        writes.spawn(async move {
            let key = format!("{n:02}");
            store.set_value("p", &key, &[0; 8], None, cap).await
        });
    }
    let answers = writes.join_all().await;
    let full = answers.iter().filter(|answer| **answer == Err(FULL));
    assert_eq!(full.count(), 54);
    assert_eq!(f.usage().await, (10, cap - 5));
}

/// Every answer is tried on what a process leaves that is killed at that moment.
#[tokio::test]
async fn values_survive_a_kill() {
    let f = Fixture::new().await;
    for n in 1..=10_i64 {
        f.set("set", n.to_string().as_bytes(), None).await;
        f.set("ends", b"1", Some(MINUTE)).await;
        assert_eq!(f.increment("sum", 1).await, Ok(n));
        let old = (n > 1).then(|| vec![0; n as usize - 1]);
        assert!(
            f.compare_and_set("swap", old.as_deref(), Some(&vec![0; n as usize]))
                .await
        );
        f.set("deleted", b"1", None).await;
        assert!(f.store.delete_value("p", "deleted").await.unwrap());

        let killed = tempfile::tempdir().unwrap();
        for name in ["gateway.db", "gateway.db-wal"] {
            fs::copy(f.directory.path().join(name), killed.path().join(name)).unwrap();
        }
        let after = f.open(killed.path().join("gateway.db")).await;
        let text = n.to_string().into_bytes();
        assert_eq!(after.value("p", "set").await.unwrap(), Some(text.clone()));
        assert_eq!(after.value("p", "sum").await.unwrap(), Some(text));
        assert_eq!(after.value("p", "swap").await.unwrap(), Some(vec![0; n as usize]));
        let keys = after.value_keys("p", "", None, 10).await.unwrap();
        assert_eq!(keys, ["ends", "set", "sum", "swap"]);
        assert_eq!(after.value_usage("p").await, f.store.value_usage("p").await);
    }
}

#[tokio::test]
async fn values_are_there_after_reopening() {
    let f = Fixture::new().await;
    f.set("for ever", b"\0\xFF", None).await;
    f.set("a minute", b"1", Some(MINUTE)).await;
    f.store.close().await.unwrap();
    let again = f.open(f.path()).await;
    assert_eq!(
        again.value("p", "for ever").await.unwrap(),
        Some(b"\0\xFF".to_vec())
    );
    assert_eq!(again.value("p", "a minute").await.unwrap(), Some(b"1".to_vec()));
    let bytes = stored_bytes(1, 8, 2, false) + stored_bytes(1, 8, 1, true);
    assert_eq!(again.value_usage("p").await.unwrap().bytes, bytes);
    f.clock.advance(MINUTE);
    assert_eq!(again.value("p", "a minute").await.unwrap(), None);
}

#[tokio::test]
async fn values_from_another_process_are_seen_immediately() {
    let f = Fixture::new().await;
    let command_line = f.open(f.path()).await;
    f.set("k", b"1", None).await;
    assert_eq!(command_line.value("p", "k").await.unwrap(), Some(b"1".to_vec()));
    assert_eq!(command_line.forget_values_of("p").await.unwrap(), 1);
    assert_eq!(f.get("k").await, None);
    assert_eq!(f.usage().await, (0, 0));
}

#[tokio::test]
async fn a_closed_store_stores_no_values() {
    let f = Fixture::new().await;
    f.store.close().await.unwrap();
    let closed = || ValueError::Store(StoreError::Closed);
    assert_eq!(f.store.value("p", "k").await, Err(StoreError::Closed));
    assert_eq!(
        f.store.value_keys("p", "", None, 1).await,
        Err(StoreError::Closed)
    );
    assert_eq!(f.store.value_usage("p").await, Err(StoreError::Closed));
    assert_eq!(f.store.delete_value("p", "k").await, Err(closed()));
    assert_eq!(f.store.forget_values_of("p").await, Err(StoreError::Closed));
    assert_eq!(f.store.set_value("p", "k", b"", None, AMPLE).await, Err(closed()));
    assert_eq!(f.increment("k", 1).await, Err(closed()));
    let swap = f.store.compare_and_set_value("p", "k", None, None, AMPLE);
    assert_eq!(swap.await, Err(closed()));
}
