//! Reports on components: which are admissible, and why the others are not.

use std::time::Duration;

use gateway_devkit::{ImportStatus, Workbench, WorkbenchError, WorkbenchOptions};
use gateway_sandbox::Grant;
use serde_json::json;
use test_guests::{
    CORE_MODULE, GROW, HTTP_IMPORT, IMPORTS_CONFIG, MULTI_MEMORY, NO_EXPORTS, START_LOOP, START_TRAP,
    UNKNOWN_IMPORT, V1, WRONG_VERSION,
};

use super::{ask, config, file, open, permissions, question};
use crate::support::{Fixture, set};

#[tokio::test]
async fn a_good_component_is_reported_and_answers() {
    let bench = open(V1, &[]).await;
    let report = bench.report();
    assert!(report.is_admissible && report.problem.is_none(), "{report:?}");
    assert_eq!(
        (report.plugin.as_str(), report.size),
        ("tried", Some(V1.len() as u64))
    );
    assert_eq!(report.sha256.as_ref().unwrap().len(), 64);
    assert!(
        report
            .compiled
            .is_some_and(|compiled| !compiled.was_cached && compiled.milliseconds > 0.0)
    );
    let called: Vec<_> = report
        .exports
        .iter()
        .filter_map(|export| export.function)
        .collect();
    assert_eq!(called, ["get-permissions"]);
    assert!(
        report.has_names && report.modules >= 1 && report.memories >= 1,
        "{report:?}"
    );
    assert!(
        report.memory_bytes >= 1 << 16 && report.table_elements >= 1,
        "{report:?}"
    );
    assert!(report.grants_needed.is_empty());

    let call = ask(&bench, "wiki", "u").await;
    assert!(call.usage.fuel > 100 && call.usage.fuel < 1_000_000, "{call:?}");
    assert!(
        call.usage.memory as u64 >= report.memory_bytes && call.usage.time > Duration::ZERO,
        "{call:?}"
    );
    assert_eq!(
        permissions(call),
        json!({"version": 1, "also": 1, "digest-hint": "v1", "service": "wiki", "user": "u"})
    );
}

/// The check rejects a component with the same message as the serving host.
#[tokio::test]
async fn a_component_that_would_not_be_served_is_told_what_the_gateway_would_say() {
    for (bytes, says) in [
        (CORE_MODULE, "core WebAssembly module"),
        (NO_EXPORTS, "exports none of"),
        (WRONG_VERSION, "0.1.0"),
        (UNKNOWN_IMPORT, "evil:corp/backdoor"),
        (IMPORTS_CONFIG, "grants = [\"config\"]"),
        (HTTP_IMPORT, "grants = [\"http\"]"),
        (START_TRAP, "trial call failed"),
        (START_LOOP, "ran out of fuel: 100,000,000 of 100,000,000"),
        (b"\x7fELF code".as_slice(), "precompiled"),
        (b"(component)".as_slice(), "does not begin as WebAssembly does"),
        (&V1[..V1.len() / 2], "not a valid component"),
        (b"".as_slice(), "is empty"),
    ] {
        let bench = open(bytes, &[]).await;
        let report = bench.report();
        let problem = report.problem.clone().unwrap();
        assert!(!report.is_admissible && problem.contains(says), "{problem}");
        assert!(!problem.contains('\n'), "{problem}");
        let error = bench.ask(question("s", "u")).await.unwrap_err();
        assert_eq!(error, WorkbenchError::NotAdmissible(problem.clone()));

        let mut set = set(&[], &[]);
        set.plugins.insert("tried".to_owned(), config(&[]));
        let fixture = Fixture::new(&[("tried", bytes)], set).await;
        // Paths differ, and so does what is not about the component.
        let path = |text: &str| text.split('/').next_back().unwrap_or_default().to_owned();
        assert_eq!(path(&fixture.problem("tried")), path(&problem));
    }
}

#[tokio::test]
async fn imports_say_what_they_need() {
    let bench = open(GROW, &[Grant::KeyValue]).await;
    let report = bench.report();
    assert_eq!(report.grants_needed, [Grant::KeyValue, Grant::Logging].into());
    assert_eq!(report.grants_missing, [Grant::Logging].into());
    let status = |name: &str| {
        let import = report.imports.iter().find(|import| import.name == name).unwrap();
        import.status
    };
    assert_eq!(
        status("auth-gateway:plugin/key-value@1.0.0"),
        ImportStatus::Granted
    );
    assert_eq!(
        status("auth-gateway:plugin/logging@1.0.0"),
        ImportStatus::NotGranted
    );
    assert!(
        report
            .imports
            .iter()
            .any(|import| import.status == ImportStatus::Empty)
    );
    assert!(!report.is_admissible);

    let report = open(MULTI_MEMORY, &[]).await.report().clone();
    assert_eq!(report.memories, 3);
}

#[tokio::test]
async fn compiled_code_is_kept_where_that_is_asked_for() {
    let (_dir, path) = file("kept", V1);
    let cache = tempfile::tempdir().unwrap();
    for was_cached in [false, true] {
        let options = WorkbenchOptions {
            cache_dir: Some(cache.path().to_owned()),
            ..WorkbenchOptions::default()
        };
        let bench = Workbench::open(&path, config(&[]), options).await.unwrap();
        assert_eq!(bench.report().compiled.unwrap().was_cached, was_cached);
        ask(&bench, "s", "u").await.answer.unwrap();
    }
}

#[tokio::test]
async fn o4_the_bench_and_the_gateway_take_the_same_files() {
    let (dir, path) = file("good", V1);
    let at = |name: &str| dir.path().join(name);
    let (cwd, fifo) = (rustix::fs::CWD, rustix::fs::FileType::Fifo);
    rustix::fs::mknodat(cwd, at("pipe.wasm"), fifo, 0o600.into(), 0).unwrap();
    std::os::unix::fs::symlink("good.wasm", at("link.wasm")).unwrap();
    std::os::unix::fs::symlink(&path, at("absolute.wasm")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("dangling.wasm")).unwrap();
    for (path, says) in [
        (at("pipe.wasm"), Some("is not a regular file")),
        (dir.path().to_owned(), Some("is not a regular file")),
        (at("missing.wasm"), Some("there is no")),
        (at("link.wasm"), None),
        (
            at("absolute.wasm"),
            Some("is a symbolic link that leaves its directory"),
        ),
        (at("dangling.wasm"), Some("to a file that does not exist")),
    ] {
        let bench = Workbench::open(&path, config(&[]), WorkbenchOptions::default())
            .await
            .unwrap();
        let problem = bench.report().problem.as_deref();
        assert_eq!(problem.is_some(), says.is_some(), "{problem:?}");
        assert!(
            problem.unwrap_or_default().contains(says.unwrap_or_default()),
            "{problem:?}"
        );
    }
}
