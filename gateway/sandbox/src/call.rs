//! One call of a component: create a store with limits, instantiate the component, call the function, and say in words
//! what went wrong. Guests run nowhere else.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout_at};
use wasmtime::component::Instance;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::engine::{Running, TICK};
use crate::error::CallError;
use crate::exports::{Exports, Function};
use crate::guest::{GuestState, HostServices};
use crate::limiter::Taken;
use crate::log::GuestLog;
use crate::program::Program;
use crate::text::{grouped, printable};
use crate::trace::Trace;
use crate::{Grant, values};

/// Most entries in the component model's resource tables during one call.
const MAX_HANDLES: usize = 10_000;
/// Bytes that the host may copy per permission or attribute, in addition to its texts.
const ITEM_BYTES: usize = 64;
/// Bytes that the host may copy out of a guest even if the answer must be smaller: for log lines and writes.
const MIN_COPY: usize = 64 << 10;
/// Longest reason of a trap, in bytes.
const MAX_REASON: usize = 500;

/// Calls a function of an instance. The result is not yet checked.
pub type Invoke<T> = Box<
    dyn for<'a> FnOnce(
            &'a mut Store<GuestState>,
            &'a Instance,
            &'a Exports,
        ) -> BoxFuture<'a, wasmtime::Result<T>>
        + Send,
>;

/// The cost of a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Time in the component, including instantiation.
    pub time: Duration,
    /// Units of fuel.
    pub fuel: u64,
    /// Bytes of memories and tables at the end of the call.
    pub memory: usize,
    /// Messages dropped because they exceeded the limit of the call or the plugin.
    pub log_dropped: u64,
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}{trace}")]
pub struct Failure {
    /// The error.
    pub error: CallError,
    /// The guest's functions that were running, and its last words on stderr.
    pub trace: Box<Trace>,
    /// The whole stack, for the log.
    pub stack: Option<String>,
}

