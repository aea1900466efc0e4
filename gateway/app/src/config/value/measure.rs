//! Durations, sizes, counts and rates.

use std::time::Duration;

use super::{Form, OrOff, Value};
use crate::rate_limit::Rate;

/// Ten years: more is a typing error, and could overflow somewhere.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);
/// 1 TiB, for the same reason.
const LARGEST: usize = 1 << 40;

/// The units of durations, in milliseconds, from largest to smallest.
const TIMES: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

impl Value for Duration {
    /// Most durations are timeouts.
    const MAX: Option<&'static str> = Some("1d");
    const FORM: Form = Form::Pattern(r"^[0-9]+\s*(d|h|m|s|ms)$");

    fn read(text: &str) -> Result<Self, String> {
        let milliseconds = measure(text, &TIMES)
            .filter(|milliseconds| *milliseconds > 0)
            .ok_or("a duration in ms, s, m, h or d, as in 500ms, 15m or 14d")?;
        let duration = Self::from_millis(milliseconds);
        if duration > LONGEST {
            return Err(format!("a duration of at most {}", LONGEST.show()));
        }
        Ok(duration)
    }

    fn show(&self) -> String {
        show_measure(milliseconds(*self), &TIMES)
    }

    fn amount(&self) -> Option<u64> {
        Some(milliseconds(*self))
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Zero if it is off.
impl From<OrOff<Duration>> for Duration {
    fn from(OrOff(duration): OrOff<Duration>) -> Self {
        duration.unwrap_or_default()
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Bytes(pub(in crate::config) usize);

impl Bytes {
    pub(in crate::config) fn of(bytes: u64) -> Self {
        Self(usize::try_from(bytes).unwrap_or(usize::MAX))
    }
}

impl From<Bytes> for u64 {
    fn from(Bytes(bytes): Bytes) -> Self {
        Self::try_from(bytes).unwrap_or(Self::MAX)
    }
}

/// The units of sizes, in bytes, from largest to smallest.
const SIZES: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("", 1),
];

impl Value for Bytes {
    const FORM: Form = Form::Number(r"^[0-9]+\s*(TiB|GiB|MiB|KiB)?$", 1, None);

    fn read(text: &str) -> Result<Self, String> {
        let size = measure(text, &SIZES)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .filter(|bytes| *bytes > 0)
            .ok_or("a size in bytes, KiB, MiB, GiB or TiB, as in 64MiB or 65536")?;
        if size > LARGEST {
            return Err(format!("a size of at most {}", Self(LARGEST).show()));
        }
        Ok(Self(size))
    }

    fn show(&self) -> String {
        show_measure((*self).into(), &SIZES)
    }

    fn amount(&self) -> Option<u64> {
        Some((*self).into())
    }
}

/// A whole number above 0.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Count(pub(in crate::config) u64);

impl Count {
    pub(in crate::config) fn of(count: usize) -> Self {
        Self(u64::try_from(count).unwrap_or(u64::MAX))
    }
}

impl From<Count> for usize {
    fn from(Count(count): Count) -> Self {
        Self::try_from(count).unwrap_or(Self::MAX)
    }
}

/// A whole number from 0.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct UpTo<const MOST: usize>(pub(in crate::config) usize);

impl<const MOST: usize> Value for UpTo<MOST> {
    const FORM: Form = Form::Number(r"^\+?[0-9]+$", 0, Some(MOST));

    fn read(text: &str) -> Result<Self, String> {
        let number: Option<usize> = text.parse().ok();
        number
            .filter(|number| *number <= MOST)
            .map(Self)
            .ok_or_else(|| format!("a whole number up to {MOST}"))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

impl Value for Count {
    const FORM: Form = Form::Number(r"^\+?[0-9_]+$", 1, None);

    fn read(text: &str) -> Result<Self, String> {
        let number: Option<u64> = text.replace('_', "").parse().ok();
        number
            .filter(|number| *number > 0)
            .map(Self)
            .ok_or_else(|| "a whole number above 0".into())
    }

    fn show(&self) -> String {
        self.0.to_string()
    }

    fn amount(&self) -> Option<u64> {
        Some(self.0)
    }
}

/// Reads a whole number followed by one of the units.
fn measure(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn show_measure(amount: u64, units: &[(&str, u64)]) -> String {
    let whole = units.iter().find(|(_, factor)| amount.is_multiple_of(*factor));
    whole.map_or_else(
        || amount.to_string(),
        |(unit, factor)| format!("{}{unit}", amount / factor),
    )
}

/// The units of rates, in seconds.
const PERIODS: [(&str, u64); 3] = [("s", 1), ("m", 60), ("h", 3600)];

value!(
    Rate,
    Form::Pattern(r"^\+?[0-9]+\s*/\s*[smh]$"),
    |text| {
        let read = || {
            let (count, unit) = text.split_once('/')?;
            let (_, seconds) = PERIODS.into_iter().find(|(name, _)| *name == unit.trim())?;
            Some(Self {
                count: count.trim().parse().ok()?,
                period: Duration::from_secs(seconds),
            })
        };
        read().ok_or_else(|| "a number per second, minute or hour, as in 5/s, 300/m or 1000/h".into())
    },
    |Self { count, period }| {
        let unit = PERIODS.iter().find(|(_, seconds)| *seconds == period.as_secs());
        format!("{count}/{}", unit.map_or("s", |(unit, _)| unit))
    }
);

inner!(Bytes => usize, Count => u64);

impl<const MOST: usize> From<UpTo<MOST>> for usize {
    fn from(number: UpTo<MOST>) -> Self {
        number.0
    }
}
