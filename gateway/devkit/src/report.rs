//! The report about a component, before it is called.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use gateway_sandbox::exports::Function;
use gateway_sandbox::grants;
use gateway_sandbox::interface::{PACKAGE, VERSION, fits, split};
use gateway_sandbox::text::printable;
use gateway_sandbox::{Grant, PluginConfig};

/// Bytes of the longest name that is shown.
const MAX_NAME: usize = 200;

/// Everything known about a file, whether it can serve or not.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The plugin's name.
    pub plugin: String,
    /// The file's bytes; `None` if it could not be read.
    pub size: Option<u64>,
    /// Hex SHA-256 of the file.
    pub sha256: Option<String>,
    /// How it was compiled; `None` if it was not.
    pub compiled: Option<Compiled>,
    /// Its exports, in order.
    pub exports: Vec<Export>,
    /// Its imports, in order.
    pub imports: Vec<Import>,
    /// The grants that its imports need, given or not.
    pub grants_needed: BTreeSet<Grant>,
    /// Those of them that the configuration does not give.
    pub grants_missing: BTreeSet<Grant>,
    /// Its core modules, glue included.
    pub modules: usize,
    /// Memories over all modules.
    pub memories: usize,
    /// Initial bytes of the memories.
    pub memory_bytes: u64,
    /// Tables over all modules.
    pub tables: usize,
    /// Initial elements of the tables.
    pub table_elements: u64,
    /// Whether the module with most code names its functions, so that errors can say where they happened.
    pub has_names: bool,
    /// Whether a gateway with this configuration would serve it.
    pub is_admissible: bool,
    /// Why not, as in the gateway's log and in `/plugins`.
    pub problem: Option<String>,
}

/// How the component's code was obtained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Compiled {
    /// Duration in milliseconds.
    pub milliseconds: f64,
    /// Whether it was loaded from the cache.
    pub was_cached: bool,
}

impl Compiled {
    pub(super) fn new(time: Duration, was_cached: bool) -> Self {
        Self {
            milliseconds: time.as_secs_f64() * 1e3,
            was_cached,
        }
    }
}

/// One export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Export {
    /// Its name, version included.
    pub name: String,
    /// The function of it that the gateway calls; `None` if it ignores the export.
    pub function: Option<&'static str>,
}

/// One import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Import {
    /// Its name, version included.
    pub name: String,
    /// The grant that it needs.
    pub grant: Option<Grant>,
    /// How it is resolved.
    pub status: ImportStatus,
}

/// How an import is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportStatus {
    /// Only types, which need no grant.
    Types,
    /// WASI, linked to a context with nothing in it.
    Empty,
    /// Granted.
    Granted,
    /// It needs a grant that the configuration does not give.
    NotGranted,
    /// The gateway has the interface, but not in this version.
    OtherVersion,
    /// The gateway does not have the interface.
    Unknown,
}

impl Report {
    pub(super) fn new(plugin: &str) -> Self {
        Self {
            plugin: plugin.to_owned(),
            ..Self::default()
        }
    }
}

pub(super) fn export(name: &str) -> Export {
    let (interface, version) = split(name);
    let served = |function: &Function| {
        interface.strip_prefix(PACKAGE) == Some(function.interface()) && fits(version, VERSION)
    };
    Export {
        name: printable(name, MAX_NAME),
        function: Function::ALL.into_iter().find(served).map(Function::name),
    }
}

pub(super) fn import(name: &str, config: &PluginConfig) -> Import {
    let (grant, status) = match grants::import(name) {
        grants::Import::Free if name.starts_with(PACKAGE) => (None, ImportStatus::Types),
        grants::Import::Free => (None, ImportStatus::Empty),
        grants::Import::Needs(grant) if config.grants.contains(&grant) => {
            (Some(grant), ImportStatus::Granted)
        }
        grants::Import::Needs(grant) => (Some(grant), ImportStatus::NotGranted),
        grants::Import::OtherVersion { .. } => (None, ImportStatus::OtherVersion),
        grants::Import::Unknown => (None, ImportStatus::Unknown),
    };
    Import {
        name: printable(name, MAX_NAME),
        grant,
        status,
    }
}

#[cfg(test)]
mod tests {
    use super::{ImportStatus, export, import};
    use gateway_sandbox::{Grant, PluginConfig};

    #[test]
    fn imports_say_what_they_need() {
        let config = PluginConfig {
            grants: [Grant::Users].into(),
            ..PluginConfig::default()
        };
        for (name, grant, status) in [
            ("auth-gateway:plugin/types@1.0.0", None, ImportStatus::Types),
            ("wasi:cli/environment@0.2.6", None, ImportStatus::Empty),
            (
                "auth-gateway:plugin/users@1.1.0",
                Some(Grant::Users),
                ImportStatus::Granted,
            ),
            (
                "auth-gateway:plugin/config@1.0.0",
                Some(Grant::Config),
                ImportStatus::NotGranted,
            ),
            (
                "auth-gateway:plugin/users@9.0.0",
                None,
                ImportStatus::OtherVersion,
            ),
            ("evil:corp/backdoor", None, ImportStatus::Unknown),
        ] {
            let import = import(name, &config);
            assert_eq!((import.grant, import.status), (grant, status), "{name}");
        }
    }

    #[test]
    fn exports_say_what_is_called() {
        for (name, function) in [
            (
                "auth-gateway:plugin/permission-provider@1.0.0",
                Some("get-permissions"),
            ),
            ("auth-gateway:plugin/permission-provider@0.1.0", None),
            ("auth-gateway:plugin/on-user-login@1.4.0", Some("on-user-login")),
            ("auth-gateway:plugin/on-user-login@2.0.0", None),
            ("wasi:cli/run@0.2.0", None),
            ("memory", None),
        ] {
            assert_eq!(export(name).function, function, "{name}");
        }
    }
}
