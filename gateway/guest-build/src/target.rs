//! Installs the compile target for guests.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{BuildError, TARGET, environment};

/// Checks that the compiler has the target's standard library, and if not, asks rustup for it once.
pub(crate) fn ensure() -> Result<(), BuildError> {
    if is_installed() || (add() && is_installed()) {
        Ok(())
    } else {
        Err(BuildError::NoTarget)
    }
}

fn is_installed() -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let mut command = Command::new(rustc);
    environment::clean(&mut command);
    let Ok(output) = command
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
    else {
        return false;
    };
    let Ok(directory) = String::from_utf8(output.stdout) else {
        return false;
    };
    let Ok(mut files) = Path::new(directory.trim()).read_dir() else {
        return false;
    };
    files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
}

/// `RUSTUP_TOOLCHAIN`, which rustup's cargo sets, makes this the toolchain that builds.
fn add() -> bool {
    Command::new("rustup")
        .args(["target", "add", TARGET])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
