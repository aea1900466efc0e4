//! Plugins' values in memory, for as long as it takes to try one.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use gateway_model::{Clock, SystemClock, Timestamp, stored_bytes};
use parking_lot::Mutex;

use crate::KeyValueStore;
use crate::error::ValueError;

/// Values in memory, which are gone with it. Behaves as the gateway's database does otherwise.
#[derive(Debug)]
pub struct ScratchValues {
    clock: Arc<dyn Clock>,
    /// By plugin, then by key.
    plugins: Mutex<BTreeMap<String, BTreeMap<String, Kept>>>,
}

#[derive(Debug)]
struct Kept {
    value: Vec<u8>,
    /// When it is over; `None`: never.
    expires: Option<Timestamp>,
}

impl Default for ScratchValues {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl ScratchValues {
    /// Nothing is kept yet. The clock says when a lifetime is over.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            plugins: Mutex::default(),
        }
    }

    /// Works on a plugin's values, of which those that are over are gone.
    fn with<T>(&self, plugin: &str, work: impl FnOnce(&mut BTreeMap<String, Kept>, Timestamp) -> T) -> T {
        let now = self.clock.now();
        let mut plugins = self.plugins.lock();
        let values = plugins.entry(plugin.to_owned()).or_default();
        values.retain(|_, kept| kept.expires.is_none_or(|expires| expires > now));
        work(values, now)
    }
}

/// Keeps a value if there is room for it, or it takes no more than the one before.
fn put(
    plugin: &str,
    values: &mut BTreeMap<String, Kept>,
    key: &str,
    value: Vec<u8>,
    expires: Option<Timestamp>,
    cap: u64,
) -> Result<(), ValueError> {
    let stored = |key: &str, kept: &Kept| {
        stored_bytes(plugin.len(), key.len(), kept.value.len(), kept.expires.is_some())
    };
    let freed = values.get(key).map_or(0, |kept| stored(key, kept));
    let all: u64 = values.iter().map(|(key, kept)| stored(key, kept)).sum();
    let new = Kept { value, expires };
    let wanted = stored(key, &new);
    if wanted > freed && (all - freed).saturating_add(wanted) > cap {
        return Err(ValueError::Full);
    }
    values.insert(key.to_owned(), new);
    Ok(())
}

/// The number that a value is the text of, written as an increment writes it.
fn number(value: &[u8]) -> Result<i64, ValueError> {
    str::from_utf8(value)
        .ok()
        .and_then(|text| {
            let number: i64 = text.parse().ok()?;
            (number.to_string() == text).then_some(number)
        })
        .ok_or(ValueError::NotANumber)
}

#[async_trait::async_trait]
impl KeyValueStore for ScratchValues {
    async fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, ValueError> {
        Ok(self.with(plugin, |values, _| values.get(key).map(|kept| kept.value.clone())))
    }

    async fn set(
        &self,
        plugin: &str,
        key: &str,
        value: &[u8],
        lifetime: Option<Duration>,
        cap: u64,
    ) -> Result<(), ValueError> {
        self.with(plugin, |values, now| {
            let expires = lifetime.map(|lifetime| now.after(lifetime));
            if expires.is_some_and(|expires| expires <= now) {
                values.remove(key);
                return Ok(());
            }
            put(plugin, values, key, value.to_vec(), expires, cap)
        })
    }

    async fn delete(&self, plugin: &str, key: &str) -> Result<bool, ValueError> {
        Ok(self.with(plugin, |values, _| values.remove(key).is_some()))
    }

    async fn increment(&self, plugin: &str, key: &str, by: i64, cap: u64) -> Result<i64, ValueError> {
        self.with(plugin, |values, _| {
            let (number, expires) = match values.get(key) {
                Some(kept) => (number(&kept.value)?, kept.expires),
                None => (0, None),
            };
            let sum = number.checked_add(by).ok_or(ValueError::DoesNotFit)?;
            put(plugin, values, key, sum.to_string().into_bytes(), expires, cap)?;
            Ok(sum)
        })
    }

    async fn compare_and_set(
        &self,
        plugin: &str,
        key: &str,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
        cap: u64,
    ) -> Result<bool, ValueError> {
        self.with(plugin, |values, _| {
            if values.get(key).map(|kept| kept.value.as_slice()) != old {
                return Ok(false);
            }
            match new {
                Some(new) => put(plugin, values, key, new.to_vec(), None, cap)?,
                None => {
                    values.remove(key);
                }
            }
            Ok(true)
        })
    }

    async fn keys(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, ValueError> {
        // What sorts before the prefix need not be looked at.
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
