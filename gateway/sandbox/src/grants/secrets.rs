//! The grant `secrets`: the plugin's own secrets.

use wasmtime::component::HasSelf;

use self::wit::secrets;
use super::linker::Definition;
use crate::guest::GuestState;

/// Generated from `wit/secrets.wit`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod wit {
    wasmtime::component::bindgen!({
        path: "../../wit",
        interfaces: "import auth-gateway:plugin/secrets@1.0.0;",
        imports: { default: trappable },
    });
    pub(super) use self::auth_gateway::plugin::secrets;
}

pub(super) const DEFINITION: Definition = Definition {
    name: "secrets",
    imports: &["auth-gateway:plugin/secrets@1.0.0"],
    wit: Some(include_str!("../../../../wit/secrets.wit")),
    link: |linker| secrets::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state),
};

impl secrets::Host for GuestState {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        let secret = self.config.secrets.get(&name);
        Ok(secret.map(|secret| secret.expose().to_owned()))
    }
}
