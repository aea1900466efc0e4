//! What the operator may let a plugin import: one unit a grant, each with the interface it stands for
//! and the function that links it. A plugin's linker has the units that it was granted and no others,
//! so what is not granted is not there to be called.

use std::collections::BTreeSet;

use gateway_model::UserId;
use tracing::Level;
use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};

use crate::Grant;
use crate::bindings::{config, logging, types, users};
use crate::convert;
use crate::guest::GuestState;

/// One grant: its interface in the package `auth-gateway:plugin`, and how it is linked.
struct Unit {
    grant: Grant,
    interface: &'static str,
    link: fn(&mut Linker<GuestState>) -> wasmtime::Result<()>,
}

/// Every grant there is.
const UNITS: &[Unit] = &[
    Unit {
        grant: Grant::Users,
        interface: "users",
        link: link_users,
    },
    Unit {
        grant: Grant::Config,
        interface: "config",
        link: link_config,
    },
    Unit {
        grant: Grant::Logging,
        interface: "logging",
        link: link_logging,
    },
];

/// Longest user id that is looked up; a longer one is nobody's.
const MAX_ID: usize = 256;

/// The grant that an interface of `auth-gateway:plugin` needs; `None` where there is no such interface.
pub(crate) fn for_interface(interface: &str) -> Option<Grant> {
    UNITS
        .iter()
        .find(|unit| unit.interface == interface)
        .map(|unit| unit.grant)
}

/// A linker with WASI's empty context and what has been granted.
///
/// # Errors
/// When a name is taken: a mistake in the gateway.
pub(crate) fn linker(engine: &Engine, granted: &BTreeSet<Grant>) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    crate::wasi::link(&mut linker)?;
    types::add_to_linker::<_, HasSelf<GuestState>>(&mut linker, |state| state)?;
    for unit in UNITS.iter().filter(|unit| granted.contains(&unit.grant)) {
        (unit.link)(&mut linker)?;
    }
    Ok(linker)
}

impl types::Host for GuestState {}

fn link_users(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    users::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)
}

impl users::Host for GuestState {
    async fn get(&mut self, id: String) -> wasmtime::Result<Option<types::User>> {
        if id.len() > MAX_ID {
            return Ok(None);
        }
        // The reason is for the log, as a trap's is. The guest could do nothing with it.
        let user = self.users.lookup(&UserId::from(id)).await.map_err(|reason| {
            wasmtime::Error::msg(format!(
                "the gateway cannot look users up at the moment: {reason}"
            ))
        })?;
        Ok(user.as_ref().map(convert::user))
    }
}

fn link_config(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    config::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)
}

impl config::Host for GuestState {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        Ok(self.settings.get(&key).cloned())
    }

    fn all(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self
            .settings
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect())
    }
}

fn link_logging(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    logging::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)
}

impl logging::Host for GuestState {
    fn log(&mut self, level: logging::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            logging::Level::Debug => Level::DEBUG,
            logging::Level::Info => Level::INFO,
            logging::Level::Warn => Level::WARN,
            logging::Level::Error => Level::ERROR,
        };
        self.log.write(level, "log", &message);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::UNITS;
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
}
