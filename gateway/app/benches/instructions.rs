//! Counts the instructions of the hot paths with valgrind. Unlike times, these are the same on a busy machine and a
//! quiet one. Each path runs a few times in one process and many times in another. The difference of the counts, divided
//! by the difference of the runs, excludes the setup. All threads count.
//!
//! Prints a table and writes `instructions.json` into the target directory, a number for each name.
//!
//! valgrind's processor has AVX2, but neither AVX-512 nor the SHA extensions. The kernel's instructions are not counted.
//! The address space is too small for the pool of instances, so each call maps its memory again.
//!
//! `cargo bench -p gateway --bench instructions`

// A bench prints its figures and ends at the first error.
#![allow(missing_docs, clippy::print_stdout)]

#[path = "instructions/paths.rs"]
mod paths;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::paths::{PATHS, Path as HotPath};

#[derive(Parser)]
struct Args {
    /// Only the paths that have this in their names.
    filter: Option<String>,
    /// Run this path only, in the process that valgrind counts; for the bench itself.
    #[arg(long, hide = true, requires = "times", requires = "directory")]
    path: Option<String>,
    /// The number of runs.
    #[arg(long, hide = true)]
    times: Option<usize>,
    /// The directory of its files.
    #[arg(long, hide = true)]
    directory: Option<PathBuf>,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    if let (Some(name), Some(times), Some(directory)) = (&args.path, args.times, &args.directory) {
        return paths::go(name, times, directory).await;
    }
    // `cargo test --benches` runs benches without it. It only tests that they compile.
    if !args.bench {
        return Ok(());
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let target = target.parent().context("a target directory without a parent")?;
    let directory = tempfile::tempdir()?;
    paths::prepare(directory.path()).await?;
    let mut counts = BTreeMap::new();
    println!("| path | instructions |");
    println!("|---|---|");
    for path in PATHS {
        if args
            .filter
            .as_ref()
            .is_some_and(|text| !path.name.contains(text.as_str()))
        {
            continue;
        }
        let count = instructions(path, directory.path())?;
        println!("| {} | {count} |", path.name);
        counts.insert(path.name, count);
    }
    let file = target.join("instructions.json");
    std::fs::write(&file, serde_json::to_string_pretty(&counts)? + "\n")
        .with_context(|| file.display().to_string())
}

/// The instructions of one run of a path.
fn instructions(path: &HotPath, directory: &Path) -> Result<u64> {
    if path.compiles {
        // The compiled code is cached, so neither of the counted processes compiles it.
        valgrind(path.name, 1, directory, "none", None)?;
    }
    let (few, many) = path.times;
    let [less, more] = [few, many].map(|times| counted(path.name, times, directory));
    let (less, more) = (less?, more?);
    let difference = more.checked_sub(less).context("more is less")?;
    Ok(difference / u64::try_from(many - few)?)
}

/// All instructions of a process that runs the path `times` times.
fn counted(name: &str, times: usize, directory: &Path) -> Result<u64> {
    let counts = directory.join("callgrind.out");
    valgrind(name, times, directory, "callgrind", Some(&counts))?;
    let counts = std::fs::read_to_string(&counts)?;
    let total = counts.lines().find_map(|line| line.strip_prefix("totals: "));
    let total = total.context("callgrind has written no totals")?;
    Ok(total.trim().parse()?)
}

fn valgrind(name: &str, times: usize, directory: &Path, tool: &str, counts: Option<&Path>) -> Result<()> {
    let mut command = Command::new("valgrind");
    command.arg(format!("--tool={tool}"));
    if let Some(counts) = counts {
        let mut option = OsStr::new("--callgrind-out-file=").to_owned();
        option.push(counts);
        command.arg(option);
    }
    let output = command
        .arg(std::env::current_exe()?)
        .args(["--path", name, "--times", &times.to_string(), "--directory"])
        .arg(directory)
        .stdin(Stdio::null())
        .output()
        .context("valgrind does not start: install it (Debian: valgrind)")?;
    ensure!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
