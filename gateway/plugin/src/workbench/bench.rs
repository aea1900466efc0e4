//! Measuring calls: the same one again and again, on one thread.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::call::{self, CallFailure, Question};
use crate::call::prepare;
use crate::guest::Sources;
use crate::registry::Generation;

/// When to stop measuring: at whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchLimits {
    /// Most calls; at least one is made.
    pub calls: usize,
    /// Most time.
    pub time: Duration,
}

/// What calls cost, by how their instances come to be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bench {
    /// Each call makes its instance first.
    pub fresh: Measured,
    /// Each call takes an instance that was made ahead of it, which is not counted. `None` where it could
    /// not be made.
    pub prepared: Option<Measured>,
}

/// What calls of one kind cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// How many there were.
    pub calls: usize,
    /// How many of them, and of the instances they need, one thread does in a second.
    pub per_second: f64,
    /// Microseconds that half of the calls took at most.
    pub p50_us: f64,
    /// The same for 90 of 100.
    pub p90_us: f64,
    /// The same for 99 of 100.
    pub p99_us: f64,
    /// Microseconds of the longest.
    pub max_us: f64,
    /// Units of fuel of the call that used least.
    pub fuel_min: u64,
    /// Units of fuel of the call that used most.
    pub fuel_max: u64,
    /// Bytes of the call that had most in its memories and tables.
    pub memory_max: usize,
}

/// Measures calls in fresh instances, then in those made ahead, each for half of the time. Must be polled on
/// a guest thread.
///
/// # Errors
/// The first call that fails.
pub(super) async fn run(
    generation: Arc<Generation>,
    sources: Sources,
    question: Question,
    limits: BenchLimits,
) -> Result<Bench, CallFailure> {
    let mut fresh = Measuring::begin(limits);
    while fresh.goes_on() {
        fresh.add(&call::run(&generation, sources.clone(), None, &question).await)?;
    }
    let mut prepared = Measuring::begin(limits);
    while prepared.goes_on() {
        let deadline = Instant::now() + generation.config.limits.deadline;
        // What makes no instance has failed above already.
        let Ok(instance) = prepare(&generation, sources.clone(), deadline).await else {
            break;
        };
        prepared.add(&call::run(&generation, sources.clone(), Some(instance), &question).await)?;
    }
    Ok(Bench {
        fresh: fresh.end(),
        prepared: (!prepared.times.is_empty()).then(|| prepared.end()),
    })
}

/// Calls that are being measured.
struct Measuring {
    limits: BenchLimits,
    began: Instant,
    times: Vec<Duration>,
    fuel: (u64, u64),
    memory: usize,
}

impl Measuring {
    fn begin(limits: BenchLimits) -> Self {
        Self {
            limits,
            began: Instant::now(),
            times: Vec::new(),
            fuel: (u64::MAX, 0),
            memory: 0,
        }
    }

    /// Whether there is to be one more call.
    fn goes_on(&self) -> bool {
        self.times.is_empty()
            || (self.times.len() < self.limits.calls && self.began.elapsed() < self.limits.time / 2)
    }

    fn add(&mut self, call: &call::Call) -> Result<(), CallFailure> {
        if let Err(failure) = &call.answer {
            return Err(failure.clone());
        }
        self.times.push(call.time);
        self.fuel = (self.fuel.0.min(call.fuel), self.fuel.1.max(call.fuel));
        self.memory = self.memory.max(call.memory);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "nobody makes 2^53 calls")]
    fn end(mut self) -> Measured {
        let elapsed = self.began.elapsed();
        self.times.sort_unstable();
        let times = &self.times;
        let us = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e6);
        Measured {
            calls: times.len(),
            per_second: times.len() as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE),
            p50_us: us(percentile(times, 50)),
            p90_us: us(percentile(times, 90)),
            p99_us: us(percentile(times, 99)),
            max_us: us(times.last()),
            fuel_min: self.fuel.0,
            fuel_max: self.fuel.1,
            memory_max: self.memory,
        }
    }
}

/// The time that so many of 100 calls took at most, of times that are sorted.
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
