//! The grant `secrets`: what only the plugin and the operator know.

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::v1;
use crate::guest::GuestState;

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    v1::secrets::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)
}

impl v1::secrets::Host for GuestState {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        let secret = self.config.secrets.get(&name);
        Ok(secret.map(|secret| secret.expose().to_owned()))
    }
}
