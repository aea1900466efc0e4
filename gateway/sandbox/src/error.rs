//! The errors of engines, calls and components.

use std::io;
use std::time::Duration;

use gateway_model::ValueRefusal;

use crate::text::grouped;

/// The WebAssembly engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The machine does not support our configuration of wasmtime.
    #[error("the WebAssembly engine cannot start: {0}")]
    Engine(String),
    /// The operating system cannot start a thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Why a plugin's value cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The change breaks a rule or a limit.
    #[error(transparent)]
    Refused(#[from] ValueRefusal),
    /// The database cannot be used. The text is for the log.
    #[error("{0}")]
    Unavailable(String),
}

/// Why a call has no answer. Each of them means 503 and no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum CallError {
    /// The gateway has no service of this name.
    #[error("the service \"{service}\" is not configured")]
    NotConfigured { service: String },
    /// The plugin has no serving generation, or not one with this function.
    #[error("the plugin \"{plugin}\" is not loaded: {problem}")]
    NotLoaded { plugin: String, problem: String },
    /// The queue is full. A later call may succeed.
    #[error("the plugin \"{plugin}\" has too many calls in flight")]
    Overloaded { plugin: String },
    /// The plugin's calls use all the memory that they may use together. A later call may succeed.
    #[error(
        "the plugin \"{plugin}\" has no memory left for another call: its calls use all {} bytes of its share; raise \
         `plugins.total_memory`, of which each plugin has a quarter",
        bytes(*memory)
    )]
    Crowded { plugin: String, memory: usize },
    /// The plugin was replaced again and again during the request. A later call may succeed.
    #[error("the plugin \"{plugin}\" was replaced during the call")]
    Replaced { plugin: String },
    #[error("{plugin}: {function} ran out of fuel: {} of {}", grouped(*fuel), grouped(*fuel))]
    OutOfFuel {
        plugin: String,
        function: &'static str,
        fuel: u64,
    },
    /// The deadline includes time spent waiting.
    #[error("{plugin}: {function} ran past its deadline of {deadline:?}")]
    DeadlineExceeded {
        plugin: String,
        function: &'static str,
        deadline: Duration,
    },
    /// The call failed after the gateway refused it `wanted` more bytes.
    #[error(
        "{plugin}: {function} ran out of memory: its memories and tables have {} of {} bytes, and it asked for {} more",
        bytes(*used), bytes(*memory), bytes(*wanted)
    )]
    OutOfMemory {
        plugin: String,
        function: &'static str,
        memory: usize,
        used: usize,
        wanted: usize,
    },
    #[error("{plugin}: {function} trapped: {reason}")]
    Trap {
        plugin: String,
        function: &'static str,
        reason: String,
    },
    /// The answer breaks a rule or is too large.
    #[error("{plugin}: {function} returned an invalid answer: {reason}")]
    InvalidAnswer {
        plugin: String,
        function: &'static str,
        reason: String,
    },
    /// The provider returned `unavailable`, with a message that is now printable.
    #[error("{plugin}: unavailable: {message}")]
    Unavailable { plugin: String, message: String },
    /// A hook returned `unavailable`, or `on-user-logout` an error.
    #[error("{plugin}: {function}: unavailable: {message}")]
    HookUnavailable {
        plugin: String,
        function: &'static str,
        message: String,
    },
    /// The provider returned `failed`.
    #[error("{plugin}: failed: {message}")]
    Failed { plugin: String, message: String },
}

fn bytes(count: usize) -> String {
    grouped(count as u64)
}

/// A problem with a component's imports or exports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum ComponentError {
    #[error(
        "it exports none of auth-gateway:plugin/permission-provider, on-new-user, on-user-login and \
         on-user-logout"
    )]
    NoExports,
    #[error(
        "it {direction} {name}, but this gateway supports version {version} of {package}: rebuild the component against \
         that version (the gateway's WIT files are in `wit/`)"
    )]
    Version {
        direction: &'static str,
        name: String,
        package: &'static str,
        version: &'static str,
    },
    /// Two versions of one interface: the gateway cannot tell which to call.
    #[error("it exports {first} and {second}: export the interface once")]
    Twice { first: String, second: String },
    #[error("it exports {interface} with types that differ from the interface: {reason}")]
    WrongType { interface: &'static str, reason: String },
    #[error(
        "it imports {import}, which the plugin \"{plugin}\" has not been granted: to grant it, write \
         `grants = {grants}` under `[plugin.{plugin}]` in the configuration"
    )]
    NotGranted {
        import: String,
        plugin: String,
        grants: String,
    },
    #[error("it imports {import}, which the gateway does not provide to plugins (plugin \"{plugin}\")")]
    UnknownImport { import: String, plugin: String },
    /// An import has the right name and other types.
    #[error("its imports do not fit: {0}")]
    WrongImport(String),
}
