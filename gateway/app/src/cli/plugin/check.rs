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
    let mut lines = vec![
        ("plugin", printable(&report.plugin)),
        ("size", format!("{} bytes", grouped(report.size.unwrap_or(0)))),
        ("sha256", report.sha256.clone().unwrap_or_default()),
    ];
    let compiled = report.compiled.map(|compiled| {
        let cached = if compiled.was_cached {
            "loaded from the cache "
        } else {
            ""
        };
        format!("{cached}in {}", time(compiled.milliseconds))
    });
    lines.push(("compiled", compiled.unwrap_or_else(|| "no".to_owned())));
    let modules = format!(
        "{}, with {} ({} bytes to begin with) and {} ({} elements)",
        report.modules,
        counted(report.memories, "memory", "memories"),
        grouped(report.memory_bytes),
        counted(report.tables, "table", "tables"),
        grouped(report.table_elements)
    );
    lines.push(("modules", modules));
    let names = if report.has_names {
        "yes: errors name the functions in which they happen"
    } else {
        "no: errors cannot name the functions in which they happen (Rust: set strip = \"debuginfo\"; C: compile with -g; \
         JavaScript: the stack of an exception has them anyway)"
    };
    lines.push(("names", names.to_owned()));
    for export in &report.exports {
        let called = match export.function {
            Some(function) => format!("{function} is called"),
            None => "not used".to_owned(),
        };
        lines.push(("exports", format!("{}: {called}", export.name)));
    }
    for import in &report.imports {
        let starts = |prefixes: [&str; 2]| prefixes.iter().any(|prefix| import.name.starts_with(prefix));
        let grant = import.grant.map_or("", |grant| grant.as_str());
        let status = match import.status {
            ImportStatus::Types => "types, no grant needed".to_owned(),
            ImportStatus::Empty if starts(["wasi:cli/stdout@", "wasi:cli/stderr@"]) => {
                "WASI, goes to the log".to_owned()
            }
            // These need no access to anything outside.
            ImportStatus::Empty if starts(["wasi:clocks/", "wasi:random/"]) => "WASI, works".to_owned(),
            ImportStatus::Empty => "WASI, linked to nothing".to_owned(),
            ImportStatus::Granted => format!("granted by {grant}"),
            ImportStatus::NotGranted => format!("NOT GRANTED, needs {grant}"),
            ImportStatus::OtherVersion => "this version is NOT SUPPORTED".to_owned(),
            ImportStatus::Unknown => "UNKNOWN to the gateway".to_owned(),
        };
        lines.push(("imports", format!("{}: {status}", import.name)));
    }
    let needed: Vec<&str> = report.grants_needed.iter().map(|grant| grant.as_str()).collect();
    let none = if needed.is_empty() { "none" } else { "" };
    lines.push(("grants", needed.join(", ") + none));
    let admissible = if report.is_admissible { "yes" } else { "NO" };
    lines.push(("admissible", admissible.to_owned()));
    let mut last = "";
    for (name, text) in lines {
        let shown = if name == last { "" } else { name };
        writeln!(out, "{shown:<11} {text}")?;
        last = name;
    }
    Ok(())
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
