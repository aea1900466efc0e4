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
//! | `serve` | bounded queues, guest threads, metrics round a call |
//! | `call` | one call in a fresh instance; every way it fails, in words |
//! | `permission_provider`, `lifecycle` | what is called: a provider, the three hooks |
//! | `answer`, `convert`, `text` | checking what guests say, shaping what they are told |
//! | `guest` | what a store holds for its one call |
//! | `grants`, `wasi`, `log` | what guests import |
//! | `limiter`, `engine` | what they may use |
//! | `bindings`, `exports` | the WIT package in Rust; what a component exports of it |
//! | `watcher`, `file`, `admission`, `cache` | from a file to something that may serve |
//! | `registry` | what serves now, and since which generation |
//! | `status`, `metrics` | how it all stands |
//! | `error` | every way to fail |

mod admission;
mod answer;
mod bindings;
mod cache;
mod call;
mod config;
mod convert;
mod engine;
mod error;
mod exports;
mod file;
mod grants;
mod guest;
mod host;
mod lifecycle;
mod limiter;
mod log;
mod metrics;
mod permission_provider;
mod registry;
mod serve;
mod status;
mod text;
mod wasi;
mod watcher;

use std::sync::Arc;

use serde_json::{Map, Value};

pub use config::{Grant, HostOptions, Limits, OnFailure, PluginConfig, PluginSet, UserLookup};
pub use error::{CallError, HostError};
pub use host::PluginHost;
pub use status::PluginStatus;

/// A provider's answer, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Permissions {
    /// Name to JSON value.
    pub permissions: Map<String, Value>,
    /// Hex SHA-256 of the component that answered.
    pub digest: Arc<str>,
}
