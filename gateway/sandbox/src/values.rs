//! A plugin's stored values during one call. Checks the rules of `wit/key-value.wit` before it calls the store.

use std::sync::Arc;

use gateway_model::{ChangedValue, ValueChange, ValueRefusal};

use crate::error::ValueError;
use crate::{Grant, KeyValueStore, Limits, PluginConfig};

/// Longest key, in bytes.
pub(crate) const MAX_KEY: usize = 256;
/// Most keys in one list.
pub(crate) const MAX_KEYS: usize = 1000;

/// Why an operation failed, as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The text is the rule that the guest broke.
    Invalid(String),
    /// The plugin would store more than it may.
    Full,
    Unavailable,
}

#[derive(Debug)]
pub(crate) struct Values {
    plugin: Arc<str>,
    store: Arc<dyn KeyValueStore>,
    cap: u64,
    max_value: usize,
    /// Whether this call has logged that the store fails. It does so once.
    has_warned: bool,
}

/// The most bytes that the host copies out of a guest for one call of `key-value`: a key, and the two values of
/// `compare-and-set`. 0 without the grant.
pub(crate) fn bytes_copied(config: &PluginConfig) -> usize {
    if config.grants.contains(&Grant::KeyValue) {
        config
            .limits
            .value_bytes
            .saturating_mul(2)
            .saturating_add(2 * MAX_KEY)
    } else {
        0
    }
}

impl Values {
    pub(crate) fn new(plugin: Arc<str>, store: Arc<dyn KeyValueStore>, limits: &Limits) -> Self {
        Self {
            plugin,
            store,
            cap: u64::try_from(limits.store_bytes).unwrap_or(u64::MAX),
            max_value: limits.value_bytes,
            has_warned: false,
        }
    }

    pub(crate) async fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Refusal> {
        check_key(key)?;
        let value = self.store.get(&self.plugin, key).await;
        value.map_err(|error| self.refusal(error))
    }

    pub(crate) async fn change(&mut self, key: &str, change: ValueChange) -> Result<ChangedValue, Refusal> {
        check_key(key)?;
        if let ValueChange::Set { value, .. } | ValueChange::CompareAndSet { new: Some(value), .. } = &change
            && value.len() > self.max_value
        {
            return Err(Refusal::Invalid(format!(
                "the value has {} bytes, {} are allowed",
                value.len(),
                self.max_value
            )));
        }
        let changed = self.store.change(&self.plugin, key, change, self.cap).await;
        changed.map_err(|error| self.refusal(error))
    }

    /// Returns at most [`MAX_KEYS`] keys.
    pub(crate) async fn keys(
        &mut self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Refusal> {
        // A prefix longer than the longest key matches nothing.
        if limit == 0 || prefix.len() > MAX_KEY {
            return Ok(Vec::new());
        }
        let keys = self
            .store
            .keys(&self.plugin, prefix, after, limit.min(MAX_KEYS))
            .await;
        keys.map_err(|error| self.refusal(error))
    }

    fn refusal(&mut self, error: ValueError) -> Refusal {
        match error {
            ValueError::Refused(ValueRefusal::Full) => Refusal::Full,
            ValueError::Refused(refusal) => Refusal::Invalid(refusal.to_string()),
            ValueError::Unavailable(reason) => {
                if !self.has_warned {
                    tracing::warn!(
                        plugin = &*self.plugin,
                        "cannot read or write the plugin's values: {reason}"
                    );
                    self.has_warned = true;
                }
                Refusal::Unavailable
            }
        }
    }
}

fn check_key(key: &str) -> Result<(), Refusal> {
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(Refusal::Invalid(format!(
            "the key has {} bytes, 1 to {MAX_KEY} are allowed",
            key.len()
        )));
    }
    Ok(())
}
