//! The plugin host: WebAssembly components in wasmtime. The only crate that knows wasmtime.
//!
//! The way of a call: [`PluginHost`] takes a snapshot of the registry → `serve` queues it and takes it
//! to a guest thread → `call` makes a store with its limits and a fresh instance → the guest, and what
//! it imports by `grants` and `wasi` → `answer` checks what it says → back.
//!
//! The way of a file: `watcher` sees it change → `file` reads it once → `admission` compiles (or takes
//! the code from the `cache`), checks exports and grants, and tries it → `registry` switches.
//!
//! | module | what it holds |
//! |---|---|
//! | `config` | what the operator decides: grants, limits, services, extensions |
//! | `host` | [`PluginHost`]: the whole put together |
//! | `serve` | the way to a guest thread and back, metrics round a call |
//! | `queue` | each plugin's share of the calls that run and wait |
//! | `ready` | instances made ahead of need |
//! | `places` | what may take long, such that it holds up nothing else |
//! | `call` | one call in a fresh instance; every way it fails, in words |
//! | `permission_provider`, `lifecycle` | what is called: a provider, the three hooks |
//! | `trace` | where in a guest a call failed, in the guest's own names |
//! | `answer`, `convert`, `text` | checking what guests say, shaping what they are told |
//! | `guest` | what a store holds for its one call |
//! | `grants`, `wasi`, `log` | what guests import |
//! | `http` | the requests that guests send: what may be reached, and how |
//! | `values`, `scratch` | a plugin's own values, by the rules; the store of trial calls |
//! | `secret` | a text that does not print itself |
//! | `limiter`, `memory`, `engine` | what they may use |
//! | `bindings`, `interface` | the WIT package in Rust, in each version; names and versions of interfaces |
//! | `exports` | what a component exports of it, in whichever version |
//! | `directory`, `watcher`, `file`, `admission`, `compile`, `cache` | from a file to something that may serve |
//! | `trust` | pins and signatures |
//! | `history` | the generations that are kept, and going back to one |
//! | `registry` | what serves now, and since which generation |
//! | `status`, `metrics` | how it all stands |
//! | `workbench` | [`Workbench`]: a component on its author's machine, without a gateway |
//! | `error` | every way to fail |
//! | `fuzzing` | what the fuzzer reaches of all this |

mod admission;
mod answer;
mod bindings;
mod cache;
mod call;
mod check;
mod compile;
mod config;
mod convert;
mod directory;
mod engine;
mod error;
mod exports;
mod file;
#[doc(hidden)]
pub mod fuzzing;
mod grants;
mod guest;
mod history;
mod host;
mod http;
mod interface;
mod lifecycle;
mod limiter;
mod log;
mod memory;
mod metrics;
mod permission_provider;
mod places;
mod queue;
mod ready;
mod registry;
mod scratch;
mod sealed;
mod secret;
mod serve;
mod status;
mod text;
mod trace;
mod trust;
mod values;
mod wasi;
mod watcher;
mod workbench;

use std::sync::Arc;

use gateway_model::PermissionMap;

pub use check::{CheckOptions, PluginProblem, check, usable_cache_dir, usable_dir};
pub use compile::{BenchProcess, ChildLimits, CompileOptions, compile_in_child};
pub use config::{
    DEFAULT_TOTAL_MEMORY, Grant, HostOptions, KeyValueStore, Limits, MAX_PREPARED, OnFailure, PluginConfig,
    PluginSet, UserLookup,
};
pub use error::{CallError, HostError, RollbackError, ValueError};
pub use history::KeptGeneration;
pub use host::{Admissions, PluginHost};
pub use http::{HostName, HttpConfig, HttpOrigin, Network, OriginError, Resolver};
pub use log::LogLine;
pub use metrics::METRICS;
pub use scratch::ScratchValues;
pub use secret::Secret;
pub use status::PluginStatus;
pub use text::grouped;
pub use trust::{KeyError, MAX_VERSION, PluginSigner, SignError, TrustedKey};
pub use workbench::{
    Answer, Bench, BenchLimits, Call, CallFailure, Compiled, Export, Import, ImportStatus, Made, Measured,
    Question, Report, Workbench, WorkbenchError, WorkbenchOptions, plugin_name,
};

/// A provider's answer, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Permissions {
    /// Name to JSON value.
    pub permissions: PermissionMap,
    /// Hex SHA-256 of the component that answered.
    pub digest: Arc<str>,
}
