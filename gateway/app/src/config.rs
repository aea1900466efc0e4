//! What the operator has configured: environment over TOML file over defaults, resolved and checked.
//!
//! | module | what it holds |
//! |---|---|
//! | `settings` | every setting: its key, variables, default and documentation, declared once |
//! | [`sources`] | where settings come from: flags, environment, file, presets of `gateway dev` |
//! | [`error`] | what is wrong, where, and what would be right |
//! | [`report`] | what is in force and where each value came from, secrets hidden |
//! | [`reload`] | what SIGHUP does |
//! | [`schema`] | all settings as a JSON Schema, for editors |
//! | `field`, `setting` | what follows from a declaration |
//! | `flags` | the same values on the command line |
//! | `presets` | what well-known providers need |
//! | `value` | how durations, sizes, addresses and the like are written |
//! | `parse` | TOML text to what it sets, with all mistakes in it |
//! | `layers` | the sources laid over one another |
//! | `resolve` | what the settings come to, a file for each group of sections |
//!
//! [`load`] reads everything anew each time it is called. Relative paths, wherever they are written,
//! are relative to the working directory. A variable that is set to nothing counts as not set.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gateway_host::{CompileOptions, PluginSet};
use gateway_model::UserLimits;
use gateway_sandbox::PluginConfig;
use gateway_upstream::{HttpLimits, ProviderConfig};
use secrecy::SecretString;
use url::Url;

use crate::origins::Origins;
use crate::pages::Branding;
use crate::rate_limit::RateLimitConfig;

pub mod error;
mod field;
pub(crate) mod flags;
mod layers;
mod parse;
mod presets;
pub mod reload;
pub mod report;
mod resolve;
pub mod schema;
mod setting;
mod settings;
pub mod sources;
mod value;

#[cfg(test)]
mod tests;

pub use error::{ConfigError, ConfigErrors};
pub use report::Report;
pub use settings::{AdminConfig, Database, LogConfig, Server, Tokens};
pub use sources::Sources;

/// Everything that is in force.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`, as the gateway was started with it.
    pub server: Server,
    /// The gateway's own origin (`EXTERNAL_ADDRESS`), without a trailing slash when written out:
    /// use [`url::Url::origin`].
    pub external: Url,
    /// `[admin]`.
    pub admin: AdminConfig,
    /// `[database]`.
    pub database: Database,
    /// What one user may take up.
    pub user_limits: UserLimits,
    /// A private directory (0700) for compiled plugins, the admin token and the like.
    pub data_dir: PathBuf,
    /// Where `<name>.wasm` files are.
    pub plugin_dir: PathBuf,
    /// What compiling a plugin may take. Who compiles is not the configuration's to say.
    pub compile: CompileOptions,
    /// Upstream providers, in the order people are offered them.
    pub providers: Vec<ProviderConfig>,
    /// What upstream providers may cost.
    pub upstream_limits: HttpLimits,
    /// PEM private keys for permission tokens; the first signs.
    pub signing_keys: Vec<SecretString>,
    /// PEM public keys that are published beside them.
    pub public_keys: Vec<String>,
    /// What session tokens and sealed state are keyed by: the first signs, all are accepted. There is at least one.
    pub session_secrets: Vec<SecretString>,
    /// `[tokens]`. A reuse of zero means that no permission token is returned again.
    pub tokens: Tokens,
    /// `[log]`.
    pub log: LogConfig,
    /// What SIGHUP replaces.
    pub reloadable: Reloadable,
}

/// The part of the configuration that SIGHUP re-reads.
#[derive(Clone, Debug)]
pub struct Reloadable {
    /// Plugins, services' providers and extensions.
    pub plugins: PluginSet,
    /// By name.
    pub services: BTreeMap<String, ServiceConfig>,
    /// Origins of applications: where people may be sent back to, and which pages may call (CORS).
    /// The gateway's own is always in.
    pub origins: Origins,
    /// Where people go who came without `next`; the gateway's own page unless set.
    pub default_next: Url,
    /// Whether JSONP is answered.
    pub jsonp: bool,
    /// Whether `/auth/resolve` and `/auth/get_profile` answer.
    pub user_lookup: bool,
    /// How often one client's address may ask, and who says what it is.
    pub rate_limits: RateLimitConfig,
    /// What the pages look like.
    pub branding: Arc<Branding>,
}

