//! A command that compiles and runs a component does so in a process of its own, under the limits that the gateway
//! has for its compiler: a component that somebody else wrote may cost that process its memory and its time, and not
//! the author's machine.

use std::env;
use std::fmt;
use std::future::Future;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, bail};
use gateway_host::{BenchProcess, CompileOptions};
use tokio::process::Command;
use tokio::time::timeout;

use crate::cli::compile_plugin;

/// Set in the process that does the work.
const MARK: &str = "AUTH_GATEWAY_APART";
/// What reading the file, the trial and printing may take, beside compiling and calls.
const REST: Duration = Duration::from_secs(60);

/// How the other process ended, where it has said why.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Ended(u8);

impl Ended {
    pub(in crate::cli) fn code(self) -> ExitCode {
        self.0.into()
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the command ended with {}", self.0)
    }
}

impl std::error::Error for Ended {}

/// Does `work` in a process of its own, which may take as long as compiling one component, and `calls` on top.
///
/// # Errors
/// How the work failed, or why it was given up.
pub(super) async fn run(
    calls: Duration,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let CompileOptions { time, memory, .. } = CompileOptions::default();
    let process = BenchProcess {
        memory,
        time: time.saturating_add(REST).saturating_add(calls),
    };
    if env::var_os(MARK).is_some() {
        process
            .restrain()
            .context("cannot set the limits of this process")?;
        return work.await;
    }
    drop(work);
    let mut child = Command::new(compile_plugin::binary()?)
        .args(env::args_os().skip(1))
        .env(MARK, "1")
        .kill_on_drop(true)
        .spawn()
        .context("cannot start a process to try the component in")?;
    match timeout(process.time, child.wait()).await {
        Ok(status) => judge(status?, memory),
        // The child is killed where it is dropped.
        Err(_) => bail!(
            "the component was given up after {} s: compiling it or calling it does not end",
            process.time.as_secs()
        ),
    }
}

fn judge(status: ExitStatus, memory: u64) -> anyhow::Result<()> {
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(Ended(u8::try_from(code).unwrap_or(1)).into()),
        None => bail!(
            "the component would not be served: trying it takes more than {memory} bytes of memory, or more time \
             than it may have ({status})"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::{Ended, judge};

    #[test]
    fn u4_a_process_that_was_killed_is_a_failure() {
        assert!(judge(ExitStatus::from_raw(0), 1).is_ok());
        let error = judge(ExitStatus::from_raw(3 << 8), 1).unwrap_err();
        assert_eq!(error.downcast_ref::<Ended>().unwrap().0, 3);
        for signal in [6, 9, 11, 24] {
            let error = judge(ExitStatus::from_raw(signal), 7).unwrap_err();
            assert!(
                !error.is::<Ended>() && error.to_string().contains("more than 7 bytes"),
                "{error}"
            );
        }
    }
}
