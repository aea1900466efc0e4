//! The grant `config`: the plugin's own settings.

use wasmtime::component::HasSelf;

use self::wit::config;
use super::linker::Definition;
use crate::guest::GuestState;

/// Generated from `wit/config.wit`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod wit {
    wasmtime::component::bindgen!({
        path: "../../wit",
        interfaces: "import auth-gateway:plugin/config@1.0.0;",
        imports: { default: trappable },
    });
    pub(super) use self::auth_gateway::plugin::config;
}

pub(super) const DEFINITION: Definition = Definition {
    name: "config",
    imports: &["auth-gateway:plugin/config@1.0.0"],
    wit: Some(include_str!("../../../../wit/config.wit")),
    link: |linker| config::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state),
};

impl config::Host for GuestState {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        Ok(self.config.settings.get(&key).cloned())
    }

    fn all(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self
            .config
            .settings
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect())
    }
}
