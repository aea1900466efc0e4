//! Plugins' access to the database, by their grants `users` and `key-value`.

use gateway_model::{ChangedValue, User, UserId, ValueChange};
use gateway_sandbox::{KeyValueStore, UserLookup, ValueError};
use gateway_store::Store;

#[derive(Clone, Debug)]
pub(crate) struct PluginData(pub(crate) Store);

#[async_trait::async_trait]
impl UserLookup for PluginData {
    async fn lookup_user(&self, id: &UserId) -> Result<Option<User>, String> {
        self.0.lookup_user(id).await.map_err(|error| error.to_string())
    }
}

#[async_trait::async_trait]
impl KeyValueStore for PluginData {
    async fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, ValueError> {
        let value = self.0.value(plugin, key);
        value.await.map_err(|error| unavailable(&error))
    }

    async fn change(
        &self,
        plugin: &str,
        key: &str,
        change: ValueChange,
        cap: u64,
    ) -> Result<ChangedValue, ValueError> {
        let changed = self.0.change_value(plugin, key, change, cap);
        changed.await.map_err(|error| match error {
            gateway_store::ValueError::Refused(refusal) => ValueError::Refused(refusal),
            gateway_store::ValueError::Store(error) => unavailable(&error),
        })
    }

    async fn keys(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, ValueError> {
        let keys = self.0.value_keys(plugin, prefix, after, limit);
        keys.await.map_err(|error| unavailable(&error))
    }
}

fn unavailable(error: &gateway_store::StoreError) -> ValueError {
    ValueError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use gateway_model::clock::ManualClock;
    use gateway_model::{ChangedValue, SystemRandom, UserLimits, ValueChange, stored_bytes};
    use gateway_sandbox::{KeyValueStore, ScratchValues, ValueError};
    use gateway_store::{DatabaseUrl, Store, StoreOptions, UserIds};

    use super::PluginData;

    async fn store(clock: Arc<ManualClock>) -> Store {
        let options = StoreOptions {
            clock,
            random: Arc::new(SystemRandom),
            user_ids: UserIds::Random,
            event_retention: Duration::from_secs(1),
            limits: UserLimits::default(),
        };
        Store::open(&DatabaseUrl::Temporary, options).await.unwrap()
    }

    /// The functions of `wit/key-value.wit`, by their names.
    struct Verbs<'a>(&'a dyn KeyValueStore);

    impl Verbs<'_> {
        async fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, ValueError> {
            self.0.get(plugin, key).await
        }

        async fn set(
            &self,
            plugin: &str,
            key: &str,
            value: &[u8],
            lifetime: Option<Duration>,
            cap: u64,
        ) -> Result<ChangedValue, ValueError> {
            let value = value.to_owned();
            let change = ValueChange::Set { value, lifetime };
            self.0.change(plugin, key, change, cap).await
        }

        async fn delete(&self, plugin: &str, key: &str) -> Result<ChangedValue, ValueError> {
            self.0.change(plugin, key, ValueChange::Delete, 0).await
        }

        async fn increment(
            &self,
            plugin: &str,
            key: &str,
            by: i64,
            cap: u64,
        ) -> Result<ChangedValue, ValueError> {
            self.0.change(plugin, key, ValueChange::Increment(by), cap).await
        }

        async fn compare_and_set(
            &self,
            plugin: &str,
            key: &str,
            old: Option<&[u8]>,
            new: Option<&[u8]>,
            cap: u64,
        ) -> Result<ChangedValue, ValueError> {
            let (old, new) = (old.map(<[u8]>::to_vec), new.map(<[u8]>::to_vec));
            let change = ValueChange::CompareAndSet { old, new };
            self.0.change(plugin, key, change, cap).await
        }

