//! Every way in which a call fails, and what can be wrong with what a component imports and exports.

use std::io;
use std::time::Duration;

use gateway_model::ValueRefusal;

use crate::text::grouped;

/// The WebAssembly engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime does not run on this machine as we configure it.
    #[error("the WebAssembly engine cannot start: {0}")]
    Engine(String),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Why a plugin's value could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The change is not allowed.
    #[error(transparent)]
    Refused(#[from] ValueRefusal),
    /// The store cannot be used; the text is for the log.
    #[error("{0}")]
    Unavailable(String),
}

/// Why a call gave no answer. Permissions fail closed: each of them means 503, and no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No such service.
    #[error("the service \"{service}\" is not configured")]
    NotConfigured {
        /// The service that was asked for.
        service: String,
    },
    /// The plugin has no serving generation, or not one that can answer this.
    #[error("the plugin \"{plugin}\" is not loaded: {problem}")]
    NotLoaded {
        /// Which plugin.
        plugin: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Too many calls are in flight already. Asking again later may help.
    #[error("the plugin \"{plugin}\" has too many calls in flight")]
    Overloaded {
        /// Which plugin.
        plugin: String,
    },
    /// The plugin's calls at once have all the memory that they may have together. Asking again later may help.
    #[error(
        "the plugin \"{plugin}\" has no memory left for another call: its calls have all of {} bytes together; raise \
         `plugins.total_memory`, of which each plugin has a quarter",
        bytes(*memory)
    )]
    Crowded {
        /// Which plugin.
        plugin: String,
        /// Its share, in bytes.
        memory: usize,
    },
    /// The plugin was replaced again and again while it was asked. Asking again later may help.
    #[error("the plugin \"{plugin}\" was replaced while it was asked")]
    Replaced {
        /// Which plugin.
        plugin: String,
    },
    /// The call used up its fuel.
    #[error("{plugin}: {function} ran out of fuel: {} of {}", grouped(*fuel), grouped(*fuel))]
    OutOfFuel {
        /// Which plugin.
        plugin: String,
        /// Which function.
        function: &'static str,
        /// The limit.
        fuel: u64,
    },
    /// The call took longer than its deadline, waiting included.
    #[error("{plugin}: {function} ran past its deadline of {deadline:?}")]
    DeadlineExceeded {
        /// Which plugin.
        plugin: String,
        /// Which function.
        function: &'static str,
        /// The limit.
        deadline: Duration,
    },
    /// The call was refused memory, and failed.
    #[error(
        "{plugin}: {function} ran out of memory: its memories and tables have {} of {} bytes, and it asked for {} more",
        bytes(*used), bytes(*memory), bytes(*wanted)
    )]
    OutOfMemory {
        /// Which plugin.
        plugin: String,
        /// Which function.
        function: &'static str,
        /// The limit, in bytes.
        memory: usize,
        /// The bytes that it had.
        used: usize,
        /// How many more it asked for last.
        wanted: usize,
    },
    /// The component trapped.
    #[error("{plugin}: {function} trapped: {reason}")]
    Trap {
        /// Which plugin.
        plugin: String,
        /// Which function.
        function: &'static str,
        /// What happened, in words.
        reason: String,
    },
    /// The answer breaks the rules or is too large.
    #[error("{plugin}: {function} gave an invalid answer: {reason}")]
    InvalidAnswer {
        /// Which plugin.
        plugin: String,
        /// Which function.
        function: &'static str,
        /// Which rule.
        reason: String,
    },
    /// The provider answered that something it needs is out of reach.
    #[error("{plugin}: unavailable: {message}")]
    Unavailable {
        /// Which plugin.
        plugin: String,
        /// The provider's own words, made printable.
        message: String,
    },
    /// A hook answered that it has no verdict, or could not deal with a sign-out: something it needs is
    /// out of reach.
    #[error("{plugin}: {function}: unavailable: {message}")]
    HookUnavailable {
        /// Which plugin.
        plugin: String,
        /// Which hook.
        function: &'static str,
        /// The hook's own words, made printable.
        message: String,
    },
    /// The provider answered that it cannot answer.
    #[error("{plugin}: failed: {message}")]
    Failed {
        /// Which plugin.
        plugin: String,
        /// The provider's own words, made printable.
        message: String,
    },
}

fn bytes(count: usize) -> String {
    grouped(count as u64)
}

/// What is wrong with what a component imports or exports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what their fields are")]
pub enum ComponentError {
    /// Nothing that the gateway would call.
    #[error(
        "it exports none of auth-gateway:plugin/permission-provider, on-new-user, on-user-login and \
         on-user-logout"
    )]
    NoExports,
    /// An interface in a version that is not supported.
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
    /// One interface in two versions: which of them is meant?
    #[error("it exports {first} and {second}: export the interface once")]
    Twice { first: String, second: String },
    /// An interface of ours, with other types.
    #[error("it exports {interface} with types that are not those of the interface: {reason}")]
    WrongType { interface: &'static str, reason: String },
    /// An import that the operator has not granted.
    #[error(
        "it imports {import}, which the plugin \"{plugin}\" has not been granted: to grant it, write \
         `grants = {grants}` under `[plugin.{plugin}]` in the configuration"
    )]
    NotGranted {
        import: String,
        plugin: String,
        grants: String,
    },
    /// An import that does not exist.
    #[error("it imports {import}, which the gateway does not provide to plugins (plugin \"{plugin}\")")]
    UnknownImport { import: String, plugin: String },
    /// An import of the right name, with other types.
    #[error("its imports do not fit: {0}")]
    WrongImport(String),
}
