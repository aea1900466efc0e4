//! `gateway plugin check|call|bench` as an author uses them: their output, exit codes, and one clear message for each
//! mistake.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use support::Setup;
use support::browser::{Browser, token_in};
use support::cli::{self, Ran};
use support::wait::PATIENCE;
use tempfile::TempDir;
use test_guests::{
    BEHAVE, CORE_MODULE, GROW, IMPORTS_CONFIG, IMPORTS_HTTP, IMPORTS_KEY_VALUE, IMPORTS_LOGGING,
    IMPORTS_SECRETS, IMPORTS_USERS, LOGIN_ONLY, NO_EXPORTS, PLAIN, REJECT, TRIAL_TRAP, UNKNOWN_IMPORT, V1,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use url::Url;

/// An author's directory, in which the commands run.
struct Desk(TempDir);

const ANN: &str = r#"{"id": "ann", "name": "Ann", "email": "ann@example.org", "email_trusted": true,
    "identities": [{"provider": "google", "issuer": "https://accounts.google.com", "subject": "1"},
                   {"provider": "github", "issuer": "https://github.com", "subject": "2"}]}"#;

impl Desk {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        for (name, bytes) in files {
            fs::write(desk.path().join(name), bytes).unwrap();
        }
        desk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs `gateway plugin` with these arguments, separated by spaces, and a deadline for debug builds.
    async fn plugin(&self, words: &str) -> Ran {
        let mut command = cli::command();
        command
            .current_dir(self.path())
            .env("HOME", self.path())
            .arg("plugin")
            .args(words.split_whitespace())
            .args(["--deadline", "2m"]);
        cli::finish(command).await
    }

    /// The JSON that a successful command prints.
    async fn json(&self, words: &str) -> Value {
        let printed = self.plugin(words).await.succeeded();
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
    }

    /// The message of a command that fails properly, with nothing on stdout.
    async fn fails(&self, words: &str) -> String {
        let ran = self.plugin(words).await;
        assert_eq!(ran.stdout, "", "{words}");
        let said = ran.failed();
        assert!(
            said.contains("gateway: ") && !said.contains("panicked at gateway"),
            "{words}: {said}"
        );
        said
    }
}

#[tokio::test]
async fn check_reports_everything() {
    let desk = Desk::new(&[("v1.wasm", V1), ("grow.wasm", GROW), ("core.wasm", CORE_MODULE)]);
    let text = desk.plugin("check v1.wasm").await.succeeded();
    for says in [
        "plugin      v1\n",
        "auth-gateway:plugin/permission-provider@1.0.0: get-permissions is called",
        "WASI, linked to nothing",
        "names       yes",
        "admissible  yes",
    ] {
        assert!(text.contains(says), "{text} does not say {says:?}");
    }
    let report = desk.json("check v1.wasm --json").await;
    assert_eq!(report["is_admissible"], json!(true));
    assert_eq!(report["size"], json!(V1.len()));
    assert_eq!(report["compiled"]["was_cached"], json!(true), "the second time");
    assert!(report["memory_bytes"].as_u64().unwrap() >= 1 << 16);

    let ran = desk.plugin("check grow.wasm").await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stdout.contains("admissible  NO") && ran.stdout.contains("NOT GRANTED, needs key-value"),
        "{ran:?}"
    );
    for says in [
        "grow.wasm would not be served: it imports auth-gateway:plugin/",
        "under `[plugin.grow]` in the configuration",
        "to grant it here, add --grant key-value --grant logging",
    ] {
        assert!(ran.stderr.contains(says), "{} does not say {says:?}", ran.stderr);
    }
    let ran = desk
        .plugin("check grow.wasm --grant key-value,logging --name mine --json")
        .await;
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (ran.code, &report["plugin"]),
        (Some(0), &json!("mine")),
        "{report}"
    );

    let ran = desk.plugin("check core.wasm --json").await;
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &report["is_admissible"]), (Some(1), &json!(false)));
    assert!(
        report["problem"]
            .as_str()
            .unwrap()
            .contains("core WebAssembly module"),
        "{report}"
    );
}

