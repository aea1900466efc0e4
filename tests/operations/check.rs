//! `gateway config check` returns the verdict that `gateway serve` would, and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{CWD, FileType, Mode};
use serde_json::Value;

use support::{Gateway, Setup, cli};

/// Every file below a directory: its time of modification and its content.
fn files(directory: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            files.append(&mut self::files(&entry.path()));
        }
        // Reading a pipe would block.
        let bytes = if metadata.is_file() {
            fs::read(entry.path()).unwrap()
        } else {
            Vec::new()
        };
        files.insert(entry.path(), (metadata.modified().unwrap(), bytes));
    }
    files
}

/// The output of `config check --json`, which must not change anything, and its exit code.
async fn judged(setup: &Setup, further: &[&str]) -> (Value, i32) {
    setup.write();
    let before = files(setup.dir.path());
    let ran = setup
        .dir
        .cli(&[&["config", "check", "--json"], further].concat())
        .await;
    assert_eq!(files(setup.dir.path()), before, "it changed something");
    let report = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    (report, ran.code.unwrap())
}

/// The message of the only finding with this severity and setting.
fn message(report: &Value, severity: &str, setting: &str) -> String {
    let findings = report["findings"].as_array().unwrap();
    let is_it = |finding: &&Value| finding["severity"] == severity && finding["setting"] == setting;
    let finding = findings.iter().find(is_it);
    let finding = finding.unwrap_or_else(|| panic!("no {severity} about {setting} in {report:#}"));
    finding["message"].as_str().unwrap().to_owned()
}

fn setup() -> Setup {
    Setup::serve()
        .env("GITHUB_KEY", "key")
        .env("GITHUB_SECRET", "secret")
        .plugin("behave", test_guests::BEHAVE)
        .service("ok", "behave")
}

