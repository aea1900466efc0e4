//! The gateway under the shipped unit, in a real systemd with its own namespaces: everything works under the unit's
//! restrictions, and they hold. Needs root, `unshare` and systemd; elsewhere the test says so and is skipped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gateway_token::Algorithm;
use serde_json::{Value, json};
use support::browser::{Browser, token_in};
use support::eventually;
use support::fake_oidc::{CLIENT_ID, FakeOidc};
use tempfile::TempDir;
use tokio::process::Child;
use url::Url;

/// The limit for `systemd-analyze security`, in tenths: 0 is locked up, 100 wide open.
const EXPOSURE: u32 = 12;

/// Reports that a test did not run. Not with `println!`, as the output of a passing test is hidden.
fn skipped(why: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A command's output, and whether it succeeded.
fn said(command: &mut Command) -> (bool, String) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// A systemd that runs the unit. All of it ends when this is dropped.
struct Systemd {
    child: Child,
    dir: TempDir,
}

impl Systemd {
    /// Boots one, or returns `None` if this machine does not allow it.
    async fn boot(config: &str, key: &str) -> Option<Self> {
        let namespaces = [
            "--mount",
            "--pid",
            "--cgroup",
            "--uts",
            "--ipc",
            "--fork",
            "--kill-child",
        ];
        let possible = Command::new("unshare")
            .args(namespaces)
            .args(["mount", "--make-rprivate", "/"])
            .status();
        if !possible.is_ok_and(|status| status.success()) || !Path::new("/lib/systemd/systemd").exists() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        for made in ["log", "etc", "etc/plugins", "etc/secrets"] {
            fs::create_dir(dir.path().join(made)).unwrap();
        }
        fs::write(dir.path().join("etc/gateway.toml"), config).unwrap();
        fs::write(dir.path().join("etc/secrets/signing.pem"), key).unwrap();
        fs::write(dir.path().join("etc/plugins/plugin.wasm"), test_guests::V1).unwrap();
        let mut command = tokio::process::Command::new("unshare");
        command
            .args(namespaces)
            .arg(repository().join("tests/systemd/boot"))
            .args([dir.path(), support::binary()])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let child = command.spawn().unwrap();
        let systemd = Self { child, dir };
        eventually("systemd is up", async || {
            systemd.run("systemctl is-system-running").0.then_some(())
        })
        .await;
        Some(systemd)
    }

    /// Runs a command beside the service.
    fn run(&self, command: &str) -> (bool, String) {
        let parent = self.child.id().expect("it runs");
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let init = children.unwrap_or_default().trim().to_owned();
        let mut enter = Command::new("nsenter");
        enter.args([
            "--target", &init, "--mount", "--pid", "--cgroup", "--uts", "--ipc", "--root", "--wd",
        ]);
        said(enter.args(["sh", "-c", command]))
    }

    /// The same, which must succeed. Returns the output.
    fn ok(&self, command: &str) -> String {
        let (ok, text) = self.run(command);
        assert!(ok, "{command}: {text}\n{}", self.log());
        text.trim().to_owned()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log/log")).unwrap_or_default()
    }

    /// Waits until the log contains `what` `times` times.
    async fn logged(&self, what: &str, times: usize) {
        let said = async || (self.log().matches(what).count() >= times).then_some(());
        eventually(what, said).await;
    }

    fn place(&self, component: &[u8]) {
        let plugins = self.dir.path().join("etc/plugins");
        fs::write(plugins.join("written"), component).unwrap();
        fs::rename(plugins.join("written"), plugins.join("plugin.wasm")).unwrap();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[test]
fn the_unit_is_valid_and_exposes_little() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        skipped("there is no systemd-analyze");
        return;
    }
    let unit = repository().join("packaging/systemd/gateway.service");
    let (ok, text) = said(
        Command::new("systemd-analyze")
            .args(["security", "--offline=yes", &format!("--threshold={EXPOSURE}")])
            .arg(&unit),
    );
    println!("{}", text.lines().last().unwrap_or_default());
    assert!(ok, "{text}");
    // It reports programs that are not installed, and settings that it does not know.
    let (_, text) = said(Command::new("systemd-analyze").arg("verify").arg(&unit));
    let complaints = text
        .lines()
        .filter(|line| !line.contains("/usr/local/bin/gateway is not executable"));
    assert_eq!(complaints.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_under_the_unit() {
    let provider = FakeOidc::start(json!({"sub": "1234", "name": "Alice"})).await;
    let (port, admin) = (free_port(), free_port());
    let shipped = fs::read_to_string(repository().join("packaging/systemd/gateway.toml")).unwrap();
    let shipped = shipped.replace("[server]", &format!("[server]\nlisten = \"127.0.0.1:{port}\""));
    let config = format!(
        "{shipped}\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n[service.s]\nprovider = \"plugin\"\n\
         [providers.google]\nissuer = {:?}\nclient_id = {CLIENT_ID:?}\nclient_secret = {:?}\n",
        provider.issuer(),
        provider.client_secret,
    );
    let key = support::setup::private_key(Algorithm::RS256);
    let Some(systemd) = Systemd::boot(&config, &key).await else {
        skipped("not root, or no systemd, or no namespaces");
        return;
    };

    // O6: before the first start, as root.
    let checked = systemd.ok("/usr/local/bin/gateway config check --config /etc/gateway/gateway.toml 2>&1");
    assert!(checked.contains("when the service starts"), "{checked}");
    systemd.ok("systemctl start gateway");
    systemd.logged("\"ready\"", 1).await;
    let external = Url::parse("https://auth.example.org/").unwrap();
    let browser = Browser::new(
        Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap(),
        external,
    );

    // A sign-in writes and contacts a provider, and a permission comes from a component that was compiled in there.
    let token = token_in(&provider.sign_in(&browser, "/auth/login/google").await);
    let (status, first) = browser.authorize(&token, "s").await;
    assert_eq!(status, 200, "{first}");

    // A swap compiles another component.
    systemd.place(test_guests::V2);
    let second = eventually("the other answers", async || {
        let (_, answer) = browser.authorize(&token, "s").await;
        (answer["permissions"] != first["permissions"]).then_some(answer)
    })
    .await;
    assert!(second["token"].is_string(), "{second}");

    // The restrictions of the process, as the kernel reports them.
    let pid = systemd.ok("systemctl show --property MainPID --value gateway");
    let status = systemd.ok(&format!("cat /proc/{pid}/status"));
    let field = |name: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .expect("a field");
        line.split_whitespace().nth(1).expect("a value").to_owned()
    };
    for (name, value) in [
        ("NoNewPrivs:", "1"),
        ("Seccomp:", "2"),
        ("CapEff:", "0000000000000000"),
        ("CapBnd:", "0000000000000000"),
    ] {
        assert_eq!(field(name), value, "{name}");
    }
    assert_ne!(field("Uid:"), "0");
    let inside = format!("nsenter --target {pid} --mount --root");
    for closed in ["/etc/written", "/var/log/written", "/etc/gateway/plugins/written"] {
        assert!(
            !systemd.run(&format!("{inside} touch {closed}")).0,
            "{closed} can be written"
        );
    }
    systemd.ok(&format!("{inside} touch /var/lib/gateway/written"));
    assert_eq!(
        systemd.ok(&format!("{inside} ls -A /root")),
        "",
        "homes can be seen"
    );

    // Signals, and the command line beside it as the same user.
    systemd.ok("systemctl reload gateway");
    systemd
        .logged("the configuration was read again and is in force", 1)
        .await;
    // O8: a broken file makes the reload fail.
    let file = "/etc/gateway/gateway.toml";
    systemd.ok(&format!("cp {file} {file}.good && echo mistake = 1 >> {file}"));
    assert!(!systemd.run("systemctl reload gateway").0, "{}", systemd.log());
    systemd.ok(&format!("cp {file}.good {file} && systemctl reload gateway"));
    let checked = systemd.ok(&format!(
        "setpriv --reuid=gateway --regid=gateway --init-groups gateway config check --config {file} 2>&1"
    ));
    assert!(
        checked.contains("is in use by the gateway that serves this configuration"),
        "{checked}"
    );
    let users = systemd.ok("setpriv --reuid=gateway --regid=gateway --init-groups gateway user list --config /etc/gateway/gateway.toml");
    assert!(users.contains("Alice"), "{users}");
    assert!(browser.is_signed_in(&token).await);

    systemd.ok("systemctl restart gateway");
    systemd.logged("\"ready\"", 2).await;
    let (_, third) = browser.authorize(&token, "s").await;
    assert_eq!(third["permissions"], second["permissions"]);
    systemd.ok("systemctl stop gateway");
    assert_eq!(
        systemd.ok("systemctl show --property Result --value gateway"),
        "success"
    );
    // The output of the failed reload is not JSON.
    let log = systemd.log();
    let (entries, said): (Vec<&str>, Vec<&str>) = log.lines().partition(|line| line.starts_with('{'));
    assert!(
        said.iter()
            .all(|line| line.contains("the configuration ") || line.contains("gateway.toml:")),
        "{said:?}"
    );
    let refused: Vec<Value> = entries
        .into_iter()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|entry: &Value| entry["level"] == "ERROR" || entry["level"] == "WARN")
        .filter(|entry| !entry.to_string().contains("the configuration has mistakes"))
        .collect();
    assert_eq!(refused, Vec::<Value>::new());
}
