//! `gateway reload`: has the gateway that runs read its configuration again, and waits until it is in force, or says why it
//! is not. It finds the gateway by the control socket in the data directory.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use serde_json::json;

use super::output::{self, printable};
use super::{Shared, mistakes};
use crate::{config, control};

#[derive(Debug, Args)]
pub(super) struct Reload {
    /// The data directory of the gateway [default: data_dir of the configuration]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print JSON: a list of what each gateway of the data directory answers. If the configuration does not say which
    /// directory that is, the list has its mistakes, with no process (`"pid": null`)
    #[arg(long)]
    json: bool,
}

/// No gateway serves with the data directory.
#[derive(Debug, thiserror::Error)]
#[error("no gateway runs with the data directory {}: is it running, and is that its data directory (--data)?", .0.display())]
pub(super) struct NotRunning(PathBuf);

pub(super) async fn run(shared: &Shared, reload: &Reload) -> anyhow::Result<()> {
    let data_dir = match &reload.data {
        Some(directory) => directory.clone(),
        // A file that cannot be read is one that the gateway cannot read either.
        None => {
            let storage = config::load_storage(&shared.sources());
            let storage = storage.inspect_err(|errors| {
                if reload.json {
                    unread(&errors.to_string());
                }
            });
            storage.map_err(|errors| mistakes(&errors))?.data_dir
        }
    };
    let answers = control::reload(&data_dir).await?;
    if answers.is_empty() {
        return Err(NotRunning(data_dir).into());
    }
    if reload.json {
        output::json(&mut io::stdout().lock(), &answers)?;
    }
    let mut refused = Vec::new();
    for answer in &answers {
        let errors = answer.errors.iter().map(|error| printable(error));
        refused.extend(errors);
        if reload.json {
            continue;
        }
        for warning in &answer.warnings {
            writeln!(io::stderr(), "warning: {}", printable(warning))?;
        }
        for plugin in &answer.plugins {
            writeln!(
                io::stderr(),
                "warning: a plugin's file does not serve: {}",
                printable(plugin)
            )?;
        }
        if answer.errors.is_empty() {
            writeln!(
                io::stdout(),
                "the configuration was read again and is in force (process {})",
                answer.pid
            )?;
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    refused.dedup();
    bail!(
        "the configuration has mistakes; what was in force stays in force:\n{}",
        refused.join("\n")
    )
}

/// Prints the mistakes because of which it is not known where a gateway runs, in the shape of a gateway's answer.
fn unread(errors: &str) {
    let errors: Vec<&str> = errors.lines().collect();
    let answer = json!([{ "pid": null, "errors": errors, "warnings": [], "plugins": [] }]);
    output::report(format!("{answer:#}\n").as_bytes());
}
