//! strace makes system calls on the database's files fail. Everything that was acknowledged is there after a kill,
//! other requests are rejected, and the gateway recovers on its own when the fault is over.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::ledger::Ledger;
use super::machine::{assert_sound, run, skip};
use super::trials;
use support::wait::PATIENCE;
use support::{Gateway, Setup, eventually};

const ANSWERS: u64 = trials(20, 200) as u64;
const CALLERS: u32 = 3;

/// The system calls that fail, their error, and which of them: all, or every n-th.
struct Fault {
    calls: &'static str,
    error: &'static str,
    when: &'static str,
    files: &'static [&'static str],
}

const LOG: &[&str] = &["-wal"];
const ALL: &[&str] = &["", "-wal", "-shm"];
const SYNC: &str = "fsync,fdatasync";
const WRITE: &str = "write,pwrite64";

const fn fault(
    calls: &'static str,
    error: &'static str,
    when: &'static str,
    files: &'static [&'static str],
) -> Fault {
    Fault {
        calls,
        error,
        when,
        files,
    }
}

const FAULTS: &[Fault] = &[
    fault(SYNC, "EIO", "1+", LOG),
    fault(SYNC, "EIO", "1+2", LOG),
    fault(SYNC, "EIO", "2+3", LOG),
    fault(SYNC, "ENOSPC", "3+5", ALL),
    fault(WRITE, "EIO", "1+", LOG),
    fault(WRITE, "EIO", "3+4", LOG),
    fault(WRITE, "EIO", "2+7", ALL),
    fault(WRITE, "ENOSPC", "1+", LOG),
    fault(WRITE, "ENOSPC", "5+11", ALL),
    fault("read,pread64", "EIO", "2+5", ALL),
    fault("write,pwrite64,open,openat", "EMFILE", "1+", ALL),
    fault("write,pwrite64,open,openat", "EIO", "4+5", ALL),
    fault("fsync,fdatasync,open,openat", "EIO", "2+3", ALL),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_calls_lose_nothing_acknowledged_and_recovery_is_automatic() {
    if let Err(why) = run("strace", &[&"-o", &"/dev/null", &"true"]) {
        return skip(&why);
    }
    let setup = Setup::dev().env("EXTERNAL_ADDRESS", "http://127.0.0.1:9");
    let ledger = Ledger::default();
    let (mut injected, mut all) = (0, [0; 3]);
    let kinds = FAULTS.iter().step_by(trials(5, 1) as usize);
    for (number, fault) in kinds.clone().enumerate() {
        let mut gateway = setup.start().await;
        let mut crowd = ledger.crowd(&gateway, &format!("f{number}"), CALLERS);
        crowd.have_answers(10).await;
        let strace = Strace::attach(&gateway, &setup.dir.database(), fault).await;
        let [_, before, seen] = crowd.numbers();
        crowd.have_answers(before + seen + ANSWERS).await;
        let [_, meanwhile, refused] = crowd.numbers();
        let hit = strace.detach().await;
        assert!(hit > 0, "no call of {} ever failed", fault.calls);
        injected += hit;
        // Requests in flight when the fault began and ended may have either result.
        let every = fault.when == "1+" && matches!(fault.calls, SYNC | WRITE);
        if every {
            let through = meanwhile - before;
            assert!(
                through <= u64::from(CALLERS),
                "{through} went through while all {} failed",
                fault.calls
            );
            assert!(
                refused > seen,
                "nothing was refused while all {} failed",
                fault.calls
            );
        }
        let healed = meanwhile;
        eventually("it recovers", async || {
            (crowd.numbers()[1] > healed + 10).then_some(())
        })
        .await;
        gateway.kill().await;
        gateway.log.wait_for_end().await;
        gateway.log.assert_no_panic();
        for (sum, number) in all.iter_mut().zip(crowd.until_gone().await) {
            *sum += number;
        }
        assert_sound(&setup.dir.database());
    }
    let gateway = setup.start().await;
    ledger.assert_served(&gateway).await;
    gateway.stop().await;
    ledger.assert_stored(&setup.dir, &[]).await;
    let [asked, acknowledged, refused] = all;
    println!(
        "{} kinds of fault, {injected} calls made to fail; {asked} sign-ins and updates begun, {refused} refused, \
         {acknowledged} acknowledged, none of them false",
        kinds.len()
    );
}

/// The errors with which opening a directory can fail while it exists or after it existed.
const ERRORS: [&str; 6] = ["EIO", "ESTALE", "EACCES", "EMFILE", "ELOOP", "ENOTDIR"];

/// If the plugin directory cannot be read, the plugins continue to serve, and the log reports the error once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn u3_a_plugin_directory_that_fails_withdraws_nothing() {
    if let Err(why) = run("strace", &[&"-o", &"/dev/null", &"true"]) {
        return skip(&why);
    }
    let setup = Setup::dev().plugin("v1", test_guests::V1);
    let gateway = setup.service("example", "v1").start().await;
    let directory = gateway.dir.plugin_dir().canonicalize().expect("a directory");
    let generations = async || {
        let plugins = gateway.admin().await.plugins().await;
        let plugins = plugins["plugins"].as_array().expect("a list").clone();
        let numbers = plugins.iter().map(|plugin| plugin["generation"][0].as_u64());
        numbers.collect::<Option<Vec<_>>>()
    };
    let before = generations().await.expect("all of them serve");
    assert!(!before.is_empty());
    let said = |text: &str| {
        gateway
            .log
            .lines()
            .iter()
            .filter(|line| line.contains(text))
            .count()
    };
    for (number, error) in (1..).zip(ERRORS) {
        let fault = fault("openat", error, "1+", &[""]);
        let strace = Strace::attach(&gateway, &directory, &fault).await;
        eventually("the log says so", async || {
            (said("cannot read the plugin directory") >= number).then_some(())
        })
        .await;
        assert_eq!(generations().await, Some(before.clone()), "{error}");
        assert!(strace.detach().await > 0, "{error}");
        eventually("the directory can be read again", async || {
            (said("the plugin directory can be read again") >= number).then_some(())
        })
        .await;
        assert_eq!(generations().await, Some(before.clone()), "{error}");
    }
    assert_eq!(said("cannot read the plugin directory"), ERRORS.len());
    gateway.log.assert_no_panic();
    gateway.stop().await;
}