impl From<CallError> for Failure {
    /// A failure outside the guest's code.
    fn from(error: CallError) -> Self {
        Self {
            error,
            trace: Box::default(),
            stack: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("deadline exceeded")]
struct DeadlineExceeded;

/// An instance without a call yet. The fuel and time that its start used do not count against the call.
pub struct Prepared {
    store: Store<GuestState>,
    instance: Instance,
}

/// The name of an instance's start in the log.
const START_UP: &str = "start-up";

/// Makes an instance before `deadline`, with a budget as large as a call's. Dropping the future stops the guest at its
/// next tick.
///
/// Must be polled on a guest thread.
///
/// # Errors
/// If the guest's start fails or takes too long.
pub async fn prepare(
    program: &Program,
    services: HostServices,
    deadline: Instant,
) -> wasmtime::Result<Prepared> {
    let _running = Running::begin();
    let mut store = store(program, services);
    let instance = start(&mut store, program, deadline).await?;
    program.seen_memory(store.data().limiter.taken().used);
    Ok(Prepared { store, instance })
}

/// A store with all limits except fuel and time, which [`allow`] sets.
fn store(program: &Program, services: HostServices) -> Store<GuestState> {
    let limits = &program.config.limits;
    let log = GuestLog::new(
        Arc::clone(&program.plugin),
        START_UP,
        limits.log_bytes,
        Arc::clone(&program.log_rate),
        services.transcript.clone(),
    );
    let mut store = Store::new(
        program.pre.engine(),
        GuestState::new(
            &program.plugin,
            &program.config,
            program.memory.clone(),
            log,
            services,
        ),
    );
    // Set before instantiation, because a start function is guest code.
    store.limiter(|state| &mut state.limiter);
    store.set_max_component_handles(MAX_HANDLES);
    store
}

/// Sets a store's fuel, its deadline, and the number of bytes that the host may copy.
fn allow(store: &mut Store<GuestState>, program: &Program, deadline: Instant) -> wasmtime::Result<()> {
    let limits = &program.config.limits;
    // defence: copies-for-a-guest-are-limited (a test fails without it: docs/defences.md)
    store.set_hostcall_fuel(
        limits
            .result_bytes
            .saturating_add(limits.result_items.saturating_mul(ITEM_BYTES))
            .max(MIN_COPY)
            .max(values::bytes_copied(&program.config)),
    );
    store.set_epoch_deadline(1);
    // defence: deadline-stops-computing-guests (a test fails without it: docs/defences.md)
    store.epoch_deadline_callback(move |_| {
        // Lets other threads of this processor run first, above all I/O threads. The kernel alone would let a thread
        // that computes continue for milliseconds.
        std::thread::yield_now();
        if Instant::now() >= deadline {
            Err(DeadlineExceeded.into())
        } else {
            Ok(UpdateDeadline::Yield(1))
        }
    });
    // defence: every-call-has-fuel (a test fails without it: docs/defences.md)
    store.set_fuel(limits.fuel)
}

async fn start(
    store: &mut Store<GuestState>,
    program: &Program,
    deadline: Instant,
) -> wasmtime::Result<Instance> {
    allow(store, program, deadline)?;
    within(deadline, program.pre.instantiate_async(store)).await
}

/// Stops a guest that waits. The epoch callback stops one that computes, and knows where it was.
async fn within<T>(
    deadline: Instant,
    work: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    let mut work = pin!(work);
    // Nearly all guests finish without waiting for anything, and need no timer.
    if let Poll::Ready(done) = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
        return done;
    }
    // defence: deadline-stops-waiting-guests (a test fails without it: docs/defences.md)
    timeout_at(deadline + 2 * TICK, work)
        .await
        .unwrap_or_else(|_| Err(DeadlineExceeded.into()))
}

/// Calls a function in the prepared instance, or in a fresh one, before `deadline`. Dropping the future stops the call
/// at the guest's next tick.
///
/// Must be polled on a guest thread, because a guest computes for a tick before it yields.
pub async fn run<T>(
    program: &Program,
    function: Function,
    services: HostServices,
    deadline: Instant,
    prepared: Option<Prepared>,
    invoke: Invoke<T>,
) -> (Result<T, Failure>, Usage) {
    let _running = Running::begin();
    let started = Instant::now();
    let limits = &program.config.limits;
    // defence: every-call-has-a-fresh-instance (a test fails without it: docs/defences.md)
    let (mut store, instance) = match prepared {
        Some(Prepared { store, instance }) => (store, Ok(instance)),
        None => {
            let mut store = store(program, services);
            let instance = start(&mut store, program, deadline).await;
            (store, instance)
        }
    };
    let outcome = match instance.and_then(|instance| {
        store.data_mut().begin(function.name());
        allow(&mut store, program, deadline).map(|()| instance)
    }) {
        Ok(instance) => within(deadline, invoke(&mut store, &instance, &program.exports)).await,
        Err(error) => Err(error),
    };
    let state = store.data();
    let (taken, log) = (state.limiter.taken(), state.log.clone());
    program.seen_memory(taken.used);
    let mut usage = Usage {
        time: started.elapsed(),
        fuel: limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0)),
        memory: taken.used,
        log_dropped: 0,
    };
    // Dropping a stream writes its last line, if that line has no line ending.
    // defence: instance-ends-with-its-call (a test fails without it: docs/defences.md)
    drop(store);
    usage.log_dropped = log.dropped();
    let result = outcome.map_err(|error| Failure {
        stack: error
            .downcast_ref::<WasmBacktrace>()
            .map(|trace| printable_stack(&trace.to_string())),
        trace: Box::new(Trace::of(&error, &log)),
        error: classify(program, function, &error, taken),
    });
    (result, usage)
}

