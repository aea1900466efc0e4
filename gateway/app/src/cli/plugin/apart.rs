//! Runs commands that compile and call a component in a separate process, under the limits of the gateway's compiler. A
//! hostile component can use up the memory and the time of that process, but not those of the machine.

use std::env;
use std::future::Future;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, bail};
use gateway_host::{BenchProcess, CompileOptions};
use tokio::process::Command;
use tokio::time::timeout;

use crate::cli::{Exit, compile_plugin};

/// The variable that is set in the separate process.
const MARK: &str = "AUTH_GATEWAY_APART";
/// The time for everything other than compiling and calls: reading the file, the trial, printing.
const REST: Duration = Duration::from_secs(60);

/// Does `work` in a separate process, in the time that compiling one component may take, plus `calls`.
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
        // Dropping the child kills it.
        Err(_) => bail!(
            "compiling or calling the component did not end within {} s",
            process.time.as_secs()
        ),
    }
}

fn judge(status: ExitStatus, memory: u64) -> anyhow::Result<()> {
    match status.code() {
        Some(0) => Ok(()),
        // The process has printed the reason.
        Some(code) => Err(Exit(u8::try_from(code).unwrap_or(1)).into()),
        None => bail!(
            "the component would not be served: its trial takes more than {memory} bytes of memory, or too much time \
             ({status})"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::{Exit, judge};

    #[test]
    fn u4_a_killed_process_is_a_failure() {
        assert!(judge(ExitStatus::from_raw(0), 1).is_ok());
        let error = judge(ExitStatus::from_raw(3 << 8), 1).unwrap_err();
        assert_eq!(error.downcast_ref::<Exit>().unwrap().0, 3);
        for signal in [6, 9, 11, 24] {
            let error = judge(ExitStatus::from_raw(signal), 7).unwrap_err();
            assert!(
                !error.is::<Exit>() && error.to_string().contains("more than 7 bytes"),
                "{error}"
            );
        }
    }
}
