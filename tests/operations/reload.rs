//! Reloading the configuration, by SIGHUP and by `gateway reload`.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use test_guests::COMPILE_BOMB;

use support::eventually;

fn pipe(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_does_not_wait_for_a_pipe_or_a_device() {
    let setup = super::dev();
    let gateway = setup.start().await;
    let at = setup.dir.path().join("pipe");
    pipe(&at);
    for (path, what) in [
        (at.as_path(), "a pipe"),
        (Path::new("/dev/zero"), "a device"),
        (setup.dir.path(), "a directory"),
    ] {
        let secret = format!("grants = [\"secrets\"]\nsecrets = {{ x = {{ file = {path:?} }} }}");
        setup.clone().plugin_table("behave", &secret).write();
        let line = gateway.reload().await;
        assert!(
            line.contains(&path.display().to_string())
                && line.contains(what)
                && line.contains("plugin.behave.secrets.x"),
            "{line}"
        );
    }
    // The configuration file itself and token files may not be pipes either.
    for command in [
        vec!["config", "check", "--config", at.to_str().unwrap()],
        vec![
            "plugin",
            "list",
            "--admin",
            "127.0.0.1:9",
            "--token-file",
            at.to_str().unwrap(),
        ],
    ] {
        let mut ran = support::cli::command();
        ran.current_dir(setup.dir.path()).args(&command);
        let said = support::cli::finish(ran).await.failed();
        assert!(
            said.contains("it is a pipe, not a regular file"),
            "{command:?}: {said}"
        );
    }
    setup.write();
    assert!(gateway.reload().await.contains("is in force"));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_a_gateway_during_a_reload() {
    let setup = super::dev().table("plugins", "compile_time = \"1h\"\ncompile_memory = \"1GiB\"");
    let mut gateway = setup.start().await;
    // The gateway would compile this until the time limit.
    fs::write(setup.dir.plugin_file("bomb"), COMPILE_BOMB).unwrap();
    setup.clone().service("bomb", "bomb").write();
    gateway.signal(Signal::HUP);
    let process = gateway.pid();
    eventually("it compiles", async || {
        (!super::children(process).is_empty()).then_some(())
    })
    .await;
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().await.code(), Some(0), "{}", gateway.log.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o8_gateway_reload_waits_for_the_result_and_reports_the_mistakes_in_the_log() {
    let setup = super::dev();
    let gateway = setup.start().await;
    let next = format!("/auth/check?next={}", super::encode("https://new.example"));
    let ask = async || gateway.browser().get(&next).await.status().as_u16();
    assert_eq!(ask().await, 400);
    setup
        .clone()
        .origin("https://new.example")
        .table("server", "drain = \"7m\"")
        .service("none", "missing")
        .write();
    let ran = gateway.cli(&["reload", "--wait"]).await;
    assert_eq!(ask().await, 200, "immediately: {ran:?}");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.stdout.contains(&format!("process {}", gateway.pid())),
        "{ran:?}"
    );
    for part in ["need a restart: server.drain", "missing"] {
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }

    setup.clone().top("jsnop = true").top("jsonp = 7").write();
    let ran = gateway.cli(&["reload"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let line = gateway
        .log
        .wait_for("the mistakes", |line| {
            line.contains("the configuration has mistakes")
        })
        .await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let logged = line["error"].as_str().unwrap();
    for sentence in [
        "gateway.toml:1: jsnop: unknown key; did you mean `jsonp`?",
        "jsonp: must be true or false",
    ] {
        assert!(ran.stderr.contains(sentence), "{sentence} in {ran:?}");
        assert!(logged.contains(sentence), "{sentence} in {logged}");
    }
    assert_eq!(ask().await, 200, "the configuration stays in force");

    // The file is not TOML. The command finds the gateway by its data directory.
    fs::write(setup.dir.config_file(), "[server\n").unwrap();
    let data = setup.dir.data_dir().display().to_string();
    let ran = gateway.cli(&["reload", "--data", &data, "--json"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let answers: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(
        answers[0]["errors"][0].as_str().unwrap().contains("not TOML"),
        "{answers}"
    );
    assert_eq!(gateway.cli(&["reload"]).await.code, Some(1));
    let ran = gateway.cli(&["reload", "--json"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let answers: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answers[0]["pid"], serde_json::Value::Null, "{answers}");
    assert!(
        answers[0]["errors"][0].as_str().unwrap().contains("not TOML"),
        "{answers}"
    );

    setup.write();
    gateway.cli(&["reload"]).await.succeeded();
    gateway.stop().await;
    assert_eq!(
        setup.dir.cli(&["reload"]).await.code,
        Some(3),
        "none runs any more"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o8_a_reload_does_not_wait_for_plugins_that_compile() {
    let setup = super::dev().table("plugins", "compile_time = \"1h\"\ncompile_memory = \"1GiB\"");
    let gateway = setup.start().await;
    fs::write(setup.dir.plugin_file("bomb"), COMPILE_BOMB).unwrap();
    setup
        .clone()
        .origin("https://new.example")
        .service("bomb", "bomb")
        .write();
    gateway.signal(Signal::HUP);
    // The compiler is stopped, and would not end within its limit of an hour.
    eventually("a compiler is stopped", async || {
        let compiler = super::children(gateway.pid()).into_iter().next()?;
        rustix::process::kill_process(compiler, Signal::STOP).ok()?;
        let stat = fs::read_to_string(format!("/proc/{}/stat", compiler.as_raw_nonzero())).ok()?;
        stat.contains(") T ").then_some(())
    })
    .await;
    let said = gateway.cli(&["reload"]).await.succeeded();
    assert!(
        said.contains("is in force") && said.contains("1 plugin file is still being compiled or tried: bomb"),
        "{said}"
    );
    let next = format!("/auth/check?next={}", super::encode("https://new.example"));
    assert_eq!(gateway.browser().get(&next).await.status().as_u16(), 200);
    let said = gateway.cli(&["reload", "--json"]).await.succeeded();
    let answers: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(answers[0]["being_admitted"][0], "bomb", "{answers}");
    // A waiting command reports that the gateway has ended.
    let waits = setup.dir.cli_command(&["reload", "--wait"]);
    let waits = tokio::spawn(support::cli::finish(waits));
    eventually("it is asked", async || {
        let in_force = |line: &String| line.contains("the configuration was read again");
        (gateway.log.lines().iter().filter(|line| in_force(line)).count() >= 4).then_some(())
    })
    .await;
    let log = gateway.stop().await;
    waits.await.unwrap();
    assert!(
        !log.text().contains("every plugin was looked at"),
        "the bomb was not: {}",
        log.text()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o8_a_reload_succeeds_even_if_standard_output_is_full() {
    let setup = super::dev();
    let gateway = setup.start().await;
    let next = format!("/auth/check?next={}", super::encode("https://new.example"));
    setup.clone().origin("https://new.example").write();
    for arguments in [&["reload"][..], &["reload", "--json"], &["plugin", "reload"]] {
        let address = gateway.admin().await.address.to_string();
        let arguments = match arguments {
            ["plugin", ..] => [arguments, &["--admin", &address]].concat(),
            _ => arguments.to_vec(),
        };
        let ran = support::cli::finish_unheard(setup.dir.cli_command(&arguments)).await;
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        assert!(
            ran.stderr
                .contains("the command succeeded, but standard output cannot be written"),
            "{arguments:?}: {ran:?}"
        );
    }
    assert_eq!(gateway.browser().get(&next).await.status().as_u16(), 200);
    // The list only reads, so its failure to print is an error.
    let address = gateway.admin().await.address.to_string();
    let list = setup.dir.cli_command(&["plugin", "list", "--admin", &address]);
    let ran = support::cli::finish_unheard(list).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    gateway.stop().await;
}

// The test takes as long as the command waits: forty seconds.
#[cfg(feature = "test-all")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o8_a_stopped_process_is_reported() {
    let setup = super::dev();
    let gateway = setup.start().await;
    gateway.signal(Signal::STOP);
    let ran = gateway.cli(&["reload"]).await;
    gateway.signal(Signal::CONT);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("is the process stopped or stuck?"), "{ran:?}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o8_another_user_cannot_open_the_socket_and_the_error_says_so() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let setup = super::dev();
    let gateway = setup.start().await;
    let data = setup.dir.data_dir();
    std::os::unix::fs::chown(&data, Some(65_534), Some(65_534)).unwrap();
    // Root without its capabilities is like any other user, but can still reach the binary and the directory.
    let mut command = tokio::process::Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all"]);
    command
        .arg(support::binary())
        .args(["reload", "--data"])
        .arg(&data);
    let ran = support::cli::finish(command).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr
            .contains("as the user that the gateway runs as, or as root"),
        "{ran:?}"
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o8_the_socket_of_a_killed_gateway_is_skipped() {
    let setup = super::dev();
    let mut gateway = setup.start().await;
    gateway.kill().await;
    assert_eq!(setup.dir.cli(&["reload"]).await.code, Some(3));
    let gateway = setup.start().await;
    gateway.cli(&["reload"]).await.succeeded();
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o7_the_metrics_token_can_only_read_metrics() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = "metrics-token";
    let setup = super::dev().table(
        "admin",
        &format!("metrics_listen = \"127.0.0.1:0\"\nmetrics_token_file = {file:?}"),
    );
    let gateway = setup.start().await;
    let path = setup.dir.path().join(file);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    let token = fs::read_to_string(path).unwrap().trim().to_owned();
    let admin = gateway.admin().await;
    let line = gateway
        .log
        .wait_for("the metrics listener", |line| line.contains("metrics listener"))
        .await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let metrics = line["address"].as_str().unwrap().to_owned();
    let client = support::browser::client();
    let ask = async |address: &str, method: reqwest::Method, path: &str, token: &str| {
        let request = client.request(method, format!("http://{address}{path}"));
        let answer = request.bearer_auth(token).send().await.unwrap();
        answer.status().as_u16()
    };
    let (get, post) = (reqwest::Method::GET, reqwest::Method::POST);
    let admin_address = admin.address.to_string();
    assert_eq!(ask(&metrics, get.clone(), "/metrics", &token).await, 200);
    assert_eq!(ask(&admin_address, get.clone(), "/metrics", &token).await, 200);
    for (method, path) in [
        (&get, "/plugins"),
        (&get, "/ready"),
        (&post, "/plugins/behave/reload"),
        (&post, "/plugins/behave/rollback"),
    ] {
        for address in [&metrics, &admin_address] {
            assert_eq!(
                ask(address, method.clone(), path, &token).await,
                403,
                "{address}{path}"
            );
        }
        assert_ne!(
            ask(&metrics, method.clone(), path, &admin.token).await,
            200,
            "{path}"
        );
    }
    assert_eq!(ask(&metrics, post, "/metrics", &token).await, 405);
    assert_eq!(ask(&metrics, get, "/metrics", "wrong").await, 401);
    gateway.stop().await;
}
