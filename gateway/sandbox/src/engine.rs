//! The wasmtime engine: what code may do, how much there may be of it at once, and the ticks that
//! interrupt it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use wasmparser::{Parser, Payload};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::error::EngineError;

/// How often guests are interrupted, so that they share the guest threads fairly, leave the processor to whoever is
/// waiting for it, and their deadline is looked at.
const BUSY_TICK: Duration = Duration::from_micros(500);
/// The same while there are none: the first tick of one that comes then may be that late.
pub const TICK: Duration = Duration::from_millis(5);

/// Guests that run, or wait for something, in this process.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// A guest runs until this is dropped.
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

/// Most calls that are inside a component at once, over all plugins: as many as [`queue`](crate::queue) may have slots.
pub const MAX_INSTANCES: u32 = 96;
/// Most trial calls at once. They take no slot from those of callers.
pub const MAX_TRIALS: u32 = 4;
/// Most of them that may be in one plugin, so that one that sleeps or spins leaves room for the others.
pub const MAX_INSTANCES_OF_ONE: u32 = 16;
/// Most instances that are made ahead of need, over all plugins.
pub const MAX_PREPARED: usize = 64;

/// What the pool has room for: instances inside a call, and those that wait for theirs.
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
/// Bytes at the start of each memory that are wiped in place after a call, for guests with as much data at most: those
/// that are compiled, JavaScript's and Python's interpreters. Where the stack is small, all of a compiled guest fits.
const KEEP_RESIDENT: [usize; 3] = [192 << 10, 8 << 20, 32 << 20];
/// The largest memory that any plugin may be given, whatever its limits say: 4 GiB, a 32-bit guest's own.
const MAX_MEMORY: usize = 1 << 32;

/// The engines that guests run in, the same but for how much of a memory is wiped in place after a call. That is set
/// for an engine, and what is best for a guest depends on how much data it begins with: an interpreter writes to most
/// of its own, and a page that was given back is faulted in and copied again at the next call.
pub struct Engines {
    pooled: bool,
    /// By [`KEEP_RESIDENT`]. Those of larger guests are started when one comes.
    started: Mutex<BTreeMap<usize, Engine>>,
    usual: Engine,
}

impl Engines {
    /// Starts the one that most guests run in.
    ///
    /// # Errors
    /// When the configuration does not fit this machine, or no thread can be started.
    pub fn start() -> Result<Self, EngineError> {
        Self::starting(true)
    }

    /// The same without slots: each instance maps memory of its own. It needs little address space.
    ///
    /// # Errors
    /// As for [`Engines::start`].
    pub fn start_without_pool() -> Result<Self, EngineError> {
        Self::starting(false)
    }

    fn starting(pooled: bool) -> Result<Self, EngineError> {
        let [usual, ..] = KEEP_RESIDENT;
        Ok(Self {
            pooled,
            started: Mutex::default(),
            usual: start(pooled, usual)?,
        })
    }

    /// One of them: what is compiled for one is compiled for all.
    pub const fn usual(&self) -> &Engine {
        &self.usual
    }

    /// How many bytes of a memory an engine wipes in place after a call, and so keeps.
    pub fn kept(&self, engine: &Engine) -> usize {
        let started = self.started.lock();
        let size = started
            .iter()
            .find_map(|(size, started)| Engine::same(started, engine).then_some(*size));
        size.unwrap_or(KEEP_RESIDENT[0])
    }

    /// The one for a component.
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
                tracing::warn!(%error, "a large plugin runs in the engine of small ones, slower than it could");
                self.usual.clone()
            }
        }
    }
}

/// Bytes of data that a component's memories begin with. One that cannot be read to its end is not admitted anyway.
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
    let engine = Engine::new(config().allocation_strategy(allocation))
        .map_err(|error| EngineError::Engine(format!("{error:#}")))?;
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

/// An engine that compiles for those of [`Engines`], and runs nothing: it reserves no address space,
/// of which its process has little.
///
/// # Errors
/// When the configuration does not fit this machine.
pub fn compiler() -> Result<Engine, EngineError> {
    Engine::new(config().allocation_strategy(InstanceAllocationStrategy::OnDemand))
        .map_err(|error| EngineError::Engine(format!("{error:#}")))
}

/// What the engine accepts and how it runs it.
fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .memory_init_cow(true)
        // Interpreters recurse; a fiber's stack must hold that and the host's own frames.
        .max_wasm_stack(1 << 20)
        .async_stack_size(2 << 20)
        // No guest toolchain of ours needs these, and each is code that a hostile component could reach.
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

/// The slots that instances are made in: enough that `POOL` components of the largest shape
/// fit at once, so that the pool never refuses what the semaphores let in. Slots are address space,
/// not memory, until a guest writes to them.
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
        // Wiping this much by hand is cheaper than giving the pages back and faulting them in again, which
        // also interrupts every other thread.
        .linear_memory_keep_resident(keep_resident)
        .table_keep_resident(16 << 10)
        .max_unused_warm_slots(POOL)
        // Has had isolation bugs, as have protection keys, which are not compiled in.
        .pagemap_scan(Enabled::No);
    pool
}

#[cfg(test)]
mod tests {
    use wasmtime::Engine;
    use wasmtime::component::Component;

    use super::{Engines, KEEP_RESIDENT};

    #[test]
    fn what_compiles_and_what_runs_fit() {
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
    fn guests_with_as_much_data_share_an_engine() {
        let engines = Engines::start().unwrap();
        let of = |bytes: usize| engines.of(&with_data(&vec![b'x'; bytes]));
        assert!(Engine::same(&of(0), engines.usual()) && Engine::same(&of(100 << 10), engines.usual()));
        assert!(!Engine::same(&of(1 << 20), engines.usual()));
        assert!(Engine::same(&of(1 << 20), &of(2 << 20)));
        assert!(!Engine::same(&of(1 << 20), &of(9 << 20)));
        assert!(Engine::same(&of(9 << 20), &of(33 << 20)));
        assert!(Engine::same(&engines.of(b"no component"), engines.usual()));
        let engines = Engines::start_without_pool().unwrap();
        assert!(Engine::same(
            &engines.of(&with_data(&[b'x'; 1 << 20])),
            engines.usual()
        ));
    }

    #[test]
    fn proposals_that_no_plugin_needs_are_refused() {
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
