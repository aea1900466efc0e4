//! The operator's decisions about one plugin: its grants and its limits.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use gateway_model::{ChangedValue, User, UserId, ValueChange};
use serde::{Deserialize, Serialize};

use crate::error::ValueError;
use crate::grants::Grant;
use crate::http::HttpConfig;
use crate::secret::Secret;

/// Limits on one call of a plugin, and on what the plugin stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Units of wasmtime fuel, about one per wasm instruction.
    pub fuel: u64,
    /// Wall-clock time, including time spent waiting for a thread and in the host.
    pub deadline: Duration,
    /// Bytes of all memories and tables of the instance; at most 4 GiB in one memory.
    pub memory: usize,
    /// Bytes of the answer.
    pub result_bytes: usize,
    /// Most permissions or attributes in an answer.
    pub result_items: usize,
    /// Most bytes that a call logs, including stdout and stderr, counted with their escapes.
    pub log_bytes: usize,
    /// Most bytes that all calls of the plugin log in a minute, counted as whole lines.
    pub log_bytes_per_minute: usize,
    /// Bytes of all stored keys and values, as they are in the database.
    pub store_bytes: usize,
    /// Bytes of one stored value.
    pub value_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: 100_000_000,
            deadline: Duration::from_millis(500),
            memory: 64 << 20,
            result_bytes: 64 << 10,
            result_items: 1000,
            log_bytes: 16 << 10,
            log_bytes_per_minute: 1 << 20,
            store_bytes: 16 << 20,
            value_bytes: 256 << 10,
        }
    }
}

/// The effect on a sign-in if a hook fails or its component is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The sign-in fails.
    #[default]
    Refuse,
    /// The sign-in continues without the hook. Failed sign-outs are delivered again in either case.
    Pass,
}

/// The configuration of one plugin. A service or extension whose plugin has no section uses the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginConfig {
    /// The interfaces that it may import.
    pub grants: BTreeSet<Grant>,
    /// The SHA-256 of the only component that may serve: 64 lower-case hex digits. `None` allows any.
    pub sha256: Option<String>,
    /// Limits on its calls and on what it stores.
    pub limits: Limits,
    /// Settings by name, for the grant `config`.
    pub settings: BTreeMap<String, String>,
    /// Secrets by name, for the grant `secrets`.
    pub secrets: BTreeMap<String, Secret>,
    /// Limits on its requests, for the grant `http`.
    pub http: HttpConfig,
    /// The effect of its failure on a sign-in.
    pub on_failure: OnFailure,
    /// How many instances the gateway prepares in advance, each for one call. All plugins together have at most
    /// [`MAX_PREPARED`].
    pub prepared: usize,
}

impl Default for PluginConfig {
    fn default() -> Self {
        Self {
            sha256: None,
            grants: BTreeSet::new(),
            limits: Limits::default(),
            settings: BTreeMap::new(),
            secrets: BTreeMap::new(),
            http: HttpConfig::default(),
            on_failure: OnFailure::default(),
            prepared: 2,
        }
    }
}

/// How guests look users up. The caller implements it with its database.
#[async_trait::async_trait]
pub trait UserLookup: Send + Sync + fmt::Debug {
    /// The user with this id, or `None`.
    ///
    /// # Errors
    /// If the database cannot be read. The error ends the guest's call, and its text is logged.
    async fn lookup_user(&self, id: &UserId) -> Result<Option<User>, String>;
}

/// Where guests store values. The caller implements it with its database; [`ScratchValues`](crate::ScratchValues)
/// stores them in memory.
///
/// Each plugin, identified by its name in the configuration, has its own keys. The sandbox checks keys and values
/// against `wit/key-value.wit` and the plugin's limits first. The implementation checks the total size (`cap` bytes of
/// keys and values) in the same step as the write, and returns once the write is durable.
#[async_trait::async_trait]
pub trait KeyValueStore: Send + Sync + fmt::Debug {
    /// Returns the value, or `None` if there is none or it has expired.
    ///
    /// # Errors
    /// [`ValueError::Unavailable`].
    async fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, ValueError>;

    /// Changes the value atomically. Afterwards the plugin stores at most `cap` bytes, or no more than before.
    ///
    /// # Errors
    /// [`ValueError`].
    async fn change(
        &self,
        plugin: &str,
        key: &str,
        change: ValueChange,
        cap: u64,
    ) -> Result<ChangedValue, ValueError>;

    /// Returns the first `limit` keys that begin with `prefix` and sort after `after`, in byte order.
    ///
    /// # Errors
    /// [`ValueError::Unavailable`].
    async fn keys(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, ValueError>;
}
