//! What the operator decides about plugins together, and what the host is started with.

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
    /// By one of these every component must be signed. Signatures are not asked for where there are none.
    pub trusted_keys: Vec<TrustedKey>,
    /// Whether signatures count that name neither plugin nor version, as version 1 of them did.
    pub allow_v1_signatures: bool,
    /// Bytes of the memories and tables of all plugins' instances together, of which each plugin has a quarter at most, but
    /// at least what one of its calls may take. [`DEFAULT_TOTAL_MEMORY`] unless set.
    pub total_memory: Option<usize>,
}

/// What plugins may have together by default: each has 128 MiB at most.
pub const DEFAULT_TOTAL_MEMORY: usize = 512 << 20;

impl PluginSet {
    /// Bytes that all plugins may have together.
    pub(crate) fn total_memory(&self) -> usize {
        self.total_memory.unwrap_or(DEFAULT_TOTAL_MEMORY)
    }
}

/// What the host needs to start.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Where `<name>.wasm` files are.
    pub plugin_dir: PathBuf,
    /// A private directory (0700, made where it is missing) for compiled code.
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
