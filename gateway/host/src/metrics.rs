//! Metrics of plugins. The recorder must be installed before the host starts: handles are taken when a generation is
//! made, not looked up at each call.

use std::sync::Arc;

use metrics::{Counter, Histogram};

use gateway_sandbox::CallError;
use gateway_sandbox::call::Usage;
use gateway_sandbox::exports::{Exports, Function};

gateway_model::declare_metrics! {
    /// Calls
    Counter calls = "gateway_plugin_calls_total" {
        plugin,
        function,
        /// [how the call ended](plugins/failures.md#outcomes)
        outcome,
    }
    /// Time of a call in the component, instantiation included
    Histogram call_seconds = "gateway_plugin_call_seconds" { plugin, function }
    /// Fuel that a call used
    Histogram fuel = "gateway_plugin_fuel" { plugin, function }
    /// Memories and tables of a call at its end
    Histogram memory = "gateway_plugin_memory_bytes" { plugin, function }
    /// Instances that calls used
    Counter instances = "gateway_plugin_instances_total" {
        plugin,
        /// `ahead` of the call, or `fresh`
        made,
    }
    /// Attempts to replace the component
    Counter swaps = "gateway_plugin_swaps_total" {
        plugin,
        /// `ok`, `refused` or `withdrawn`
        result,
    }
    /// The number of the serving generation, 0 if none serves
    Gauge generation = "gateway_plugin_generation" { plugin }
    /// 1 if the current file does not serve
    Gauge problem = "gateway_plugin_problem" { plugin }
    /// Messages beyond `limits.log_bytes` or `limits.log_bytes_per_minute`
    Counter log_dropped = "gateway_plugin_log_dropped_total" { plugin }
}

gateway_model::named_enum! {
    /// How a call ended.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Outcome {
        Ok = "ok",
        Rejected = "rejected",
        ProviderError = "provider_error",
        Unavailable = "unavailable",
        OutOfFuel = "out_of_fuel",
        Deadline = "deadline",
        OutOfMemory = "out_of_memory",
        Trap = "trap",
        InvalidAnswer = "invalid_answer",
        Overloaded = "overloaded",
        Cancelled = "cancelled",
    }
}

impl From<&CallError> for Outcome {
    fn from(error: &CallError) -> Self {
        match error {
            CallError::OutOfFuel { .. } => Self::OutOfFuel,
            CallError::DeadlineExceeded { .. } => Self::Deadline,
            CallError::OutOfMemory { .. } => Self::OutOfMemory,
            CallError::Trap { .. } => Self::Trap,
            CallError::InvalidAnswer { .. } => Self::InvalidAnswer,
            CallError::Unavailable { .. } | CallError::Failed { .. } => Self::ProviderError,
            CallError::HookUnavailable { .. } => Self::Unavailable,
            // The new one is called instead.
            CallError::Replaced { .. } => Self::Cancelled,
            CallError::Overloaded { .. }
            | CallError::Crowded { .. }
            | CallError::NotConfigured { .. }
            | CallError::NotLoaded { .. } => Self::Overloaded,
        }
    }
}

pub(crate) struct Meters {
    functions: [Option<FunctionMeters>; 4],
    log_dropped: Counter,
    /// Fresh, ahead.
    instances: [Counter; 2],
}

struct FunctionMeters {
    calls: [Counter; Outcome::ALL.len()],
    seconds: Histogram,
    fuel: Histogram,
    memory: Histogram,
}

impl Meters {
    /// Creates handles for the functions that the plugin exports.
    pub(crate) fn new(plugin: &Arc<str>, exports: &Exports) -> Self {
        let functions = Function::ALL.map(|function| {
            exports.has(function).then(|| {
                let (plugin, name) = (|| Arc::clone(plugin), function.name());
                FunctionMeters {
                    calls: Outcome::ALL.map(|outcome| calls(plugin(), name, outcome.name())),
                    seconds: call_seconds(plugin(), name),
                    fuel: fuel(plugin(), name),
                    memory: memory(plugin(), name),
                }
            })
        });
        Self {
            functions,
            instances: ["fresh", "ahead"].map(|made| instances(Arc::clone(plugin), made)),
            log_dropped: log_dropped(Arc::clone(plugin)),
        }
    }

    fn function(&self, function: Function) -> Option<&FunctionMeters> {
        self.functions.get(function as usize)?.as_ref()
    }

    pub(crate) fn count(&self, function: Function, outcome: Outcome) {
        if let Some(counter) = self
            .function(function)
            .and_then(|meters| meters.calls.get(outcome as usize))
        {
            counter.increment(1);
        }
    }

    pub(crate) fn count_instance(&self, made_ahead: bool) {
        let [fresh, ahead] = &self.instances;
        if made_ahead { ahead } else { fresh }.increment(1);
    }

    /// Counts a line about the plugin that the gateway did not log.
    pub(crate) fn count_dropped(&self) {
        self.log_dropped.increment(1);
    }

    #[expect(clippy::cast_precision_loss, reason = "histograms are of floats")]
    pub(crate) fn record(&self, function: Function, usage: Usage) {
        if let Some(meters) = self.function(function) {
            meters.seconds.record(usage.time.as_secs_f64());
            meters.fuel.record(usage.fuel as f64);
            meters.memory.record(usage.memory as f64);
        }
        if usage.log_dropped > 0 {
            self.log_dropped.increment(usage.log_dropped);
        }
    }
}

gateway_model::named_enum! {
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Swap {
        Ok = "ok",
        Refused = "refused",
        Withdrawn = "withdrawn",
    }
}

pub(crate) fn count_swap(plugin: &Arc<str>, swap: Swap) {
    swaps(Arc::clone(plugin), swap.name()).increment(1);
}

/// Sets the gauges of a plugin.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
pub(crate) fn show_state(plugin: &Arc<str>, number: u64, has_problem: bool) {
    generation(Arc::clone(plugin)).set(number as f64);
    problem(Arc::clone(plugin)).set(f64::from(u8::from(has_problem)));
}