#[tokio::test]
async fn call_prints_permissions_and_their_cost() {
    let desk = Desk::new(&[
        ("v1.wasm", V1),
        ("log.wasm", IMPORTS_LOGGING),
        ("ann.json", ANN.as_bytes()),
    ]);
    let ran = desk
        .plugin("call v1.wasm get-permissions --service wiki --user u")
        .await;
    for says in [
        "  fuel | ",
        " of 100,000,000\n",
        "memory | ",
        " of 67,108,864 bytes\n",
        "  time | ",
        " of 120.0 s\n",
    ] {
        assert!(ran.stderr.contains(says), "{} does not say {says:?}", ran.stderr);
    }
    let answer: Value = serde_json::from_str(&ran.succeeded()).unwrap();
    assert_eq!(
        answer,
        json!({"version": 1, "also": 1, "digest-hint": "v1", "service": "wiki", "user": "u"})
    );
    let answer = desk
        .json("call v1.wasm get-permissions --service wiki --user ann.json")
        .await;
    assert_eq!(answer["user"], json!("ann"));

    let ran = desk
        .plugin("call log.wasm get-permissions --service hello --user u --grant logging")
        .await;
    assert!(
        ran.stderr.contains("  warn | ") && ran.stderr.contains("hello"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.succeeded(), "{}\n");
}

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

#[tokio::test]
async fn failed_calls_report_the_cause_and_the_place() {
    let desk = Desk::new(&[("behave.wasm", BEHAVE)]);
    for (service, flags, says) in [
        (
            "trap",
            "",
            "behave: get-permissions trapped: it reached `unreachable`",
        ),
        (
            "trap",
            "",
            "assertion\n  in auth-gateway:plugin/permission-provider@1.0.0#get-permissions\n",
        ),
        (
            "recurse",
            "",
            "call stack exhausted\n  in behave::resources::deep (",
        ),
        ("trap", "", "stderr | this guest was asked to trap"),
        (
            "spin",
            "--fuel 10_000_000",
            "ran out of fuel: 10,000,000 of 10,000,000\n  in auth-gateway:plugin/",
        ),
        (
            "spin",
            "--fuel 18446744073709551615 --deadline 1s",
            "ran past its deadline of 1s",
        ),
        ("bomb-trap", "--memory 16MiB", " of 16,777,216 bytes"),
        (
            "huge-list",
            "--result-items 10 --fuel 100_000_000_000 --memory 1GiB",
            "more than 65,536 bytes or 10 items",
        ),
        ("nan", "", "invalid answer"),
        ("error-failed", "", "I know no such service"),
    ] {
        let mut command = cli::command();
        command
            .current_dir(desk.path())
            .env("HOME", desk.path())
            .args([
                "plugin",
                "call",
                "behave.wasm",
                "get-permissions",
                "--user",
                "u",
                "--service",
                service,
            ])
            .args(flags.split_whitespace());
        if !flags.contains("--deadline") {
            command.args(["--deadline", "2m"]);
        }
        let ran = cli::finish(command).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.stderr.contains(says), "{} does not say {says:?}", ran.stderr);
        assert!(
            !ran.stderr.contains("std::") && !ran.stderr.contains("_export_"),
            "{}",
            ran.stderr
        );
    }
}

