//! Files that the commands read: the report of a component, the limits of its size, and one message for every bad file.

use std::fs;

use serde_json::{Value, json};
use test_guests::{CORE_MODULE, GROW, NO_EXPORTS, UNKNOWN_IMPORT, V1};

use super::{ANN, Desk};
use support::cli;

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
