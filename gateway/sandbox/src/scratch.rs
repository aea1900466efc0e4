//! Plugins' values in memory, for trial calls and for trying a plugin.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use gateway_model::value::{KeptValue, NextValue};
use gateway_model::{ChangedValue, Clock, SystemClock, Timestamp, ValueChange, ValueRefusal, stored_bytes};
use parking_lot::Mutex;

use crate::KeyValueStore;
use crate::error::ValueError;

/// Values in memory. Apart from that, it behaves like the gateway's database.
#[derive(Debug)]
pub struct ScratchValues {
    clock: Arc<dyn Clock>,
    /// By plugin, then by key.
    plugins: Mutex<BTreeMap<String, BTreeMap<String, KeptValue>>>,
}

impl Default for ScratchValues {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl ScratchValues {
    /// An empty store. Values expire by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            plugins: Mutex::default(),
        }
    }

    /// Removes a plugin's expired values, then calls `work` with the others and the time.
    fn with<T>(
        &self,
        plugin: &str,
        work: impl FnOnce(&mut BTreeMap<String, KeptValue>, Timestamp) -> T,
    ) -> T {
        let now = self.clock.now();
        let mut plugins = self.plugins.lock();
        let values = plugins.entry(plugin.to_owned()).or_default();
        values.retain(|_, kept| kept.expires.is_none_or(|expires| expires > now));
        work(values, now)
    }
}

/// Stores a value if there is room for it, or if it is no larger than the one that it replaces.
fn put(
    plugin: &str,
    values: &mut BTreeMap<String, KeptValue>,
    key: &str,
    value: KeptValue,
    cap: u64,
) -> Result<(), ValueRefusal> {
    let stored = |key: &str, kept: &KeptValue| {
        stored_bytes(plugin.len(), key.len(), kept.bytes.len(), kept.expires.is_some())
    };
    let freed = values.get(key).map_or(0, |kept| stored(key, kept));
    let all: u64 = values.iter().map(|(key, kept)| stored(key, kept)).sum();
    let wanted = stored(key, &value);
    if wanted > freed && (all - freed).saturating_add(wanted) > cap {
        return Err(ValueRefusal::Full);
    }
    values.insert(key.to_owned(), value);
    Ok(())
}

#[async_trait::async_trait]
impl KeyValueStore for ScratchValues {
    async fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, ValueError> {
        Ok(self.with(plugin, |values, _| values.get(key).map(|kept| kept.bytes.clone())))
    }

    async fn change(
        &self,
        plugin: &str,
        key: &str,
        change: ValueChange,
        cap: u64,
    ) -> Result<ChangedValue, ValueError> {
        self.with(plugin, |values, now| {
            let (next, changed) = change.apply(values.get(key), now)?;
            match next {
                NextValue::Same => {}
                NextValue::Removed => drop(values.remove(key)),
                NextValue::Kept(value) => put(plugin, values, key, value, cap)?,
            }
            Ok(changed)
        })
    }

    async fn keys(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, ValueError> {
        // Skips keys that sort before the prefix.
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        Ok(self.with(plugin, |values, _| {
            values
                .range::<str, _>((from, Bound::Unbounded))
                .map(|(key, _)| key)
                .take_while(|key| key.starts_with(prefix))
                .take(limit)
                .cloned()
                .collect()
        }))
    }
}
