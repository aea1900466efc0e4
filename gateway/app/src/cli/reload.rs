//! `gateway reload`: makes the running gateway read its configuration again, and waits until the new one is in force,
//! or prints why it is not. Waits for plugins to compile only with `--wait`. Finds the gateway by the control socket in
//! the data directory.

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
    /// Also wait until every plugin's file was compiled and tried under the new configuration
    #[arg(long)]
    wait: bool,
    /// Print a JSON list with the answer of each gateway that uses the data directory. If the configuration has
    /// mistakes that hide which directory this is, the list contains them, without a process (`"pid": null`)
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("no gateway uses the data directory {}: is it running, and is this its data directory (--data)?", .0.display())]
pub(super) struct NotRunning(PathBuf);

pub(super) async fn run(shared: &Shared, reload: &Reload) -> anyhow::Result<()> {
    let data_dir = match &reload.data {
        Some(directory) => directory.clone(),
        None => {
            let storage = config::load_storage(&shared.sources()).inspect_err(|errors| {
                if reload.json {
                    // In the shape of a gateway's answer.
                    let errors: Vec<String> = errors.to_string().lines().map(str::to_owned).collect();
                    let answer = json!([{
                        "pid": null, "errors": errors, "warnings": [], "plugins": [], "being_admitted": [],
                    }]);
                    output::report(format!("{answer:#}\n").as_bytes());
                }
            });
            storage.map_err(|errors| mistakes(&errors))?.data_dir
        }
    };
    let (answers, silent) = control::reload(&data_dir, reload.wait).await?;
    if answers.is_empty() && silent.is_empty() {
        return Err(NotRunning(data_dir).into());
    }
    let mut done = Vec::new();
    if reload.json {
        output::json(&mut done, &answers)?;
    }
    let mut err = io::stderr().lock();
    let mut refused = Vec::new();
    for answer in &answers {
        refused.extend(answer.errors.iter().map(|error| printable(error)));
        if reload.json {
            continue;
        }
        // The reload is done, even if stderr cannot be written.
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
            let (count, files, are) = match names.len() {
                1 => (1, "file", "is"),
                count => (count, "files", "are"),
            };
            let names: Vec<_> = names.iter().map(|name| printable(name)).collect();
            let names = names.join(", ");
            writeln!(
                done,
                "{count} plugin {files} {are} still being compiled or tried: {names} (see `gateway plugin list`)"
            )?;
        }
    }
    drop(err);
    output::report(&done);
    refused.dedup();
    let silent = silent.into_iter().next();
    if refused.is_empty() {
        return silent.map_or(Ok(()), |silent| Err(silent.into()));
    }
    refused.extend(silent.map(|silent| silent.to_string()));
    bail!(
        "the configuration has mistakes; the current one stays in force:\n{}",
        refused.join("\n")
    )
}
