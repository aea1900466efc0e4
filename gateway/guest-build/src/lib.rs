//! Compiles guests, which are separate crates, to WebAssembly components from within a build script.
//!
//! A guest is in its own Cargo workspace with its own lock file, as a plugin author's would be. [`guests`] runs `cargo
//! build --release --locked --target wasm32-wasip2` in each workspace, all with one target directory under `OUT_DIR`,
//! and writes a Rust file with the components as constants, which the crate includes.
//!
//! | module | contents |
//! |---|---|
//! | [`target`] | installs the compile target |
//! | [`environment`] | which variables the inner cargo inherits |
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

/// The compile target of guests.
pub const TARGET: &str = "wasm32-wasip2";

/// A Cargo workspace with guests in it.
#[derive(Clone, Copy, Debug)]
pub struct Workspace<'a> {
    /// Its directory, relative to the package whose build script runs.
    pub directory: &'a str,
    /// The library crates in it that become components, by their names as Rust sees them (with `_`).
    pub guests: &'a [&'a str],
}

/// Why there are no components.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("this runs in a build script only: the variable {0} is not set")]
    NotABuildScript(&'static str),
    #[error(
        "the compile target {TARGET} is not installed: run `rustup target add {TARGET}`, then build again"
    )]
    NoTarget,
    #[error("{what}: {error}")]
    Io { what: String, error: io::Error },
    #[error("cargo could not build the guests in {directory} ({status})")]
    Cargo { directory: String, status: ExitStatus },
    #[error("{directory} has no guest {guest}: is its crate type `cdylib`?")]
    NoComponent { directory: String, guest: String },
}

/// Builds every guest and writes `$OUT_DIR/guests.rs`: for each guest `some_name` a constant
/// `pub(crate) const SOME_NAME: &[u8]`, the component's bytes.
///
/// `sources` are further directories that the guests are built from (the WIT), relative to the package. This is the
/// whole `main` of a build script: cargo shows the error, and the exit code fails the build.
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
