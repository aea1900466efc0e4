//! The sandbox: one call of one WebAssembly component, in wasmtime, under limits on everything that it could take or make
//! the gateway wait for.
//!
//! A component is linked once ([`Program::link`](program::Program::link)) with the imports it has been granted. Each call has
//! a fresh instance ([`call::run`]), or one that was made ahead ([`call::prepare`]). What a guest answers is checked
//! before it is believed ([`permission_provider`], [`lifecycle`]).
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | what the operator decides about one plugin |
//! | [`engine`] | the wasmtime engine: what code may do |
//! | [`program`] | a component that can be called |
//! | [`call`] | one call in a fresh instance, and every way it fails, in words |
//! | [`permission_provider`], [`lifecycle`] | what is called, and what is made of the answer |
//! | [`exports`], `bindings`, [`interface`] | the WIT package in Rust, what a component exports of it |
//! | [`grants`] | what components may import |
//! | [`guest`] | what a store holds for its one call |
//! | `answer`, `convert`, [`text`] | checking what guests say, shaping what they are told |
//! | [`http`] | the requests that guests send: what may be reached, and how |
//! | `values`, [`scratch`] | a plugin's own values, by the rules; a store for trial calls |
//! | [`log`], `wasi` | what guests write; WASI with nothing in it |
//! | [`limiter`], [`memory`] | what one instance may use; what all instances may use together |
//! | [`trace`] | where in a guest a call failed, in the guest's own names |
//! | [`secret`] | a text that does not print itself |
//! | [`error`] | every way to fail |
//! | `fuzzing` | what the fuzzer reaches of all this |

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