#[tokio::test]
async fn hooks_get_users_from_files() {
    let claims = br#"{"hd": "example.org"}"#;
    let desk = Desk::new(&[
        ("login.wasm", LOGIN_ONLY),
        ("reject.wasm", REJECT),
        ("ann.json", ANN.as_bytes()),
        ("users.json", &[b"[", ANN.as_bytes(), b"]"].concat()),
        ("reject.json", br#"{"id": "r", "name": "reject"}"#),
        ("later.json", br#"{"id": "l", "name": "unavailable"}"#),
        ("claims.json", claims),
    ]);
    let login = "call login.wasm on-user-login --user ann.json --claims claims.json";
    let answer = desk.json(login).await;
    let accepted = &answer["accepted"];
    assert_eq!(
        accepted["login-claims"],
        json!(r#"{"hd":"example.org"}"#),
        "{answer}"
    );
    assert_eq!(accepted["login-provider"], json!("google"));
    let answer = desk.json(&format!("{login} --provider github")).await;
    assert_eq!(answer["accepted"]["login-subject"], json!("2"));
    let answer = desk
        .json("call login.wasm on-user-login --user ann --users users.json")
        .await;
    assert_eq!(answer["accepted"]["login-subject"], json!("1"));
    let answer = desk.json("call reject.wasm on-new-user --user reject.json").await;
    assert!(
        answer["rejected"]
            .as_str()
            .unwrap()
            .starts_with("Rejected by on-new-user"),
        "{answer}"
    );
    let answer = desk.json("call reject.wasm on-user-logout --user ann.json").await;
    assert_eq!(answer, json!({"heard": true}));
    for hook in ["on-new-user", "on-user-login", "on-user-logout"] {
        let answer = desk
            .json(&format!("call reject.wasm {hook} --user later.json"))
            .await;
        let said = answer["unavailable"].as_str().unwrap();
        assert!(said.starts_with(&format!("{hook} has no ")), "{answer}");
    }
    // Only answers are measured.
    let said = desk
        .fails("bench reject.wasm on-new-user --user later.json --calls 1")
        .await;
    assert!(said.contains("reject: on-new-user: unavailable: "), "{said}");

    for (words, says) in [
        (
            "call login.wasm on-new-user --user ann.json",
            "it does not export on-new-user; the gateway would call on-user-login",
        ),
        (
            "call login.wasm on-user-login --user ann",
            "--users has no user with this id",
        ),
        (
            "call login.wasm on-user-login --user ann.json --provider x",
            "only of: google, github",
        ),
        (
            "call login.wasm on-user-login --user ann.json --service s",
            "--service is for get-permissions",
        ),
        (
            "call login.wasm get-permissions --user ann.json",
            "needs --service",
        ),
        (
            "call login.wasm on-user-logout --user ann.json --claims claims.json",
            "--claims is for",
        ),
    ] {
        let said = desk.fails(words).await;
        assert!(said.contains(says), "{said} does not say {says:?}");
    }
}

#[tokio::test]
async fn bench_measures() {
    let desk = Desk::new(&[("plain.wasm", PLAIN), ("behave.wasm", BEHAVE)]);
    let bench = "bench plain.wasm get-permissions --service s --user u --calls 20 --seconds 20";
    let text = desk.plugin(bench).await.succeeded();
    assert!(text.starts_with("INSTANCE") && text.contains("P99"), "{text}");
    assert!(
        text.contains("\nfresh ") && text.contains("\nprepared "),
        "{text}"
    );
    let measured = desk.json(&format!("{bench} --json")).await;
    for kind in ["fresh", "prepared"] {
        assert_eq!(measured[kind]["calls"], json!(20), "{measured}");
        let p50 = measured[kind]["p50_us"].as_f64().unwrap();
        assert!(
            p50 > 0.0 && p50 <= measured[kind]["max_us"].as_f64().unwrap(),
            "{measured}"
        );
    }
    let said = desk
        .fails("bench behave.wasm get-permissions --service trap --user u")
        .await;
    assert!(
        said.contains("trapped")
            && said.contains("; in `auth-gateway:plugin/permission-provider@1.0.0#get-permissions`;"),
        "{said}"
    );
}

/// A number as WebAssembly writes it (LEB128).
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A component in a component, and so on.
fn nested(depth: usize) -> Vec<u8> {
    const HEAD: &[u8] = b"\0asm\x0d\0\x01\0";
    let mut sizes = vec![HEAD.len()];
    for level in 1..depth {
        let inner = sizes[level - 1];
        sizes.push(HEAD.len() + 1 + leb(inner).len() + inner);
    }
    let mut bytes = HEAD.to_vec();
    for size in sizes.iter().rev().skip(1) {
        // The component section.
        bytes.push(4);
        bytes.extend(leb(*size));
        bytes.extend(HEAD);
    }
    bytes
}

#[tokio::test]
async fn u4_a_component_that_exceeds_the_limits_is_rejected() {
    // Without limits the compiler needs gigabytes for these, growing with the square of the depth.
    let deep = nested(40_000);
    let mut wide = b"\0asm\x0d\0\x01\0".to_vec();
    for _ in 0..100_000 {
        wide.extend(b"\x04\x08\0asm\x0d\0\x01\0");
    }
    let desk = Desk::new(&[("deep.wasm", &deep), ("wide.wasm", &wide)]);
    let all = [
        "check FILE",
        "call FILE get-permissions --service s --user u",
        "bench FILE get-permissions --service s --user u",
    ];
    // Each of them compiles for seconds until it is stopped.
    let few = if cfg!(feature = "test-all") { all.len() } else { 1 };
    for (file, words) in [("deep.wasm", &all[..few]), ("wide.wasm", &all[all.len() - few..])] {
        for words in words {
            let words = words.replace("FILE", file);
            let ran = desk.plugin(&words).await;
            assert_eq!(ran.code, Some(1), "{ran:?}");
            let said = ran.failed();
            assert!(
                said.contains(&format!("{file} would not be served: ")),
                "{words}: {said}"
            );
            assert_eq!(said.trim_end().lines().count(), 1, "{words}: {said}");
        }
    }
    // The report about a file that is not compiled has what is known without compiling.
    let ran = desk.plugin("check deep.wasm --json").await;
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &report["size"]), (Some(1), &json!(deep.len())));
    let problem = report["problem"].as_str().unwrap();
    assert!(
        problem.contains("compiling it") || problem.contains("valid"),
        "{problem}"
    );
}

#[tokio::test]
async fn u4_a_component_is_tried_in_its_own_process() {
    let desk = Desk::new(&[("v1.wasm", V1)]);
    let mut command = cli::command();
    command
        .current_dir(desk.path())
        .env("HOME", desk.path())
        .args([
            "plugin",
            "call",
            "v1.wasm",
            "get-permissions",
            "--service",
            "s",
            "--user",
            "u",
        ])
        .args(["--deadline", "20s"]);
    // Unless the child sets its own limit of core dumps, it has the parent's. The limit is not visible from here, so
    // the exit code and both streams show whether the child set it.
    let ran = cli::finish(command).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.stdout.contains("\"version\": 1") && ran.stderr.contains("fuel | "),
        "{ran:?}"
    );
    let ran = desk.plugin("call v1.wasm on-new-user --user nobody.json").await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(
        ran.stderr.matches("gateway: ").count(),
        1,
        "said once, by the child: {ran:?}"
    );
}