/// strace, attached to a gateway.
struct Strace {
    child: Child,
    report: PathBuf,
}

impl Strace {
    async fn attach(gateway: &Gateway, database: &Path, fault: &Fault) -> Self {
        let report = gateway.dir.path().join("strace");
        let Fault {
            calls, error, when, ..
        } = fault;
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &gateway.pid().to_string()]);
        command.args(["-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={calls}:error={error}:when={when}")]);
        for file in fault.files {
            command.args(["-P", &format!("{}{file}", database.display())]);
        }
        command.arg("-o").arg(&report);
        command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("strace starts");
        let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let attached = async {
            while let Some(line) = said.next_line().await.expect("text") {
                if line.contains("attached") {
                    return;
                }
            }
            panic!("strace ended before it was attached");
        };
        tokio::time::timeout(PATIENCE, attached)
            .await
            .expect("strace attaches");
        // Reads the rest of its output, which must not block it.
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        Self { child, report }
    }

    /// Detaches from the gateway. Returns how many calls failed.
    async fn detach(mut self) -> u64 {
        let pid = self
            .child
            .id()
            .and_then(|pid| Pid::from_raw(pid.cast_signed()))
            .expect("it runs");
        kill_process(pid, Signal::INT).expect("our own child");
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("strace ends")
            .expect("our own child");
        let report = fs::read_to_string(&self.report).expect("its report");
        report.lines().filter(|line| line.contains("(INJECTED)")).count() as u64
    }
}
