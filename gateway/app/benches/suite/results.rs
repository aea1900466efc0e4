//! The measurements, with a file for each topic: a topic can be measured again without the others.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::{Plan, Topic};

/// The results of a topic, and where they come from.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Taken<T> {
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    /// Seconds of each measurement of a round.
    pub(crate) seconds: f64,
    /// Seconds that the topic took in all.
    pub(crate) took: f64,
    pub(crate) results: T,
}

/// Measures and writes.
///
/// # Errors
/// When measuring or writing fails.
pub(crate) fn write<T: Serialize>(
    plan: &Plan,
    topic: Topic,
    measure: impl FnOnce(&Plan) -> Result<T>,
) -> Result<()> {
    let machine = Machine::look()?;
    let begun = Instant::now();
    let results = measure(plan).with_context(|| format!("measuring {}", topic.name()))?;
    let taken = Taken {
        machine,
        rounds: plan.rounds,
        seconds: plan.time.as_secs_f64(),
        took: begun.elapsed().as_secs_f64(),
        results,
    };
    Ok(fs::write(file(plan, topic), serde_json::to_vec_pretty(&taken)?)?)
}

/// The measurements of a topic by this version of the suite, if there are any.
///
/// # Errors
/// When the file cannot be read, or another version has written it.
pub(crate) fn read<T: DeserializeOwned>(plan: &Plan, topic: Topic) -> Result<Option<Taken<T>>> {
    let file = file(plan, topic);
    if !file.exists() {
        return Ok(None);
    }
    let taken = serde_json::from_slice(&fs::read(&file)?);
    taken.with_context(|| format!("{}: measure --only {} again", file.display(), topic.name()))
}

fn file(plan: &Plan, topic: Topic) -> PathBuf {
    plan.results.join(format!("{}.json", topic.name()))
}
