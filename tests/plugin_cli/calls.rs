//! Calls and benchmarks: their answers, their costs, and the place of a failure.

use std::fs;

use serde_json::{Value, json};
use test_guests::{BEHAVE, IMPORTS_LOGGING, LOGIN_ONLY, PLAIN, REJECT, TRIAL_TRAP, UNKNOWN_IMPORT, V1};

use super::{ANN, Desk};
use support::cli;

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
