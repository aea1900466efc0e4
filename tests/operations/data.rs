//! The gateway's data: backups, replaced secrets, files of another user, and a log that nobody reads.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use gateway_token::Algorithm;
use reqwest::Method;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::task::JoinSet;

use support::admin::Admin;
use support::setup::private_key;
use support::{Setup, cli, eventually};

const NEW: &str = "canary-new-session-secret-0123456789abcdef";

fn setup() -> Setup {
    Setup::dev()
        .env("PRIVATE_KEY", &private_key(Algorithm::ES256))
        // Session tokens name the gateway that issued them, so it must have the same name after each start.
        .env("EXTERNAL_ADDRESS", "http://127.0.0.1:9")
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_a_backup_works_while_the_gateway_serves_and_a_restore_after_it_stops() {
    let setup = setup();
    let gateway = setup.start().await;
    gateway.sign_in("alice").await;
    let backup = setup.dir.path().join("backup.db");
    let file = backup.to_str().unwrap();
    let said = gateway.cli(&["backup", file]).await.succeeded();
    assert!(said.contains("backed up 1 users"), "{said}");
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let said = gateway.cli(&["backup", file]).await.failed();
    assert!(said.contains("--overwrite"), "{said}");
    gateway.cli(&["backup", file, "--overwrite"]).await.succeeded();
    gateway.sign_in("bob").await;

    let said = gateway.cli(&["restore", file]).await.failed();
    assert!(said.contains("in use") && said.contains("stop"), "{said}");
    gateway.sign_in("carol").await;
    gateway.stop().await;

    let said = setup.dir.cli(&["restore", file]).await.succeeded();
    assert!(
        said.contains("restored 1 users") && said.contains("kept "),
        "{said}"
    );
    let gateway = setup.start().await;
    let listed = gateway.cli(&["user", "list"]).await.succeeded();
    assert!(listed.contains("alice") && !listed.contains("bob"), "{listed}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o2_sessions_survive_a_new_session_secret() {
    let setup = setup();
    let gateway = setup.start().await;
    let alice = gateway.sign_in("alice").await;
    gateway.stop().await;
    // From the derived secret to a configured one.
    let setup = setup.env("GATEWAY_SESSION_SECRETS", &format!("{NEW};derived"));
    let gateway = setup.start().await;
    assert!(
        gateway.browser().is_signed_in(&alice).await,
        "the old secret is accepted"
    );
    let bob = gateway.sign_in("bob").await;
    assert!(gateway.browser().is_signed_in(&bob).await);
    gateway.stop().await;
    // The new secret alone, in the setting for a single secret.
    let setup = setup
        .without_env("GATEWAY_SESSION_SECRETS")
        .env("GATEWAY_SESSION_SECRET", NEW);
    let gateway = setup.start().await;
    assert!(gateway.browser().is_signed_in(&bob).await, "the first one signed");
    assert!(
        !gateway.browser().is_signed_in(&alice).await,
        "the old one is not accepted any more"
    );
    gateway.stop().await;
    // From a file, one per line.
    let file = setup.dir.path().join("secrets");
    fs::write(
        &file,
        format!("another-session-secret-0123456789abcdef\n\n{NEW}\r\nderived\n"),
    )
    .unwrap();
    mode(&file, 0o600);
    let setup = setup
        .without_env("GATEWAY_SESSION_SECRET")
        .env("GATEWAY_SESSION_SECRETS_FILE", file.to_str().unwrap());
    let gateway = setup.start().await;
    for session in [&alice, &bob] {
        assert!(gateway.browser().is_signed_in(session).await);
    }
    let shown = gateway
        .cli(&["config", "check", "--skip", "listeners"])
        .await
        .succeeded();
    assert!(shown.contains("keys.session_secrets"), "{shown}");
    assert!(
        !shown.contains("canary") && !shown.contains("another-session"),
        "{shown}"
    );
    gateway.stop().await;
}

/// Otherwise the gateway would acknowledge sign-ins that the next start loses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_moving_the_database_of_a_running_gateway_is_noticed() {
    let setup = setup();
    let gateway = setup.start().await;
    let alice = gateway.sign_in("alice").await;
    let backup = super::back_up(&gateway).await;
    gateway.sign_in("bob").await;
    let (database, away) = (setup.dir.database(), setup.dir.path().join("away.db"));
    fs::rename(&database, &away).unwrap();
    fs::copy(&backup, &database).unwrap();

    let admin = gateway.admin().await;
    let answer = admin.get("/ready").await;
    assert_eq!(answer.status(), 503);
    let said = answer.text().await.unwrap();
    let sentence = "was moved, removed or replaced while the gateway has it open";
    assert!(
        said.contains(sentence) && said.contains("put the file back"),
        "{said}"
    );
    let refused = gateway.browser().sign_in_dev("carol").await;
    assert_eq!(refused.status(), 503);
    assert!(gateway.browser().is_signed_in(&alice).await, "reading goes on");
    for arguments in [
        &["user", "list"][..],
        &["user", "disable", "dev:alice"],
        &["user", "export"],
    ] {
        let said = gateway.cli(arguments).await.failed();
        assert!(
            said.contains("while a gateway has it open"),
            "{arguments:?}: {said}"
        );
    }
    assert_eq!(fs::read(&database).unwrap(), fs::read(&backup).unwrap());
    let noticed = |line: &str| line.contains("the database file was moved, removed or replaced");
    gateway.log.wait_for("the gateway notices", noticed).await;

    fs::rename(&away, &database).unwrap();
    gateway
        .log
        .wait_for("the gateway notices that too", |line| {
            line.contains("writes to it again")
        })
        .await;
    assert_eq!(admin.get("/ready").await.status(), 200);
    let lines = gateway.flushed_log().await;
    let told: Vec<_> = lines.iter().filter(|line| line.contains(sentence)).collect();
    assert_eq!(lines.iter().filter(|line| noticed(line)).count(), 1, "{told:?}");
    gateway.sign_in("carol").await;
    let listed = gateway.cli(&["user", "list"]).await.succeeded();
    assert!(listed.contains("bob") && listed.contains("carol"), "{listed}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_commands_that_read_a_backup_do_not_change_it_or_its_directory() {
    let setup = setup();
    let gateway = setup.start().await;
    gateway.sign_in("alice").await;
    let directory = setup.dir.path().join("backups");
    fs::create_dir(&directory).unwrap();
    mode(&directory, 0o700);
    let backup = directory.join("backup.db");
    gateway
        .cli(&["backup", backup.to_str().unwrap()])
        .await
        .succeeded();
    gateway.stop().await;
    // The database of a stopped gateway.
    let stopped = directory.join("stopped.db");
    fs::copy(setup.dir.database(), &stopped).unwrap();
    let elsewhere = setup.dir.path().join("elsewhere.db");
    let contents = || {
        let entries = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let files: BTreeMap<_, _> = entries
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files
    };
    let before = contents();
    for file in [&backup, &stopped] {
        let database = format!("sqlite:///{}", file.display());
        let run = async |arguments: &[&str]| {
            let arguments = [arguments, &["--database", &database]].concat();
            setup.dir.cli(&arguments).await
        };
        for arguments in [
            &["user", "list"][..],
            &["user", "list", "--json"],
            &["user", "export"],
            &["user", "show", "dev:alice"],
        ] {
            let said = run(arguments).await.succeeded();
            assert!(said.contains("alice@example.org"), "{arguments:?}: {said}");
        }
        run(&["session", "list"]).await.succeeded();
        let said = run(&["user", "show", "nobody"]).await.failed();
        assert!(said.contains("no user"), "{said}");
        run(&["backup", "--overwrite", elsewhere.to_str().unwrap()])
            .await
            .succeeded();
        assert!(
            contents() == before,
            "{}: {:?}",
            file.display(),
            contents().keys()
        );
    }
}

/// The exit code tells whether the work is done. A script that restores must not start again because the log is full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_commands_succeed_even_if_standard_output_is_full() {
    let setup = setup();
    let gateway = setup.start().await;
    gateway.sign_in("alice").await;
    gateway.sign_in("bob").await;
    let said = gateway.cli(&["backup", "-"]).await.failed();
    assert!(said.contains("name a file"), "{said}");
    assert!(!setup.dir.path().join("-").exists());
    let backup = setup.dir.path().join("backup.db");
    let file = backup.to_str().unwrap();
    let run = async |arguments: &[&str]| {
        let ran = cli::finish_unheard(setup.dir.cli_command(arguments)).await;
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("the command succeeded"),
            "{arguments:?}: {}",
            ran.stderr
        );
    };
    run(&["backup", file]).await;
    assert!(backup.exists());
    run(&["user", "disable", "dev:alice"]).await;
    run(&["user", "enable", "dev:alice"]).await;
    run(&["user", "link", "dev:alice", "dev", "carol"]).await;
    run(&["session", "end", "--user", "dev:bob"]).await;
    run(&["user", "merge", "dev:bob", "--into", "dev:alice", "--yes"]).await;
    let listed: serde_json::Value =
        serde_json::from_str(&gateway.cli(&["user", "list", "--json"]).await.succeeded()).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    // Commands that only read have failed if their output is lost.
    for arguments in [&["user", "list"][..], &["user", "export"], &["session", "list"]] {
        let ran = cli::finish_unheard(setup.dir.cli_command(arguments)).await;
        assert_eq!(ran.code, Some(1), "{arguments:?}: {}", ran.stderr);
    }
    gateway.stop().await;
    run(&["restore", file]).await;
    let listed = setup.dir.cli(&["user", "list"]).await.succeeded();
    assert!(listed.contains("bob"), "{listed}");
}

