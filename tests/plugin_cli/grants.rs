//! Grants: none by default, and each with its settings, secrets, users or addresses.

use std::fs;

use serde_json::{Value, json};
use test_guests::{IMPORTS_CONFIG, IMPORTS_HTTP, IMPORTS_KEY_VALUE, IMPORTS_SECRETS, IMPORTS_USERS};

use super::{ANN, Desk};
use support::cli;

#[tokio::test]
async fn a19_a_secret_is_read_from_a_file_or_from_standard_input() {
    let desk = Desk::new(&[("secrets.wasm", IMPORTS_SECRETS), ("token", b"hunter2\n")]);
    let call = "call secrets.wasm get-permissions --user ann --service token --grant secrets";
    let ran = desk.plugin(&format!("{call} --secret-file token=token")).await;
    assert!(
        !ran.stderr.contains("hunter2") && !ran.stderr.contains("--secret"),
        "{}",
        ran.stderr
    );
    let from_file = ran.succeeded();
    assert!(from_file.contains("hunter2"), "{from_file}");
    let mut command = cli::command();
    command
        .current_dir(desk.path())
        .env("HOME", desk.path())
        .arg("plugin")
        .args(call.split_whitespace())
        .args(["--secret-file", "token=-", "--deadline", "20s"])
        .stdin(fs::File::open(desk.path().join("token")).unwrap());
    assert_eq!(
        cli::finish(command).await.succeeded(),
        from_file,
        "without the end of the line"
    );
    let said = desk.fails(&format!("{call} --secret-file token=missing")).await;
    assert!(said.contains("missing"), "{said}");
    let twice = desk
        .fails(&format!("{call} --secret-file a=- --secret-file b=-"))
        .await;
    assert!(twice.contains("standard input"), "{twice}");
}

#[tokio::test]
async fn no_grant_is_given_by_default_and_each_can_be() {
    let files: &[(&str, &[u8])] = &[
        ("config.wasm", IMPORTS_CONFIG),
        ("secrets.wasm", IMPORTS_SECRETS),
        ("users.wasm", IMPORTS_USERS),
        ("kv.wasm", IMPORTS_KEY_VALUE),
        ("http.wasm", IMPORTS_HTTP),
        ("users.json", &[b"[", ANN.as_bytes(), b"]"].concat()),
    ];
    let desk = Desk::new(files);
    let ask = |file: &str, rest: &str| format!("call {file}.wasm get-permissions --user ann {rest}");
    for (file, grant) in [
        ("config", "config"),
        ("secrets", "secrets"),
        ("users", "users"),
        ("kv", "key-value"),
        ("http", "http"),
    ] {
        let said = desk.fails(&ask(file, "--service s")).await;
        assert!(said.contains(&format!("add --grant {grant}\n")), "{said}");
    }
    let answer = desk
        .json(&ask("config", "--service name --grant config --setting name=a=b"))
        .await;
    assert_eq!(answer["get:name"], json!("a=b"));
    let ran = desk
        .plugin(&ask(
            "secrets",
            "--service token --grant secrets --secret token=hunter2",
        ))
        .await;
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("--secret-file NAME=PATH"),
        "the command line is not for secrets: {}",
        ran.stderr
    );
    assert!(ran.succeeded().contains("hunter2"));
    let answer = desk
        .json(&ask("users", "--service s --grant users --users users.json"))
        .await;
    assert_eq!(answer["email"], json!("ann@example.org"));
    let ran = desk.plugin(&ask("users", "--service s --grant users")).await;
    assert!(ran.stderr.contains("--users has no user"), "{}", ran.stderr);
    assert!(ran.succeeded().contains("\"known\": false"));

    let counted = "call kv.wasm get-permissions --service s --user count --grant key-value";
    let printed = desk.plugin(&format!("{counted} --repeat 3")).await.succeeded();
    let sums: Vec<Value> = serde_json::Deserializer::from_str(&printed)
        .into_iter::<Value>()
        .map(|answer| answer.unwrap()["sum"].clone())
        .collect();
    assert_eq!(sums, [json!(1), json!(2), json!(3)], "kept from call to call");
    assert_eq!(
        desk.json(counted).await["sum"],
        json!(1),
        "and not from one command to the next"
    );
}

#[tokio::test]
async fn requests_are_sent_only_to_allowed_addresses() {
    let server = wiremock::MockServer::start().await;
    wiremock::Mock::given(wiremock::matchers::any())
        .respond_with(wiremock::ResponseTemplate::new(200).set_body_string("hello"))
        .mount(&server)
        .await;
    let desk = Desk::new(&[("http.wasm", IMPORTS_HTTP)]);
    let get = async |flags: &[&str]| {
        let mut command = cli::command();
        command
            .current_dir(desk.path())
            .env("HOME", desk.path())
            .args([
                "plugin",
                "call",
                "http.wasm",
                "get-permissions",
                "--service",
                "s",
                "--deadline",
                "2m",
            ])
            .args(["--grant", "http", "--user", &format!("GET {}/", server.uri())])
            .args(flags);
        cli::finish(command).await
    };
    let ran = get(&[]).await;
    assert!(
        ran.stderr.contains("the plugin's HTTP request was denied"),
        "{}",
        ran.stderr
    );
    let answer: Value = serde_json::from_str(&ran.succeeded()).unwrap();
    assert!(answer["error"].is_string(), "{answer}");
    let answer: Value = serde_json::from_str(&get(&["--allow", &server.uri()]).await.succeeded()).unwrap();
    assert_eq!(
        (&answer["status"], &answer["text"]),
        (&json!(200), &json!("hello")),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_may_come_from_a_pipe_but_not_from_an_endless_file() {
    let dir = tempfile::tempdir().unwrap();
    let component = dir.path().join("p.wasm");
    fs::write(&component, test_guests::V1).unwrap();
    let check = async |secret: &str| {
        let mut command = cli::command();
        command
            .args([
                "plugin",
                "check",
                "--no-cache",
                "--grant",
                "secrets",
                "--secret-file",
            ])
            .arg(format!("x={secret}"))
            .arg(&component);
        cli::finish(command).await
    };
    for (path, what) in [("/dev/zero", "a device"), ("/", "a directory")] {
        let said = check(path).await.failed();
        assert!(
            said.contains(&format!("it is {what}, not a regular file")),
            "{said}"
        );
    }
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let at = pipe.clone();
    let writes = tokio::task::spawn_blocking(move || fs::write(at, "secret\n"));
    check(pipe.to_str().unwrap()).await.succeeded();
    writes.await.unwrap().unwrap();
}
