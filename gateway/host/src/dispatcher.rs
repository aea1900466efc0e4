//! The path of a call from an I/O thread to a guest thread and back: bounded queues, one task, metrics, and a log line
//! if it fails.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::generation::Generation;
use crate::metrics::Outcome;
use crate::places::Places;
use crate::preparer::Preparer;
use crate::queue::Queues;
use crate::registry::{Plugin, Snapshot};
use gateway_sandbox::CallError;
use gateway_sandbox::call::{self, Invoke};
use gateway_sandbox::exports::Function;
use gateway_sandbox::guest::HostServices;
use gateway_sandbox::log;
use gateway_sandbox::memory::Memory;

/// How many trial calls run at the same time, and for how long, which is enough for nearly all.
const TRIALS: (usize, Duration) = (2, Duration::from_secs(3));
/// How many run at the same time that take longer.
const SLOW_TRIALS: (usize, Duration) = (2, Duration::MAX);
const _: () = assert!(TRIALS.0 + SLOW_TRIALS.0 == gateway_sandbox::engine::MAX_TRIALS as usize);

pub(crate) struct Dispatcher {
    /// The threads that run guests.
    pub(crate) guests: Handle,
    pub(crate) queues: Arc<Queues>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) trials: Places,
    preparer: Arc<Preparer>,
}

impl Dispatcher {
    pub(crate) fn new(guests: Handle) -> Self {
        Self {
            preparer: Arc::new(Preparer::new(guests.clone())),
            guests,
            queues: Arc::new(Queues::new()),
            memory: Arc::default(),
            trials: Places::new(TRIALS, &[SLOW_TRIALS]),
        }
    }

    /// Rejects new calls and waits for those in flight, which end by their deadlines.
    pub(crate) async fn drain(&self) {
        self.preparer.close();
        self.queues.drain().await;
    }

    /// Prepares instances of the serving generations.
    pub(crate) fn prepare(&self, snapshot: &Snapshot, services: &HostServices) {
        self.preparer.divide(snapshot.generations().count());
        for generation in snapshot.generations() {
            self.preparer.fill(generation, services);
        }
    }

    /// Calls a function of the generation in a fresh instance on a guest thread, for `service` if there is one. `check`
    /// turns the guest's return value into a valid answer and an outcome, and `then` takes the answer on the same
    /// thread. The deadline counts from now, including the wait for a thread. Dropping the future ends the call.
    #[expect(
        clippy::too_many_arguments,
        reason = "the one place where functions are called"
    )]
    pub(crate) async fn call<T, R, A>(
        &self,
        plugin: &Plugin,
        generation: Arc<Generation>,
        function: Function,
        service: &str,
        services: HostServices,
        invoke: Invoke<T>,
        check: impl FnOnce(T, &Generation) -> Result<(R, Outcome), CallError> + Send + 'static,
        then: impl FnOnce(R) -> A + Send + 'static,
    ) -> Result<A, CallError>
    where
        T: Send + 'static,
        R: Send + 'static,
        A: Send + 'static,
    {
        let allowed = generation.program.config.limits.deadline;
        let deadline = Instant::now() + allowed;
        let lane = match function {
            Function::GetPermissions => &plugin.requests,
            Function::OnNewUser | Function::OnUserLogin | Function::OnUserLogout => &plugin.hooks,
        };
        // Prepared instances use part of the memory.
        let room = generation.program.room();
        let room = room.saturating_sub(self.preparer.target(&generation));
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        let entered = lane.enter(service, allowed, room).await;
        let slot = entered.ok_or_else(|| {
            generation.meters.count(function, Outcome::Overloaded);
            CallError::Overloaded {
                plugin: plugin.name.to_string(),
            }
        })?;

        let name = plugin.name.to_string();
        let preparer = Arc::clone(&self.preparer);
        let task = self.guests.spawn(async move {
            let mut ended = Ended {
                generation: &generation,
                function,
                outcome: Outcome::Cancelled,
            };
            let prepared = generation.pool.take();
            generation.meters.count_instance(prepared.is_some());
            let (result, usage) =
                call::run(
&generation.program, function, services.clone(), deadline, prepared, invoke).await;
            let checked = match result {
                Ok(word) => check(word, &generation).inspect_err(|error| {
                    // If the plugin was replaced, the new one is called.
                    if !matches!(error, CallError::Replaced { .. }) {
                        log_failure(&generation, function, &error.to_string(), None);
                    }
                }),
                Err(failure) => {
                    log_failure(&generation, function, &failure.to_string(), failure.stack.as_deref());
                    Err(failure.error)
                }
            };
            let in_time = !matches!(checked, Err(CallError::DeadlineExceeded { .. }));
            ended.outcome = match &checked {
                Ok((_, outcome)) => *outcome,
                Err(error) => Outcome::from(error),
            };
            generation.meters.record(function, usage);
            if usage.log_dropped > 0 && generation.program.log_rate.may_complain(Instant::now()) {
                tracing::warn!(
                    plugin = &*generation.program.plugin,
                    function = function.name(),
                    dropped = usage.log_dropped,
                    "the plugin logs more than its share (`log_bytes`, `log_bytes_per_minute`); this is logged once a \
                     minute, gateway_plugin_log_dropped_total counts the dropped messages"
                );
            }
            let answer = checked.map(|(answer, _)| then(answer));
            slot.ended(in_time);
            // After the answer, and after the slot is free: no call waits for this.
            preparer.fill(&generation, &services);
            answer
        });
        // defence: call-ends-with-its-caller (a test fails without it: docs/defences.md)
        let task = AbortOnDropHandle::new(task);
        match task.await {
            Ok(result) => result,
            Err(error) => {
                // The host panicked or is shutting down; this is not the guest's fault.
                tracing::error!(plugin = name, function = function.name(), %error, "a plugin call was lost");
                let reason = "the call was lost".to_owned();
                Err(CallError::Trap {
                    plugin: name,
                    function: function.name(),
                    reason,
                })
            }
        }
    }
}

/// Counts a call when it ends, even if it is dropped.
struct Ended<'a> {
    generation: &'a Generation,
    function: Function,
    outcome: Outcome,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.generation.meters.count(self.function, self.outcome);
    }
}

/// Logs an invalid answer, the plugin's own error, or a failed call. Only this line has the reason: callers do not get
/// it. A plugin that fails in every call would fill the log too, so failures count against its share.
fn log_failure(generation: &Generation, function: Function, text: &str, stack: Option<&str>) {
    let length = log::written(text).saturating_add(log::written(stack.unwrap_or_default()));
    if !generation.program.log_rate.admit(length, Instant::now()) {
        generation.meters.count_dropped();
        return;
    }
    tracing::warn!(
        plugin = &*generation.program.plugin,
        function = function.name(),
        generation = generation.number,
        digest = &*generation.digest,
        stack,
        "{text}"
    );
}