/// Starts a gateway that must not start. Returns its output.
async fn refused(setup: &Setup) -> String {
    setup.write();
    cli::finish(setup.command()).await.failed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o9_a_world_writable_data_directory_is_rejected() {
    let setup = Setup::serve();
    fs::create_dir(setup.dir.data_dir()).unwrap();
    mode(&setup.dir.data_dir(), 0o777);
    for said in [
        refused(&setup).await,
        setup.dir.cli(&["config", "check"]).await.failed(),
    ] {
        let directory = setup.dir.data_dir().display().to_string();
        assert!(said.contains(&format!("chmod go-w {directory}")), "{said}");
    }
    mode(&setup.dir.data_dir(), 0o700);
    setup.start().await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o9_invalid_and_duplicate_keys_are_named() {
    let setup = Setup::serve().without_env("PRIVATE_KEY");
    let keys = setup.dir.path().join("keys");
    fs::create_dir(&keys).unwrap();
    mode(&keys, 0o700);
    let setup = setup.env("GATEWAY_SIGNING_KEYS", keys.to_str().unwrap());
    let write = |name: &str, text: &str| {
        fs::write(keys.join(name), text).unwrap();
        mode(&keys.join(name), 0o600);
    };
    let key = private_key(Algorithm::ES256);
    write("1.pem", &key);
    write(
        "2.pem",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    let said = refused(&setup).await;
    assert!(
        said.contains("2.pem cannot be used") && !said.contains("1.pem cannot"),
        "{said}"
    );
    write("2.pem", &key);
    let said = refused(&setup).await;
    assert!(
        said.contains("1.pem contains the same key as") && said.contains("2.pem (kid "),
        "{said}"
    );
    write("2.pem", &private_key(Algorithm::ES256));
    mode(&keys.join("1.pem"), 0o602);
    let said = refused(&setup).await;
    assert!(said.contains("1.pem: run `chmod go-w"), "{said}");
    mode(&keys.join("1.pem"), 0o600);
    mode(&keys, 0o777);
    let said = refused(&setup).await;
    assert!(
        said.contains("everybody may write") && said.contains("keys: run `chmod"),
        "{said}"
    );
    mode(&keys, 0o700);
    setup.start().await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a18_data_of_another_user_is_rejected_and_not_changed() {
    const SOMEBODY: u32 = 65_533;
    let setup = setup();
    setup.start().await.stop().await;
    if chown(setup.dir.database(), Some(SOMEBODY), None).is_err() {
        eprintln!("skipped: giving files away takes root");
        return;
    }
    // A planted database.
    let before = fs::read(setup.dir.database()).unwrap();
    let said = refused(&setup).await;
    let database = setup.dir.database().display().to_string();
    assert!(
        said.contains(&format!("{database} belongs to the user with the id 65533")),
        "{said}"
    );
    for arguments in [
        &["user", "list"][..],
        &["backup", "b.db"],
        &["restore", &database],
    ] {
        let said = setup.dir.cli(arguments).await.failed();
        assert!(said.contains("setpriv --reuid=65533"), "{arguments:?}: {said}");
    }
    assert_eq!(fs::read(setup.dir.database()).unwrap(), before);
    chown(setup.dir.database(), Some(0), None).unwrap();
    // A directory of another user.
    chown(setup.dir.data_dir(), Some(SOMEBODY), None).unwrap();
    let said = refused(&setup).await;
    assert!(
        said.contains("data belongs to the user with the id 65533"),
        "{said}"
    );
    chown(setup.dir.data_dir(), Some(0), None).unwrap();
    setup.start().await.stop().await;
}

/// The reader of the log has stopped, and the pipe is full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a19_a_full_stderr_pipe_blocks_neither_requests_nor_shutdown() {
    let setup = setup().table("log", "filter = \"trace\"");
    setup.write();
    let mut child = setup.command().spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    let admin = loop {
        let line = stderr.next_line().await.unwrap().expect("the gateway starts");
        if line.contains("admin listener") {
            let (_, from) = line.split_once("127.0.0.1:").unwrap();
            let port: String = from.chars().take_while(char::is_ascii_digit).collect();
            break format!("127.0.0.1:{port}").parse().unwrap();
        }
    };
    // From here on nobody reads it.
    let address = stdout.next_line().await.unwrap().expect("it is ready");
    let admin = Admin::new(admin, &setup.admin_token());
    let client = support::browser::client();
    eventually("lines are dropped", async || {
        let mut answers = JoinSet::new();
        for _ in 0..100 {
            let request = client.request(Method::GET, format!("{address}/auth/check"));
            answers.spawn(request.send());
        }
        while let Some(answered) = answers.join_next().await {
            assert_eq!(answered.unwrap().expect("it answers").status(), 200);
        }
        let metrics = admin.get("/metrics").await.text().await.unwrap();
        let dropped = metrics
            .lines()
            .find_map(|line| line.strip_prefix("gateway_log_dropped_total "));
        dropped.filter(|dropped| *dropped != "0").map(drop)
    })
    .await;
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = tokio::time::timeout(support::wait::PATIENCE, child.wait());
    let status = ended.await.expect("it ends").unwrap();
    assert!(status.success(), "{status}");
    drop(stderr);
}
