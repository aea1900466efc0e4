//! Checks a component's imports against its grants, and links what they allow.

use std::collections::BTreeSet;

use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

use super::Grant;
use crate::PluginConfig;
use crate::bindings::types;
use crate::error::ComponentError;
use crate::guest::GuestState;
use crate::interface::{fits, split};
use crate::text::printable;

/// The interface that a grant lets a plugin import.
pub(super) struct Definition {
    /// In the configuration, in kebab-case.
    pub(super) name: &'static str,
    /// The interfaces, with their versions.
    pub(super) imports: &'static [&'static str],
    /// The text of its file in `wit/`.
    pub(super) wit: Option<&'static str>,
    /// Adds the interfaces to a linker.
    pub(super) link: fn(&mut Linker<GuestState>) -> wasmtime::Result<()>,
}

/// Needs no grant, because it has no functions.
const TYPES: &[&str] = &["auth-gateway:plugin/types@1.0.0"];

/// The requirement of an import.
#[derive(Debug, PartialEq, Eq)]
pub enum Import {
    /// No grant.
    Free,
    /// This grant.
    Needs(Grant),
    /// The gateway supports the package in another version only.
    OtherVersion {
        /// The package's name.
        package: &'static str,
        /// The version that is supported.
        version: &'static str,
    },
    /// The gateway does not provide it.
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
    let grants = Grant::ALL
        .iter()
        .map(|grant| (grant.definition().imports, Some(*grant)));
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

/// A linker with WASI's empty context and the interfaces of `granted`.
///
/// # Errors
/// If two interfaces have the same name, which is a bug in the gateway.
pub fn linker(engine: &Engine, granted: &BTreeSet<Grant>) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    types::add_to_linker::<_, HasSelf<GuestState>>(&mut linker, |state| state)?;
    // defence: only-grants-are-linked (a test fails without it: docs/defences.md)
    for grant in granted {
        (grant.definition().link)(&mut linker)?;
    }
    Ok(linker)
}

/// Checks that the gateway provides every import of a component, and that the plugin has the grant for it.
///
/// # Errors
/// The first import that it may not have, with the line of configuration that would grant it.
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
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use wasmtime::component::Component;

    use super::{Import, check_imports, import};
    use crate::engine::compiler;
    use crate::error::ComponentError;
    use crate::{Grant, PluginConfig};

    #[test]
    fn an_import_needs_its_grant() {
        let engine = compiler().unwrap();
        for grant in Grant::ALL {
            for name in grant.definition().imports {
                let text = format!("(component (import \"{name}\" (instance (export \"f\" (func)))))");
                let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
                let others = Grant::ALL.iter().filter(|other| *other != grant);
                let mut config = PluginConfig {
                    grants: others.copied().collect(),
                    ..PluginConfig::default()
                };
                let refused = check_imports(&component, "plugin", &config).unwrap_err();
                assert!(
                    matches!(&refused, ComponentError::NotGranted { import, .. } if import == name),
                    "{refused}"
                );
                config.grants = BTreeSet::from([*grant]);
                check_imports(&component, "plugin", &config).unwrap();
            }
        }
    }

    #[test]
    fn grants_have_names_interfaces_and_documentation() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let docs = fs::read_to_string(root.join("docs/plugins/reference.md")).unwrap();
        let names: BTreeSet<_> = Grant::ALL.iter().map(|grant| grant.as_str()).collect();
        assert_eq!(names.len(), Grant::ALL.len());
        for grant in Grant::ALL {
            assert_eq!(grant.as_str().parse(), Ok(*grant));
            if let Some(wit) = grant.wit() {
                let file = root.join(format!("wit/{grant}.wit"));
                assert_eq!(wit, fs::read_to_string(file).unwrap(), "{grant}");
            }
            for name in grant.definition().imports {
                let (interface, _) = name.split_once('@').unwrap();
                let row = docs
                    .lines()
                    .find(|line| line.starts_with('|') && line.contains(&format!("`{interface}`")));
                assert!(
                    row.is_some_and(|row| row.contains(&format!("| `{grant}` |"))),
                    "docs/plugins/reference.md has no row for {interface}"
                );
            }
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
