//! Compiles guests, crates of their own, to WebAssembly components from within a build script.
//!
//! A guest stands in a Cargo workspace of its own with a lock file of its own, as a plugin author
//! would have it, and is built by a cargo of its own: [`guests`] runs `cargo build --release --locked
//! --target wasm32-wasip2` in each workspace, all with one target directory under `OUT_DIR`, and
//! writes a Rust file with the components as constants for the crate to include.
//!
//! | module | what it does |
//! |---|---|
//! | [`target`] | makes sure that the compile target is installed |
//! | [`environment`] | what the inner cargo may know of the outer one |
//! | [`watch`] | tells the outer cargo when to run the build script again |

#![expect(
    clippy::print_stdout,
    reason = "a build script speaks to cargo on its standard output"
)]

mod environment;
mod target;
mod watch;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::{env, fs, io};

/// What guests are compiled to.
pub const TARGET: &str = "wasm32-wasip2";

/// A Cargo workspace with guests in it.
#[derive(Clone, Copy, Debug)]
pub struct Workspace<'a> {
    /// Its directory, relative to the package whose build script runs.
    pub directory: &'a str,
    /// The library crates in it that become components, by their names as Rust sees them (with `_`).
    pub guests: &'a [&'a str],
}

/// Why there are no components. Each message is one sentence that says what to do, or what failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Cargo sets these variables for build scripts.
    #[error("this runs in a build script only: the variable {0} is not set")]
    NotABuildScript(&'static str),
    /// The compile target is not there, and rustup did not bring it.
    #[error(
        "the compile target {TARGET} is not installed: run `rustup target add {TARGET}`, then build again"
    )]
    NoTarget,
    /// A file or a program could not be used.
    #[error("{what}: {error}")]
    Io {
        /// Which, and what for.
        what: String,
        /// What the operating system says.
        error: io::Error,
    },
    /// The compiler refused a guest. What it said is above this message.
    #[error("cargo could not build the guests in {directory} ({status})")]
    Cargo {
        /// Which workspace.
        directory: String,
        /// How cargo ended.
        status: ExitStatus,
    },
    /// A workspace was built and a component that was expected is not there.
    #[error("{directory} has no guest {guest}: is its crate type `cdylib`?")]
    NoComponent {
        /// Which workspace.
        directory: String,
        /// Which guest.
        guest: String,
    },
}

/// Builds every guest and writes `$OUT_DIR/guests.rs`: for each guest `some_name` a constant
/// `pub(crate) const SOME_NAME: &[u8]`, the component's bytes.
///
/// `sources` are directories that the guests are built from besides their own (the WIT), relative to
/// the package. For use as the whole `main` of a build script: an error is given to cargo, which
/// shows it, and the exit code fails the build.
#[must_use]
pub fn guests(workspaces: &[Workspace<'_>], sources: &[&str]) -> ExitCode {
    match build(workspaces, sources) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={error}");
            ExitCode::FAILURE
        }
    }
}

fn build(workspaces: &[Workspace<'_>], sources: &[&str]) -> Result<(), BuildError> {
    let out_dir = variable("OUT_DIR")?;
    let package = variable("CARGO_MANIFEST_DIR")?;
    let cargo = variable("CARGO")?;
    println!("cargo::rerun-if-changed=build.rs");
    for source in sources {
        println!("cargo::rerun-if-changed={source}");
    }
    target::ensure()?;

    let target_dir = out_dir.join("guests");
    let mut constants = String::new();
    for workspace in workspaces {
        let directory = package.join(workspace.directory);
        watch::sources_of(&directory)?;
        let mut command = Command::new(&cargo);
        environment::clean(&mut command);
        command
            .args([
                "build",
                "--release",
                "--locked",
                "--workspace",
                "--lib",
                "--target",
                TARGET,
            ])
            .arg("--target-dir")
            .arg(&target_dir)
            .current_dir(&directory);
        let status = command
            .status()
            .map_err(|error| io_error("cannot run", &cargo, error))?;
        if !status.success() {
            return Err(BuildError::Cargo {
                directory: workspace.directory.to_owned(),
                status,
            });
        }
        for guest in workspace.guests {
            let component = target_dir
                .join(TARGET)
                .join("release")
                .join(format!("{guest}.wasm"));
            if !component.is_file() {
                return Err(BuildError::NoComponent {
                    directory: workspace.directory.to_owned(),
                    guest: (*guest).to_owned(),
                });
            }
            // Debug formatting is a Rust string literal, whatever is in the path.
            let _ = writeln!(
                constants,
                "pub(crate) const {}: &[u8] = include_bytes!({component:?});",
                guest.to_uppercase()
            );
        }
    }
    let file = out_dir.join("guests.rs");
    fs::write(&file, constants).map_err(|error| io_error("cannot write", &file, error))
}

/// A variable that cargo sets for build scripts, as a path.
fn variable(name: &'static str) -> Result<PathBuf, BuildError> {
    env::var_os(name)
        .map(PathBuf::from)
        .ok_or(BuildError::NotABuildScript(name))
}

fn io_error(what: &str, path: &Path, error: io::Error) -> BuildError {
    BuildError::Io {
        what: format!("{what} {}", path.display()),
        error,
    }
}
