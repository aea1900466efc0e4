//! What the operator may let a plugin import: one unit a grant, with the interfaces it stands for and the
//! function that links them. A plugin's linker has the units that it was granted and no others, so what
//! is not granted is not there to be called.
//!
//! | module | grant | interfaces |
//! |---|---|---|
//! | [`users`] | `users` | `users` |
//! | [`config`] | `config` | `config`; the draft `wasi:config/store` |
//! | [`secrets`] | `secrets` | `secrets` |
//! | [`key_value`] | `key-value` | `key-value` |
//! | [`wasi_keyvalue`] | `key-value` | the drafts `wasi:keyvalue/store` and `wasi:keyvalue/atomics` |
//! | [`logging`] | `logging` | `logging` |
//! | [`http`] | `http` | `wasi:http/types`, `wasi:http/outgoing-handler` |

mod config;
mod http;
mod key_value;
mod logging;
mod secrets;
mod users;
pub(crate) mod wasi_keyvalue;

use std::collections::BTreeSet;

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};

use crate::Grant;
use crate::bindings::types;
use crate::guest::GuestState;
use crate::interface::{fits, split};

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
        imports: &[
            "auth-gateway:plugin/users@1.0.0",
            "auth-gateway:plugin/users@0.1.0",
        ],
        link: users::link,
    },
    Unit {
        grant: Grant::Config,
        imports: &[
            "auth-gateway:plugin/config@1.0.0",
            "auth-gateway:plugin/config@0.1.0",
            "wasi:config/store@0.2.0-rc.1",
        ],
        link: config::link,
    },
    Unit {
        grant: Grant::Secrets,
        imports: &["auth-gateway:plugin/secrets@1.0.0"],
        link: secrets::link,
    },
    Unit {
        grant: Grant::KeyValue,
        imports: &[
            "auth-gateway:plugin/key-value@1.0.0",
            "wasi:keyvalue/store@0.2.0-draft",
            "wasi:keyvalue/atomics@0.2.0-draft",
        ],
        link: key_value::link,
    },
    Unit {
        grant: Grant::Logging,
        imports: &[
            "auth-gateway:plugin/logging@1.0.0",
            "auth-gateway:plugin/logging@0.1.0",
        ],
        link: logging::link,
    },
    Unit {
        grant: Grant::Http,
        imports: http::IMPORTS,
        link: http::link,
    },
];

/// What needs no grant: it has no functions.
const TYPES: &[&str] = &[
    "auth-gateway:plugin/types@1.0.0",
    "auth-gateway:plugin/types@0.1.0",
];

/// What an import asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Import {
    /// Nothing that would have to be granted.
    Free,
    /// What this grant stands for.
    Needs(Grant),
    /// An interface that the gateway has, but not in that version. These are served.
    OtherVersion(Vec<&'static str>),
    /// Something that the gateway does not have.
    Unknown,
}

/// Looks an import up by its name.
pub(crate) fn import(name: &str) -> Import {
    if crate::wasi::PACKAGES
        .iter()
        .any(|package| name.starts_with(package))
    {
        return Import::Free;
    }
    let (interface, version) = split(name);
    let grants = UNITS.iter().map(|unit| (unit.imports, Some(unit.grant)));
    let mut served = Vec::new();
    for (imports, grant) in grants.chain([(TYPES, None)]) {
        for known in imports {
            let (ours, in_version) = split(known);
            if ours != interface {
                continue;
            }
            if fits(version, in_version) {
                return grant.map_or(Import::Free, Import::Needs);
            }
            served.push(*known);
        }
    }
    if served.is_empty() {
        Import::Unknown
    } else {
        Import::OtherVersion(served)
    }
}

/// A linker with WASI's empty context and what has been granted.
///
/// # Errors
/// When a name is taken: a mistake in the gateway.
pub(crate) fn linker(engine: &Engine, granted: &BTreeSet<Grant>) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    crate::wasi::link(&mut linker)?;
    types::add_to_linker::<_, HasSelf<GuestState>>(&mut linker, |state| state)?;
    // defence: only-grants-are-linked (a test fails without it: docs/defences.md)
    for unit in UNITS.iter().filter(|unit| granted.contains(&unit.grant)) {
        (unit.link)(&mut linker)?;
    }
    Ok(linker)
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
    fn imports_are_known_in_the_versions_that_are_served() {
        let users = || Import::Needs(Grant::Users);
        let other = || {
            Import::OtherVersion(vec![
                "auth-gateway:plugin/users@1.0.0",
                "auth-gateway:plugin/users@0.1.0",
            ])
        };
        for (name, is) in [
            ("auth-gateway:plugin/types@1.0.0", Import::Free),
            ("auth-gateway:plugin/types@0.1.3", Import::Free),
            ("wasi:cli/environment@0.2.6", Import::Free),
            ("auth-gateway:plugin/users@1.0.0", users()),
            ("auth-gateway:plugin/users@1.1.0", users()),
            ("auth-gateway:plugin/users@0.1.0", users()),
            ("auth-gateway:plugin/users@2.0.0", other()),
            ("auth-gateway:plugin/users@0.2.0", other()),
            ("auth-gateway:plugin/users", other()),
            (
                "auth-gateway:plugin/secrets@0.1.0",
                Import::OtherVersion(vec!["auth-gateway:plugin/secrets@1.0.0"]),
            ),
            ("wasi:config/store@0.2.0-rc.1", Import::Needs(Grant::Config)),
            ("wasi:keyvalue/store@0.2.0-draft", Import::Needs(Grant::KeyValue)),
            (
                "wasi:keyvalue/atomics@0.2.0-draft",
                Import::Needs(Grant::KeyValue),
            ),
            ("wasi:keyvalue/batch@0.2.0-draft", Import::Unknown),
            (
                "wasi:keyvalue/store@0.2.0-draft2",
                Import::OtherVersion(vec!["wasi:keyvalue/store@0.2.0-draft"]),
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
