//! The grant `config`: the plugin's own settings.

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::v1;
use crate::guest::GuestState;

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    v1::config::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)
}

impl v1::config::Host for GuestState {
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
