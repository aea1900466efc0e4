//! The grant `config`: the plugin's own settings.

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::v1;
use crate::bindings::wasi_config::store::{self, Error};
use crate::guest::GuestState;

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    v1::config::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)?;
    store::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)
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

impl store::Host for GuestState {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, Error>> {
        v1::config::Host::get(self, key).map(Ok)
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, Error>> {
        v1::config::Host::all(self).map(Ok)
    }
}
