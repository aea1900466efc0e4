//! What the operator decides about plugins: what each may import, what a call may use, who asks whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gateway_model::{User, UserId};
use serde::{Deserialize, Serialize};

/// What an operator may let a plugin import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// Look users up by id.
    Users,
    /// Read its own settings.
    Config,
    /// Write to the gateway's log.
    Logging,
}

impl Grant {
    /// Every grant there is.
    pub const ALL: &[Self] = &[Self::Users, Self::Config, Self::Logging];

    /// Its name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Config => "config",
            Self::Logging => "logging",
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one call of a plugin may use.
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
    /// Most bytes it may log in a call, stdout and stderr included.
    pub log_bytes: usize,
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginConfig {
    /// What it may import.
    pub grants: BTreeSet<Grant>,
    /// What a call may use.
    pub limits: Limits,
    /// Its settings, for the grant `config`.
    pub settings: BTreeMap<String, String>,
    /// What its failure does to a sign-in.
    pub on_failure: OnFailure,
}

/// Which plugins serve what. Replaced as a whole, at start and on SIGHUP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginSet {
    /// By name: the file is `<plugin dir>/<name>.wasm`.
    pub plugins: BTreeMap<String, PluginConfig>,
    /// Service to the plugin that is its permission provider.
    pub services: BTreeMap<String, String>,
    /// Extensions, in the order their hooks run.
    pub extensions: Vec<String>,
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
}