        async fn keys(
            &self,
            plugin: &str,
            prefix: &str,
            after: Option<&str>,
            limit: usize,
        ) -> Result<Vec<String>, ValueError> {
            self.0.keys(plugin, prefix, after, limit).await
        }
    }

    /// Does everything that a plugin can do, and returns the results.
    async fn story(values: &dyn KeyValueStore, clock: &ManualClock) -> Vec<String> {
        let values = Verbs(values);
        const CAP: u64 = stored_bytes(1, 1, 99, false);
        let mut said = Vec::new();
        macro_rules! tell {
            ($call:expr) => {
                said.push(format!("{} {:?}", stringify!($call), $call.await))
            };
        }
        let second = Duration::from_secs(1);
        tell!(values.get("p", "k"));
        tell!(values.set("p", "k", b"\0\xff", None, CAP));
        tell!(values.get("p", "k"));
        tell!(values.get("q", "k"));
        tell!(values.set("p", "k", &[7; 99], None, CAP));
        tell!(values.set("p", "k", &[7; 100], None, CAP));
        tell!(values.set("p", "l", b"", None, CAP));
        tell!(values.increment("p", "l", 1, CAP));
        tell!(values.compare_and_set("p", "l", None, Some(b""), CAP));
        tell!(values.set("p", "k", &[7; 98], None, 10));
        tell!(values.set("p", "k", &[7; 99], None, 10));
        tell!(values.delete("p", "k"));
        tell!(values.delete("p", "k"));
        tell!(values.increment("p", "n", 5, CAP));
        tell!(values.increment("p", "n", i64::MAX, CAP));
        tell!(values.increment("p", "n", i64::MIN, CAP));
        for text in [
            "",
            "+1",
            "01",
            " 1",
            "1.0",
            "-0",
            "9223372036854775808",
            "\u{661}",
        ] {
            tell!(values.set("p", "n", text.as_bytes(), None, CAP));
            tell!(values.increment("p", "n", 1, CAP));
        }
        tell!(values.compare_and_set("p", "c", Some(b""), Some(b"1"), CAP));
        tell!(values.compare_and_set("p", "c", None, Some(b"1"), CAP));
        tell!(values.compare_and_set("p", "c", Some(b"1"), Some(&[1; 200]), CAP));
        tell!(values.compare_and_set("p", "c", Some(b"1"), None, CAP));
        tell!(values.compare_and_set("p", "c", None, None, CAP));
        for key in ["a", "a\0", "ab", "b", "ä", "\u{10ffff}", "A"] {
            tell!(values.set("p", key, b"", None, CAP));
        }
        for (prefix, after) in [
            ("", None),
            ("a", None),
            ("a", Some("a")),
            ("a", Some("A")),
            ("a", Some("b")),
        ] {
            tell!(values.keys("p", prefix, after, 100));
        }
        tell!(values.keys("p", "", Some("a"), 2));
        tell!(values.keys("p", "\u{10ffff}", None, 100));
        tell!(values.set("p", "short", b"1", Some(second), CAP));
        tell!(values.set("p", "never", b"1", Some(Duration::from_millis(999)), CAP));
        tell!(values.get("p", "never"));
        tell!(values.set("p", "long", b"1", Some(Duration::MAX), CAP));
        tell!(values.increment("p", "short", 1, CAP));
        tell!(values.compare_and_set("p", "long", Some(b"1"), Some(b"2"), CAP));
        clock.advance(second);
        tell!(values.get("p", "short"));
        tell!(values.delete("p", "short"));
        tell!(values.increment("p", "short", 1, CAP));
        tell!(values.keys("p", "", None, 100));
        said
    }

    #[tokio::test]
    async fn the_database_and_the_scratch_store_behave_alike() {
        let clock = Arc::new(ManualClock::at(1000));
        let store = store(clock.clone()).await;
        let kept = story(&PluginData(store.clone()), &clock).await;
        let clock = Arc::new(ManualClock::at(1000));
        let scratched = story(&ScratchValues::new(clock.clone()), &clock).await;
        for (kept, scratched) in kept.iter().zip(&scratched) {
            assert_eq!(kept, scratched);
        }
        assert_eq!(kept.len(), scratched.len());
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_closed_database_is_unavailable() {
        let store = store(Arc::new(ManualClock::at(1000))).await;
        let values = PluginData(store.clone());
        store.close().await.unwrap();
        let unavailable = |error| matches!(error, ValueError::Unavailable(reason) if !reason.is_empty());
        assert!(unavailable(values.get("p", "k").await.unwrap_err()));
        let deleted = values.change("p", "k", ValueChange::Delete, 100);
        assert!(unavailable(deleted.await.unwrap_err()));
        assert!(unavailable(values.keys("p", "", None, 1).await.unwrap_err()));
    }
}
