//! The wasmtime engines: which instructions they accept, how many instances they hold, and the ticks that interrupt
//! guests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use wasmparser::{Parser, Payload};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::error::EngineError;

/// How often guests are interrupted, so that they share the guest threads fairly, leave the processor to threads that
/// wait for it, and stop at their deadline.
const BUSY_TICK: Duration = Duration::from_micros(500);
/// The interval while no guest runs. The first tick of the next guest can be this late.
pub const TICK: Duration = Duration::from_millis(5);

/// Guests in this process that run or wait.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Counts a guest in [`RUNNING`] until it is dropped.
pub(crate) struct Running(());

impl Running {
    pub(crate) fn begin() -> Self {
        RUNNING.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Most calls of all plugins that are inside a component at the same time. The host's queue has as many slots.
pub const MAX_INSTANCES: u32 = 96;
/// Most trial calls at the same time. They have their own slots.
pub const MAX_TRIALS: u32 = 4;
/// Most calls of one plugin, so that a plugin that sleeps or spins leaves room for the others.
pub const MAX_INSTANCES_OF_ONE: u32 = 16;
/// Most instances of all plugins that are prepared in advance.
pub const MAX_PREPARED: usize = 64;

/// Instances in the pool: those inside a call, and those prepared for one.
#[expect(clippy::cast_possible_truncation, reason = "it is a small constant")]
const POOL: u32 = MAX_INSTANCES + MAX_TRIALS + MAX_PREPARED as u32;

/// Most core instances (modules, adapters, glue) in one component.
pub const MAX_CORE_INSTANCES: u32 = 64;
/// Most linear memories in one component.
pub const MAX_MEMORIES: u32 = 16;
/// Most tables in one component.
pub const MAX_TABLES: u32 = 16;
/// Most elements in one table. Interpreters compiled to wasm need tens of thousands.
const MAX_TABLE_ELEMENTS: usize = 100_000;
/// Bytes at the start of each memory that are wiped in place after a call, for guests with at most this much data:
/// compiled guests, JavaScript's interpreter and Python's. A compiled guest with a small stack fits completely.
const KEEP_RESIDENT: [usize; 3] = [192 << 10, 8 << 20, 32 << 20];
/// The largest possible memory of a 32-bit guest, whatever the plugin's limits are.
const MAX_MEMORY: usize = 1 << 32;

/// The engines that guests run in. They differ only in how much of a memory is wiped in place after a call, which is a
/// setting of the engine. The best value depends on the guest's initial data: an interpreter writes to most of it, and
/// every page that was returned to the kernel must be faulted in and copied again in the next call.
pub struct Engines {
    pooled: bool,
    /// By [`KEEP_RESIDENT`]. The engines for larger guests start when they are first needed.
    started: Mutex<BTreeMap<usize, Engine>>,
    usual: Engine,
}

impl Engines {
    /// Starts the engine that most guests run in.
    ///
    /// # Errors
    /// If the machine does not support the configuration, or no thread can be started.
    pub fn start() -> Result<Self, EngineError> {
        Self::starting(true)
    }

    /// The same, or without a pool: then each instance maps its own memory, and the engine needs little address space.
    ///
    /// # Errors
    /// As for [`Engines::start`].
    pub fn starting(pooled: bool) -> Result<Self, EngineError> {
        let [usual, ..] = KEEP_RESIDENT;
        Ok(Self {
            pooled,
            started: Mutex::default(),
            usual: start(pooled, usual)?,
        })
    }

    /// The engine that most guests run in. Code compiled for it runs in the others too.
    pub const fn usual(&self) -> &Engine {
        &self.usual
    }

    /// How many bytes of a memory an engine wipes in place after a call, and therefore keeps in RAM.
    pub fn kept(&self, engine: &Engine) -> usize {
        let started = self.started.lock();
        let size = started
            .iter()
            .find_map(|(size, started)| Engine::same(started, engine).then_some(*size));
        size.unwrap_or(KEEP_RESIDENT[0])
    }

    /// Returns the engine for a component, and starts it if necessary.
    pub fn of(&self, component: &[u8]) -> Engine {
        let data = data_size(component);
        let [usual, .., largest] = KEEP_RESIDENT;
        let size = KEEP_RESIDENT
            .into_iter()
            .find(|size| data <= *size)
            .unwrap_or(largest);
        if size == usual || !self.pooled {
            return self.usual.clone();
        }
        let mut started = self.started.lock();
        if let Some(engine) = started.get(&size) {
            return engine.clone();
        }
        match start(self.pooled, size) {
            Ok(engine) => {
                started.insert(size, engine.clone());
                engine
            }
            Err(error) => {
                tracing::warn!(%error, "cannot start the engine for large plugins; this one runs slower, in the usual engine");
                self.usual.clone()
            }
        }
    }
}

/// Bytes of initial data in a component's memories. A component that cannot be parsed is not admitted anyway.
fn data_size(component: &[u8]) -> usize {
    Parser::new(0)
        .parse_all(component)
        .map_while(Result::ok)
        .map(|payload| match payload {
            Payload::DataSection(data) => data.range().len(),
            _ => 0,
        })
        .sum()
}

/// Builds an engine and starts the thread that ticks for as long as the engine lives.
fn start(pooled: bool, keep_resident: usize) -> Result<Engine, EngineError> {
    let allocation = if pooled {
        InstanceAllocationStrategy::Pooling(pool(keep_resident))
    } else {
        InstanceAllocationStrategy::OnDemand
    };
    let engine = engine(allocation)?;
    let weak = engine.weak();
    thread::Builder::new()
        .name("guest-ticks".to_owned())
        .spawn(move || {
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                drop(engine);
                let idle = RUNNING.load(Ordering::Relaxed) == 0;
                thread::sleep(if idle { TICK } else { BUSY_TICK });
            }
        })
        .map_err(EngineError::Thread)?;
    Ok(engine)
}

/// An engine that compiles for [`Engines`] but runs nothing. It reserves no address space, because the compiler's
/// process has little.
///
/// # Errors
/// If the machine does not support the configuration.
pub fn compiler() -> Result<Engine, EngineError> {
    engine(InstanceAllocationStrategy::OnDemand)
}

fn engine(allocation: InstanceAllocationStrategy) -> Result<Engine, EngineError> {
    Engine::new(config().allocation_strategy(allocation))
        .map_err(|error| EngineError::Engine(format!("{error:#}")))
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .memory_init_cow(true)
        // Interpreters recurse. A fiber's stack must hold their frames and the host's.
        .max_wasm_stack(1 << 20)
        .async_stack_size(2 << 20)
        // No supported toolchain needs these proposals, and a hostile component could reach the code behind each.
        .wasm_threads(false)
        .shared_memory(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .wasm_stack_switching(false);
    config
}

/// Slots for `POOL` components of the largest shape, so that the pool never rejects what the semaphores admit. A slot
/// is address space, and takes no memory until a guest writes to it.
fn pool(keep_resident: usize) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(POOL)
        .total_stacks(POOL)
        .total_gc_heaps(POOL)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .total_core_instances(POOL * MAX_CORE_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_memories_per_module(MAX_MEMORIES)
        .total_memories(POOL * MAX_MEMORIES)
        .max_memory_size(MAX_MEMORY)
        .max_tables_per_component(MAX_TABLES)
        .max_tables_per_module(MAX_TABLES)
        .total_tables(POOL * MAX_TABLES)
        .table_elements(MAX_TABLE_ELEMENTS)
        // Wiping these bytes is cheaper than returning the pages and faulting them in again, which also interrupts
        // every other thread.
        .linear_memory_keep_resident(keep_resident)
        .table_keep_resident(16 << 10)
        .max_unused_warm_slots(POOL)
        // Both this and protection keys, which are not compiled in, had isolation bugs.
        .pagemap_scan(Enabled::No);
    pool
}

#[cfg(test)]
mod tests {
    use wasmtime::Engine;
    use wasmtime::component::Component;

    use super::{Engines, KEEP_RESIDENT};

    #[test]
    fn compiled_code_runs_in_every_engine() {
        let (engines, compiles) = (Engines::start().unwrap(), super::compiler().unwrap());
        let hash = |engine: &wasmtime::Engine| {
            use std::hash::{DefaultHasher, Hash, Hasher};
            let mut hasher = DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        let most_data = vec![b'x'; KEEP_RESIDENT[2]];
        for engine in [engines.usual().clone(), engines.of(&with_data(&most_data))] {
            assert_eq!(hash(&engine), hash(&compiles));
        }
    }

    fn with_data(data: &[u8]) -> Vec<u8> {
        let text = String::from_utf8(data.to_vec()).unwrap();
        let module = format!("(module (memory 1024) (data (i32.const 0) {text:?}))");
        wat::parse_str(module.replacen("(module", "(component (core module", 1) + ")").unwrap()
    }

    #[test]
    fn guests_of_similar_size_share_an_engine() {
        let engines = Engines::start().unwrap();
        let of = |bytes: usize| engines.of(&with_data(&vec![b'x'; bytes]));
        assert!(Engine::same(&of(0), engines.usual()) && Engine::same(&of(100 << 10), engines.usual()));
        assert!(!Engine::same(&of(1 << 20), engines.usual()));
        assert!(Engine::same(&of(1 << 20), &of(2 << 20)));
        assert!(!Engine::same(&of(1 << 20), &of(9 << 20)));
        assert!(Engine::same(&of(9 << 20), &of(33 << 20)));
        assert!(Engine::same(&engines.of(b"no component"), engines.usual()));
        let engines = Engines::starting(false).unwrap();
        assert!(Engine::same(
            &engines.of(&with_data(&[b'x'; 1 << 20])),
            engines.usual()
        ));
    }

    #[test]
    fn unneeded_proposals_are_rejected() {
        let engine = Engines::start().unwrap().usual().clone();
        for (proposal, module) in [
            ("threads", "(module (memory 1 1 shared))"),
            ("gc", "(module (type (struct (field i32))))"),
            ("exceptions", "(module (tag (param i32)))"),
            ("memory64", "(module (memory i64 1))"),
            (
                "relaxed simd",
                "(module (func (param v128 v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 1))))",
            ),
        ] {
            let text = module.replacen("(module", "(component (core module", 1) + ")";
            let component = wat::parse_str(text).unwrap();
            assert!(Component::new(&engine, component).is_err(), "{proposal}");
        }
        let harmless = wat::parse_str("(component (core module (memory 1)))").unwrap();
        assert!(Component::new(&engine, harmless).is_ok());
    }
}
