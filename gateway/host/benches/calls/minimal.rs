//! A host that does nothing but call: the cost of wasmtime alone for a call that has fuel and a deadline,
//! in an instance from the pool. It provides the role provider's imports, in the simplest way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use self::bindings::auth_gateway::plugin::{config, types, users};
use crate::{Cost, SERVICE, SETTINGS, USER};

const FUEL: u64 = 100_000_000;
const TICK: Duration = Duration::from_millis(5);
/// Ticks until a call ends: half a second.
const DEADLINE: u64 = 100;

/// Calls that wait for their guest.
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package bench:host;

            world minimal {
                import auth-gateway:plugin/types@1.0.0;
                import auth-gateway:plugin/config@1.0.0;
                import auth-gateway:plugin/users@1.0.0;
                export auth-gateway:plugin/permission-provider@1.0.0;
            }
        ",
    });
}

/// Calls on a separate stack, which can be left in the middle.
mod on_fibers {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package bench:host;

            world minimal {
                import auth-gateway:plugin/types@1.0.0;
                import auth-gateway:plugin/config@1.0.0;
                import auth-gateway:plugin/users@1.0.0;
                export auth-gateway:plugin/permission-provider@1.0.0;
            }
        ",
        exports: { default: async },
        with: {
            "auth-gateway:plugin/types@1.0.0": super::bindings::auth_gateway::plugin::types,
            "auth-gateway:plugin/config@1.0.0": super::bindings::auth_gateway::plugin::config,
            "auth-gateway:plugin/users@1.0.0": super::bindings::auth_gateway::plugin::users,
        },
    });
}

/// How guests are called.
#[derive(Clone, Copy)]
pub(crate) enum Lane {
    Sync,
    Async,
}

/// One component, ready to be instantiated.
pub(crate) struct Minimal {
    engine: Engine,
    in_place: bindings::MinimalPre<State>,
    on_fibers: on_fibers::MinimalPre<State>,
    runtime: Runtime,
    user: Arc<types::User>,
}

struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    user: Arc<types::User>,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl types::Host for State {}

impl config::Host for State {
    fn get(&mut self, key: String) -> Option<String> {
        let setting = SETTINGS.iter().find(|(name, _)| *name == key);
        setting.map(|(_, value)| (*value).to_owned())
    }

    fn all(&mut self) -> Vec<(String, String)> {
        let settings = SETTINGS.iter();
        settings
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }
}

impl users::Host for State {
    fn get(&mut self, id: String) -> Option<types::User> {
        (self.user.id == id).then(|| (*self.user).clone())
    }
}

impl Minimal {
    /// Compiles the component. `keep_resident`: as many bytes at the start of each memory are wiped in place
    /// after a call.
    pub(crate) fn new(component: &[u8], keep_resident: usize) -> Result<Self> {
        let engine = engine(keep_resident)?;
        let component = Component::new(&engine, component)?;
        let mut linker = Linker::<State>::new(&engine);
        types::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
        config::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
        users::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
        let mut in_place = linker.clone();
        wasmtime_wasi::p2::add_to_linker_sync(&mut in_place)?;
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        Ok(Self {
            in_place: bindings::MinimalPre::new(in_place.instantiate_pre(&component)?)?,
            on_fibers: on_fibers::MinimalPre::new(linker.instantiate_pre(&component)?)?,
            engine,
            runtime: Builder::new_current_thread().build()?,
            user: Arc::new(types::User {
                id: USER.to_owned(),
                username: None,
                name: "Ann".to_owned(),
                email: None,
                email_trusted: false,
                avatar_url: None,
                identities: Vec::new(),
                joined: 0,
                attributes: Vec::new(),
            }),
        })
    }

    /// Makes `calls` calls, each of which creates its instance.
    pub(crate) fn fresh(&self, lane: Lane, calls: usize) -> Result<Vec<Cost>> {
        match lane {
            Lane::Sync => (0..calls).map(|_| self.call_fresh()).collect(),
            Lane::Async => self.runtime.block_on(async {
                let mut costs = Vec::with_capacity(calls);
                for _ in 0..calls {
                    costs.push(self.call_fresh_async().await?);
                }
                Ok(costs)
            }),
        }
    }

