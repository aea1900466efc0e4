//! `gateway plugin check`: describes a component, and says whether a gateway would serve it.

use std::io::{self, Write};

use anyhow::bail;
use clap::Args;
use gateway_devkit::{ImportStatus, Report};
use gateway_sandbox::grouped;

use super::sandbox::Sandbox;
use crate::cli::Shared;
use crate::cli::output::{self, printable};

#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    #[command(flatten)]
    sandbox: Sandbox,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(shared: &Shared, check: Check) -> anyhow::Result<()> {
    let sandbox = &check.sandbox;
    let config = sandbox.config(shared)?;
    let pinned = config.sha256.clone();
    let bench = sandbox.open(config, sandbox.users()?, false).await?;
    let report = bench.report();
    let mut out = io::stdout().lock();
    if check.json {
        output::json(&mut out, report)?;
    } else if report.size.is_some() {
        write(&mut out, report)?;
    }
    sandbox.admissible(report)?;
    match (pinned, &report.sha256) {
        (Some(pinned), Some(found)) if pinned != *found => bail!(
            "the component would not be served: the configuration pins `sha256` to {pinned}, but this file has {found}"
        ),
        _ => Ok(()),
    }
}

fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let mut line = |name: &str, text: &str| writeln!(out, "{name:<11} {text}");
    line("plugin", &printable(&report.plugin))?;
    line("size", &format!("{} bytes", grouped(report.size.unwrap_or(0))))?;
    line("sha256", report.sha256.as_deref().unwrap_or_default())?;
    match report.compiled {
        Some(compiled) if compiled.was_cached => {
            line(
                "compiled",
                &format!("loaded from the cache in {}", time(compiled.milliseconds)),
            )?;
        }
        Some(compiled) => line("compiled", &format!("in {}", time(compiled.milliseconds)))?,
        None => line("compiled", "no")?,
    }
    line(
        "modules",
        &format!(
            "{}, with {} ({} bytes to begin with) and {} ({} elements)",
            report.modules,
            counted(report.memories, "memory", "memories"),
            grouped(report.memory_bytes),
            counted(report.tables, "table", "tables"),
            grouped(report.table_elements)
        ),
    )?;
    line(
        "names",
        if report.has_names {
            "yes: errors name the functions in which they happen"
        } else {
            "no: errors cannot name the functions in which they happen (Rust: set strip = \"debuginfo\"; C: compile with \
             -g; JavaScript: the stack of an exception has them anyway)"
        },
    )?;
    for (at, export) in report.exports.iter().enumerate() {
        let called = match export.function {
            Some(function) => format!("{function} is called"),
            None => "not used".to_owned(),
        };
        line(
            if at == 0 { "exports" } else { "" },
            &format!("{}: {called}", export.name),
        )?;
    }
    for (at, import) in report.imports.iter().enumerate() {
        let grant = import.grant.map_or("", |grant| grant.as_str());
        let status = match import.status {
            ImportStatus::Types => "types, no grant needed".to_owned(),
            ImportStatus::Empty if is_output(&import.name) => "WASI, goes to the log".to_owned(),
            ImportStatus::Empty if is_real(&import.name) => "WASI, works".to_owned(),
            ImportStatus::Empty => "WASI, linked to nothing".to_owned(),
            ImportStatus::Granted => format!("granted by {grant}"),
            ImportStatus::NotGranted => format!("NOT GRANTED, needs {grant}"),
            ImportStatus::OtherVersion => "this version is NOT SUPPORTED".to_owned(),
            ImportStatus::Unknown => "UNKNOWN to the gateway".to_owned(),
        };
        line(
            if at == 0 { "imports" } else { "" },
            &format!("{}: {status}", import.name),
        )?;
    }
    let needed: Vec<&str> = report.grants_needed.iter().map(|grant| grant.as_str()).collect();
    let none = if needed.is_empty() { "none" } else { "" };
    line("grants", &(needed.join(", ") + none))?;
    line("admissible", if report.is_admissible { "yes" } else { "NO" })
}

pub(super) fn time(milliseconds: f64) -> String {
    if milliseconds >= 1000.0 {
        format!("{:.1} s", milliseconds / 1000.0)
    } else if milliseconds >= 10.0 {
        format!("{milliseconds:.0} ms")
    } else if milliseconds >= 1.0 {
        format!("{milliseconds:.1} ms")
    } else {
        format!("{:.0} µs", milliseconds * 1000.0)
    }
}

fn is_output(import: &str) -> bool {
    ["wasi:cli/stdout@", "wasi:cli/stderr@"]
        .iter()
        .any(|output| import.starts_with(output))
}

/// Whether the interface works without access to anything outside: clocks and random numbers.
fn is_real(import: &str) -> bool {
    ["wasi:clocks/", "wasi:random/"]
        .iter()
        .any(|package| import.starts_with(package))
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_are_readable() {
        for (milliseconds, text) in [
            (14_230.0, "14.2 s"),
            (431.7, "432 ms"),
            (4.26, "4.3 ms"),
            (0.0321, "32 µs"),
        ] {
            assert_eq!(time(milliseconds), text);
        }
    }
}
