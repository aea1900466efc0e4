//! Values that plugins keep, compared with a model: after any operations of plugins and operator in any order, contents
//! and usage are the same.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway_model::stored_bytes;
use gateway_store::{ValueError, ValueUsage};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use super::{DOES_NOT_FIT, FULL, NOT_A_NUMBER, Verbs as _};
use crate::support::{Fixture, NOW, WEEK};

/// So small that it is often in the way.
const CAP: u64 = 120;

type Bytes = Vec<u8>;

#[derive(Clone, Debug)]
enum Step {
    Set(Bytes, Option<u64>),
    Delete,
    Increment(i64),
    /// Whether the old value is the right one, and the new one.
    CompareAndSet(bool, Option<Bytes>),
    Wait(u64),
    Prune,
    Forget,
    /// As another process would see it.
    Reopen,
}

/// A plugin's values, and when they expire.
#[derive(Default)]
struct Model {
    now: u64,
    values: BTreeMap<(&'static str, &'static str), (Bytes, Option<u64>)>,
}

impl Model {
    fn usage(&self, plugin: &str) -> ValueUsage {
        let mut usage = ValueUsage::default();
        for ((_, key), (value, expires)) in self.values.iter().filter(|((of, _), _)| *of == plugin) {
            usage.count += 1;
            usage.bytes += stored_bytes(plugin.len(), key.len(), value.len(), expires.is_some());
        }
        usage
    }

    fn put(
        &mut self,
        at: (&'static str, &'static str),
        value: Bytes,
        expires: Option<u64>,
    ) -> Result<(), ValueError> {
        if expires.is_some_and(|expires| expires <= self.now) {
            self.values.remove(&at);
            return Ok(());
        }
        let before = self.usage(at.0).bytes;
        let replaced = self.values.insert(at, (value, expires));
        let after = self.usage(at.0).bytes;
        if after <= CAP || after <= before {
            return Ok(());
        }
        match replaced {
            Some(old) => self.values.insert(at, old),
            None => self.values.remove(&at),
        };
        Err(FULL)
    }

    fn increment(&mut self, at: (&'static str, &'static str), by: i64) -> Result<i64, ValueError> {
        let (value, expires) = self.values.get(&at).cloned().unwrap_or((b"0".to_vec(), None));
        let text = String::from_utf8(value).map_err(|_| NOT_A_NUMBER)?;
        let number: i64 = text.parse().map_err(|_| NOT_A_NUMBER)?;
        let sum = number.checked_add(by).ok_or(DOES_NOT_FIT)?;
        self.put(at, sum.to_string().into_bytes(), expires)?;
        Ok(sum)
    }

    fn wait(&mut self, seconds: u64) {
        self.now += seconds;
        let now = self.now;
        self.values
            .retain(|_, (_, expires)| expires.is_none_or(|expires| expires > now));
    }
}

fn steps() -> impl Strategy<Value = Vec<(&'static str, &'static str, Step)>> {
    let plugin = prop_oneof![3 => Just("p"), 1 => Just("q")];
    let key = prop_oneof![Just("a"), Just("b"), Just("ba"), Just("b\u{10FFFF}")];
    let value = || {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..20),
            prop_oneof![Just(0), Just(9), Just(-1), Just(99_999), Just(i64::MAX)]
                .prop_map(|number: i64| number.to_string().into_bytes()),
        ]
    };
    let step = prop_oneof![
        4 => (value(), proptest::option::of(0..4_u64)).prop_map(|(value, lifetime)| Step::Set(value, lifetime)),
        1 => Just(Step::Delete),
        4 => prop_oneof![-1..=1_i64, Just(90), Just(-1_000_000), Just(i64::MAX)].prop_map(Step::Increment),
        3 => (any::<bool>(), proptest::option::weighted(0.8, value()))
            .prop_map(|(right, new)| Step::CompareAndSet(right, new)),
        3 => (0..3_u64).prop_map(Step::Wait),
        1 => Just(Step::Prune),
        1 => Just(Step::Forget),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec((plugin, key, step), 1..60)
}