/// One service that `authorize` answers for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceConfig {
    /// The plugin that returns its permissions.
    pub plugin: String,
    /// The `aud` claim of its permission tokens, where its verifiers ask for one.
    pub audience: Option<String>,
}

/// What a caller may cost.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Most connections at once.
    pub connections: usize,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long a request may take in all.
    pub request_timeout: Duration,
    /// Largest request body, in bytes.
    pub max_body: usize,
    /// How long requests in flight may take to end at shutdown.
    pub drain: Duration,
}

impl From<&Server> for ServerLimits {
    fn from(server: &Server) -> Self {
        Self {
            connections: server.connections,
            header_timeout: server.header_timeout,
            request_timeout: server.request_timeout,
            max_body: server.max_body,
            drain: server.drain,
        }
    }
}

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    /// What works and is probably not meant, a sentence each.
    pub warnings: Vec<String>,
    /// The same, with the setting and the place.
    pub warned: Vec<ConfigError>,
    /// What cannot be looked at yet, and is not held against the configuration.
    pub notes: Vec<ConfigError>,
    /// Where each value came from.
    pub report: Report,
}

/// The part of the configuration that commands need which don't serve: where things are kept.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// The gateway's private directory.
    pub data_dir: PathBuf,
    /// Where `<name>.wasm` files are.
    pub plugin_dir: PathBuf,
    /// `[database]`.
    pub database: Database,
    /// What one user may take up.
    pub user_limits: UserLimits,
}

/// Reads and resolves the configuration.
///
/// # Errors
/// All mistakes there are, not only the first.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    resolve::everything(sources)
}

/// Reads what says where things are kept. Mistakes in other sections are no hindrance: an operator must
/// be able to disable a user while the rest is being repaired.
///
/// # Errors
/// All mistakes in that part.
pub fn load_storage(sources: &Sources) -> Result<StorageConfig, ConfigErrors> {
    resolve::storage(sources)
}

/// The part of the configuration that says whom people sign in with.
#[derive(Clone, Debug)]
pub struct SignInConfig {
    /// The gateway's own origin.
    pub external: Url,
    /// Upstream providers.
    pub providers: Vec<ProviderConfig>,
    /// What they may cost.
    pub upstream_limits: HttpLimits,
}

/// Reads whom people sign in with, so that it can be tried before the rest is there.
///
/// # Errors
/// All mistakes in that part.
pub fn load_sign_in(sources: &Sources) -> Result<SignInConfig, ConfigErrors> {
    resolve::sign_in(sources)
}

/// Reads where the admin listener is and what it asks for, and nothing else.
///
/// # Errors
/// All mistakes in that part.
pub fn load_admin(sources: &Sources) -> Result<AdminConfig, ConfigErrors> {
    resolve::admin(sources)
}

/// Reads the configuration of one plugin, whether or not anything uses it. Mistakes in other sections do not matter, nor
/// those in keys of the plugin that are not `is_of_use`, for example `secrets.token.file`.
///
/// # Errors
/// All mistakes in that part.
pub fn load_plugin(
    sources: &Sources,
    name: &str,
    is_of_use: impl Fn(&str) -> bool,
) -> Result<PluginConfig, ConfigErrors> {
    resolve::plugin(sources, name, is_of_use)
}

/// A key in the file that only the configuration of a particular gateway has: where its users and keys are, or how it
/// is reached from outside. `None` for the file of a plugin's project.
///
/// # Errors
/// When the file cannot be read.
pub fn installation(sources: &Sources) -> Result<Option<String>, ConfigErrors> {
    resolve::installation(sources)
}

/// Reads the address of a listener, for flags.
///
/// # Errors
/// What would be right.
pub fn read_address(text: &str) -> Result<SocketAddr, String> {
    value::Value::read(text).map_err(|right: String| format!("must be {right}"))
}

/// Reads a plugin's name, for flags.
///
/// # Errors
/// What would be right.
pub fn read_name(text: &str) -> Result<String, String> {
    if value::is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("must be {}", value::NAME))
    }
}
