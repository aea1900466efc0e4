//! Measuring calls: the same one again and again, on one thread.

use std::sync::Arc;
use std::time::Duration;

use gateway_sandbox::call::prepare;
use gateway_sandbox::{HostServices, Program};
use serde::Serialize;
use tokio::time::Instant;

use crate::call::{self, CallFailure, Question};

/// When to stop measuring: at whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchLimits {
    /// Most calls; at least one is made.
    pub calls: usize,
    /// Most time.
    pub time: Duration,
}

/// How the instances of calls come to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Each call makes its instance first.
    Fresh,
    /// Each call takes an instance that was made ahead of it, which is not counted.
    Ahead,
}

/// What calls cost, by how their instances come to be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bench {
    /// Those of [`Made::Fresh`].
    pub fresh: Measured,
    /// Those of [`Made::Ahead`]; `None` where instances could not be made ahead.
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
    /// Microseconds that half of the calls held their thread for. The answer is there earlier: what comes
    /// after it is giving the instance's memory back.
    pub held_p50_us: f64,
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

/// Measures calls of one kind; none where their instances cannot be made ahead. Must be polled on a guest
/// thread.
///
/// # Errors
/// The first call that fails.
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
                // What makes no instance fails, and says why, where it is made for the call.
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

/// Calls that are being measured.
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

    /// Whether there is to be one more call.
    fn goes_on(&self) -> bool {
        self.times.is_empty()
            || (self.times.len() < self.limits.calls && self.began.elapsed() < self.limits.time)
    }

    fn add(&mut self, call: &call::Call, held: Duration) -> Result<(), CallFailure> {
        if let Err(failure) = &call.answer {
            return Err(failure.clone());
        }
        self.times.push(call.time);
        self.held.push(held);
        self.fuel = (self.fuel.0.min(call.fuel), self.fuel.1.max(call.fuel));
        self.memory = self.memory.max(call.memory);
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
            // Of no calls at all it is 0, as everything else is.
            fuel_min: self.fuel.0.min(self.fuel.1),
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
