//! A running gateway process: its address, log, signals and end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::{Method, StatusCode};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use url::Url;

use super::admin::Admin;
use super::browser::{Browser, token_in};
use super::cli::{self, Ran};
use super::log::Log;
use super::setup::{Setup, SetupDir, compiled};
use super::wait::PATIENCE;

/// A gateway that is ready. Killed when dropped.
pub struct Gateway {
    child: Child,
    /// The address on which it listens.
    pub address: SocketAddr,
    /// The address of the gateway for its users.
    pub external: Url,
    /// The output on stderr.
    pub log: Log,
    /// The directory that it was started from, which outlives it.
    pub dir: Arc<SetupDir>,
    admin_token: PathBuf,
    flushes: AtomicUsize,
}

impl Gateway {
    /// Waits until it reports its address and that it is ready.
    pub async fn start(mut command: Command, setup: &Setup) -> Self {
        let mut child = command.spawn().expect("the gateway's binary starts");
        let log = Log::capture(child.stderr.take().expect("stderr is a pipe"));
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let mut line = String::new();
        tokio::time::timeout(PATIENCE, stdout.read_line(&mut line))
            .await
            .unwrap_or_else(|_| panic!("the gateway is never ready:\n{}", log.text()))
            .expect("stdout is text");
        if line.is_empty() {
            log.wait_for_end().await;
            panic!("the gateway ended before it was ready:\n{}", log.text());
        }
        compiled()
            .keep(&setup.dir.cache())
            .expect("the cache can be kept");
        Self::at(child, stdout, log, &line, setup)
    }

    /// Waits until it listens, which it does before its plugins are admitted.
    pub async fn start_at_once(mut command: Command, setup: &Setup) -> Self {
        let mut child = command.spawn().expect("the gateway's binary starts");
        let log = Log::capture(child.stderr.take().expect("stderr is a pipe"));
        let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let line = log
            .wait_for("where it listens", |line| line.contains("\"listening\""))
            .await;
        Self::at(child, stdout, log, &line, setup)
    }

    fn at(child: Child, mut stdout: BufReader<ChildStdout>, log: Log, line: &str, setup: &Setup) -> Self {
        let address = address_in(line);
        // Reads the rest of its output, which must not block it.
        tokio::spawn(async move {
            while stdout
                .read_line(&mut String::new())
                .await
                .is_ok_and(|read| read > 0)
            {}
        });
        let external = setup
            .external()
            .unwrap_or_else(|| Url::parse(&format!("http://{address}/")).expect("a URL"));
        Self {
            child,
            address,
            external,
            log,
            dir: Arc::clone(&setup.dir),
            admin_token: setup.admin_token(),
            flushes: AtomicUsize::new(0),
        }
    }

    /// The log up to now. Another thread writes it, in order, so this makes a unique request and waits for its line.
    pub async fn flushed_log(&self) -> Vec<String> {
        let nth = self.flushes.fetch_add(1, Ordering::SeqCst);
        let browser = self.browser();
        browser
            .send(browser.request(Method::PATCH, "/assets/gateway.js"))
            .await;
        let is_mark = |line: &&String| line.contains("\"PATCH\"") && line.contains("/assets/gateway.js");
        super::eventually("the log is written", async || {
            let lines = self.log.lines();
            lines.iter().filter(is_mark).nth(nth).is_some().then_some(lines)
        })
        .await
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// The process's peak memory in RAM, in bytes (proc(5), `VmHWM`).
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// The process's memory in RAM, in bytes (proc(5), `VmRSS`).
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .expect("Linux says");
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kibibytes << 10
    }

    /// A new browser, without cookies.
    pub fn browser(&self) -> Browser {
        Browser::new(
            Url::parse(&format!("http://{}/", self.address)).expect("a URL"),
            self.external.clone(),
        )
    }

    /// Signs a user in through the development provider, in a new browser. Returns the session token.
    ///
    /// # Panics
    /// If the sign-in fails.
    pub async fn sign_in(&self, user: &str) -> String {
        let response = self.browser().sign_in_dev(user).await;
        if response.status() != StatusCode::FOUND {
            panic!(
                "{user} was not let in: {}",
                response.text().await.unwrap_or_default()
            );
        }
        token_in(&response)
    }

    /// A client of the admin listener.
    pub async fn admin(&self) -> Admin {
        let line = self
            .log
            .wait_for("the admin listener's address", |line| {
                line.contains("admin listener")
            })
            .await;
        Admin::new(address_in(&line), &self.admin_token)
    }

    /// Runs a command on the same configuration while the gateway serves.
    pub async fn cli(&self, arguments: &[&str]) -> Ran {
        self.dir.cli(arguments).await
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .expect("a process id");
        rustix::process::kill_process(pid, signal).expect("our own child can be signalled");
    }

    /// Reloads the configuration. Waits until the gateway has applied it and looked at all plugins, or reports why not.
    /// Returns that line.
    pub async fn reload(&self) -> String {
        let before = self.log.lines().iter().filter(|line| is_reload(line)).count();
        let looked = self.log.lines().iter().filter(|line| is_looked(line)).count();
        self.signal(rustix::process::Signal::HUP);
        let said = super::eventually("the configuration is read again", async || {
            self.log
                .lines()
                .into_iter()
                .filter(|line| is_reload(line))
                .nth(before)
        })
        .await;
        if !said.contains("has mistakes") {
            super::eventually("all plugins are looked at", async || {
                self.log
                    .lines()
                    .iter()
                    .filter(|line| is_looked(line))
                    .nth(looked)
                    .map(|_| ())
            })
            .await;
        }
        said
    }

    /// Waits until it exits.
    pub async fn wait(&mut self) -> ExitStatus {
        let status = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("it ends")
            .expect("our own child");
        self.log.wait_for_end().await;
        status
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("our own child can be killed");
    }

    /// Sends SIGTERM and waits. Asserts that it exits with 0 and without a panic.
    pub async fn stop(mut self) -> Log {
        self.signal(rustix::process::Signal::TERM);
        let status = self.wait().await;
        assert!(status.success(), "{status}:\n{}", self.log.text());
        self.log.assert_no_panic();
        // It must not have ended because the time for requests in flight was over.
        assert!(
            !self.log.text().contains("gave up waiting"),
            "{}",
            self.log.text()
        );
        self.log.clone()
    }
}

impl SetupDir {
    /// Runs a command on the directory's configuration.
    pub async fn cli(&self, arguments: &[&str]) -> Ran {
        cli::finish(self.cli_command(arguments)).await
    }

    /// The same, not started yet.
    pub fn cli_command(&self, arguments: &[&str]) -> Command {
        let mut command = cli::command();
        command
            .current_dir(self.path())
            .envs(self.environment())
            .args(arguments);
        command.arg("--config").arg(self.config_file());
        command
    }
}

fn is_reload(line: &str) -> bool {
    line.contains("the configuration was read again") || line.contains("the configuration has mistakes")
}

fn is_looked(line: &str) -> bool {
    line.contains("every plugin was checked under the new configuration")
}

/// The loopback address in a line.
fn address_in(line: &str) -> SocketAddr {
    let start = line
        .find("127.0.0.1:")
        .unwrap_or_else(|| panic!("no address in {line:?}"));
    let address: String = line[start..]
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.' || *c == ':')
        .collect();
    address
        .parse()
        .unwrap_or_else(|_| panic!("no address in {line:?}"))
}
