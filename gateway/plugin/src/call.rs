//! One call of a component: a store with its limits set, a fresh instance, the function, and everything
//! that can go wrong with them in words. The only place where guests run.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout_at};
use wasmtime::component::Instance;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::engine::TICK;
use crate::error::CallError;
use crate::exports::{Exports, Function};
use crate::guest::{GuestState, UserSource};
use crate::log::GuestLog;
use crate::metrics::Usage;
use crate::registry::Generation;
use crate::text::printable;

/// Most resources that the component model's own tables hold for one call.
const MAX_HANDLES: usize = 10_000;
/// Bytes that the host may copy for one permission or attribute beside its texts.
const ITEM_BYTES: usize = 64;
/// What the host may copy out of a guest at once, where its answer may be smaller: writes and messages.
const MIN_COPY: usize = 64 << 10;
/// Longest reason of a trap, in bytes.
const MAX_REASON: usize = 500;

/// The function to call, once there is an instance. What it gives is still the guest's word.
pub(crate) type Invoke<T> = Box<
    dyn for<'a> FnOnce(
            &'a mut Store<GuestState>,
            &'a Instance,
            &'a Exports,
        ) -> BoxFuture<'a, wasmtime::Result<T>>
        + Send,
>;

/// A call that gave nothing.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: CallError,
    /// Where in the guest, for the log.
    pub(crate) stack: Option<String>,
}

/// The guest ran, or waited, past its deadline.
#[derive(Debug, thiserror::Error)]
#[error("deadline exceeded")]
struct DeadlineExceeded;

/// Calls a function in a fresh instance, until `deadline` at most. Dropping the future ends the call at
/// the guest's next tick.
///
/// Must be polled on a guest thread: a guest computes for a tick before it yields.
pub(crate) async fn run<T>(
    generation: &Generation,
    function: Function,
    users: UserSource,
    deadline: Instant,
    invoke: Invoke<T>,
) -> (Result<T, Failure>, Usage) {
    let started = Instant::now();
    let limits = &generation.config.limits;
    let log = GuestLog::new(Arc::clone(&generation.plugin), function.name(), limits.log_bytes);
    let state = GuestState::new(
        limits.memory,
        log.clone(),
        Arc::clone(&generation.settings),
        users,
    );
    let mut store = Store::new(generation.pre.engine(), state);
    // Before instantiation: a start function is the guest's code already.
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(
        limits
            .result_bytes
            .saturating_add(limits.result_items.saturating_mul(ITEM_BYTES))
            .max(MIN_COPY),
    );
    store.set_max_component_handles(MAX_HANDLES);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        if Instant::now() >= deadline {
            Err(DeadlineExceeded.into())
        } else {
            Ok(UpdateDeadline::Yield(1))
        }
    });
    let outcome = match store.set_fuel(limits.fuel) {
        Err(error) => Err(error),
        Ok(()) => {
            let call = async {
                let instance = generation.pre.instantiate_async(&mut store).await?;
                invoke(&mut store, &instance, &generation.exports).await
            };
            // A guest that computes ends by its epoch callback, which knows where it was. This is for
            // one that waits.
            timeout_at(deadline + 2 * TICK, call)
                .await
                .unwrap_or_else(|_| Err(DeadlineExceeded.into()))
        }
    };
    let result = outcome.map_err(|error| Failure {
        stack: error
            .downcast_ref::<WasmBacktrace>()
            .map(|trace| printable_stack(&trace.to_string())),
        error: classify(generation, function, &error, store.data().limiter.denied()),
    });
    let usage = Usage {
        time: started.elapsed(),
        fuel: limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0)),
        memory: store.data().limiter.used(),
        log_dropped: log.dropped(),
    };
    (result, usage)
}

/// Which of the ways to fail an error of wasmtime is.
fn classify(generation: &Generation, function: Function, error: &wasmtime::Error, denied: bool) -> CallError {
    let (plugin, function) = (generation.plugin.to_string(), function.name());
    let limits = &generation.config.limits;
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
    if denied {
        return CallError::OutOfMemory {
            plugin,
            function,
            memory: limits.memory,
        };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return CallError::Overloaded { plugin };
    }
    let cause = error.root_cause().to_string();
    // wasmtime's type for it is private.
    if cause.contains("fuel allocated for hostcalls") {
        let reason = format!(
            "it hands over more than {} bytes or {} items",
            limits.result_bytes, limits.result_items
        );
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

/// A guest's stack for the log: function names are the guest's, line breaks are ours.
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
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::Instant;
    use wasmtime::component::Component;

    use super::{Invoke, MAX_HANDLES, run};
    use crate::admission::invented_user;
    use crate::exports::{Exports, Function};
    use crate::guest::UserSource;
    use crate::metrics::Meters;
    use crate::registry::Generation;
    use crate::{CallError, PluginConfig, grants};

    /// What becomes of a component whose start function is `code`, in which `$make` makes a resource.
    async fn start(code: &str) -> Result<(), CallError> {
        let engine = crate::engine::start().unwrap();
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
        let component = Component::new(&engine, text).unwrap();
        let pre = grants::linker(&engine, &[].into())
            .unwrap()
            .instantiate_pre(&component)
            .unwrap();
        let exports = Exports {
            permission_provider: None,
            on_new_user: None,
            on_user_login: None,
            on_user_logout: None,
        };
        let generation = Generation {
            plugin: "plugin".into(),
            number: 1,
            digest: "digest".into(),
            config: Arc::new(PluginConfig::default()),
            settings: Arc::default(),
            meters: Meters::new(&"plugin".into(), &exports),
            pre,
            exports,
        };
        let users = UserSource::Invented(Arc::new(invented_user()));
        let deadline = Instant::now() + Duration::from_secs(60);
        let nothing: Invoke<()> = Box::new(|_, _, _| Box::pin(async { Ok(()) }));
        let (result, _) = run(&generation, Function::GetPermissions, users, deadline, nothing).await;
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
    async fn a_start_function_is_limited_too() {
        assert!(matches!(
            start("(loop (br 0))").await,
            Err(CallError::OutOfFuel { .. })
        ));
        assert!(matches!(start("unreachable").await, Err(CallError::Trap { .. })));
        assert_eq!(start("").await, Ok(()));
    }
}
