//! One database file under two names: the second process is rejected, as each name would have its own log.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use gateway_token::Algorithm;
use rustix::fs::{CWD, FileType, Mode};
use tokio::process::Command;

use support::setup::private_key;
use support::{Gateway, Setup, cli};

/// A gateway whose database has its own directory.
fn setup() -> Setup {
    let setup = Setup::dev()
        .env("PRIVATE_KEY", &private_key(Algorithm::ES256))
        .env("EXTERNAL_ADDRESS", "http://127.0.0.1:9");
    directory(&setup, "own");
    let database = url(&database(&setup));
    setup.env("DATABASE_URL", &database)
}

fn database(setup: &Setup) -> PathBuf {
    setup.dir.path().join("own/gateway.db")
}

fn url(path: &Path) -> String {
    format!("sqlite:///{}", path.display())
}

fn directory(setup: &Setup, name: &str) -> PathBuf {
    let directory = setup.dir.path().join(name);
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    directory
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A command in its own mount namespace, where `from` is also at `to`. `None` if this user may not mount.
async fn mounted(from: &Path, to: &Path, command: Command) -> Option<cli::Ran> {
    let command = command.into_std();
    let unshared = |script: &str| {
        let mut unshared = Command::new("unshare");
        unshared.args(["-m", "sh", "-c", script, "sh"]).arg(from).arg(to);
        unshared.kill_on_drop(true);
        unshared
    };
    let tried = unshared("mount --bind \"$1\" \"$2\"").output().await;
    if !tried.is_ok_and(|tried| tried.status.success()) {
        return None;
    }
    let mut inside = unshared("mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"");
    inside.env_clear();
    let environment = command.get_envs();
    inside.envs(environment.filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = command.get_current_dir() {
        inside.current_dir(directory);
    }
    inside.arg(command.get_program()).args(command.get_args());
    Some(cli::finish(inside).await)
}

/// Every way to use a database. Each of them could begin a second log, or miss a log.
fn uses(setup: &Setup, path: &Path) -> Vec<(String, Command)> {
    let target = setup.dir.path().join("target.db").display().to_string();
    let backup = setup.dir.path().join("backup.db").display().to_string();
    let url = url(path);
    [
        &["user", "list"][..],
        &["user", "show", "dev:alice"],
        &["user", "export"],
        &["user", "disable", "dev:alice"],
        &["session", "list"],
        &["backup", &target],
        &["restore", &backup],
        &["config", "check", "--skip", "listeners"],
        &["serve"],
    ]
    .into_iter()
    .map(|arguments| {
        let mut command = setup.dir.cli_command(arguments);
        command.env("DATABASE_URL", &url);
        (arguments.join(" "), command)
    })
    .collect()
}

async fn works(gateway: &Gateway, alice: &str) {
    assert!(
        gateway.browser().is_signed_in(alice).await,
        "nobody has disabled her"
    );
    assert_eq!(gateway.admin().await.get("/ready").await.status(), 200);
    let listed = gateway.cli(&["user", "list"]).await.succeeded();
    assert!(listed.contains("alice"), "{listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_a_database_is_not_opened_under_another_name_while_a_gateway_serves() {
    let setup = setup();
    let gateway = setup.start().await;
    let alice = gateway.sign_in("alice").await;
    super::back_up(&gateway).await;
    let elsewhere = directory(&setup, "elsewhere");
    let other = elsewhere.join("gateway.db");

    // Moved there and back, with nothing at the old place in between.
    fs::rename(database(&setup), &other).unwrap();
    for (what, command) in uses(&setup, &other) {
        let said = cli::finish(command).await.failed();
        assert!(said.contains("is in use"), "{what}: {said}");
        assert!(
            what.starts_with("restore") || said.contains("under another name"),
            "{what}: {said}"
        );
    }
    assert_eq!(names(&elsewhere), ["gateway.db"], "no second log");
    fs::rename(&other, database(&setup)).unwrap();
    works(&gateway, &alice).await;

    // Two names at the same time.
    fs::hard_link(database(&setup), &other).unwrap();
    for (what, command) in uses(&setup, &other) {
        cli::finish(command).await.failed();
        assert_eq!(names(&elsewhere), ["gateway.db"], "{what}");
    }
    fs::remove_file(&other).unwrap();
    works(&gateway, &alice).await;

    // The file alone, as in a container.
    fs::write(&other, "").unwrap();
    for (what, command) in uses(&setup, &other) {
        let Some(ran) = mounted(&database(&setup), &other, command).await else {
            break;
        };
        let said = ran.failed();
        assert!(said.contains("is in use"), "{what}: {said}");
        assert_eq!(names(&elsewhere), ["gateway.db"], "{what}");
    }
    works(&gateway, &alice).await;
    gateway.stop().await;
    let said = setup.dir.cli(&["config", "check", "--skip", "listeners"]).await;
    assert_eq!(said.code, Some(0), "the database is sound: {said:?}");
    // Nothing uses it any more, so its name does not matter.
    fs::rename(database(&setup), &other).unwrap();
    let listed = setup
        .dir
        .cli(&["user", "list", "--database", &url(&other)])
        .await
        .succeeded();
    assert!(listed.contains("alice"), "{listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_different_paths_to_one_directory_are_one_place() {
    let setup = setup();
    let gateway = setup.start().await;
    let (link, way) = (setup.dir.path().join("link.db"), setup.dir.path().join("way"));
    symlink(database(&setup), &link).unwrap();
    symlink("own", &way).unwrap();
    let mount = directory(&setup, "mount");
    for (user, path) in [
        ("alice", link),
        ("bob", way.join("gateway.db")),
        ("carol", mount.join("gateway.db")),
    ] {
        let session = gateway.sign_in(user).await;
        let user = format!("dev:{user}");
        let command = setup
            .dir
            .cli_command(&["user", "disable", &user, "--database", &url(&path)]);
        let ran = if path.starts_with(&mount) {
            let Some(ran) = mounted(&setup.dir.path().join("own"), &mount, command).await else {
                break;
            };
            ran
        } else {
            cli::finish(command).await
        };
        ran.succeeded();
        assert!(
            !gateway.browser().is_signed_in(&session).await,
            "{}",
            path.display()
        );
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_a_link_in_place_of_a_database_is_noticed() {
    let setup = setup();
    let gateway = setup.start().await;
    let alice = gateway.sign_in("alice").await;
    let away = setup.dir.path().join("own/away.db");
    fs::rename(database(&setup), &away).unwrap();
    symlink("away.db", database(&setup)).unwrap();
    let admin = gateway.admin().await;
    assert_eq!(
        admin.get("/ready").await.status(),
        503,
        "its log would be another"
    );
    let said = gateway.cli(&["user", "disable", "dev:alice"]).await.failed();
    assert!(said.contains("under another name"), "{said}");
    fs::rename(&away, database(&setup)).unwrap();
    works(&gateway, &alice).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_a_killed_gateway_releases_its_lock() {
    let setup = setup();
    let mut gateway = setup.start().await;
    gateway.sign_in("alice").await;
    gateway.kill().await;
    let elsewhere = directory(&setup, "elsewhere");
    for name in ["gateway.db", "gateway.db-wal"] {
        fs::rename(setup.dir.path().join("own").join(name), elsewhere.join(name)).unwrap();
    }
    let listed = setup
        .dir
        .cli(&["user", "list", "--database", &url(&elsewhere.join("gateway.db"))])
        .await
        .succeeded();
    assert!(listed.contains("alice"), "{listed}");
}

/// Processes detect each other by this file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_a_database_without_its_versions_file_still_counts_as_in_use() {
    let setup = setup();
    let gateway = setup.start().await;
    gateway.sign_in("alice").await;
    let backup = super::back_up(&gateway).await;
    let bob = gateway.sign_in("bob").await;
    let own = setup.dir.path().join("own");
    fs::remove_file(own.join("gateway.db-versions")).unwrap();
    // The log is moved away: a command would begin a second one.
    fs::rename(own.join("gateway.db-wal"), own.join("log")).unwrap();
    let said = gateway.cli(&["user", "disable", "dev:bob"]).await.failed();
    assert!(said.contains("while a gateway has it open"), "{said}");
    fs::rename(own.join("log"), own.join("gateway.db-wal")).unwrap();
    // A restore would be completed while the gateway runs.
    let restored = own.join("gateway.db-restore");
    fs::copy(&backup, &restored).unwrap();
    fs::set_permissions(&restored, fs::Permissions::from_mode(0o600)).unwrap();
    let said = gateway.cli(&["restore", backup.to_str().unwrap()]).await.failed();
    assert!(said.contains("is in use"), "{said}");
    let listed = gateway.cli(&["user", "list"]).await.succeeded();
    assert!(listed.contains("bob") && restored.exists(), "{listed}");
    assert!(gateway.browser().is_signed_in(&bob).await);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_a_command_does_not_wait_for_a_pipe() {
    let setup = setup();
    setup.write();
    let pipe = setup.dir.path().join("own/pipe.db");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    fs::write(setup.dir.path().join("backup.db"), "").unwrap();
    for (what, command) in uses(&setup, &pipe) {
        let said = cli::finish(command).await.failed();
        assert!(said.contains("is a pipe, not a regular file"), "{what}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o5_a_start_logs_that_it_applies_a_log_but_no_migration() {
    let setup = setup();
    setup.start().await.stop().await;
    let mut killed = setup.start().await;
    killed.sign_in("alice").await;
    let lines = killed.flushed_log().await;
    assert!(!lines.iter().any(|line| line.contains("igrated")), "{lines:?}");
    killed.kill().await;
    let gateway = setup.start().await;
    let log = gateway.flushed_log().await.join("\n");
    assert!(log.contains("applies the changes in its log"), "{log}");
    assert!(!log.contains("next start") && !log.contains("igrated"), "{log}");
    let listed = gateway.cli(&["user", "list"]).await.succeeded();
    assert!(listed.contains("alice"), "{listed}");
    gateway.stop().await;
}
