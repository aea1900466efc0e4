//! A bare runtime for the guests, with fuel and a limit on each memory, and none of the plugin host's other defences.
//! The tests show that each guest does its harm, because a harmless guest would not test a defence.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "this is a test, its helpers included"
)]
#![allow(
    missing_docs,
    reason = "the generated bindings have none for what the WIT does not describe"
)]

mod canary;
mod extensions;
mod hostile;
mod providers;

use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{Config, Engine, OptLevel, Result, Store, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

wasmtime::component::bindgen!({
    inline: r#"
        package test:bare;
        world imports {
            import auth-gateway:plugin/config@1.0.0;
            import auth-gateway:plugin/logging@1.0.0;
            import auth-gateway:plugin/users@1.0.0;
        }
    "#,
    path: "../../wit",
    additional_derives: [PartialEq],
});

use auth_gateway::plugin::types::User;
use auth_gateway::plugin::{config, logging, types, users};

/// The host's data.
struct Host {
    wasi: WasiCtx,
    table: ResourceTable,
    limits: StoreLimits,
    settings: Vec<(String, String)>,
    user: Option<User>,
    log: Vec<String>,
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

impl logging::Host for Host {
    fn log(&mut self, level: logging::Level, message: String) {
        if self.log.len() < 1000 {
            self.log.push(format!("{level:?} {message}"));
        }
    }
}

impl types::Host for Host {}

impl users::Host for Host {
    fn get(&mut self, id: String) -> Option<User> {
        self.user.clone().filter(|user| user.id == id)
    }
}

/// A loaded guest.
struct Guest {
    component: Component,
    linker: Linker<Host>,
}

impl Guest {
    fn load(wasm: &[u8]) -> Result<Self> {
        Self::compile(wasm, OptLevel::Speed)
    }

    fn compile(wasm: &[u8], level: OptLevel) -> Result<Self> {
        let mut config = Config::new();
        config.consume_fuel(true).cranelift_opt_level(level);
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
        Imports::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host)?;
        Ok(Self {
            component: Component::from_binary(&engine, wasm)?,
            linker,
        })
    }

    /// A store with 10^9 of fuel and 16 MiB for each memory.
    fn store(&self) -> Store<Host> {
        let host = Host {
            wasi: WasiCtx::builder().build(),
            table: ResourceTable::new(),
            limits: StoreLimitsBuilder::new()
                .memory_size(16 << 20)
                .table_elements(100_000)
                .build(),
            settings: Vec::new(),
            user: None,
            log: Vec::new(),
        };
        let mut store = Store::new(self.component.engine(), host);
        store.limiter(|host| &mut host.limits);
        store.set_fuel(1_000_000_000).expect("fuel is on");
        store
    }
}
