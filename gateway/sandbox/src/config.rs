//! What the operator decides about one plugin: what it may import, and what a call may use.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use gateway_model::{ChangedValue, User, UserId, ValueChange};
use serde::{Deserialize, Serialize};

use crate::error::ValueError;
use crate::grants::Grant;
use crate::http::HttpConfig;
use crate::secret::Secret;

/// What one call of a plugin may use, and what the plugin may keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Units of wasmtime fuel, about one a wasm instruction.
    pub fuel: u64,
    /// Wall clock, waiting for a thread and in the host included.
    pub deadline: Duration,
    /// Bytes over all memories and tables of the instance; 4 GiB at most in one memory.
    pub memory: usize,
    /// Bytes of the answer.
    pub result_bytes: usize,
    /// Most permissions or attributes in an answer.
    pub result_items: usize,
    /// Most bytes it may log in a call, stdout and stderr included, as they are written: with their escapes.
    pub log_bytes: usize,
    /// Most bytes that all calls of the plugin may log in a minute, whole lines counted.
    pub log_bytes_per_minute: usize,
    /// Bytes of all keys and values that it keeps, as they are stored.
    pub store_bytes: usize,
    /// Bytes of one value that it keeps.
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

/// What happens to a sign-in where a hook traps, or its component is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The sign-in is refused.
    #[default]
    Refuse,
    /// The hook is passed over. A sign-out is delivered again all the same.
    Pass,
}

/// One plugin's configuration; a plugin named in services or extensions without one has the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginConfig {
    /// What it may import.
    pub grants: BTreeSet<Grant>,
    /// The one component that may serve, by its SHA-256: 64 hex digits, lower case. Any where `None`.
    pub sha256: Option<String>,
    /// What a call may use.
    pub limits: Limits,
    /// Its settings, for the grant `config`.
    pub settings: BTreeMap<String, String>,
    /// By name, for the grant `secrets`.
    pub secrets: BTreeMap<String, Secret>,
    /// Where it may send requests, for the grant `http`.
    pub http: HttpConfig,
    /// What its failure does to a sign-in.
    pub on_failure: OnFailure,
    /// How many instances are made ahead of need, each for one call; over all plugins there are
    /// [`MAX_PREPARED`] at most.
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

/// How guests find users. Implemented over the store by the caller.
#[async_trait::async_trait]
pub trait UserLookup: Send + Sync + fmt::Debug {
    /// The user with this id, or `None`.
    ///
    /// # Errors
    /// When the database cannot be read; the text is for the log. The guest's call ends there.
    async fn lookup_user(&self, id: &UserId) -> Result<Option<User>, String>;
}

/// Where guests keep values. Implemented over the store by the caller; [`ScratchValues`](crate::ScratchValues)
/// keeps them in memory.
///
/// A plugin is its name in the configuration, and has keys of its own. The host has checked keys and
/// values by the rules of `wit/key-value.wit` and the plugin's limits before it asks; how much the plugin
/// keeps in all (`cap` bytes, keys and values) is for the implementation to check, with the write.
/// Whatever is written is durable when the function returns, where the implementation is.
#[async_trait::async_trait]
pub trait KeyValueStore: Send + Sync + fmt::Debug {
    /// The value, or `None` where there is none or its lifetime is over.
    ///
    /// # Errors
    /// [`ValueError::Unavailable`].
    async fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, ValueError>;

    /// Makes a change to the value, in one step. What the plugin keeps takes at most `cap` bytes afterwards, or no more
    /// than before.
    ///
    /// # Errors
    /// Every one there is.
    async fn change(
        &self,
        plugin: &str,
        key: &str,
        change: ValueChange,
        cap: u64,
    ) -> Result<ChangedValue, ValueError>;

    /// Keys that begin with `prefix` and sort (by their bytes) after `after`: the first `limit` of them,
    /// sorted.
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
