//! The gateway's side of the interface, for tests that run components in a bare runtime: the test's settings and users,
//! and an empty WASI context.

#![allow(dead_code, reason = "not every test that includes this file uses all of it")]
#![allow(unreachable_pub, reason = "it is a module of each test that includes it")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, Result, StoreLimits};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

pub mod imports {
    wasmtime::component::bindgen!({
        inline: r#"
            package test:examples;
            world imports {
                import auth-gateway:plugin/config@1.0.0;
                import auth-gateway:plugin/key-value@1.0.0;
                import auth-gateway:plugin/users@1.0.0;
            }
        "#,
        path: "../wit",
        additional_derives: [PartialEq],
    });
}

pub mod provider {
    wasmtime::component::bindgen!({
        world: "provider",
        path: "../wit",
        with: { "auth-gateway:plugin/types": crate::host::imports::auth_gateway::plugin::types },
    });
}

use imports::auth_gateway::plugin::{config, key_value, users};

pub use imports::auth_gateway::plugin::types;

/// The host's data.
pub struct Host {
    /// The memory limit, if any.
    pub limits: StoreLimits,
    wasi: WasiCtx,
    table: ResourceTable,
    settings: Vec<(String, String)>,
    users: Vec<types::User>,
    values: Values,
}

/// The guest's stored values, with their lifetimes. Clones share one store, so the next call finds them.
pub type Values = Arc<Mutex<BTreeMap<String, (Vec<u8>, Option<u64>)>>>;

impl Host {
    /// A host with these settings, sorted by name as the interface promises, and these users.
    pub fn new(settings: Vec<(String, String)>, users: Vec<types::User>) -> Self {
        Self {
            limits: StoreLimits::default(),
            wasi: WasiCtx::builder().build(),
            table: ResourceTable::new(),
            settings,
            users,
            values: Values::default(),
        }
    }

    /// The same, with the values of earlier calls.
    pub fn keeping(self, values: &Values) -> Self {
        let values = Arc::clone(values);
        Self { values, ..self }
    }
}

/// Links everything that an example may import to a [`Host`].
pub fn linker(engine: &Engine) -> Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    imports::Imports::add_to_linker::<_, HasSelf<_>>(&mut linker, |host: &mut Host| host)?;
    Ok(linker)
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl config::Host for Host {
    fn get(&mut self, key: String) -> Option<String> {
        self.settings
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.clone())
    }

    fn all(&mut self) -> Vec<(String, String)> {
        self.settings.clone()
    }
}

impl types::Host for Host {}

impl users::Host for Host {
    fn get(&mut self, id: String) -> Option<types::User> {
        self.users.iter().find(|user| user.id == id).cloned()
    }
}

impl key_value::Host for Host {
    fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, key_value::Error> {
        let values = self.values.lock().unwrap();
        Ok(values.get(&key).map(|(value, _)| value.clone()))
    }

    fn set(&mut self, key: String, value: Vec<u8>, lifetime: Option<u64>) -> Result<(), key_value::Error> {
        self.values.lock().unwrap().insert(key, (value, lifetime));
        Ok(())
    }

    fn delete(&mut self, key: String) -> Result<bool, key_value::Error> {
        Ok(self.values.lock().unwrap().remove(&key).is_some())
    }

    fn increment(&mut self, _: String, _: i64) -> Result<i64, key_value::Error> {
        Err(key_value::Error::Unavailable)
    }

    fn compare_and_set(
        &mut self,
        _: String,
        _: Option<Vec<u8>>,
        _: Option<Vec<u8>>,
    ) -> Result<bool, key_value::Error> {
        Err(key_value::Error::Unavailable)
    }

    fn list_keys(
        &mut self,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<Vec<String>, key_value::Error> {
        let values = self.values.lock().unwrap();
        let keys = values.keys().filter(|key| key.starts_with(&prefix));
        let after = |key: &&String| after.as_ref().is_none_or(|after| *key > after);
        Ok(keys.filter(after).take(limit as usize).cloned().collect())
    }
}
