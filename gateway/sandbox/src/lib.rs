//! The sandbox: one call of one WebAssembly component in wasmtime, with limits on everything that the component could
//! use up or delay.
//!
//! [`Program::link`] links a component once, with the imports that it has been granted. Each call gets a fresh instance
//! ([`call::run`]), which may be prepared in advance ([`call::prepare`]). [`permission_provider`] and [`lifecycle`]
//! check the answers.
//!
//! | module | contents |
//! |---|---|
//! | [`config`] | the operator's decisions about one plugin |
//! | [`engine`] | the wasmtime engines and their settings |
//! | [`program`] | a component that can be called |
//! | [`call`] | one call in a fresh instance, and the ways in which it fails |
//! | [`permission_provider`], [`lifecycle`] | the functions of a plugin, and the checks of their answers |
//! | [`exports`], `bindings`, [`interface`] | the WIT package in Rust, and a component's exports |
//! | [`grants`] | the imports of components |
//! | [`guest`] | the data of a wasmtime store |
//! | `answer`, `convert`, [`text`] | checks of answers; arguments for guests; printable text |
//! | [`http`] | guests' HTTP requests |
//! | `values`, [`scratch`] | a plugin's stored values; a store for trial calls |
//! | [`log`], `wasi` | guests' log lines; WASI with nothing in it |
//! | [`limiter`], [`memory`] | the memory of one instance, and of all instances together |
//! | [`trace`] | where in a guest a call failed |
//! | [`secret`] | a text that is never printed |
//! | [`error`] | the errors |
//! | `fuzzing` | private functions for the fuzz targets |

mod answer;
mod bindings;
pub mod call;
pub mod config;
mod convert;
pub mod engine;
pub mod error;
pub mod exports;
#[doc(hidden)]
pub mod fuzzing;
pub mod grants;
pub mod guest;
pub mod http;
pub mod interface;
pub mod lifecycle;
pub mod limiter;
pub mod log;
pub mod memory;
pub mod permission_provider;
pub mod program;
pub mod scratch;
pub mod secret;
pub mod text;
pub mod trace;
mod values;
mod wasi;

pub use config::{KeyValueStore, Limits, OnFailure, PluginConfig, UserLookup};
pub use engine::MAX_PREPARED;
pub use error::{CallError, ComponentError, EngineError, ValueError};
pub use grants::Grant;
pub use guest::HostServices;
pub use http::{HostName, HttpConfig, HttpOrigin, Network, OriginError, Resolver};
pub use log::LogLine;
pub use program::Program;
pub use scratch::ScratchValues;
pub use secret::Secret;
pub use text::grouped;