#[tokio::test]
async fn hostile_files_cause_one_clear_message() {
    let desk = Desk::new(&[
        ("text.wasm", b"hello, world"),
        ("wat.wasm", b"(component)"),
        ("short.wasm", &V1[..V1.len() / 2]),
        ("empty.wasm", b""),
        ("core.wasm", CORE_MODULE),
        ("code.wasm", b"\x7fELF\x02"),
        ("nothing.wasm", NO_EXPORTS),
        ("evil.wasm", UNKNOWN_IMPORT),
        ("v1.wasm", V1),
        ("nonsense.json", b"{\"id\": 1, \xff}"),
        (
            "unknown.json",
            b"[\n  {\"id\": \"1\", \"name\": \"A\",\n   \"shoe-size\": 42}\n]",
        ),
        ("object.json", ANN.as_bytes()),
    ]);
    fs::create_dir(desk.path().join("dir.wasm")).unwrap();
    for pipe in ["pipe.wasm", "pipe.json"] {
        let (cwd, fifo) = (rustix::fs::CWD, rustix::fs::FileType::Fifo);
        rustix::fs::mknodat(cwd, desk.path().join(pipe), fifo, 0o600.into(), 0).unwrap();
    }
    for (file, says) in [
        ("text.wasm", "does not begin as WebAssembly does"),
        ("wat.wasm", "does not begin as WebAssembly does"),
        ("short.wasm", "not a valid component"),
        ("empty.wasm", "is empty"),
        ("core.wasm", "core WebAssembly module"),
        ("code.wasm", "precompiled"),
        ("nothing.wasm", "exports none of"),
        (
            "evil.wasm",
            "evil:corp/backdoor@1.0.0, which the gateway does not provide",
        ),
        ("pipe.wasm", "is not a regular file"),
        ("dir.wasm", "is not a regular file"),
        ("missing.wasm", "there is no missing.wasm"),
    ] {
        let ran = desk.plugin(&format!("check {file}")).await;
        let said = ran.failed();
        assert!(
            said.contains(says) && said.trim_end().lines().count() == 1,
            "{file}: {said}"
        );
        let said = desk
            .fails(&format!("call {file} get-permissions --service s --user u"))
            .await;
        assert!(
            said.contains(says) && said.trim_end().lines().count() == 1,
            "{file}: {said}"
        );
    }
    for (users, says) in [
        ("nonsense.json", "nonsense.json should be a list of users"),
        ("unknown.json", "unknown field `shoe-size`"),
        ("unknown.json", "line 3"),
        ("object.json", "should be a list of users"),
        ("pipe.json", "not a regular file"),
        ("dir.wasm", "not a regular file"),
        ("missing.json", "cannot read missing.json"),
    ] {
        let call = format!("call v1.wasm get-permissions --service s --user u --users {users}");
        let said = desk.fails(&call).await;
        assert!(
            said.contains(says) && said.trim_end().lines().count() == 1,
            "{users}: {said}"
        );
    }
    // Errors that clap finds.
    for (flags, says) in [
        ("--grant everything", "one of the grants users, config"),
        ("--setting novalue", "it must be NAME=VALUE"),
        ("--fuel lots", "a whole number above 0"),
        ("--memory 64MB", "a size in bytes, KiB, MiB, GiB or TiB"),
        ("--allow example.org", "an origin"),
    ] {
        let call = format!("call v1.wasm get-permissions --service s --user u {flags}");
        let ran = desk.plugin(&call).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        assert!(ran.stderr.contains(says), "{} does not say {says:?}", ran.stderr);
    }
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

/// The `gateway.toml` of an author's project.
const PROJECT: &str = r#"
plugin_dir = "."

[plugin.config]
grants = ["config", "logging"]

[plugin.config.settings]
colour = "blue"
size = "7"

[plugin.config.limits]
fuel = 200_000_000

[service.mine]
provider = "config"
"#;

#[tokio::test]
async fn u5_plugin_commands_read_the_projects_configuration() {
    let desk = Desk::new(&[
        ("config.wasm", IMPORTS_CONFIG),
        ("secrets.wasm", IMPORTS_SECRETS),
        ("gateway.toml", PROJECT.as_bytes()),
        ("token", b"canary"),
    ]);
    let text = desk.plugin("check config.wasm").await.succeeded();
    assert!(
        text.contains("config@1.0.0: granted by config") && text.contains("admissible  yes"),
        "{text}"
    );
    let call = "call config.wasm get-permissions --user u --service mine";
    let ran = desk.plugin(call).await;
    assert!(ran.stderr.contains(" of 200,000,000"), "{ran:?}");
    let found: Value = serde_json::from_str(&ran.succeeded()).unwrap();
    assert!(found.to_string().contains("blue"), "{found}");
    // Flags take precedence, and leave other settings unchanged.
    let found = desk
        .json(&format!("{call} --setting colour=red --fuel 300_000_000"))
        .await
        .to_string();
    assert!(
        found.contains("red") && found.contains('7') && !found.contains("blue"),
        "{found}"
    );
    desk.json("bench config.wasm get-permissions --user u --service mine --calls 2 --json")
        .await;

    // Another name has another table, and an explicit file replaces the default one.
    let said = desk.plugin("check config.wasm --name other").await.failed();
    assert!(said.contains("[plugin.other]"), "{said}");
    fs::write(
        desk.path().join("other.toml"),
        PROJECT.replace("[plugin.config", "[plugin.other"),
    )
    .unwrap();
    desk.plugin("check config.wasm --name other --config other.toml")
        .await
        .succeeded();
    desk.plugin("check config.wasm --config other.toml")
        .await
        .failed();

    // A mistake in the plugin's own tables is reported with its line.
    fs::write(
        desk.path().join("gateway.toml"),
        "[plugin.secrets]\ngrants = [\"secrets\"]\n[plugin.secrets.secrets]\ntoken = { env = \"NOT_SET\" }\n\
         [plugin.config]\ngrnats = []\n",
    )
    .unwrap();
    let call = "call secrets.wasm get-permissions --user u --service s";
    let said = desk.plugin(call).await.failed();
    assert!(
        said.contains("gateway.toml:4") && said.contains("NOT_SET is not set"),
        "{said}"
    );
    desk.plugin(&format!("{call} --secret-file token=token"))
        .await
        .succeeded();
    let said = desk.plugin("check config.wasm").await.failed();
    assert!(
        said.contains("gateway.toml:6") && said.contains("did you mean `grants`"),
        "{said}"
    );

    let pinned = format!("[plugin.plain]\nsha256 = \"{}\"\n", "0".repeat(64));
    let desk = Desk::new(&[("plain.wasm", PLAIN), ("gateway.toml", pinned.as_bytes())]);
    let said = desk.plugin("check plain.wasm").await.failed();
    assert!(said.contains("pins `sha256`"), "{said}");
}

/// Runs `gateway dev` in a directory. Returns the services that a signed-in user sees, and the command's stderr.
async fn dev(desk: &Desk, arguments: &[&str]) -> (String, String) {
    let mut command = cli::command();
    command
        .current_dir(desk.path())
        .env("HOME", desk.path())
        .args(["dev", "--listen", "127.0.0.1:0"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::from(fs::File::create(desk.path().join("log")).unwrap()));
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = tokio::time::timeout(PATIENCE, lines.next_line())
        .await
        .unwrap()
        .unwrap();
    let address =
        address.unwrap_or_else(|| panic!("{}", fs::read_to_string(desk.path().join("log")).unwrap()));
    let address: Url = address.parse().unwrap();
    let browser = Browser::new(address.clone(), address);
    let token = token_in(&browser.sign_in_dev("trudy").await);
    let services = browser
        .get_as(&token, "/auth/services")
        .await
        .text()
        .await
        .unwrap();
    child.kill().await.unwrap();
    (services, fs::read_to_string(desk.path().join("log")).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn u5_dev_reads_the_projects_configuration_and_not_a_real_gateways() {
    let desk = Desk::new(&[
        ("config.wasm", IMPORTS_CONFIG),
        ("gateway.toml", PROJECT.as_bytes()),
    ]);
    let (services, log) = dev(&desk, &[]).await;
    assert!(services.contains("\"mine\""), "{services}\n{log}");

    for setting in [
        "data_dir = \"real\"\n",
        "[database]\nurl = \"sqlite:///real.db\"\n",
        "[server]\nexternal_address = \"auth.example.org\"\n",
        "[keys]\nsession_secret = \"0123456789abcdef0123456789abcdef\"\n",
    ] {
        let real = format!("{setting}[service.mine]\nprovider = \"example\"\n");
        fs::write(desk.path().join("gateway.toml"), &real).unwrap();
        let (services, log) = dev(&desk, &[]).await;
        assert!(!services.contains("\"mine\""), "{setting}: {services}");
        assert!(log.contains("gateway.toml is not read"), "{setting}: {log}");
        assert!(!desk.path().join("real.db").exists() && !desk.path().join("real").exists());
    }
    // An explicit file is used.
    let (services, log) = dev(&desk, &["--config", "gateway.toml"]).await;
    assert!(services.contains("\"mine\""), "{services}\n{log}");
}

#[tokio::test]
async fn u10_a_call_is_made_even_if_the_trial_fails() {
    let desk = Desk::new(&[("p.wasm", TRIAL_TRAP)]);
    let said = desk.plugin("check p.wasm").await.failed();
    assert!(
        said.contains("p.wasm would not be served: its trial call failed"),
        "{said}"
    );

    let ran = desk
        .plugin("call p.wasm get-permissions --user u --service wiki")
        .await;
    assert_eq!((ran.code, ran.stdout.trim()), (Some(0), "{}"), "{ran:?}");
    assert!(
        ran.stderr
            .contains("note: a gateway would not serve this component: its trial call failed"),
        "{ran:?}"
    );
    // A call that fails on its own reports where it failed.
    let said = desk
        .fails("call p.wasm get-permissions --user u --service trial")
        .await;
    assert!(said.contains("gateway: p: get-permissions trapped"), "{said}");
    desk.json("bench p.wasm get-permissions --user u --service wiki --calls 2 --json")
        .await;

    // A component that cannot be called is still an error.
    fs::write(desk.path().join("p.wasm"), UNKNOWN_IMPORT).unwrap();
    let said = desk
        .fails("call p.wasm get-permissions --user u --service wiki")
        .await;
    assert!(said.contains("would not be served"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn u11_dev_lists_the_services_if_an_unknown_one_is_requested() {
    let gateway = Setup::dev()
        .plugin("plain", PLAIN)
        .service("wiki", "plain")
        .service("shop", "plain")
        .start()
        .await;
    let browser = gateway.browser();
    let token = token_in(&browser.sign_in_dev("alice").await);
    let long = "x".repeat(5000);
    for service in ["wikki", "", "a%0Ab", long.as_str()] {
        let (_, answer) = browser.authorize(&token, service).await;
        assert_eq!(answer, json!({ "permissions": {} }));
    }
    let log = gateway.stop().await;
    let messages: Vec<String> = log
        .entries()
        .iter()
        .filter_map(|entry| Some(entry["message"].as_str()?.to_owned()))
        .filter(|message| message.starts_with("there is no service"))
        .collect();
    assert_eq!(messages.len(), 4, "{messages:?}");
    assert!(messages[0].contains("\"wikki\""), "{messages:?}");
    for message in &messages {
        assert!(message.contains("shop, wiki") && message.len() < 400, "{message}");
    }
}
