//! The operator's configuration: flags over environment over TOML file over defaults, resolved and checked.
//!
//! | module | contents |
//! |---|---|
//! | `settings` | every setting: its key, variables, default and documentation, declared once |
//! | [`sources`] | where settings come from: flags, environment, file, presets of `gateway dev` |
//! | [`error`] | mistakes: the setting, its place, and the expected value |
//! | [`report`] | the values in force and their sources, with secrets hidden |
//! | [`reload`] | what SIGHUP does |
//! | [`schema`] | all settings as a JSON Schema, for editors |
//! | `field`, `setting` | the macro that declares settings, and the data that it produces |
//! | `flags` | the same values on the command line |
//! | `presets` | the settings of well-known providers |
//! | `value` | how durations, sizes, addresses and other values are written |
//! | `parse` | from TOML text to the settings in it, with all mistakes |
//! | `layers` | the strongest source of each setting |
//! | `resolve` | from settings to a [`Config`], one file for each group of sections |
//!
//! [`load`] reads all sources again each time it is called. Relative paths are always relative to the working directory. An
//! empty variable counts as not set.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gateway_host::{CompileOptions, PluginSet};
use gateway_model::UserLimits;
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
pub use resolve::{installation, load, load_admin, load_plugin, load_sign_in, load_storage};
pub use settings::{AdminConfig, Database, LogConfig, Server, Tokens};
pub use sources::Sources;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// The gateway's own origin (`EXTERNAL_ADDRESS`). To write it without a trailing slash, use [`url::Url::origin`].
    pub external: Url,
    /// `[admin]`.
    pub admin: AdminConfig,
    /// `[database]`.
    pub database: Database,
    /// `[users]`.
    pub user_limits: UserLimits,
    /// The gateway's private directory (0700).
    pub data_dir: PathBuf,
    /// The directory of `<name>.wasm` files.
    pub plugin_dir: PathBuf,
    /// The limits of the compiler process. Its command is not a setting.
    pub compile: CompileOptions,
    /// Upstream providers, in the order in which the sign-in page offers them.
    pub providers: Vec<ProviderConfig>,
    /// `[upstream]`.
    pub upstream_limits: HttpLimits,
    /// PEM private keys for permission tokens; the first signs.
    pub signing_keys: Vec<SecretString>,
    /// PEM public keys to publish as well.
    pub public_keys: Vec<String>,
    /// Secrets of session tokens and sealed state, at least one. The first signs, all are accepted.
    pub session_secrets: Vec<SecretString>,
    /// `[tokens]`. A `permission_reuse` of zero turns reuse off.
    pub tokens: Tokens,
    /// `[log]`.
    pub log: LogConfig,
    /// The part that SIGHUP replaces.
    pub reloadable: Reloadable,
}

/// The part of the configuration that SIGHUP replaces.
#[derive(Clone, Debug)]
pub struct Reloadable {
    /// Plugins, services and extensions.
    pub plugins: PluginSet,
    /// By name.
    pub services: BTreeMap<String, ServiceConfig>,
    /// Origins of applications, to which users may be sent back and whose pages may call (CORS). The gateway's own origin
    /// is always included.
    pub origins: Origins,
    /// Where users go after a sign-in without `next`.
    pub default_next: Url,
    /// Whether to answer JSONP requests.
    pub jsonp: bool,
    /// Whether `/auth/resolve` and `/auth/get_profile` are enabled.
    pub user_lookup: bool,
    /// `[rate_limits]` and `server.trusted_proxies`.
    pub rate_limits: RateLimitConfig,
    /// `[pages]`.
    pub branding: Arc<Branding>,
}

/// One service that `authorize` answers for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceConfig {
    /// The plugin that returns its permissions.
    pub plugin: String,
    /// The `aud` claim of its permission tokens, if its verifiers require one.
    pub audience: Option<String>,
}

/// The limits of a listener.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Maximum number of connections.
    pub connections: usize,
    /// How long a request's headers may take, and its body.
    pub header_timeout: Duration,
    /// How long a whole request may take.
    pub request_timeout: Duration,
    /// Largest request body, in bytes.
    pub max_body: usize,
    /// How long requests in progress may take at shutdown.
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

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Settings that work but are probably not intended, a sentence each.
    pub warnings: Vec<String>,
    /// The same, with the setting and its place.
    pub warned: Vec<ConfigError>,
    /// Checks that are not possible yet, for example because a file is missing. They are not mistakes.
    pub notes: Vec<ConfigError>,
    /// The source of each value.
    pub report: Report,
}

/// The part of the configuration that says where data is stored. See [`Config`].
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields of `Config`")]
pub struct StorageConfig {
    pub data_dir: PathBuf,
    pub plugin_dir: PathBuf,
    pub database: Database,
    pub user_limits: UserLimits,
}

/// The part of the configuration that signs users in. See [`Config`].
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields of `Config`")]
pub struct SignInConfig {
    pub external: Url,
    pub providers: Vec<ProviderConfig>,
    pub upstream_limits: HttpLimits,
}

/// Parses the address of a listener, for flags.
///
/// # Errors
/// The expected form of the address.
pub fn read_address(text: &str) -> Result<SocketAddr, String> {
    value::Value::read(text).map_err(|right: String| format!("must be {right}"))
}

/// Parses a plugin's name, for flags.
///
/// # Errors
/// The expected form of a name.
pub fn read_name(text: &str) -> Result<String, String> {
    if value::is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("must be {}", value::NAME))
    }
}
