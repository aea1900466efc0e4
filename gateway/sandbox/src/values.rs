//! A plugin's own values during one call: the rules of `wit/key-value.wit` are checked here, before the
//! store is asked.

use std::sync::Arc;

use gateway_model::{ChangedValue, ValueChange, ValueRefusal};

use crate::error::ValueError;
use crate::{Grant, KeyValueStore, Limits, PluginConfig};

/// Longest key, in bytes.
pub(crate) const MAX_KEY: usize = 256;
/// Most keys in one list.
pub(crate) const MAX_KEYS: usize = 1000;

/// Why nothing was done, as the guest is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A rule is broken, which the text says.
    Invalid(String),
    /// The plugin would keep more than it may.
    Full,
    /// The store cannot be used.
    Unavailable,
}

/// The values of one plugin.
#[derive(Debug)]
pub(crate) struct Values {
    plugin: Arc<str>,
    store: Arc<dyn KeyValueStore>,
    cap: u64,
    max_value: usize,
    /// Whether the log has been told that the store fails: once a call is enough.
    told: bool,
}

/// What the host may have to copy out of a guest for one call of this interface: a key, and two values
/// where they are compared. 0 without the grant.
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
    /// The values of `plugin` in `store`, under these limits.
    pub(crate) fn new(plugin: Arc<str>, store: Arc<dyn KeyValueStore>, limits: &Limits) -> Self {
        Self {
            plugin,
            store,
            cap: u64::try_from(limits.store_bytes).unwrap_or(u64::MAX),
            max_value: limits.value_bytes,
            told: false,
        }
    }

    /// See [`KeyValueStore::get`].
    ///
    /// # Errors
    /// Says why not.
    pub(crate) async fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Refusal> {
        check_key(key)?;
        let value = self.store.get(&self.plugin, key).await;
        value.map_err(|error| self.refusal(error))
    }

    /// See [`KeyValueStore::change`].
    ///
    /// # Errors
    /// Says why not.
    pub(crate) async fn change(&mut self, key: &str, change: ValueChange) -> Result<ChangedValue, Refusal> {
        check_key(key)?;
        self.check_value(&change)?;
        let changed = self.store.change(&self.plugin, key, change, self.cap).await;
        changed.map_err(|error| self.refusal(error))
    }

    /// See [`KeyValueStore::keys`]; gives [`MAX_KEYS`] at most.
    ///
    /// # Errors
    /// Says why not.
    pub(crate) async fn keys(
        &mut self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Refusal> {
        // No key begins with what is longer than every key.
        if limit == 0 || prefix.len() > MAX_KEY {
            return Ok(Vec::new());
        }
        let keys = self
            .store
            .keys(&self.plugin, prefix, after, limit.min(MAX_KEYS))
            .await;
        keys.map_err(|error| self.refusal(error))
    }

    fn check_value(&self, change: &ValueChange) -> Result<(), Refusal> {
        match change {
            ValueChange::Set { value, .. } | ValueChange::CompareAndSet { new: Some(value), .. }
                if value.len() > self.max_value =>
            {
                Err(Refusal::Invalid(format!(
                    "the value has {} bytes, {} are allowed",
                    value.len(),
                    self.max_value
                )))
            }
            _ => Ok(()),
        }
    }

    fn refusal(&mut self, error: ValueError) -> Refusal {
        match error {
            ValueError::Refused(ValueRefusal::Full) => Refusal::Full,
            ValueError::Refused(refusal) => Refusal::Invalid(refusal.to_string()),
            ValueError::Unavailable(reason) => {
                if !self.told {
                    tracing::warn!(
                        plugin = &*self.plugin,
                        "the plugin's values cannot be used: {reason}"
                    );
                    self.told = true;
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
