//! Values on the command line, written as they are in the configuration.

use std::time::Duration;

use gateway_sandbox::{Grant, HostName, HttpOrigin};

use super::value::{Bytes, Count, Value};

fn read<T: Value>(text: &str) -> Result<T, String> {
    T::read(text).map_err(|right| format!("it must be {right}"))
}

pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    read(text).map(|Bytes(bytes)| bytes)
}

/// A whole number above 0, as in `100_000_000`.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    read(text).map(|Count(count)| count)
}

/// The same, as `usize`.
pub(crate) fn items(text: &str) -> Result<usize, String> {
    read::<Count>(text).map(usize::from)
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    read(text)
}

pub(crate) fn grant(text: &str) -> Result<Grant, String> {
    read(text)
}

pub(crate) fn origin(text: &str) -> Result<HttpOrigin, String> {
    read(text)
}

pub(crate) fn host(text: &str) -> Result<HostName, String> {
    read(text)
}

pub(crate) fn name(text: &str) -> Result<String, String> {
    super::read_name(text).map_err(|right| format!("it {right}"))
}
