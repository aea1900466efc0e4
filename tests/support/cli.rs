//! Runs the command line, as an operator would beside a running gateway.

use std::process::{Output, Stdio};

use tokio::process::Command;

use super::binary;
use super::wait::PATIENCE;

/// The result of a command.
#[derive(Debug)]
pub struct Ran {
    /// The exit code, or `None` if a signal ended the command.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Asserts success. Returns the output.
    pub fn succeeded(self) -> String {
        assert_eq!(
            self.code,
            Some(0),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self.stdout
    }

    /// Asserts an orderly error. Returns stderr.
    pub fn failed(self) -> String {
        assert!(
            self.code.is_some_and(|code| code != 0 && code != 101),
            "exit code {:?}\nstdout: {}\nstderr: {}",
            self.code,
            self.stdout,
            self.stderr
        );
        self.stderr
    }
}

/// The gateway's command, with only the environment that a program needs to start.
pub fn command() -> Command {
    let mut command = Command::new(binary());
    command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
    for kept in ["PATH", "HOME", "TMPDIR", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
}

/// Runs a command to its end with a standard output that nobody can read.
///
/// # Panics
/// If it does not end in time.
pub async fn finish_unheard(mut command: Command) -> Ran {
    let full = std::fs::File::options().write(true).open("/dev/full");
    command.stdout(full.expect("Linux has it")).stderr(Stdio::piped());
    output(command).await
}

/// Runs a command to its end.
///
/// # Panics
/// If it does not end in time.
pub async fn finish(mut command: Command) -> Ran {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    output(command).await
}

async fn output(mut command: Command) -> Ran {
    let child = command.spawn().expect("the gateway's binary starts");
    let Output {
        status,
        stdout,
        stderr,
    } = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .expect("the command ends")
        .expect("its output can be read");
    Ran {
        code: status.code(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}