/// Runs `sql` on the gateway's database while nothing else uses it.
fn altered(setup: &Setup, sql: &str) {
    let connection = rusqlite::Connection::open(setup.dir.database()).unwrap();
    connection.execute_batch(sql).unwrap();
    connection
        .pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o5_the_check_reports_what_serve_would_report() {
    let (report, code) = judged(&setup(), &[]).await;
    assert_eq!((&report["verdict"], code), (&Value::from("ok"), 0), "{report:#}");
    let findings = report["findings"].as_array().unwrap();
    assert!(
        findings.iter().all(|finding| finding["severity"] == "warning"),
        "{report:#}"
    );

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    let foreign = setup();
    altered(&foreign, "CREATE TABLE theirs (a)");
    let no_database = setup();
    fs::write(
        no_database.dir.database(),
        "no database but long enough to be one: ".repeat(200),
    )
    .unwrap();
    let changed = setup();
    changed.start().await.stop().await;
    altered(&changed, "DROP TABLE events");
    let newer = setup();
    newer.start().await.stop().await;
    altered(&newer, "PRAGMA user_version = 9999");
    let pipe = setup();
    fs::create_dir(pipe.dir.database()).unwrap();
    let nowhere = setup();
    symlink("nowhere", nowhere.dir.database()).unwrap();
    let log = setup();
    log.start().await.stop().await;
    fs::create_dir(format!("{}-wal", log.dir.database().display())).unwrap();
    let index = setup();
    let index_file = PathBuf::from(format!("{}-shm", index.dir.database().display()));
    rustix::fs::mknodat(CWD, &index_file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let [
        cache_is_a_file,
        cache_is_nowhere,
        key_is_a_directory,
        key_is_short,
    ] = [(); 4].map(|()| setup());
    // Setups begin with a cache, to compile less.
    let cache = |setup: &Setup| {
        let cache = setup.dir.data_dir().join("cache");
        let _ = fs::remove_dir_all(&cache);
        cache
    };
    fs::write(cache(&cache_is_a_file), "").unwrap();
    symlink("nowhere", cache(&cache_is_nowhere)).unwrap();
    fs::create_dir_all(cache(&key_is_a_directory).join("key")).unwrap();
    let short = cache(&key_is_short).join("key");
    fs::create_dir(short.parent().unwrap()).unwrap();
    fs::write(&short, "short").unwrap();
    fs::set_permissions(&short, fs::Permissions::from_mode(0o600)).unwrap();
    let one_file = setup();
    let one_file = {
        let database = one_file.dir.database().display().to_string();
        one_file.env("GATEWAY_ADMIN_TOKEN_FILE", &database)
    };
    let in_the_way = setup();
    fs::remove_dir_all(in_the_way.dir.data_dir()).unwrap();
    fs::write(in_the_way.dir.data_dir(), "").unwrap();
    let token = setup();
    fs::write(token.admin_token(), "0".repeat(64)).unwrap();
    fs::set_permissions(token.admin_token(), fs::Permissions::from_mode(0o640)).unwrap();
    let same_token = setup().table("admin", "metrics_token_file = \"metrics-token\"");
    fs::write(same_token.admin_token(), "0".repeat(64)).unwrap();
    fs::set_permissions(same_token.admin_token(), fs::Permissions::from_mode(0o600)).unwrap();
    symlink(
        same_token.admin_token(),
        same_token.dir.path().join("metrics-token"),
    )
    .unwrap();
    let shared_cache = setup();
    let cache = shared_cache.dir.data_dir().join("cache");
    fs::create_dir_all(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    let no_cache = setup();
    let cache = no_cache.dir.data_dir().join("cache");
    let _ = fs::remove_dir_all(&cache);
    symlink("nowhere", cache).unwrap();
    let no_key = setup();
    let cache = no_key.dir.data_dir().join("cache");
    fs::create_dir_all(&cache).unwrap();
    let _ = fs::remove_file(cache.join("key"));
    symlink("nowhere", cache.join("key")).unwrap();
    let no_plugins = setup();
    fs::remove_dir_all(no_plugins.dir.plugin_dir()).unwrap();
    for (setup, setting) in [
        (setup().env("GATEWAY_LISTEN", &port), "server.listen"),
        (setup().env("GATEWAY_ADMIN_LISTEN", &port), "admin.listen"),
        (
            setup().env("GATEWAY_METRICS_LISTEN", &port),
            "admin.metrics_listen",
        ),
        (
            setup()
                .env("GATEWAY_LISTEN", "127.0.0.1:9")
                .env("GATEWAY_ADMIN_LISTEN", "127.0.0.1:9"),
            "admin.listen",
        ),
        (foreign, "database.url"),
        (no_database, "database.url"),
        (changed, "database.url"),
        (newer, "database.url"),
        (pipe, "database.url"),
        (setup().env("DATABASE_URL", "sqlite:////dev/zero"), "database.url"),
        (
            setup().env("DATABASE_URL", "sqlite:////nonexistent/gateway.db"),
            "database.url",
        ),
        (in_the_way, "data_dir"),
        (setup().env("GATEWAY_DATA_DIR", "/dev/null/data"), "data_dir"),
        (token, "admin.token_file"),
        (
            setup().env("GATEWAY_ADMIN_TOKEN_FILE", "/dev/zero"),
            "admin.token_file",
        ),
        (same_token, "admin.metrics_token_file"),
        (shared_cache, "data_dir"),
        (no_cache, "data_dir"),
        (no_key, "data_dir"),
        (no_plugins, "plugin_dir"),
        (nowhere, "database.url"),
        (log, "database.url"),
        (index, "database.url"),
        (cache_is_a_file, "data_dir"),
        (cache_is_nowhere, "data_dir"),
        (key_is_a_directory, "data_dir"),
        (key_is_short, "data_dir"),
        (one_file, "admin.token_file"),
    ] {
        let (report, code) = judged(&setup, &[]).await;
        assert_eq!(
            (&report["verdict"], code),
            (&Value::from("fails"), 1),
            "{report:#}"
        );
        let message = message(&report, "fatal", setting);
        let refused = cli::finish(setup.command()).await.failed();
        assert!(refused.contains(&message), "{message}\n{refused}");
        let said = setup.dir.cli(&["config", "check"]).await;
        assert_eq!(said.code, Some(1));
        assert!(said.stderr.contains(&message), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o5_plugins_that_would_not_serve_are_named_and_the_gateway_still_starts() {
    let setup = setup()
        .plugin("broken", b"no component")
        .plugin("ungranted", test_guests::IMPORTS_CONFIG)
        .service("gone", "missing")
        .service("damaged", "broken")
        .service("more", "ungranted")
        .extension("absent")
        .table("plugins", "compile_memory = \"1GiB\"");
    let (report, code) = judged(&setup, &[]).await;
    assert_eq!(
        (&report["verdict"], code),
        (&Value::from("degraded"), 4),
        "{report:#}"
    );
    let (skipped, code) = judged(&setup, &["--skip", "plugins"]).await;
    assert_eq!(
        (&skipped["verdict"], code),
        (&Value::from("ok"), 0),
        "{skipped:#}"
    );

    let gateway = setup.start().await;
    let plugins = gateway.admin().await.plugins().await;
    let of = |name: &str| {
        let plugins = plugins["plugins"].as_array().unwrap();
        let plugin = plugins.iter().find(|plugin| plugin["name"] == name);
        plugin
            .and_then(|plugin| plugin["problem"].as_str())
            .unwrap()
            .to_owned()
    };
    for (setting, plugin) in [
        ("service.gone.plugin", "missing"),
        ("service.damaged.plugin", "broken"),
        ("service.more.plugin", "ungranted"),
        ("extensions", "absent"),
    ] {
        let message = message(&report, "error", setting);
        assert!(message.contains(&of(plugin)), "{message}\n{}", of(plugin));
        let is_it = |finding: &&Value| finding["setting"] == setting;
        let finding = report["findings"].as_array().unwrap().iter().find(is_it).unwrap();
        let file = finding["file"].as_str().unwrap();
        let line = usize::try_from(finding["line"].as_u64().unwrap()).unwrap();
        let text = fs::read_to_string(file).unwrap();
        assert!(text.lines().nth(line - 1).unwrap().contains(plugin), "{finding}");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o5_a_check_that_is_killed_leaves_no_copy_of_a_key() {
    let setup = setup().table("plugins", "compile_time = \"1h\"");
    setup.start().await.stop().await;
    let setup = setup
        .plugin("bomb", test_guests::COMPILE_BOMB)
        .service("bomb", "bomb");
    setup.write();
    let temporary = tempfile::tempdir().unwrap();
    let mut command = setup.dir.cli_command(&["config", "check"]);
    command.env("TMPDIR", temporary.path());
    let mut check = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let process = check.id().unwrap();
    support::eventually("it compiles", async || {
        (!super::children(process).is_empty()).then_some(())
    })
    .await;
    check.kill().await.unwrap();
    let left: Vec<_> = fs::read_dir(temporary.path()).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o5_a_running_gateway_is_not_a_mistake_and_is_not_disturbed() {
    // Ports that stay free for long enough.
    let free = || {
        TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string()
    };
    let (public, admin) = (free(), free());
    let setup = setup()
        .env("GATEWAY_LISTEN", &public)
        .env("GATEWAY_ADMIN_LISTEN", &admin);
    let gateway: Gateway = setup.start().await;
    let ran = gateway.cli(&["config", "check", "--json"]).await;
    let report: Value = serde_json::from_str(&ran.succeeded()).unwrap();
    assert_eq!(report["verdict"], "ok", "{report:#}");
    for setting in ["server.listen", "admin.listen"] {
        let message = message(&report, "note", setting);
        assert!(
            message.contains(&format!("process {}", gateway.pid())),
            "{message}"
        );
    }
    let browser = gateway.browser();
    assert_eq!(browser.get_json("/auth/check").await["authenticated"], false);
    gateway.stop().await;

    // A program other than a gateway.
    let _taken = TcpListener::bind(&public).unwrap();
    let (report, code) = judged(&setup, &[]).await;
    assert_eq!(code, 1);
    message(&report, "fatal", "server.listen");
    let (report, code) = judged(&setup, &["--skip", "listeners,data"]).await;
    assert_eq!(code, 0, "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o5_a_damaged_database_that_can_be_opened_fails_the_check() {
    let setup = setup();
    setup.start().await.stop().await;
    let path = setup.dir.database();
    altered(&setup, "PRAGMA user_version");
    let root: i64 = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'plugin_values'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let root = usize::try_from(root).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let page = 4096;
    bytes[(root - 1) * page..root * page].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let (report, code) = judged(&setup, &[]).await;
    assert_eq!(
        (&report["verdict"], code),
        (&Value::from("degraded"), 4),
        "{report:#}"
    );
    let message = message(&report, "error", "database.url");
    assert!(message.contains("is damaged"), "{message}");
    // It serves the rows that it can read.
    setup.start().await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o6_the_shipped_configuration_passes_before_the_first_start() {
    let dir = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd/gateway.toml");
    let toml = fs::read_to_string(shipped).unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    // As installed, within the limits of a test.
    fs::create_dir(at("plugins")).unwrap();
    let credentials = "/run/credentials/gateway.service";
    assert!(toml.contains(credentials));
    let toml = toml
        .replace("/var/lib/gateway", &at("lib"))
        .replace("/etc/gateway/plugins", &at("plugins"))
        .replace(
            credentials,
            "/run/credentials/gateway-that-was-never-started.service",
        );
    fs::write(at("gateway.toml"), toml).unwrap();
    let mut command = cli::command();
    command
        .current_dir(dir.path())
        .args(["config", "check", "--skip", "listeners"]);
    let ran = cli::finish(command).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.stderr.contains("note: ") && ran.stderr.contains("when the service starts"),
        "{ran:?}"
    );
    assert!(!dir.path().join("lib").exists());
    // The gateway itself needs them.
    let mut command = cli::command();
    command.current_dir(dir.path()).arg("serve");
    let said = cli::finish(command).await.failed();
    assert!(said.contains("keys.signing"), "{said}");
}
