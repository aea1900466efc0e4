//! The operator's settings for all plugins, and the options of the host.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use gateway_sandbox::{KeyValueStore, Network, PluginConfig, UserLookup};

use crate::compile::CompileOptions;
use crate::trust::TrustedKey;

/// Which plugins serve what. Replaced as a whole, at start and on SIGHUP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginSet {
    /// By name: the file is `<plugin dir>/<name>.wasm`.
    pub plugins: BTreeMap<String, PluginConfig>,
    /// Service to the plugin that is its permission provider.
    pub services: BTreeMap<String, String>,
    /// Extensions, in the order their hooks run.
    pub extensions: Vec<String>,
    /// One of these must have signed every component. If empty, signatures are not required.
    pub trusted_keys: Vec<TrustedKey>,
    /// Whether signatures of version 1 count, which name neither plugin nor version.
    pub allow_v1_signatures: bool,
    /// Bytes of the memories and tables of all plugins' instances together. Each plugin has at most a quarter of it,
    /// but always enough for one call. [`DEFAULT_TOTAL_MEMORY`] unless set.
    pub total_memory: Option<usize>,
}

/// The default of [`PluginSet::total_memory`]: each plugin has at most 128 MiB.
pub const DEFAULT_TOTAL_MEMORY: usize = 512 << 20;

impl PluginSet {
    pub(crate) fn total_memory(&self) -> usize {
        self.total_memory.unwrap_or(DEFAULT_TOTAL_MEMORY)
    }
}

/// The options of the host.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// The directory with `<name>.wasm` files.
    pub plugin_dir: PathBuf,
    /// A private directory for compiled code (0700, created if it is missing).
    pub cache_dir: PathBuf,
    /// How many threads run guests; at least one.
    pub guest_threads: usize,
    /// For the grant `users`.
    pub users: Arc<dyn UserLookup>,
    /// For the grant `key-value`.
    pub values: Arc<dyn KeyValueStore>,
    /// For the grant `http`.
    pub network: Arc<Network>,
    /// How components are compiled.
    pub compile: CompileOptions,
}
