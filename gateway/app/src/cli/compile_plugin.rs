//! `gateway compile-plugin`: the process that compiles one component, started by the gateway.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use gateway_host::{ChildLimits, compile_in_child};

/// The binary of this process, even if the file was replaced.
const SELF: &str = "/proc/self/exe";

#[derive(Debug, Args)]
pub(super) struct CompilePlugin {
    /// Bytes of address space
    #[arg(long)]
    memory: u64,
    /// Bytes of address space to which the limit can be raised later
    #[arg(long)]
    most_memory: u64,
    /// Added to the process's nice value
    #[arg(long)]
    nice: i32,
    /// Processor time per processor
    #[arg(long)]
    seconds: u64,
}

pub(super) fn run(command: &CompilePlugin) -> ExitCode {
    compile_in_child(ChildLimits {
        memory: command.memory,
        most_memory: command.most_memory,
        nice: command.nice,
        time: Duration::from_secs(command.seconds),
    })
}

pub(super) fn binary() -> io::Result<PathBuf> {
    if Path::new(SELF).exists() {
        Ok(SELF.into())
    } else {
        std::env::current_exe()
    }
}

/// Returns the command that the host starts to compile a component.
pub(crate) fn compiler() -> io::Result<Vec<OsString>> {
    Ok(vec![binary()?.into(), "compile-plugin".into()])
}
