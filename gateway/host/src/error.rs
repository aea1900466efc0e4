//! Every way in which the host fails to start, a call fails, or a component is refused.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use gateway_sandbox::call::Failure;
use gateway_sandbox::{CallError, ComponentError, EngineError};

/// The host cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The plugin directory is missing, is no directory, or may not be read.
    #[error("cannot read the plugin directory {path}: {error}; create it, or set another one")]
    PluginDirUnreadable {
        /// Which directory.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The directory for compiled code cannot be used.
    #[error("cannot use {path} for compiled plugins: {error}")]
    CacheDir {
        /// Which directory or file.
        path: PathBuf,
        /// What the operating system said, or what is wrong with it.
        error: io::Error,
    },
    /// The engine cannot start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Why a plugin was not rolled back. What served before serves on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    /// No such plugin.
    #[error("the plugin \"{plugin}\" is not configured")]
    NotConfigured {
        /// The plugin that was asked for.
        plugin: String,
    },
    /// Its file was taken away.
    #[error("the plugin \"{plugin}\" has no file, and is withdrawn: put the file that is to serve in place")]
    Withdrawn {
        /// Which plugin.
        plugin: String,
    },
    /// Nothing is kept from before.
    #[error("no generation of \"{plugin}\" before {number} is kept")]
    Oldest {
        /// Which plugin.
        plugin: String,
        /// The generation that serves.
        number: u64,
    },
    /// The generation before may not serve as things are now.
    #[error("generation {number} of \"{plugin}\" cannot serve: {reason}")]
    Refused {
        /// Which plugin.
        plugin: String,
        /// The generation that was to serve.
        number: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The machine is in the way.
    #[error("\"{plugin}\" was not rolled back: {reason}")]
    Failed {
        /// Which plugin.
        plugin: String,
        /// What the operating system said.
        reason: String,
    },
}

/// Why a file is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what their fields are")]
pub enum AdmissionError {
    /// No file of that name.
    #[error("there is no {path}")]
    Missing { path: PathBuf },
    /// Nothing can be said about any file.
    #[error("cannot read the plugin directory {directory}: {error}")]
    Away { directory: PathBuf, error: String },
    /// The plugin's name is no file name.
    #[error("\"{name}\" cannot be a file's name: use letters, digits, - and _")]
    Name { name: String },
    /// Nothing can be said about this file.
    #[error(
        "there is no {path}, but this is not the directory in which the file was last seen, so it does not count as \
         removed: put the file there, or take the plugin out of the configuration"
    )]
    Elsewhere { path: PathBuf },
    /// A link that somebody else could point anywhere.
    #[error(
        "{path} is a symbolic link that leaves its directory, and the gateway follows links only within it: make it a \
         relative link to a file in the same directory, or put the component itself there"
    )]
    Symlink { path: PathBuf },
    /// A link to nothing.
    #[error(
        "{path} is a symbolic link to a file that does not exist: put that file in place, or remove the link"
    )]
    Dangling { path: PathBuf },
    /// A directory, a pipe, a device.
    #[error("{path} is not a regular file")]
    NotAFile { path: PathBuf },
    /// Nothing in it yet.
    #[error("{path} is empty")]
    Empty { path: PathBuf },
    /// More bytes than a component may have.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge { path: PathBuf, limit: u64 },
    /// Somebody writes to it right now.
    #[error("{path} changed while it was read")]
    Changing { path: PathBuf },
    /// The operating system would not give it.
    #[error("cannot read {path}: {error}")]
    Unreadable { path: PathBuf, error: String },
    /// A plain module.
    #[error(
        "it is a core WebAssembly module, not a component: build it for wasm32-wasip2, or run \
         `wasm-tools component new` on it"
    )]
    CoreModule,
    /// Compiled code, which is only ever taken from our own cache.
    #[error("it is precompiled code; plugins are WebAssembly components in their portable form")]
    Precompiled,
    /// Not WebAssembly, cut short, or using a proposal that is off.
    #[error("it is not a valid component: {0}")]
    Invalid(String),
    /// Compiling did not end.
    #[error(
        "compiling it takes longer than {0:?} (`plugins.compile_time`): the gateway does not try this file again before \
         it changes, or the gateway restarts"
    )]
    CompileTimeout(Duration),
    /// Compiling took too much.
    #[error(
        "compiling it takes more than {0} bytes of memory (`plugins.compile_memory`): the gateway does not try this file \
         again before it changes, or the gateway restarts"
    )]
    CompileMemory(u64),
    /// The compiler failed.
    #[error("compiling it failed: {0}")]
    CompileFailed(String),
    /// Somebody killed the compiler, or the operating system did.
    #[error("compiling it failed: {0}")]
    CompileKilled(String),
    /// Its code is more than the engine takes.
    #[error("compiling it failed: {0}")]
    DoesNotFit(String),
    /// Another component than the one that the configuration names.
    #[error(
        "its SHA-256 is {digest}, and `sha256` under `[plugin.{plugin}]` in the configuration is {pinned}: put that \
         component in place, or change that line"
    )]
    Pinned {
        plugin: String,
        digest: String,
        pinned: String,
    },
    /// No signature where there must be one.
    #[error(
        "it has no signature, and `plugins.trusted_keys` asks for one: run `gateway plugin sign --key FILE \
         {plugin}.wasm`, which writes {plugin}.wasm.sig"
    )]
    Unsigned { plugin: String },
    /// What is there instead of a signature cannot be one.
    #[error("its signature cannot be used: {0}; `gateway plugin sign` writes one of about 150 bytes")]
    NotASignature(Box<AdmissionError>),
    /// A version that leaves no room for a later one.
    #[error(
        "its signature states version {version}, and versions end at {most}: sign it again with a lower one, with \
         `gateway plugin sign --key FILE --version NUMBER {plugin}.wasm`"
    )]
    VersionTooHigh { plugin: String, version: u64, most: u64 },
    /// It is not known which version was accepted before.
    #[error(
        "{path} is damaged, or was not written by this gateway: the kept generations of \"{plugin}\" are lost, and with \
         them the version that was accepted last, so that an older signed component could serve. Check that \
         {plugin}.wasm is the one you want, and either set its `sha256` under `[plugin.{plugin}]`, or delete {path} to \
         accept its version"
    )]
    Forgotten { plugin: String, path: PathBuf },
    /// A signature of something else, or by somebody else.
    #[error(
        "{plugin}.wasm.sig is not a signature of {digest} by a trusted key ({keys}): sign this very component, with \
         `gateway plugin sign --key FILE {plugin}.wasm`"
    )]
    WrongSignature {
        plugin: String,
        digest: String,
        keys: String,
    },
    /// A good signature, of the component as another plugin.
    #[error(
        "{plugin}.wasm.sig was made for the plugin \"{name}\", not for \"{plugin}\": sign this component for \
         \"{plugin}\", with `gateway plugin sign --key FILE --name {plugin} {plugin}.wasm`"
    )]
    SignedForAnother { plugin: String, name: String },
    /// A good signature that is for every plugin, and for ever.
    #[error(
        "{plugin}.wasm.sig is a version 1 signature, which names neither the plugin nor its version: sign the \
         component again, with `gateway plugin sign --key FILE {plugin}.wasm`, or accept such signatures with \
         `allow_v1_signatures = true` under `[plugins]` in the configuration"
    )]
    NamelessSignature { plugin: String },
    /// An older component was put in place of a newer one.
    #[error(
        "the signature states {version}, and version {accepted} was accepted before: to serve this older component, \
         sign it again with a higher version, use `gateway plugin rollback {plugin}`, or set `sha256 = \"{digest}\"` \
         under `[plugin.{plugin}]`"
    )]
    Older {
        plugin: String,
        version: String,
        digest: String,
        accepted: u64,
    },
    /// Two components with one version.
    #[error(
        "the signature states version {version}, which was accepted before for another component ({accepted}): sign \
         this one with a higher version, or set `sha256 = \"{digest}\"` under `[plugin.{plugin}]`"
    )]
    SameVersion {
        plugin: String,
        version: u64,
        digest: String,
        accepted: String,
    },
    /// What is kept of a generation is gone, or not what was kept.
    #[error("what was kept of generation {number} is missing or damaged")]
    NotKept { number: u64 },
    /// The plugin was rolled back, and what it was rolled back to cannot serve.
    #[error("it was rolled back to generation {to}, which cannot serve: {reason}; put another file in place")]
    RolledBack { to: u64, reason: String },
    /// What it imports or exports.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// A service asks it, and it cannot answer.
    #[error("it does not export auth-gateway:plugin/permission-provider, and is asked for: {services}")]
    NotAProvider { services: String },
    /// It is an extension, and has no hook.
    #[error(
        "it is configured as an extension, and exports none of on-new-user, on-user-login and on-user-logout"
    )]
    NotAnExtension,
    /// It could be instantiated, but not called.
    #[error("its trial call failed: {0}")]
    Trial(Box<Failure>),
}

