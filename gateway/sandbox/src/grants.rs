//! What the operator may let a plugin import: one unit a grant, with the interfaces it stands for and the
//! function that links them. A plugin's linker has the units that it was granted and no others, so what
//! is not granted is not there to be called.
//!
//! | module | grant | interfaces |
//! |---|---|---|
//! | [`users`] | `users` | `users` |
//! | [`config`] | `config` | `config` |
//! | [`secrets`] | `secrets` | `secrets` |
//! | [`key_value`] | `key-value` | `key-value` |
//! | [`logging`] | `logging` | `logging` |
//! | [`http`] | `http` | `wasi:http/types`, `wasi:http/outgoing-handler` |

mod config;
mod http;
mod key_value;
mod logging;
mod secrets;
mod users;

use std::collections::BTreeSet;

use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

use crate::bindings::types;
use crate::error::ComponentError;
use crate::guest::GuestState;
use crate::interface::{fits, split};
use crate::text::printable;
use crate::{Grant, PluginConfig};

/// One grant: the interfaces it stands for, and how they are linked.
struct Unit {
    grant: Grant,
    imports: &'static [&'static str],
    link: fn(&mut Linker<GuestState>) -> wasmtime::Result<()>,
}

/// Every grant there is.
const UNITS: &[Unit] = &[
    Unit {
        grant: Grant::Users,
        imports: &["auth-gateway:plugin/users@1.0.0"],
        link: users::link,
    },
    Unit {
        grant: Grant::Config,
        imports: &["auth-gateway:plugin/config@1.0.0"],
        link: config::link,
    },
    Unit {
        grant: Grant::Secrets,
        imports: &["auth-gateway:plugin/secrets@1.0.0"],
        link: secrets::link,
    },
    Unit {
        grant: Grant::KeyValue,
        imports: &["auth-gateway:plugin/key-value@1.0.0"],
        link: key_value::link,
    },
    Unit {
        grant: Grant::Logging,
        imports: &["auth-gateway:plugin/logging@1.0.0"],
        link: logging::link,
    },
    Unit {
        grant: Grant::Http,
        imports: http::IMPORTS,
        link: http::link,
    },
];

/// What needs no grant: it has no functions.
const TYPES: &[&str] = &["auth-gateway:plugin/types@1.0.0"];

/// What an import asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Import {
    /// Nothing that would have to be granted.
    Free,
    /// What this grant stands for.
    Needs(Grant),
    /// An interface of a package that the gateway supports in this version only.
    OtherVersion {
        /// The package's name.
        package: &'static str,
        /// The version that is supported.
        version: &'static str,
    },
    /// Something that the gateway does not have.
    Unknown,
}

/// Looks an import up by its name.
pub fn import(name: &str) -> Import {
    if crate::wasi::PACKAGES
        .iter()
        .any(|package| name.starts_with(package))
    {
        return Import::Free;
    }
    let (interface, version) = split(name);
    let grants = UNITS.iter().map(|unit| (unit.imports, Some(unit.grant)));
    for (imports, grant) in grants.chain([(TYPES, None)]) {
        for known in imports {
            let (ours, in_version) = split(known);
            if ours != interface {
                continue;
            }
            if fits(version, in_version) {
                return grant.map_or(Import::Free, Import::Needs);
            }
            return Import::OtherVersion {
                package: ours.split_once('/').map_or(ours, |(package, _)| package),
                version: in_version,
            };
        }
    }
    Import::Unknown
}

/// A linker with WASI's empty context and what has been granted.
///
/// # Errors
/// When a name is taken: a mistake in the gateway.
pub fn linker(engine: &Engine, granted: &BTreeSet<Grant>) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    types::add_to_linker::<_, HasSelf<GuestState>>(&mut linker, |state| state)?;
    // defence: only-grants-are-linked (a test fails without it: docs/defences.md)
    for unit in UNITS.iter().filter(|unit| granted.contains(&unit.grant)) {
        (unit.link)(&mut linker)?;
    }
    Ok(linker)
}

/// Whether a component imports only what there is and what it has been granted.
pub fn check_imports(
    component: &Component,
    plugin: &str,
    config: &PluginConfig,
) -> Result<(), ComponentError> {
    for (name, _) in component.component_type().imports(component.engine()) {
        let shown = printable(name, 200);
        let plugin = plugin.to_owned();
        match import(name) {
            Import::Free => {}
            // defence: imports-are-checked-against-grants (a test fails without it: docs/defences.md)
            Import::Needs(grant) if config.grants.contains(&grant) => {}
            Import::Needs(grant) => {
                let mut names: Vec<_> = config.grants.iter().map(|grant| grant.as_str()).collect();
                names.push(grant.as_str());
                names.sort_unstable();
                return Err(ComponentError::NotGranted {
                    import: shown,
                    plugin,
                    grants: format!("{names:?}"),
                });
            }
            Import::OtherVersion { package, version } => {
                return Err(ComponentError::Version {
                    direction: "imports",
                    name: shown,
                    package,
                    version,
                });
            }
            Import::Unknown => {
                return Err(ComponentError::UnknownImport {
                    import: shown,
                    plugin,
                });
            }
        }
    }
    Ok(())
}

impl types::Host for GuestState {}

#[cfg(test)]
mod tests {
    use super::{Import, UNITS, import};
    use crate::Grant;

    #[test]
    fn every_grant_has_one_unit() {
        for grant in Grant::ALL {
            assert_eq!(
                UNITS.iter().filter(|unit| unit.grant == *grant).count(),
                1,
                "{grant}"
            );
        }
    }

    #[test]
    fn imports_are_known_in_the_supported_version() {
        let users = || Import::Needs(Grant::Users);
        let other = || Import::OtherVersion {
            package: "auth-gateway:plugin",
            version: "1.0.0",
        };
        for (name, is) in [
            ("auth-gateway:plugin/types@1.0.0", Import::Free),
            ("auth-gateway:plugin/types@0.1.0", other()),
            ("wasi:cli/environment@0.2.6", Import::Free),
            ("auth-gateway:plugin/users@1.0.0", users()),
            ("auth-gateway:plugin/users@1.1.0", users()),
            ("auth-gateway:plugin/users@2.0.0", other()),
            ("auth-gateway:plugin/users@0.2.0", other()),
            ("auth-gateway:plugin/users", other()),
            ("auth-gateway:plugin/secrets@0.1.0", other()),
            ("wasi:config/store@0.2.0-rc.1", Import::Unknown),
            ("wasi:keyvalue/store@0.2.0-draft", Import::Unknown),
            (
                "wasi:http/types@0.3.0",
                Import::OtherVersion {
                    package: "wasi:http",
                    version: "0.2.12",
                },
            ),
            ("wasi:http/outgoing-handler@0.2.0", Import::Needs(Grant::Http)),
            ("wasi:http/types@0.2.3", Import::Needs(Grant::Http)),
            ("wasi:http/incoming-handler@0.2.0", Import::Unknown),
            ("auth-gateway:plugin/user@1.0.0", Import::Unknown),
            ("wasi:clivia/environment@0.2.6", Import::Unknown),
        ] {
            assert_eq!(import(name), is, "{name}");
        }
    }
}
