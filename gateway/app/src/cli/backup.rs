//! `gateway backup`: a checked copy of the database, also while the gateway is running.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use gateway_store::Progress;

use super::output::{printable, report};
use super::{Shared, storage};

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The file to write, not `-`; only its owner can read it
    file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    overwrite: bool,
}

pub(super) async fn run(shared: &Shared, command: Backup) -> anyhow::Result<()> {
    let (database, _) = storage::configured(shared)?;
    let Backup { file, overwrite } = command;
    ensure!(
        file.as_os_str() != "-",
        "a backup cannot be written to standard output, because a file gets its name only when it is complete and \
         checked: name a file (`./-` for a file with that name)"
    );
    let target = file.clone();
    let copying = tokio::task::spawn_blocking(move || {
        let mut meter = Meter::new("backing up");
        gateway_store::backup(&database, &target, overwrite, &mut |progress| {
            meter.show(progress)
        })
    });
    let contents = copying.await??;
    let done = format!(
        "backed up {} users to {} ({} bytes, checked)\n",
        contents.users,
        printable(&file.display().to_string()),
        contents.bytes
    );
    report(done.as_bytes());
    Ok(())
}

/// Shows the progress of a copy on a terminal.
pub(super) struct Meter {
    what: &'static str,
    shown: Option<u64>,
    terminal: bool,
}

impl Meter {
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            what,
            shown: None,
            terminal: io::stderr().is_terminal(),
        }
    }

    pub(super) fn show(&mut self, progress: Progress) {
        let percent = progress
            .copied
            .saturating_mul(100)
            .checked_div(progress.total)
            .unwrap_or(100);
        if !self.terminal || self.shown == Some(percent) {
            return;
        }
        self.shown = Some(percent);
        // The copy continues without the terminal.
        let _ = write!(io::stderr(), "\r{}: {percent} %", self.what);
        if percent >= 100 {
            let _ = writeln!(io::stderr(), "; checking");
        }
    }
}
