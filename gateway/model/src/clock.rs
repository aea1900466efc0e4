//! Time and randomness. They are passed in, so that tests can control them; `clippy.toml` bans the ambient ones
//! elsewhere.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment, in whole seconds since the Unix epoch (1970-01-01T00:00:00Z, leap seconds not counted).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The moment `duration` later, in whole seconds, or the latest possible one.
    #[must_use]
    pub const fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }

    /// The moment `duration` earlier, in whole seconds, or the epoch.
    #[must_use]
    pub const fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_secs()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A source of the current time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The time since the Unix epoch, or `None` if the machine's clock is set to a time before it.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    #[must_use]
    pub fn since_epoch() -> Option<Duration> {
        SystemTime::now().duration_since(UNIX_EPOCH).ok()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock before 1970 is broken: then everything counts as expired.
        Timestamp(Self::since_epoch().map_or(u64::MAX, |since| since.as_secs()))
    }
}

/// A clock that only moves when told to. For tests.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock at `seconds` since the Unix epoch.
    #[must_use]
    pub const fn at(seconds: u64) -> Self {
        Self(AtomicU64::new(seconds))
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// A source of bytes that nobody can guess.
pub trait Random: Send + Sync + fmt::Debug {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// If the operating system has no randomness. Then nothing may continue without it.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

/// The operating system returned no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no randomness: {0}")]
pub struct RandomError(pub String);

/// The operating system's cryptographic generator (`getrandom`).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        getrandom::fill(bytes).map_err(|error| RandomError(error.to_string()))
    }
}

/// A sequence of bytes that is the same in every run. For tests.
#[derive(Debug, Default)]
pub struct CountingRandom(AtomicU64);

impl Random for CountingRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        for part in bytes.chunks_mut(8) {
            let number = self.0.fetch_add(1, Ordering::Relaxed);
            // Multiplying by an odd factor spreads the numbers, and no eight bytes repeat.
            let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            part.iter_mut()
                .zip(spread)
                .for_each(|(byte, of_it)| *byte = of_it);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Clock as _, CountingRandom, ManualClock, Random, SystemClock, SystemRandom, Timestamp};

    #[test]
    fn the_machines_clock_counts_seconds_since_1970() {
        let now = SystemClock.now();
        // From 2020 to 2100.
        assert!((1_577_836_800..4_102_444_800).contains(&now.0), "{now}");
    }

    #[test]
    fn a_moment_moves_by_whole_seconds_and_stops_at_the_ends() {
        let (moment, step) = (Timestamp(100), Duration::from_millis(30_999));
        assert_eq!(
            (moment.after(step), moment.before(step)),
            (Timestamp(130), Timestamp(70))
        );
        assert_eq!(Timestamp(u64::MAX).after(step), Timestamp(u64::MAX));
        assert_eq!(Timestamp(7).before(step), Timestamp(0));
    }

    #[test]
    fn a_manual_clock_moves_only_when_advanced() {
        let clock = ManualClock::at(100);
        assert_eq!(clock.now(), Timestamp(100));
        clock.advance(Duration::from_secs(5));
        assert_eq!((clock.now(), clock.now()), (Timestamp(105), Timestamp(105)));
    }

    #[test]
    fn random_bytes_fill_the_whole_buffer_and_differ_each_time() {
        let counting = CountingRandom::default();
        let sources: [&dyn Random; 2] = [&SystemRandom, &counting];
        for source in sources {
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..100 {
                let mut bytes = [0; 40];
                source.fill(&mut bytes).unwrap();
                // Each part: a source that leaves the end as it was would repeat it.
                assert!(seen.insert(bytes[..20].to_vec()) && seen.insert(bytes[20..].to_vec()));
            }
        }
    }
}
