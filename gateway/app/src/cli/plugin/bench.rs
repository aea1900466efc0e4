//! `gateway plugin bench`: measures the cost of a call.

use std::io;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use gateway_devkit::{BenchLimits, Measured};
use gateway_sandbox::grouped;

use super::check::time;
use super::question::Asked;
use super::sandbox::Sandbox;
use crate::cli::{Shared, output};
use crate::config::flags;

/// Limited, because the time of each call is kept in memory.
const MAX_CALLS: usize = 1_000_000;

#[derive(Debug, Args)]
pub(in crate::cli) struct Bench {
    #[command(flatten)]
    sandbox: Sandbox,
    #[command(flatten)]
    asked: Asked,
    /// The maximum number of calls of each kind
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = flags::items)]
    calls: usize,
    /// The maximum total time, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = flags::count)]
    seconds: u64,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Bench {
    /// The time that all calls may take. The last call may begin at the end of the time.
    pub(super) fn longest(&self, shared: &Shared) -> anyhow::Result<Duration> {
        let deadline = self.sandbox.config(shared)?.limits.deadline;
        Ok(Duration::from_secs(self.seconds).saturating_add(deadline.saturating_mul(4)))
    }
}

pub(super) async fn run(shared: &Shared, bench: &Bench) -> anyhow::Result<()> {
    let sandbox = &bench.sandbox;
    let prepared = bench.asked.prepare(sandbox.users()?)?;
    let workbench = sandbox
        .open(sandbox.config(shared)?, prepared.users.clone(), true)
        .await?;
    sandbox.callable(&workbench)?;
    let limits = BenchLimits {
        calls: bench.calls.min(MAX_CALLS),
        time: Duration::from_secs(bench.seconds),
    };
    let measured = workbench.bench(prepared.question(1)?, limits).await;
    let measured = measured.map_err(|error| anyhow!(error.to_string()))?;
    let mut out = io::stdout().lock();
    if bench.json {
        return Ok(output::json(&mut out, &measured)?);
    }
    let mut rows = vec![row("fresh", &measured.fresh)];
    rows.extend(measured.prepared.iter().map(|prepared| row("prepared", prepared)));
    let head = [
        "INSTANCE", "CALLS", "P50", "P90", "P99", "MAX", "A SECOND", "FUEL", "MEMORY",
    ];
    Ok(output::table(&mut out, head, &rows)?)
}

fn row(kind: &str, measured: &Measured) -> [String; 9] {
    let us = |microseconds: f64| time(microseconds / 1e3);
    let fuel = if measured.fuel_min == measured.fuel_max {
        grouped(measured.fuel_max)
    } else {
        format!("{} to {}", grouped(measured.fuel_min), grouped(measured.fuel_max))
    };
    [
        kind.to_owned(),
        grouped(measured.calls as u64),
        us(measured.p50_us),
        us(measured.p90_us),
        us(measured.p99_us),
        us(measured.max_us),
        format!("{:.0}", measured.per_second),
        fuel,
        grouped(measured.memory_max as u64),
    ]
}
