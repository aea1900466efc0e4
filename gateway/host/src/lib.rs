//! The plugin host: which components serve, and the way of a call to them.
//!
//! The way of a call: [`PluginHost`] takes a snapshot of the registry → `dispatcher` queues it and takes it to a guest
//! thread → `gateway_sandbox` runs it and checks the answer → back.
//!
//! The way of a file: `watcher` sees it change → `directory` and `file` read it once → `admission` compiles it (or takes the
//! code from the `cache`), checks exports and grants, and tries it → `registry` switches.
//!
//! | module | what it holds |
//! |---|---|
//! | `config` | what the operator decides of all plugins |
//! | `host` | [`PluginHost`]: the whole put together |
//! | `permissions`, `hooks` | who is called for a permission request or an event |
//! | `dispatcher` | the way to a guest thread and back, metrics round a call |
//! | `queue` | each plugin's share of the calls that run and wait |
//! | `instance_pool`, `preparer` | instances made ahead of need |
//! | `places` | what may take long, such that it holds up nothing else |
//! | `directory`, `watcher`, `file`, `admission`, `compile`, `code`, `cache`, `sealed` | from a file to something that may serve |
//! | [`Admitter`] | single files, without a host |
//! | `trust` | pins and signatures |
//! | `history` | the generations that are kept, and going back to one |
//! | `generation`, `registry` | an admitted component; what serves now |
//! | `check` | which plugins would serve, without serving any |
//! | `status`, `metrics` | how it all stands |
//! | `blocking` | work that blocks |
//! | `error` | every way to fail |

mod admission;
mod admitter;
mod blocking;
mod cache;
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
mod trust;
mod watcher;

use std::sync::Arc;

use gateway_model::PermissionMap;

pub use admitter::{Admitter, ComponentFile, is_plugin_name};
pub use check::{CheckOptions, PluginProblem, check, usable_cache_dir, usable_dir};
pub use compile::{BenchProcess, ChildLimits, CompileOptions, compile_in_child};
pub use config::{DEFAULT_TOTAL_MEMORY, HostOptions, PluginSet};
pub use error::{AdmissionError, HostError, RollbackError};
pub use history::KeptGeneration;
pub use host::{Admissions, PluginHost};
pub use status::PluginStatus;
pub use trust::{KeyError, MAX_VERSION, PluginSigner, SignError, TrustedKey};

/// A provider's answer, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Permissions {
    /// Name to JSON value.
    pub permissions: PermissionMap,
    /// Hex SHA-256 of the component that answered.
    pub digest: Arc<str>,
}
