//! The results of criterion's benches and of the instruction counts, inside the process, if they were run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::figure::Target;
use crate::machine;
use crate::report::{Section, grouped};

/// The targets of calls of prepared instances by language, in microseconds.
const PREPARED: &[(&str, f64)] = &[("rust", 17.0), ("javascript", 40.0), ("python", 80.0)];
/// How much longer than with wasmtime alone a call may take.
const MINIMAL: f64 = 1.1;

/// One function of a group, in nanoseconds.
struct Measured {
    group: String,
    function: String,
    median: f64,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct Benchmark {
    group_id: String,
    function_id: Option<String>,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

/// Its section of the report.
///
/// # Errors
/// When there is a file that cannot be read.
pub(crate) fn section(section: &mut Section) -> Result<()> {
    let target = machine::target().context("no target directory")?;
    let mut measured = Vec::new();
    find(&target.join("criterion"), &mut measured)?;
    measured.sort_by(|one, other| (&one.group, &one.function).cmp(&(&other.group, &other.function)));
    if measured.is_empty() {
        section.say("Not measured yet: `just bench-in-process`.");
    } else {
        section.say(
            "`just bench-in-process`: criterion's medians with their 95 % confidence intervals, on one core.",
        );
        let rows: Vec<_> = measured.iter().map(|one| one.row(&measured)).collect();
        section.rows(
            ["", "median", "from – to", "of minimal-async", "target", "met"],
            &rows,
        );
    }

    let instructions = target.join("instructions.json");
    if instructions.exists() {
        let counts: BTreeMap<String, u64> = serde_json::from_slice(&fs::read(instructions)?)?;
        section.say("`just bench-instructions`: instructions counted by callgrind, which do not depend on the load of the machine.");
        let rows: Vec<_> = counts
            .into_iter()
            .map(|(name, count)| [name, grouped(count as f64)])
            .collect();
        section.rows(["", "instructions"], &rows);
    }
    Ok(())
}

/// All that is in a directory, and below.
fn find(directory: &Path, found: &mut Vec<Measured>) -> Result<()> {
    if !directory.is_dir() {
        return Ok(());
    }
    let new = directory.join("new");
    if new.join("estimates.json").exists() {
        found.push(read(&new)?);
    }
    let mut below: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(directory)? {
        below.push(entry?.path());
    }
    below.iter().try_for_each(|directory| find(directory, found))
}

fn read(new: &Path) -> Result<Measured> {
    let file = |name: &str| fs::read(new.join(name)).with_context(|| format!("{}", new.join(name).display()));
    let benchmark: Benchmark = serde_json::from_slice(&file("benchmark.json")?)?;
    let estimates: Estimates = serde_json::from_slice(&file("estimates.json")?)?;
    let Estimate {
        point_estimate,
        confidence_interval,
    } = estimates.median;
    Ok(Measured {
        group: benchmark.group_id,
        function: benchmark.function_id.unwrap_or_default(),
        median: point_estimate,
        low: confidence_interval.lower_bound,
        high: confidence_interval.upper_bound,
    })
}

impl Measured {
    fn row(&self, all: &[Self]) -> [String; 6] {
        let language = self.group.strip_prefix("call/");
        let minimal = self.minimal(all).map(|minimal| self.median / minimal.median);
        let judged = match (language, self.function.as_str()) {
            (Some("rust"), "gateway-fresh") => minimal.map(|ratio| {
                (
                    Target::Most(MINIMAL),
                    ratio,
                    format!("≤ {MINIMAL} of minimal-async"),
                )
            }),
            (Some(language), "gateway-prepared") => PREPARED
                .iter()
                .find(|(name, _)| *name == language)
                .map(|(_, most)| (Target::Most(*most), self.median / 1e3, format!("≤ {most} µs"))),
            _ => None,
        };
        let (target, met) = judged.map_or_else(Default::default, |(target, value, text)| {
            (text, if target.is_met(value) { "yes" } else { "**no**" })
        });
        [
            format!("{}/{}", self.group, self.function),
            time(self.median),
            format!("{} – {}", time(self.low), time(self.high)),
            minimal.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            target,
            met.to_owned(),
        ]
    }

    /// The same call with wasmtime alone. It has its own stack, like the gateway's calls: otherwise the guest could not
    /// be interrupted and resumed.
    fn minimal<'a>(&self, all: &'a [Self]) -> Option<&'a Self> {
        let name = format!("minimal-async-{}", self.function.strip_prefix("gateway-")?);
        all.iter()
            .find(|other| other.group == self.group && other.function == name)
    }
}

/// Nanoseconds.
fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        few if few < 1e3 => format!("{few:.0} ns"),
        some if some < 1e6 => format!("{:.1} µs", some / 1e3),
        many => format!("{:.2} ms", many / 1e6),
    }
}
