//! All hostile guests, in the real binary: none of them ends it, delays others, or takes more memory than its limits.
//! The test prints their number and the peak memory.

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::Map;
use test_guests::{
    BAD_ANSWER_POINTER, BAD_LENGTH, BAD_POINTER, BAD_REALLOC, BAD_UTF8, BAD_VARIANT, BOTH_VERSIONS,
    BULK_FILL, COMPILE_BOMB, CORE_MODULE, EMPTY_INTERFACE, HTTP_IMPORT, MANY_INSTANCES, MANY_MEMORIES,
    MULTI_MEMORY, NO_EXPORTS, POST_RETURN_LOOP, REALLOC_LOOP, SAME_BYTES, SHARED_MEMORY, START_LOOP,
    START_TRAP, TABLE_BOMB, UNKNOWN_IMPORT, WRONG_EXPORT_VERSION, WRONG_TYPE, WRONG_VERSION,
};

use super::generations::plugin;
use super::{assert_refused, setup};

/// Behaviours of [`test_guests::BEHAVE`], by the service's name, that must not succeed.
const SERVICES: [&str; 22] = [
    "spin",
    "sleep",
    "trap",
    "recurse",
    "bomb-trap",
    "huge-list",
    "huge-text",
    "huge-name",
    "nan",
    "infinity",
    "bad-json",
    "two-jsons",
    "deep-json",
    "control-name",
    "escape-name",
    "bidi-name",
    "empty-name",
    "duplicate",
    "error-unavailable",
    "error-failed",
    "no-such-service",
    "burn-1000000000000",
];
/// Files in place of a valid one.
const FILES: [&[u8]; 27] = [
    BAD_ANSWER_POINTER,
    BAD_LENGTH,
    BAD_POINTER,
    BAD_REALLOC,
    BAD_UTF8,
    BAD_VARIANT,
    BOTH_VERSIONS,
    BULK_FILL,
    COMPILE_BOMB,
    CORE_MODULE,
    EMPTY_INTERFACE,
    HTTP_IMPORT,
    MANY_INSTANCES,
    MANY_MEMORIES,
    MULTI_MEMORY,
    NO_EXPORTS,
    POST_RETURN_LOOP,
    REALLOC_LOOP,
    SAME_BYTES,
    SHARED_MEMORY,
    START_LOOP,
    START_TRAP,
    TABLE_BOMB,
    UNKNOWN_IMPORT,
    WRONG_EXPORT_VERSION,
    WRONG_TYPE,
    WRONG_VERSION,
];
/// Concurrent calls of each service.
const AT_ONCE: usize = if cfg!(feature = "test-all") { 4 } else { 2 };
/// Memory that all concurrent calls may take: 32 MiB each, as in [`setup`], the host's copies, and some for the host
/// itself.
const CAP: u64 = (AT_ONCE as u64 + 1) * (32 << 20) + (64 << 20);

/// The time that a compile bomb may take. `cargo test` leaves the default, as a short limit might be too short for
/// other components on a busy machine.
const COMPILING: &str = if cfg!(feature = "test-all") {
    "compile_time = \"8s\""
} else {
    ""
};

fn may_run(file: &[u8]) -> bool {
    cfg!(feature = "test-all") || file != COMPILE_BOMB
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_hostile_guest_ends_the_process_or_exceeds_its_limits() {
    let gateway = setup(&SERVICES)
        .plugin("example", test_guests::V1)
        .service("example", "example")
        .table("plugins", COMPILING)
        .start()
        .await;
    let token = gateway.sign_in("alice").await;
    let (browser, pid) = (gateway.browser(), gateway.pid());
    for service in ["ok", "example"] {
        let (status, answer) = browser.authorize(&token, service).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    let before = gateway.peak_memory();
    let mut calls = 0;
    for service in SERVICES {
        for answer in join_all([(); AT_ONCE].map(|()| browser.authorize(&token, service))).await {
            assert_refused(service, answer);
            calls += 1;
        }
        let (status, answer) = browser.authorize(&token, "ok").await;
        assert_eq!(status, StatusCode::OK, "after {service}: {answer}");
    }
    let mut refused = 0;
    for (number, file) in FILES.into_iter().enumerate().filter(|(_, file)| may_run(file)) {
        gateway.dir.place("example", file);
        refused += i32::from(plugin(&gateway, &["reload", "example"]).await.code == Some(1));
        // The old generation answers, or a new one that returns nothing valid.
        match browser.authorize(&token, "example").await {
            (StatusCode::OK, answer) => {
                // A component within its limits may be called. It returns nothing, or how little it got.
                let permissions = &answer["permissions"];
                let harmless =
                    permissions["version"] == 1 || permissions.as_object().is_some_and(Map::is_empty);
                let within = |what: &str, most| permissions[what].as_u64().is_some_and(|got| got <= most);
                let within = within("pages", 1024) || within("elements", 400_000);
                assert!(harmless || within, "{number}: {answer}");
            }
            other => assert_refused("a file", other),
        }
        gateway.dir.place("example", test_guests::V1);
        plugin(&gateway, &["reload", "example"]).await.succeeded();
        let (status, answer) = browser.authorize(&token, "example").await;
        assert_eq!(
            (status, &answer["permissions"]["version"]),
            (StatusCode::OK, &1.into()),
            "after {number}"
        );
    }
    let grown = gateway.peak_memory() - before;
    println!(
        "{} hostile guests ({} by what they do in {calls} calls, {} by what they are: {refused} refused), 0 crashes; peak \
         memory grew by {} MiB of {} that they may have",
        SERVICES.len() + FILES.len(),
        SERVICES.len(),
        FILES.len(),
        grown >> 20,
        CAP >> 20
    );
    assert!(grown < CAP, "{grown}");
    assert_eq!(gateway.pid(), pid);
    gateway.stop().await;
}
