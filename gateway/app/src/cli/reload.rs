//! `gateway reload`: has the gateway that runs read its configuration again, and waits until it is in force, or says why it
//! is not. It does not wait for plugins to compile unless it is told to. It finds the gateway by the control socket in the data directory.

use std::fmt::Write as _;
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
    /// Wait until every plugin's file was compiled and tried under the new configuration, too
    #[arg(long)]
    wait: bool,
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
    let (answers, silent) = control::reload(&data_dir, reload.wait).await?;
    if answers.is_empty() && silent.is_empty() {
        return Err(NotRunning(data_dir).into());
    }
    // Told at the end, when it is done.
    let mut done = Vec::new();
    if reload.json {
        output::json(&mut done, &answers)?;
    }
    let mut err = io::stderr().lock();
    let mut refused = Vec::new();
    for answer in &answers {
        let errors = answer.errors.iter().map(|error| printable(error));
        refused.extend(errors);
        if reload.json {
            continue;
        }
        // Whether or not anybody can be told, it is done.
        for warning in &answer.warnings {
            let _ = writeln!(err, "warning: {}", printable(warning));
        }
        for plugin in &answer.plugins {
            let plugin = printable(plugin);
            let _ = writeln!(err, "warning: a plugin's file does not serve: {plugin}");
        }
        if answer.errors.is_empty() {
            let pid = answer.pid;
            writeln!(
                done,
                "the configuration was read again and is in force (process {pid})"
            )?;
        }
        if let names @ [_, ..] = &answer.being_admitted[..] {
            let names: Vec<_> = names.iter().map(|name| printable(name)).collect();
            writeln!(done, "{}", still_compiling(&names))?;
        }
    }
    drop(err);
    output::report(&done);
    refused.dedup();
    let mut failed = String::new();
    if !refused.is_empty() {
        let refused = refused.join("\n");
        write!(
            failed,
            "the configuration has mistakes; what was in force stays in force:\n{refused}"
        )?;
    }
    match (silent.into_iter().next(), failed.is_empty()) {
        (None, true) => Ok(()),
        (Some(silent), true) => Err(silent.into()),
        (None, false) => bail!("{failed}"),
        (Some(silent), false) => bail!("{failed}\n{silent}"),
    }
}

fn still_compiling(names: &[String]) -> String {
    let (files, are) = if names.len() == 1 {
        ("file", "is")
    } else {
        ("files", "are")
    };
    format!(
        "{} plugin {files} {are} still being compiled or tried: {} (`gateway plugin list` shows how they stand)",
        names.len(),
        names.join(", ")
    )
}

/// Prints the mistakes because of which it is not known where a gateway runs, in the shape of a gateway's answer.
fn unread(errors: &str) {
    let errors: Vec<&str> = errors.lines().collect();
    let answer =
        json!([{ "pid": null, "errors": errors, "warnings": [], "plugins": [], "being_admitted": [] }]);
    output::report(format!("{answer:#}\n").as_bytes());
}