/// Sums that are not what they ought to be, with what has expired, too: none of a plugin that keeps
/// nothing, and the right one of every other.
pub(super) const DRIFTED: &str = "WITH right AS (
        SELECT plugin, count(*), sum(length(key) + length(value)), sum(stored) FROM plugin_values GROUP BY plugin
    )
    SELECT count(*) FROM (
        SELECT * FROM (SELECT * FROM plugin_value_usage EXCEPT SELECT * FROM right)
        UNION ALL SELECT * FROM (SELECT * FROM right EXCEPT SELECT * FROM plugin_value_usage)
    )";

async fn compare(f: &Fixture, model: &Model) {
    for plugin in ["p", "q"] {
        let kept: Vec<_> = model.values.iter().filter(|((of, _), _)| *of == plugin).collect();
        let keys: Vec<_> = kept.iter().map(|((_, key), _)| *key).collect();
        assert_eq!(f.store.value_keys(plugin, "", None, 100).await.unwrap(), keys);
        for ((_, key), (value, _)) in kept {
            assert_eq!(f.store.value(plugin, key).await.unwrap().as_ref(), Some(value));
        }
        assert_eq!(f.store.value_usage(plugin).await.unwrap(), model.usage(plugin));
    }
    assert_eq!(f.count(DRIFTED), 0);
}

#[test]
fn contents_and_usage_match_a_model() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 48,
        ..Config::default()
    });
    let runs = runner.run(&steps().boxed(), |steps| {
        runtime.block_on(async {
            let mut f = Fixture::new().await;
            let mut model = Model {
                now: NOW,
                ..Model::default()
            };
            for (plugin, key, step) in steps {
                take(&mut f, &mut model, (plugin, key), step).await;
                compare(&f, &model).await;
            }
        });
        Ok(())
    });
    runs.unwrap();
}

async fn take(f: &mut Fixture, model: &mut Model, at: (&'static str, &'static str), step: Step) {
    let (plugin, key) = at;
    match step {
        Step::Set(value, lifetime) => {
            let until = lifetime.map(Duration::from_secs);
            let set = f.store.set_value(plugin, key, &value, until, CAP).await;
            assert_eq!(
                set,
                model.put(at, value, lifetime.map(|seconds| model.now + seconds))
            );
        }
        Step::Delete => {
            let deleted = f.store.delete_value(plugin, key).await.unwrap();
            assert_eq!(deleted, model.values.remove(&at).is_some());
        }
        Step::Increment(by) => {
            let sum = f.store.increment_value(plugin, key, by, CAP).await;
            assert_eq!(sum, model.increment(at, by));
        }
        Step::CompareAndSet(right, new) => {
            let old = model.values.get(&at).map(|(value, _)| value.clone());
            let old = if right { old } else { Some(b"another".to_vec()) };
            let swapped = f
                .store
                .compare_and_set_value(plugin, key, old.as_deref(), new.as_deref(), CAP);
            let swapped = swapped.await;
            let expected = match (right, new) {
                (false, _) => Ok(false),
                (true, Some(new)) => model.put(at, new, None).map(|()| true),
                (true, None) => {
                    model.values.remove(&at);
                    Ok(true)
                }
            };
            assert_eq!(swapped, expected);
        }
        Step::Wait(seconds) => {
            f.clock.advance(Duration::from_secs(seconds));
            model.wait(seconds);
        }
        Step::Prune => f.store.prune(WEEK).await.map(drop).unwrap(),
        Step::Forget => {
            let gone = f.store.forget_values_of(plugin).await.unwrap();
            assert!(
                gone >= model.usage(plugin).count,
                "what had expired counts as well"
            );
            model.values.retain(|(of, _), _| *of != plugin);
        }
        Step::Reopen => {
            let path = f.path();
            f.store.close().await.unwrap();
            f.store = f.open(path).await;
        }
    }
}
