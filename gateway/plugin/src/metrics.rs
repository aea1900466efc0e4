//! What is counted of plugins, through the `metrics` facade. The recorder must be installed before the
//! host starts: handles are taken when a generation is made, not looked up at each call.
//!
//! | metric | labels | what |
//! |---|---|---|
//! | `gateway_plugin_calls_total` | plugin, function, outcome | calls that ended |
//! | `gateway_plugin_call_seconds` | plugin, function | how long they took in the component, instantiation included |
//! | `gateway_plugin_fuel` | plugin, function | fuel they used |
//! | `gateway_plugin_memory_bytes` | plugin, function | memory they had at their end |
//! | `gateway_plugin_instances_total` | plugin, made | instances that calls have had: made `ahead`, or `fresh` |
//! | `gateway_plugin_log_dropped_total` | plugin | messages over a call's or the plugin's share |
//! | `gateway_plugin_swaps_total` | plugin, result | `ok`, `refused` or `withdrawn` |
//! | `gateway_plugin_generation` | plugin | the serving generation's number, 0 where nothing serves |
//! | `gateway_plugin_problem` | plugin | 1 where the file that is there does not serve |

use std::sync::Arc;
use std::time::Duration;

use metrics::{
    Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::error::CallError;
use crate::exports::{Exports, Function};

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Rejected,
    ProviderError,
    Unavailable,
    OutOfFuel,
    Deadline,
    OutOfMemory,
    Trap,
    InvalidAnswer,
    Overloaded,
    Cancelled,
}

impl Outcome {
    const ALL: [Self; 11] = [
        Self::Ok,
        Self::Rejected,
        Self::ProviderError,
        Self::Unavailable,
        Self::OutOfFuel,
        Self::Deadline,
        Self::OutOfMemory,
        Self::Trap,
        Self::InvalidAnswer,
        Self::Overloaded,
        Self::Cancelled,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Rejected => "rejected",
            Self::ProviderError => "provider_error",
            Self::Unavailable => "unavailable",
            Self::OutOfFuel => "out_of_fuel",
            Self::Deadline => "deadline",
            Self::OutOfMemory => "out_of_memory",
            Self::Trap => "trap",
            Self::InvalidAnswer => "invalid_answer",
            Self::Overloaded => "overloaded",
            Self::Cancelled => "cancelled",
        }
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
            // Another is asked in its place.
            CallError::Replaced { .. } => Self::Cancelled,
            CallError::Overloaded { .. }
            | CallError::Crowded { .. }
            | CallError::NotConfigured { .. }
            | CallError::NotLoaded { .. } => Self::Overloaded,
        }
    }
}

/// What a call cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) time: Duration,
    pub(crate) fuel: u64,
    pub(crate) memory: usize,
    pub(crate) log_dropped: u64,
}

/// The handles of one plugin's functions.
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
    /// Takes handles for the functions that the plugin has.
    pub(crate) fn new(plugin: &Arc<str>, exports: &Exports) -> Self {
        let functions = Function::ALL.map(|function| {
            exports.has(function).then(|| {
                let (plugin, name) = (Arc::clone(plugin), function.name());
                FunctionMeters {
                    calls: Outcome::ALL.map(|outcome| {
                        counter!("gateway_plugin_calls_total", "plugin" => Arc::clone(&plugin), "function" => name,
                            "outcome" => outcome.name())
                    }),
                    seconds: histogram!("gateway_plugin_call_seconds", "plugin" => Arc::clone(&plugin), "function" => name),
                    fuel: histogram!("gateway_plugin_fuel", "plugin" => Arc::clone(&plugin), "function" => name),
                    memory: histogram!("gateway_plugin_memory_bytes", "plugin" => plugin, "function" => name),
                }
            })
        });
        Self {
            functions,
            instances: ["fresh", "ahead"].map(|made| {
                counter!("gateway_plugin_instances_total", "plugin" => Arc::clone(plugin), "made" => made)
            }),
            log_dropped: counter!("gateway_plugin_log_dropped_total", "plugin" => Arc::clone(plugin)),
        }
    }

    fn function(&self, function: Function) -> Option<&FunctionMeters> {
        self.functions.get(function as usize)?.as_ref()
    }

    /// Counts a call that ended so.
    pub(crate) fn count(&self, function: Function, outcome: Outcome) {
        if let Some(counter) = self
            .function(function)
            .and_then(|meters| meters.calls.get(outcome as usize))
        {
            counter.increment(1);
        }
    }

    /// Counts the instance that a call has.
    pub(crate) fn count_instance(&self, made_ahead: bool) {
        let [fresh, ahead] = &self.instances;
        if made_ahead { ahead } else { fresh }.increment(1);
    }

    /// Counts a line that the gateway did not write about the plugin.
    pub(crate) fn count_dropped(&self) {
        self.log_dropped.increment(1);
    }

    /// Records what a call cost.
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

/// How an attempt to swap a plugin ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Swap {
    Ok,
    Refused,
    Withdrawn,
}

/// Counts an attempt to swap a plugin.
pub(crate) fn count_swap(plugin: &Arc<str>, swap: Swap) {
    let result = match swap {
        Swap::Ok => "ok",
        Swap::Refused => "refused",
        Swap::Withdrawn => "withdrawn",
    };
    counter!("gateway_plugin_swaps_total", "plugin" => Arc::clone(plugin), "result" => result).increment(1);
}

/// Shows how a plugin stands.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
pub(crate) fn show_state(plugin: &Arc<str>, generation: u64, problem: bool) {
    gauge!("gateway_plugin_generation", "plugin" => Arc::clone(plugin)).set(generation as f64);
    gauge!("gateway_plugin_problem", "plugin" => Arc::clone(plugin)).set(f64::from(u8::from(problem)));
}

/// Tells the recorder what the metrics are.
pub(crate) fn describe() {
    describe_counter!(
        "gateway_plugin_calls_total",
        "Calls of plugins, by how they ended"
    );
    describe_histogram!(
        "gateway_plugin_call_seconds",
        "Time in the component, instantiation included"
    );
    describe_histogram!("gateway_plugin_fuel", "Fuel that calls used");
    describe_histogram!(
        "gateway_plugin_memory_bytes",
        "Memories and tables of a call at its end"
    );
    describe_counter!(
        "gateway_plugin_instances_total",
        "Instances that calls have had: made ahead of need, or fresh"
    );
    describe_counter!(
        "gateway_plugin_log_dropped_total",
        "Messages of plugins over the share of a call or of the plugin"
    );
    describe_counter!(
        "gateway_plugin_swaps_total",
        "Attempts to swap a plugin: ok, refused or withdrawn"
    );
    describe_counter!(
        "gateway_plugin_http_requests_total",
        "HTTP requests of plugins, by how they ended"
    );
    describe_histogram!(
        "gateway_plugin_http_seconds",
        "Time of plugins' HTTP requests that were not refused, their responses included"
    );
    describe_gauge!(
        "gateway_plugin_generation",
        "The serving generation's number, 0 where nothing serves"
    );
    describe_gauge!(
        "gateway_plugin_problem",
        "1 where the file that is there does not serve"
    );
}
