//! Figures: the samples of each round, their ratios to others, and their targets.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// One value a round.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Adds a round's value.
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The one in the middle; of two, the mean. `NaN` of none.
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        let half = sorted.len() / 2;
        match (sorted.get(half), sorted.len() % 2) {
            (None, _) => f64::NAN,
            (Some(upper), 1) => *upper,
            (Some(upper), _) => f64::midpoint(sorted[half - 1], *upper),
        }
    }

    /// The smallest and the largest.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let sorted = self.sorted();
        let at = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        (at(sorted.first()), at(sorted.last()))
    }

    /// This to the other, round by round.
    pub(crate) fn ratio_to(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(this, other)| this / other)
                .collect(),
        )
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// Percentiles of latencies, in milliseconds, each round by round.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latencies {
    pub(crate) p50: Samples,
    pub(crate) p99: Samples,
    pub(crate) max: Samples,
}

impl Latencies {
    /// Adds a round's.
    pub(crate) fn push(&mut self, times: &Times) {
        self.p50.push(times.ms(0.5));
        self.p99.push(times.ms(0.99));
        self.max.push(times.ms(1.0));
    }
}

/// How long things took.
#[derive(Clone, Debug)]
pub(crate) struct Times(Histogram<u64>);

impl Times {
    /// None yet. From a microsecond to a minute, to a thousandth.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1_000, 60_000_000_000, 3)?))
    }

    /// Adds one.
    pub(crate) fn record(&mut self, time: Duration) {
        // Longer than a minute counts as a minute.
        self.0
            .saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds all of another.
    ///
    /// # Errors
    /// Never: all have the same bounds.
    pub(crate) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    /// The quantile of `part`, between 0 and 1, in milliseconds.
    pub(crate) fn ms(&self, part: f64) -> f64 {
        self.0.value_at_quantile(part) as f64 / 1e6
    }
}

/// Milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The bound of a figure.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// Not less.
    Least(f64),
    /// Not more.
    Most(f64),
}

impl Target {
    /// Whether it is.
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::Least(least) => value >= least,
            Self::Most(most) => value <= most,
        }
    }
}
