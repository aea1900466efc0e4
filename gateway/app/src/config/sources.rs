//! Where settings come from, from strongest to weakest: flags, environment, file, presets, defaults.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gateway_sandbox::PluginConfig;

/// The variable that names the configuration file, unless a flag does.
pub const FILE_VARIABLE: &str = "GATEWAY_CONFIG";

/// The configuration file if neither a flag nor [`FILE_VARIABLE`] names one.
pub const DEFAULT_FILE: &str = "gateway.toml";

/// The sources of all settings. The file is read when the configuration is loaded, so the same sources can be loaded again on
/// SIGHUP.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Environment,
    /// By key, the flag's name and its value.
    pub flags: BTreeMap<&'static str, (&'static str, String)>,
    /// The presets of `gateway dev`.
    pub presets: Presets,
    /// Whether systemd credentials may be missing because their service is not running, for `gateway config check`.
    pub before_start: bool,
}

/// The defaults of `gateway dev`. Every other source wins.
#[derive(Clone, Debug, Default)]
pub struct Presets {
    /// By key, written as in a variable.
    pub settings: BTreeMap<&'static str, String>,
    /// Services in addition to the configured ones: name and plugin.
    pub services: BTreeMap<String, String>,
    /// Extensions, if none are configured.
    pub extensions: Vec<String>,
    /// The configuration of plugins without a section.
    pub plugins: BTreeMap<String, PluginConfig>,
    /// Whether every origin on this machine is allowed, if none are configured.
    pub loopback_origins: bool,
}

/// A copy of the process's environment.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// Copies the environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect()
    }

    /// The value of a variable, unless it is empty.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn get(&self, name: &str) -> Option<Result<&str, NotUtf8>> {
        let value = self.0.get(name).filter(|value| !value.is_empty())?;
        Some(value.to_str().ok_or(NotUtf8))
    }

    /// The names of all variables that are not empty.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let set = self.0.iter().filter(|(_, value)| !value.is_empty());
        set.map(|(name, _)| name.as_str())
    }
}

// Values may be secrets: names only.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<N: Into<String>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variables = variables.into_iter();
        Self(
            variables
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

/// The value of a variable is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not UTF-8")]
pub struct NotUtf8;

impl Sources {
    /// The sources of a command: the process's environment, and the file that a flag or else [`FILE_VARIABLE`] names, or else
    /// [`DEFAULT_FILE`] if it exists.
    #[must_use]
    pub fn of_process(file: Option<&Path>) -> Self {
        let environment = Environment::of_process();
        let named = file
            .map(Path::to_owned)
            .or_else(|| Some(PathBuf::from(environment.get(FILE_VARIABLE)?.ok()?)));
        let found = || Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists());
        Self {
            file: named.or_else(found),
            environment,
            ..Self::default()
        }
    }

    /// Sets a setting by a flag.
    pub fn set_flag(&mut self, key: &'static str, flag: &'static str, value: impl Into<String>) {
        self.flags.insert(key, (flag, value.into()));
    }

    /// Sets a preset, written as in a variable.
    pub fn preset(&mut self, key: &'static str, value: impl Into<String>) {
        self.presets.settings.insert(key, value.into());
    }
}

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The name of a flag.
    Flag(&'static str),
    /// The name of a variable.
    Variable(String),
    /// The file and the line, counted from 1.
    File(Arc<Path>, usize),
    /// `gateway dev`.
    Preset,
    /// The name of a provider's preset.
    ProviderPreset(&'static str),
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => f.write_str(name),
            Self::Variable(name) => f.write_str(name),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Preset => f.write_str("gateway dev"),
            Self::ProviderPreset(name) => write!(f, "preset {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}