    /// Makes `calls` calls in instances that are created before the measurement starts.
    pub(crate) fn prepared(&self, lane: Lane, calls: usize) -> Result<Vec<Cost>> {
        match lane {
            Lane::Sync => (0..calls).map(|_| self.call_prepared()).collect(),
            Lane::Async => self.runtime.block_on(async {
                let mut costs = Vec::with_capacity(calls);
                for _ in 0..calls {
                    costs.push(self.call_prepared_async().await?);
                }
                Ok(costs)
            }),
        }
    }

    fn store(&self) -> Result<Store<State>> {
        let mut store = Store::new(
            &self.engine,
            State {
                wasi: WasiCtxBuilder::new().build(),
                table: ResourceTable::new(),
                user: Arc::clone(&self.user),
            },
        );
        store.set_fuel(FUEL)?;
        store.set_epoch_deadline(DEADLINE);
        Ok(store)
    }

    fn call_fresh(&self) -> Result<Cost> {
        let begun = Instant::now();
        let mut store = self.store()?;
        let guest = self.in_place.instantiate(&mut store)?;
        finish(begun, store, |store| {
            let provider = guest.auth_gateway_plugin_permission_provider();
            Ok(provider.call_get_permissions(store, SERVICE, USER)?.is_ok())
        })
    }

    fn call_prepared(&self) -> Result<Cost> {
        let mut store = self.store()?;
        let guest = self.in_place.instantiate(&mut store)?;
        finish(Instant::now(), store, |store| {
            let provider = guest.auth_gateway_plugin_permission_provider();
            Ok(provider.call_get_permissions(store, SERVICE, USER)?.is_ok())
        })
    }

    async fn call_fresh_async(&self) -> Result<Cost> {
        let begun = Instant::now();
        let mut store = self.store()?;
        let guest = self.on_fibers.instantiate_async(&mut store).await?;
        let provider = guest.auth_gateway_plugin_permission_provider();
        let answer = provider.call_get_permissions(&mut store, SERVICE, USER).await?;
        finish(begun, store, |_| Ok(answer.is_ok()))
    }

    async fn call_prepared_async(&self) -> Result<Cost> {
        let mut store = self.store()?;
        let guest = self.on_fibers.instantiate_async(&mut store).await?;
        let begun = Instant::now();
        let provider = guest.auth_gateway_plugin_permission_provider();
        let answer = provider.call_get_permissions(&mut store, SERVICE, USER).await?;
        finish(begun, store, |_| Ok(answer.is_ok()))
    }
}

/// The cost of a call, until its answer and until everything is released.
fn finish(
    begun: Instant,
    mut store: Store<State>,
    call: impl FnOnce(&mut Store<State>) -> Result<bool>,
) -> Result<Cost> {
    let is_answer = call(&mut store)?;
    let answer = begun.elapsed();
    drop(store);
    let held = begun.elapsed();
    wasmtime::ensure!(is_answer, "the provider has no answer");
    Ok(Cost { answer, held })
}

/// Has the gateway's settings where they decide what a call costs, but only a few slots.
fn engine(keep_resident: usize) -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(4)
        .total_stacks(4)
        .total_core_instances(4 * 64)
        .max_core_instances_per_component(64)
        .total_memories(4 * 4)
        .max_memories_per_component(4)
        .max_memory_size(1 << 32)
        .total_tables(4 * 16)
        .max_tables_per_component(16)
        .table_elements(100_000)
        .linear_memory_keep_resident(keep_resident)
        .table_keep_resident(16 << 10)
        .pagemap_scan(Enabled::No);
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(1 << 20)
        .async_stack_size(2 << 20)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&config)?;
    let weak = engine.weak();
    std::thread::spawn(move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    });
    Ok(engine)
}
