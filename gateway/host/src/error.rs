//! Every way in which the host fails to start, a call fails, or a component is rejected.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use gateway_sandbox::call::Failure;
use gateway_sandbox::{CallError, ComponentError, EngineError};

/// The host cannot start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the variants and fields are")]
pub enum HostError {
    #[error("cannot read the plugin directory {path}: {error}; create it, or set a different one")]
    PluginDirUnreadable { path: PathBuf, error: io::Error },
    #[error("cannot use {path} for compiled plugins: {error}")]
    CacheDir { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Why a plugin was not rolled back. The serving generation keeps serving.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the variants and fields are")]
pub enum RollbackError {
    #[error("the plugin \"{plugin}\" is not configured")]
    NotConfigured { plugin: String },
    #[error(
        "the plugin \"{plugin}\" has no file, and is withdrawn: put a file in place for it to serve again"
    )]
    Withdrawn { plugin: String },
    #[error("no generation of \"{plugin}\" before {number} is kept")]
    Oldest { plugin: String, number: u64 },
    #[error("generation {number} of \"{plugin}\" cannot serve: {reason}")]
    Refused {
        plugin: String,
        number: u64,
        reason: String,
    },
    #[error("\"{plugin}\" was not rolled back: {reason}")]
    Failed { plugin: String, reason: String },
}

/// Why a file does not serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the variants and fields are")]
pub enum AdmissionError {
    #[error("there is no {path}")]
    Missing { path: PathBuf },
    #[error("cannot read the plugin directory {directory}: {error}")]
    Away { directory: PathBuf, error: String },
    #[error("\"{name}\" cannot be a file's name: use letters, digits, - and _")]
    Name { name: String },
    #[error(
        "there is no {path}, but this is not the directory in which the file was last seen, so it does not count as \
         removed: put the file there, or take the plugin out of the configuration"
    )]
    Elsewhere { path: PathBuf },
    #[error(
        "{path} is a symbolic link that leaves its directory, and the gateway follows links only within it: make it a \
         relative link to a file in the same directory, or put the component itself there"
    )]
    Symlink { path: PathBuf },
    #[error(
        "{path} is a symbolic link to a file that does not exist: put that file in place, or remove the link"
    )]
    Dangling { path: PathBuf },
    #[error("{path} is not a regular file")]
    NotAFile { path: PathBuf },
    #[error("{path} is empty")]
    Empty { path: PathBuf },
    #[error("{path} is larger than {limit} bytes")]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{path} changed while it was read")]
    Changing { path: PathBuf },
    #[error("cannot read {path}: {error}")]
    Unreadable { path: PathBuf, error: String },
    #[error(
        "it is a core WebAssembly module, not a component: build it for wasm32-wasip2, or run \
         `wasm-tools component new` on it"
    )]
    CoreModule,
    /// The gateway loads compiled code only from its own cache.
    #[error("it is precompiled code; plugins are WebAssembly components in their portable form")]
    Precompiled,
    #[error("it is not a valid component: {0}")]
    Invalid(String),
    #[error(
        "compiling it takes longer than {0:?} (`plugins.compile_time`): the gateway does not try this file again before \
         it changes, or the gateway restarts"
    )]
    CompileTimeout(Duration),
    #[error(
        "compiling it takes more than {0} bytes of memory (`plugins.compile_memory`): the gateway does not try this file \
         again before it changes, or the gateway restarts"
    )]
    CompileMemory(u64),
    #[error("compiling it failed: {0}")]
    CompileFailed(String),
    #[error("compiling it failed: {0}")]
    CompileKilled(String),
    #[error("compiling it failed: {0}")]
    DoesNotFit(String),
    #[error(
        "its SHA-256 is {digest}, and `sha256` under `[plugin.{plugin}]` in the configuration is {pinned}: put that \
         component in place, or change that line"
    )]
    Pinned {
        plugin: String,
        digest: String,
        pinned: String,
    },
    #[error(
        "it has no signature, and `plugins.trusted_keys` asks for one: run `gateway plugin sign --key FILE \
         {plugin}.wasm`, which writes {plugin}.wasm.sig"
    )]
    Unsigned { plugin: String },
    #[error("its signature cannot be used: {0}; `gateway plugin sign` writes one of about 150 bytes")]
    NotASignature(Box<AdmissionError>),
    #[error(
        "its signature states version {version}, and versions end at {most}: sign it again with a lower one, with \
         `gateway plugin sign --key FILE --version NUMBER {plugin}.wasm`"
    )]
    VersionTooHigh { plugin: String, version: u64, most: u64 },
    #[error(
        "{path} is damaged, or was not written by this gateway: the kept generations of \"{plugin}\" are lost, and with \
         them the version that was accepted last, so that an older signed component could serve. Check that \
         {plugin}.wasm is the one you want, and either set its `sha256` under `[plugin.{plugin}]`, or delete {path} to \
         accept its version"
    )]
    Forgotten { plugin: String, path: PathBuf },
    #[error(
        "{plugin}.wasm.sig is not a signature of {digest} by a trusted key ({keys}): sign this very component, with \
         `gateway plugin sign --key FILE {plugin}.wasm`"
    )]
    WrongSignature {
        plugin: String,
        digest: String,
        keys: String,
    },
    #[error(
        "{plugin}.wasm.sig was made for the plugin \"{name}\", not for \"{plugin}\": sign this component for \
         \"{plugin}\", with `gateway plugin sign --key FILE --name {plugin} {plugin}.wasm`"
    )]
    SignedForAnother { plugin: String, name: String },
    #[error(
        "{plugin}.wasm.sig is a version 1 signature, which names neither the plugin nor its version: sign the \
         component again, with `gateway plugin sign --key FILE {plugin}.wasm`, or accept such signatures with \
         `allow_v1_signatures = true` under `[plugins]` in the configuration"
    )]
    NamelessSignature { plugin: String },
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
    #[error("the stored copy of generation {number} is missing or damaged")]
    NotKept { number: u64 },
    #[error("it was rolled back to generation {to}, which cannot serve: {reason}; put another file in place")]
    RolledBack { to: u64, reason: String },
    #[error(transparent)]
    Component(#[from] ComponentError),
    #[error("it does not export auth-gateway:plugin/permission-provider, and is asked for: {services}")]
    NotAProvider { services: String },
    #[error(
        "it is configured as an extension, and exports none of on-new-user, on-user-login and on-user-logout"
    )]
    NotAnExtension,
    #[error("its trial call failed: {0}")]
    Trial(Box<Failure>),
}

impl AdmissionError {
    /// Whether the directory cannot be read, which is the same for all plugins.
    pub(crate) const fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }

    /// Whether the file is gone rather than broken: then the plugin is withdrawn.
    pub(crate) const fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Name { .. })
    }

    /// Whether the component is valid, but fails when it is called.
    #[must_use]
    pub const fn is_trial(&self) -> bool {
        matches!(self, Self::Trial(_))
    }

    /// Whether the cause may pass without a change of the file or of the configuration, as a fault of the machine may.
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

    /// Whether more memory for the compiler would not help.
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
