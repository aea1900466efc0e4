//! `gateway completions` and `gateway man`, generated from the declarations of the command line.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell to complete commands for
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct Manual {
    /// Write a page for each command into this directory, which is created if it does not exist [default: print
    /// gateway(1)]
    dir: Option<PathBuf>,
}

pub(super) fn completions(mut line: Command, arguments: &Completions) -> anyhow::Result<()> {
    // clap_complete panics if it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut line, "gateway", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

pub(super) fn man(line: Command, arguments: &Manual) -> anyhow::Result<()> {
    let Some(dir) = &arguments.dir else {
        return Ok(Man::new(line).render(&mut io::stdout().lock())?);
    };
    fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(line, dir))
        .with_context(|| format!("cannot write the man pages into {}", dir.display()))
}
