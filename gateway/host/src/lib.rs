//! The plugin host: which components serve, and how they are called.
//!
//! The path of a call: [`PluginHost`] takes a snapshot of the registry → `dispatcher` queues the call and runs it on a
//! guest thread → `gateway_sandbox` checks the answer → back.
//!
//! The path of a plugin's file, one step after the other. If a step fails, the serving generation stays:
//!
//! | step | module |
//! |---|---|
//! | 1. a file changes | `watcher` |
//! | 2. it is read once, with its signature | `directory`, `file`, `admission::read` |
//! | 3. pin, signature and version are checked | `trust` |
//! | 4. it is compiled, or its code comes from the cache | `compile`, `places`, `code`, `cache`, `sealed` |
//! | 5. imports and exports are checked, and a trial call is made | `admission::trial` |
//! | 6. it becomes a generation with a number, and is kept on disk | `history`, `generation` |
//! | 7. the registry switches | `registry` |
//!
//! `candidate` has what goes into the steps, `Candidate`, and the result, `Admitted`. `admission` runs steps 2 to 6,
//! and `host::inner` the whole. A kept generation can serve instead of the file: see `admission::rollback` and
//! `admission::stand_in`.
//!
//! The other modules:
//!
//! | module | contents |
//! |---|---|
//! | `config` | the operator's settings for all plugins |
//! | `host` | [`PluginHost`] |
//! | `permissions`, `hooks` | which plugins are called for a permission request or an event |
//! | `dispatcher`, `queue` | calls on guest threads, and each plugin's share of them |
//! | `instance_pool`, `preparer` | prepared instances |
//! | `admitter` | [`Admitter`]: single files, without a host |
//! | `check` | which plugins would serve, without serving any |
//! | `status`, `metrics` | what operators see |
//! | `threads`, `blocking` | threads for guests and for work that blocks |
//! | `error` | every way to fail |

mod admission;
mod admitter;
mod blocking;
mod cache;
mod candidate;
mod check;
mod code;
mod compile;
mod config;
mod directory;
mod dispatcher;
mod error;
mod file;
mod generation;
mod history;
mod hooks;
mod host;
mod instance_pool;
mod metrics;
mod permissions;
mod places;
mod preparer;
mod queue;
mod registry;
mod sealed;
mod status;
mod threads;
mod trust;
mod watcher;

use std::sync::Arc;

use gateway_model::PermissionMap;

pub use admitter::{Admitter, is_plugin_name};
pub use check::{CheckOptions, PluginProblem, check, usable_cache_dir, usable_dir};
pub use compile::{BenchProcess, ChildLimits, CompileOptions, compile_in_child};
pub use config::{DEFAULT_TOTAL_MEMORY, HostOptions, PluginSet};
pub use error::{AdmissionError, HostError, RollbackError};
pub use file::PluginFile;
pub use history::KeptGeneration;
pub use host::{Admissions, PluginHost};
pub use status::PluginStatus;
pub use threads::GuestThreads;
pub use trust::{KeyError, MAX_VERSION, PluginSigner, SignError, TrustedKey};

/// A provider's answer, after the checks.
#[derive(Clone, Debug, PartialEq)]
pub struct Permissions {
    /// Name to JSON value.
    pub permissions: PermissionMap,
    /// Hex SHA-256 of the component that answered.
    pub digest: Arc<str>,
}
