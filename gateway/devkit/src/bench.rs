//! Measures a call by repeating it on one thread.

use std::sync::Arc;
use std::time::Duration;

use gateway_sandbox::call::prepare;
use gateway_sandbox::{HostServices, Program};
use serde::Serialize;
use tokio::time::Instant;

use crate::call::{self, CallFailure, Question};

/// When to stop measuring: at the limit that is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchLimits {
    /// Most calls; at least one is made.
    pub calls: usize,
    /// Most time.
    pub time: Duration,
}

/// How the instances of calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Each call creates its instance.
    Fresh,
    /// Each call takes a prepared instance; the time for that is not counted.
    Ahead,
}

/// The cost of calls, by how their instances are made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bench {
    /// Calls of [`Made::Fresh`].
    pub fresh: Measured,
    /// Calls of [`Made::Ahead`]; `None` if instances could not be prepared.
    pub prepared: Option<Measured>,
}

/// The cost of calls of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The number of calls.
    pub calls: usize,
    /// Calls per second on one thread, with the creation of their instances.
    pub per_second: f64,
    /// Median duration, in microseconds.
    pub p50_us: f64,
    /// 90th percentile, in microseconds.
    pub p90_us: f64,
    /// 99th percentile, in microseconds.
    pub p99_us: f64,
    /// Longest duration, in microseconds.
    pub max_us: f64,
    /// Median time that a call held its thread, in microseconds: its duration, and the release of the instance's
    /// memory.
    pub held_p50_us: f64,
    /// The least fuel of a call.
    pub fuel_min: u64,
    /// The most fuel of a call.
    pub fuel_max: u64,
    /// The most bytes of memories and tables of a call.
    pub memory_max: usize,
}

/// Measures calls in fresh instances, then in prepared ones, each for half of the time. Ends with the first call
/// that fails. Must be polled on a guest thread.
pub(super) async fn run(
    program: Arc<Program>,
    services: HostServices,
    question: Question,
    limits: BenchLimits,
) -> Result<Bench, CallFailure> {
    let half = BenchLimits {
        time: limits.time / 2,
        ..limits
    };
    let fresh = measure(&program, &services, &question, Made::Fresh, half).await?;
    let prepared = measure(&program, &services, &question, Made::Ahead, half).await?;
    Ok(Bench {
        fresh,
        prepared: (prepared.calls > 0).then_some(prepared),
    })
}

/// Measures calls of one kind; none if instances cannot be prepared. Ends with the first call that fails. Must be
/// polled on a guest thread.
pub(super) async fn measure(
    program: &Program,
    services: &HostServices,
    question: &Question,
    made: Made,
    limits: BenchLimits,
) -> Result<Measured, CallFailure> {
    let mut measuring = Measuring::begin(limits);
    while measuring.goes_on() {
        let instance = match made {
            Made::Fresh => None,
            Made::Ahead => {
                let deadline = Instant::now() + program.config.limits.deadline;
                // A call with a fresh instance reports why.
                let Ok(instance) = prepare(program, services.clone(), deadline).await else {
                    break;
                };
                Some(instance)
            }
        };
        let services = services.clone();
        let begun = Instant::now();
        let call = call::run(program, services, instance, question).await;
        measuring.add(&call, begun.elapsed())?;
    }
    Ok(measuring.end())
}

struct Measuring {
    limits: BenchLimits,
    began: Instant,
    times: Vec<Duration>,
    held: Vec<Duration>,
    fuel: (u64, u64),
    memory: usize,
}

impl Measuring {
    fn begin(limits: BenchLimits) -> Self {
        Self {
            limits,
            began: Instant::now(),
            times: Vec::new(),
            held: Vec::new(),
            fuel: (u64::MAX, 0),
            memory: 0,
        }
    }

    fn goes_on(&self) -> bool {
        self.times.is_empty()
            || (self.times.len() < self.limits.calls && self.began.elapsed() < self.limits.time)
    }

    fn add(&mut self, call: &call::Call, held: Duration) -> Result<(), CallFailure> {
        if let Err(failure) = &call.answer {
            return Err(failure.clone());
        }
        self.times.push(call.usage.time);
        self.held.push(held);
        self.fuel = (self.fuel.0.min(call.usage.fuel), self.fuel.1.max(call.usage.fuel));
        self.memory = self.memory.max(call.usage.memory);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "nobody makes 2^53 calls")]
    fn end(mut self) -> Measured {
        let elapsed = self.began.elapsed();
        self.times.sort_unstable();
        self.held.sort_unstable();
        let times = &self.times;
        let us = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e6);
        Measured {
            calls: times.len(),
            per_second: times.len() as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE),
            p50_us: us(percentile(times, 50)),
            p90_us: us(percentile(times, 90)),
            p99_us: us(percentile(times, 99)),
            max_us: us(times.last()),
            held_p50_us: us(percentile(&self.held, 50)),
            // 0 if there were no calls.
            fuel_min: self.fuel.0.min(self.fuel.1),
            fuel_max: self.fuel.1,
            memory_max: self.memory,
        }
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Option<&Duration> {
    sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::percentile;

    #[test]
    fn percentiles_are_of_calls_that_were_made() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        let at = |percent| percentile(&times, percent).map(Duration::as_millis);
        assert_eq!((at(50), at(90), at(99)), (Some(100), Some(180), Some(198)));
        let one = [Duration::from_millis(7)];
        assert_eq!(percentile(&one, 50), Some(&one[0]));
        assert_eq!(percentile(&one, 99), Some(&one[0]));
        assert_eq!(percentile(&[], 50), None);
    }
}
