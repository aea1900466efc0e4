//! `gateway plugin call`: a function of a component, called as a gateway would.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use gateway_devkit::{Answer, Call as Called, CallFailure, Report};
use gateway_sandbox::{CallError, Grant, Limits, grouped};
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use super::check::time;
use super::question::Asked;
use super::sandbox::Sandbox;
use crate::cli::Shared;
use crate::cli::output::{self, printable};
use crate::config::flags;

/// What printing an answer may take.
const BETWEEN: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(in crate::cli) struct Call {
    #[command(flatten)]
    sandbox: Sandbox,
    #[command(flatten)]
    asked: Asked,
    /// Call it so many times; what it keeps by key-value is there at the next call
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = flags::count)]
    repeat: u64,
}

impl Call {
    /// What all calls may take.
    pub(super) fn longest(&self, shared: &Shared) -> anyhow::Result<Duration> {
        let repeat = u32::try_from(self.repeat).unwrap_or(u32::MAX);
        let each = self
            .sandbox
            .config(shared)?
            .limits
            .deadline
            .saturating_add(BETWEEN);
        Ok(each.saturating_mul(repeat))
    }
}

pub(super) async fn run(shared: &Shared, call: Call) -> anyhow::Result<()> {
    let Call {
        sandbox,
        asked,
        repeat,
    } = call;
    let prepared = asked.prepare(sandbox.users()?)?;
    hear_the_host();
    let config = sandbox.config(shared)?;
    let (limits, sees_users) = (config.limits.clone(), config.grants.contains(&Grant::Users));
    // An author may want to see why the trial fails, or does not mind: what it asks is not what they ask.
    let bench = sandbox.open(config, prepared.users.clone(), true).await?;
    sandbox.callable(&bench)?;
    if sees_users && !prepared.is_known {
        writeln!(
            io::stderr(),
            "note: nobody in --users has the id that is asked about; a gateway asks about users that it has"
        )?;
    }
    for number in 1..=repeat {
        let called = bench.ask(prepared.question(number)?).await?;
        write_cost(&mut io::stderr().lock(), &called, &limits)?;
        let answer = match called.answer {
            Ok(Answer::Permissions(permissions)) => {
                // With all of their digits, which a JSON value does not have.
                output::json(&mut io::stdout().lock(), &permissions)?;
                continue;
            }
            Ok(answer) => as_json(answer),
            Err(failure) => match failure.error() {
                // To a gateway this is a failure; to whoever tries the hook it is what it said.
                CallError::HookUnavailable { message, .. } => json!({ "unavailable": message }),
                _ => return Err(in_lines(&failure, bench.report())),
            },
        };
        output::json(&mut io::stdout().lock(), &answer)?;
    }
    Ok(())
}

/// What the host has to say, of requests that it refused for example. What the guest says is shown by us.
fn hear_the_host() {
    // Only in tests can there be one already.
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

fn as_json(answer: Answer) -> Value {
    match answer {
        Answer::Permissions(permissions) => json!(permissions),
        Answer::Accepted(attributes) => json!({ "accepted": attributes }),
        Answer::Rejected(reason) => json!({ "rejected": reason }),
        Answer::Heard => json!({ "heard": true }),
    }
}

/// What the guest wrote and what the call cost.
fn write_cost(out: &mut impl Write, call: &Called, limits: &Limits) -> io::Result<()> {
    for line in &call.log {
        // What goes to the standard streams has no level of its own.
        let level = if line.source == "log" {
            line.level
        } else {
            line.source
        };
        writeln!(out, "{level:>6} | {}", printable(&line.message))?;
    }
    if call.log_dropped > 0 {
        writeln!(
            out,
            "       | {} more, over the {} bytes that a call may log",
            grouped(call.log_dropped),
            grouped(limits.log_bytes as u64)
        )?;
    }
    writeln!(
        out,
        "  fuel | {} of {}\nmemory | {} of {} bytes\n  time | {} of {}",
        grouped(call.fuel),
        grouped(limits.fuel),
        grouped(call.memory as u64),
        grouped(limits.memory as u64),
        time(call.time.as_secs_f64() * 1e3),
        time(limits.deadline.as_secs_f64() * 1e3),
    )
}

/// The failure, with the guest's functions a line each. What it wrote has been shown.
fn in_lines(failure: &CallFailure, report: &Report) -> anyhow::Error {
    let mut text = failure.error().to_string();
    for (at, function) in failure.functions().into_iter().enumerate() {
        text += if at == 0 { "\n  in " } else { "\n  called by " };
        text += &function;
    }
    // Who was told where by the language itself needs no names of its interpreter's functions.
    if failure.is_nameless() && failure.said().is_empty() {
        text += "\n  the component has no function names that would say where (Rust: set strip = \"debuginfo\" in the \
                 release profile; C: compile with -g; JavaScript: only exceptions have a stack)";
    }
    let is_trap = matches!(failure.error(), CallError::Trap { .. });
    let has_stderr = report
        .imports
        .iter()
        .any(|import| import.name.starts_with("wasi:cli/stderr@"));
    if is_trap && !has_stderr {
        text += "\n  it has no stderr, so that nobody hears what its language's runtime says of this: built without \
                 --stub-wasi, it would be shown here";
    }
    anyhow!(text)
}