fn classify(program: &Program, function: Function, error: &wasmtime::Error, taken: Taken) -> CallError {
    let (plugin, function) = (program.plugin.to_string(), function.name());
    let limits = &program.config.limits;
    let trap = error.downcast_ref::<Trap>();
    if error.is::<DeadlineExceeded>() {
        return CallError::DeadlineExceeded {
            plugin,
            function,
            deadline: limits.deadline,
        };
    }
    if trap == Some(&Trap::OutOfFuel) {
        return CallError::OutOfFuel {
            plugin,
            function,
            fuel: limits.fuel,
        };
    }
    if let (Some(_), true, Some(share)) = (taken.denied, taken.crowded, &program.memory) {
        return CallError::Crowded {
            plugin,
            memory: share.most(),
        };
    }
    if let Some(wanted) = taken.denied {
        return CallError::OutOfMemory {
            plugin,
            function,
            memory: limits.memory,
            used: taken.used,
            wanted,
        };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return CallError::Overloaded { plugin };
    }
    let cause = error.root_cause().to_string();
    // The type of this error is private in wasmtime.
    if cause.contains("fuel allocated for hostcalls") {
        let mut reason = format!(
            "it passed the gateway more than {} bytes or {} items",
            grouped(limits.result_bytes as u64),
            grouped(limits.result_items as u64)
        );
        if program.config.grants.contains(&Grant::KeyValue) {
            reason += &format!(
                ", or values of more than {} bytes",
                grouped(limits.value_bytes as u64)
            );
        }
        return CallError::InvalidAnswer {
            plugin,
            function,
            reason,
        };
    }
    let reason = match (error.downcast_ref::<I32Exit>(), trap) {
        (Some(I32Exit(code)), _) => format!("it called exit({code})"),
        (None, Some(Trap::UnreachableCodeReached)) => {
            "it reached `unreachable`: a panic, an abort or a failed assertion".to_owned()
        }
        (None, Some(trap)) => trap.to_string().trim_start_matches("wasm trap: ").to_owned(),
        (None, None) => cause,
    };
    CallError::Trap {
        plugin,
        function,
        reason: printable(&reason, MAX_REASON),
    }
}

/// A guest's stack for the log. Function names come from the guest; only we write line breaks.
fn printable_stack(stack: &str) -> String {
    let lines: Vec<_> = stack
        .lines()
        .take(40)
        .map(|line| printable(line.trim(), 200))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;
    use wasmtime::component::Component;

    use super::{Invoke, MAX_HANDLES, run};
    use crate::exports::{Exports, Function};
    use crate::guest::{HostServices, MAX_RESOURCES, invented_user};
    use crate::program::Program;
    use crate::{CallError, PluginConfig, grants};

    /// Starts a component whose start function is `code`. There, `$make` makes a resource.
    async fn start(code: &str) -> Result<(), CallError> {
        call(code, Box::new(|_, _, _| Box::pin(async { Ok(()) }))).await
    }

    /// The same, and then runs `invoke`.
    async fn call<T>(code: &str, invoke: Invoke<T>) -> Result<T, CallError> {
        let engine = crate::engine::Engines::start().unwrap().usual().clone();
        let text = format!(
            r#"(component
                (type $thing (resource (rep i32)))
                (core func $make (canon resource.new $thing))
                (core module $module
                    (import "host" "make" (func $make (param i32) (result i32)))
                    (func $start {code})
                    (start $start))
                (core instance (instantiate $module (with "host" (instance (export "make" (func $make)))))))"#
        );
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let pre = grants::linker(&engine, &[].into())
            .unwrap()
            .instantiate_pre(&component)
            .unwrap();
        let program = Program::with(pre, Exports::default(), PluginConfig::default());
        let services = HostServices::trial(invented_user());
        let deadline = Instant::now() + Duration::from_secs(60);
        let (result, _) = run(
            &program,
            Function::GetPermissions,
            services,
            deadline,
            None,
            invoke,
        )
        .await;
        result.map_err(|failure| failure.error)
    }

    #[tokio::test]
    async fn resources_are_counted() {
        let make = |count: usize| {
            format!(
                "(local $i i32) (loop (drop (call $make (i32.const 1)))
                    (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {count}))))"
            )
        };
        assert_eq!(start(&make(MAX_HANDLES / 2)).await, Ok(()));
        let error = start(&make(MAX_HANDLES * 2)).await.unwrap_err();
        assert!(
            matches!(&error, CallError::Trap { reason, .. } if reason.contains("handle")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn wasi_resources_are_limited() {
        let open = call(
            "",
            Box::new(|store, _, _| {
                Box::pin(async move {
                    let table = &mut store.data_mut().table;
                    let pushed = (0..MAX_RESOURCES * 4).map(|_| table.push(()));
                    Ok(pushed.take_while(Result::is_ok).count())
                })
            }),
        );
        assert_eq!(open.await, Ok(MAX_RESOURCES));
    }

    #[tokio::test]
    async fn a_start_function_is_limited_too() {
        assert!(matches!(
            start("(loop (br 0))").await,
            Err(CallError::OutOfFuel { .. })
        ));
        assert!(matches!(start("unreachable").await, Err(CallError::Trap { .. })));
        assert_eq!(start("").await, Ok(()));
    }
}
