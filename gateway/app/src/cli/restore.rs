//! `gateway restore`: replaces the database with a backup.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::backup::Meter;
use super::output::{printable, report};
use super::{Shared, storage};

#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The backup, made by `gateway backup` or by SQLite's VACUUM INTO or .backup
    file: PathBuf,
}

pub(super) async fn run(shared: &Shared, command: Restore) -> anyhow::Result<()> {
    let (database, _) = storage::located(shared)?;
    let shown = printable(&database.display().to_string());
    let Restore { file } = command;
    let backup = file.clone();
    let restoring = tokio::task::spawn_blocking(move || {
        let mut meter = Meter::new("restoring");
        gateway_store::restore(&backup, &database, &mut |progress| meter.show(progress))
    });
    let restored = restoring.await??;
    let mut out = Vec::new();
    writeln!(
        out,
        "restored {} users from {} to {shown}",
        restored.contents.users,
        printable(&file.display().to_string())
    )?;
    for old in restored.kept {
        writeln!(out, "kept {}", printable(&old.display().to_string()))?;
    }
    report(&out);
    Ok(())
}
