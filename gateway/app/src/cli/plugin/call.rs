//! `gateway plugin call`: calls a function of a component as a gateway would.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use gateway_devkit::{Answer, Call as Called, CallFailure, Report};
use gateway_sandbox::{CallError, Grant, Limits, grouped};
use serde_json::json;
use tracing_subscriber::EnvFilter;

use super::check::time;
use super::question::Asked;
use super::sandbox::Sandbox;
use crate::cli::Shared;
use crate::cli::output::{self, printable};
use crate::config::flags;

/// The time for printing an answer.
const PRINTING: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(in crate::cli) struct Call {
    #[command(flatten)]
    sandbox: Sandbox,
    #[command(flatten)]
    asked: Asked,
    /// Call it this often; the next call sees the values that it has stored through key-value
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = flags::count)]
    repeat: u64,
}

impl Call {
    /// The time that all calls may take.
    pub(super) fn longest(&self, shared: &Shared) -> anyhow::Result<Duration> {
        let repeat = u32::try_from(self.repeat).unwrap_or(u32::MAX);
        let deadline = self.sandbox.config(shared)?.limits.deadline;
        Ok(deadline.saturating_add(PRINTING).saturating_mul(repeat))
    }
}

pub(super) async fn run(shared: &Shared, call: &Call) -> anyhow::Result<()> {
    let sandbox = &call.sandbox;
    let prepared = call.asked.prepare(sandbox.users()?)?;
    show_the_hosts_log();
    let config = sandbox.config(shared)?;
    let (limits, sees_users) = (config.limits.clone(), config.grants.contains(&Grant::Users));
    // Also if the trial fails: its call differs from this one, and the author may want to see why it fails.
    let bench = sandbox.open(config, prepared.users.clone(), true).await?;
    sandbox.callable(&bench)?;
    if sees_users && !prepared.is_known {
        writeln!(
            io::stderr(),
            "note: --users has no user with this id; a gateway asks only about users that exist"
        )?;
    }
    for number in 1..=call.repeat {
        let called = bench.ask(prepared.question(number)?).await?;
        write_cost(&mut io::stderr().lock(), &called, &limits)?;
        let answer = match called.answer {
            Ok(Answer::Permissions(permissions)) => {
                // Not as a `Value`, which would lose digits.
                output::json(&mut io::stdout().lock(), &permissions)?;
                continue;
            }
            Ok(Answer::Accepted(attributes)) => json!({ "accepted": attributes }),
            Ok(Answer::Rejected(reason)) => json!({ "rejected": reason }),
            Ok(Answer::Heard) => json!({ "heard": true }),
            Err(failure) => match failure.error() {
                // A failure for a gateway, but the answer of the hook for its author.
                CallError::HookUnavailable { message, .. } => json!({ "unavailable": message }),
                _ => return Err(in_lines(&failure, bench.report())),
            },
        };
        output::json(&mut io::stdout().lock(), &answer)?;
    }
    Ok(())
}

/// Shows the host's warnings, for example about refused requests, but not the guest's messages, which [`write_cost`]
/// prints.
fn show_the_hosts_log() {
    // Fails only in tests, if there is a log already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(
            "gateway_host=warn,gateway_sandbox=warn,gateway_plugin::guest=off",
        ))
        .with_writer(io::stderr)
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .try_init();
}

/// Prints the guest's messages and the cost of the call.
fn write_cost(out: &mut impl Write, call: &Called, limits: &Limits) -> io::Result<()> {
    for line in &call.log {
        // Lines of the standard streams have no level.
        let level = if line.source == "log" {
            line.level
        } else {
            line.source
        };
        writeln!(out, "{level:>6} | {}", printable(&line.message))?;
    }
    if call.usage.log_dropped > 0 {
        writeln!(
            out,
            "       | {} more, beyond the {} bytes that a call may log",
            grouped(call.usage.log_dropped),
            grouped(limits.log_bytes as u64)
        )?;
    }
    writeln!(
        out,
        "  fuel | {} of {}\nmemory | {} of {} bytes\n  time | {} of {}",
        grouped(call.usage.fuel),
        grouped(limits.fuel),
        grouped(call.usage.memory as u64),
        grouped(limits.memory as u64),
        time(call.usage.time.as_secs_f64() * 1e3),
        time(limits.deadline.as_secs_f64() * 1e3),
    )
}

/// Describes a failure, with the guest's functions on one line each.
fn in_lines(failure: &CallFailure, report: &Report) -> anyhow::Error {
    let mut text = failure.error().to_string();
    for (at, function) in failure.functions().into_iter().enumerate() {
        text += if at == 0 { "\n  in " } else { "\n  called by " };
        text += &function;
    }
    // A message of the language's own runtime says where, and needs no names of the interpreter's functions.
    if failure.is_nameless() && failure.said().is_empty() {
        text += "\n  the component has no function names that would show where (Rust: set strip = \"debuginfo\" in the \
                 release profile; C: compile with -g; JavaScript: only exceptions have a stack)";
    }
    let is_trap = matches!(failure.error(), CallError::Trap { .. });
    let has_stderr = report
        .imports
        .iter()
        .any(|import| import.name.starts_with("wasi:cli/stderr@"));
    if is_trap && !has_stderr {
        text += "\n  it has no stderr, so the message of its language's runtime is lost: build it without --stub-wasi to \
                 see the message here";
    }
    anyhow!(text)
}
