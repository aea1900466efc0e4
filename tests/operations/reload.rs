//! Reading the configuration again, by SIGHUP and by `gateway reload`.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use test_guests::COMPILE_BOMB;

use super::support::eventually;

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
    // Nor does the configuration itself, or a token's file.
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
        let mut ran = super::support::cli::command();
        ran.current_dir(setup.dir.path()).args(&command);
        let said = super::support::cli::finish(ran).await.failed();
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
async fn sigterm_ends_a_gateway_that_reads_its_configuration_again() {
    let setup = super::dev().table("plugins", "compile_time = \"1h\"\ncompile_memory = \"1GiB\"");
    let mut gateway = setup.start().await;
    // It would compile this for as long as it may.
    fs::write(setup.dir.plugin_file("bomb"), COMPILE_BOMB).unwrap();
    setup.clone().service("bomb", "bomb").write();
    gateway.signal(Signal::HUP);
    let children = format!("/proc/{0}/task/{0}/children", gateway.pid());
    let compiles = async || {
        let children = fs::read_to_string(&children).ok()?;
        (!children.trim().is_empty()).then_some(())
    };
    // A thread of the gateway's own starts compilers, and it is that thread's child.
    let tasks = format!("/proc/{}/task", gateway.pid());
    eventually("it compiles", async || {
        if compiles().await.is_some() {
            return Some(());
        }
        let mut tasks = fs::read_dir(&tasks).ok()?.flatten();
        let has_child = |task: fs::DirEntry| {
            let children = fs::read_to_string(task.path().join("children"));
            children.is_ok_and(|children| !children.trim().is_empty())
        };
        tasks.any(has_child).then_some(())
    })
    .await;
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().await.code(), Some(0), "{}", gateway.log.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o8_gateway_reload_waits_for_the_result_and_fails_as_the_log_says() {
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
    let ran = gateway.cli(&["reload"]).await;
    assert_eq!(ask().await, 200, "at once: {ran:?}");
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
        "gateway.toml:1: jsnop: there is no such key; did you mean `jsonp`?",
        "jsonp: must be true or false",
    ] {
        assert!(ran.stderr.contains(sentence), "{sentence} in {ran:?}");
        assert!(logged.contains(sentence), "{sentence} in {logged}");
    }
    assert_eq!(ask().await, 200, "what was in force stays in force");

    // Not even TOML: the gateway is found by its data directory.
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
async fn o8_a_gateway_that_was_killed_is_not_asked() {
    let setup = super::dev();
    let mut gateway = setup.start().await;
    gateway.kill().await;
    assert_eq!(setup.dir.cli(&["reload"]).await.code, Some(3));
    let gateway = setup.start().await;
    gateway.cli(&["reload"]).await.succeeded();
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o7_prometheus_reads_metrics_and_can_do_nothing_else() {
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
    let client = super::support::browser::client();
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
