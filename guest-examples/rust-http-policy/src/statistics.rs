//! Counts in the key-value store how often the policy service was asked, for all calls together.

use crate::auth_gateway::plugin::key_value;
use crate::auth_gateway::plugin::logging::{Level, log};

/// The source of an answer.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// A fresh cached answer.
    Hit,
    /// The policy service.
    Miss,
    /// A stale cached answer, because the policy service is out of reach.
    Stale,
    /// Nowhere, because the question failed.
    Failure,
}

impl Source {
    const ALL: [Self; 4] = [Self::Hit, Self::Miss, Self::Stale, Self::Failure];

    fn key(self) -> &'static str {
        match self {
            Self::Hit => "count/hits",
            Self::Miss => "count/misses",
            Self::Stale => "count/stale",
            Self::Failure => "count/failures",
        }
    }
}

/// The counts.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    pub hits: i64,
    pub misses: i64,
    pub stale: i64,
    pub failures: i64,
}

impl Counts {
    /// # Errors
    /// If the store cannot be used.
    pub fn read() -> Result<Self, key_value::Error> {
        let [hits, misses, stale, failures] = Source::ALL.map(|source| number(source.key()));
        Ok(Self {
            hits: hits?,
            misses: misses?,
            stale: stale?,
            failures: failures?,
        })
    }

    /// The share of answers that came from the cache: 0 to 1.
    pub fn hit_rate(self) -> f64 {
        let all = self.hits + self.misses + self.stale + self.failures;
        if all == 0 {
            0.0
        } else {
            self.hits as f64 / all as f64
        }
    }
}

fn number(key: &str) -> Result<i64, key_value::Error> {
    let text = key_value::get(key)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&text).parse().unwrap_or(0))
}

/// Counts an answer. Every `report`th of its kind logs all counts; 0 disables counting.
///
/// If the store cannot be used, the count is lost, but the answer does not fail.
pub fn count(source: Source, report: u64) {
    if report == 0 {
        return;
    }
    // Calls run at the same time. `increment` returns a different sum to each, so exactly one reports.
    match key_value::increment(source.key(), 1) {
        Ok(sum) if sum.unsigned_abs() % report == 0 => show(),
        Ok(_) => {}
        Err(error) => log(Level::Warn, &format!("an answer was not counted: {error}")),
    }
}

fn show() {
    if let Ok(counts) = Counts::read() {
        let Counts {
            hits,
            misses,
            stale,
            failures,
        } = counts;
        let rate = counts.hit_rate() * 100.0;
        log(
            Level::Info,
            &format!(
                "hit rate {rate:.1} %: {hits} hits, {misses} misses, {stale} stale, {failures} failures"
            ),
        );
    }
}
