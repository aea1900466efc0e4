//! What the fuzzer (`docs/fuzzing.md`) reaches without a component: no part of the interface.

use std::collections::BTreeMap;

use gateway_model::PermissionMap;

use crate::answer;
pub use crate::bindings::types::{Permission, Value};
use crate::{Limits, text};

/// What becomes of a provider's answer.
///
/// # Errors
/// Says in words which rule it breaks.
pub fn permissions(answer: Vec<Permission>, limits: &Limits) -> Result<PermissionMap, String> {
    answer::permissions(answer, limits)
}

/// What becomes of the attributes that a hook sets.
///
/// # Errors
/// Says in words which rule they break.
pub fn attributes(
    answer: Vec<(String, String)>,
    limits: &Limits,
) -> Result<BTreeMap<String, String>, String> {
    answer::attributes(answer, limits)
}

/// What the log is told in a plugin's own words.
#[must_use]
pub fn message(words: &str) -> String {
    answer::message(words)
}

/// What a person is told in a plugin's own words.
#[must_use]
pub fn reason(words: &str) -> String {
    answer::reason(words)
}

/// What is left of a text of anybody's in an error.
#[must_use]
pub fn printable(words: &str, max: usize) -> String {
    text::printable(words, max)
}