impl AdmissionError {
    /// Whether it is the directory that cannot be read: the same for all plugins.
    pub(crate) const fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }

    /// Whether the file is gone, as against broken: then the plugin is withdrawn.
    pub(crate) const fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Name { .. })
    }

    /// Whether the component is good, and fails when it is called.
    #[must_use]
    pub const fn is_trial(&self) -> bool {
        matches!(self, Self::Trial(_))
    }

    /// Whether it may be over without a change of the file or of the configuration: the machine was in the way.
    pub(crate) fn may_pass(&self) -> bool {
        let is_late = matches!(self, Self::Trial(failure) if matches!(failure.error, CallError::DeadlineExceeded { .. }));
        is_late
            || matches!(
                self,
                Self::Away { .. }
                    | Self::Unreadable { .. }
                    | Self::Changing { .. }
                    | Self::CompileFailed(_)
                    | Self::CompileKilled(_)
                    | Self::Forgotten { .. }
            )
    }

    /// Whether a compiler would say the same if it had more memory.
    pub(crate) const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::CompileTimeout(_) | Self::CompileKilled(_) | Self::Invalid(_)
        )
    }

    /// Whether the same bytes would fail in the same way under the same limits of the compiler.
    pub(crate) const fn is_about_bytes(&self) -> bool {
        matches!(
            self,
            Self::CompileTimeout(_) | Self::CompileMemory(_) | Self::Invalid(_) | Self::DoesNotFit(_)
        )
    }
}
