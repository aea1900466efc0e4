//! The machine and the software of a measurement.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::site::GATEWAY;

/// The machine and the versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    /// Bytes.
    pub(crate) memory: u64,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    pub(crate) wasmtime: String,
    pub(crate) gateway: String,
    /// The short id of the commit, and whether the work tree differs from it.
    pub(crate) commit: String,
    /// Of the measurement, as `2026-11-28`.
    pub(crate) date: String,
}

impl Machine {
    /// The current machine.
    ///
    /// # Errors
    /// When a version or a property cannot be determined.
    pub(crate) fn look() -> Result<Self> {
        let processors = std::fs::read_to_string("/proc/cpuinfo")?;
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let kilobytes: u64 = value(&memory, "MemTotal").trim_end_matches(" kB").parse()?;
        let changed = !output("git", &["status", "--porcelain", "--untracked-files=no"])?.is_empty();
        Ok(Self {
            processor: value(&processors, "model name").to_owned(),
            cores: cores()?,
            memory: kilobytes * 1024,
            kernel: output("uname", &["-sr"])?,
            rustc: output("rustc", &["--version"])?,
            wasmtime: wasmtime()?,
            gateway: output(GATEWAY, &["--version"])?,
            commit: format!(
                "{}{}",
                output("git", &["rev-parse", "--short", "HEAD"])?,
                if changed { ", with changes" } else { "" }
            ),
            date: OffsetDateTime::now_utc().date().to_string(),
        })
    }
}

/// The value in a line `name : value`.
fn value<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map_or("unknown", |(_, value)| value.trim())
}

/// The version in the lock file.
fn wasmtime() -> Result<String> {
    let lock: toml::Table = std::fs::read_to_string(workspace().join("Cargo.lock"))?.parse()?;
    let packages = lock.get("package").and_then(|packages| packages.as_array());
    packages
        .context("no packages in Cargo.lock")?
        .iter()
        .find(|package| package.get("name").and_then(|name| name.as_str()) == Some("wasmtime"))
        .and_then(|package| package.get("version")?.as_str())
        .map(str::to_owned)
        .context("no wasmtime in Cargo.lock")
}

/// The output of a command that runs in the workspace.
///
/// # Errors
/// When it cannot be run or fails.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(workspace())
        .output()
        .with_context(|| format!("running {program}"))?;
    anyhow::ensure!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The number of threads that run at the same time.
pub(crate) fn cores() -> Result<usize> {
    Ok(std::thread::available_parallelism()
        .context("counting cores")?
        .get())
}

/// The workspace.
pub(crate) fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_owned()
}

/// Cargo's target directory: the binary is in a directory of it.
pub(crate) fn target() -> Option<&'static Path> {
    Path::new(GATEWAY).parent()?.parent()
}

/// How many files this process may have open.
pub(crate) fn files() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    // None: no limit.
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Raises the soft limit on open files to the hard one: a connection is a file.
///
/// # Errors
/// When the system refuses.
pub(crate) fn allow_many_sockets() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).context("raising the limit on open files")
}
