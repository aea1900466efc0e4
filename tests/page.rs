//! Pages in headless Chromium: the gateway's own, clicked through, and another's, which is up to no good.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use support::Setup;
use tokio::process::Command;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

/// Runs a script with the browser's driver, to its end.
async fn run(script: &str, arguments: &[&str]) {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/browser");
    assert!(
        tests.join("node_modules/playwright-core").exists(),
        "the browser's driver is not installed: run `just node-modules`"
    );
    let chromium = std::env::var_os("CHROMIUM").unwrap_or_else(|| "/usr/bin/chromium".into());
    assert!(
        Path::new(&chromium).exists(),
        "there is no Chromium at {chromium:?}: set CHROMIUM to where it is"
    );
    let status = Command::new("node")
        .arg(script)
        .args(arguments)
        .env("CHROMIUM", chromium)
        .current_dir(&tests)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .expect("node starts");
    assert!(status.success(), "{status}: see above for what failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_clicks_through_the_page() {
    let example = |name: &str| {
        guest_examples::ALL
            .iter()
            .find(|example| example.name == name)
            .expect("an example")
            .wasm
    };
    let setup = Setup::dev()
        .plugin("example", example("example"))
        .service("example", "example")
        .plugin("behave", test_guests::BEHAVE)
        .service("trap", "behave");
    let gateway = setup.start().await;
    let screenshots = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../screenshots");
    let screenshots = screenshots.to_str().expect("a path that is text");
    run("click-through.mjs", &[gateway.external.as_str(), screenshots]).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_gets_nothing_from_the_admin_listener_though_it_knows_the_token() {
    // Two generations, so that there is something to roll back to.
    let setup = Setup::dev()
        .plugin("example", test_guests::V1)
        .service("example", "example");
    let gateway = setup.start().await;
    let admin = gateway.admin().await;
    gateway.dir.place("example", test_guests::V2);
    assert_eq!(admin.post("/plugins/example/reload").await.status(), 200);
    let before = admin.serving().await;
    let pages = MockServer::start().await;
    let page = ResponseTemplate::new(200).set_body_raw("<iframe name=sink></iframe>", "text/html");
    Mock::given(any()).respond_with(page).mount(&pages).await;

    let address = admin.address.to_string();
    run("admin-page.mjs", &[&address, &admin.token, &pages.uri()]).await;

    assert_eq!(admin.serving().await, before, "nothing was done");
    let refused = |reason: &str| {
        gateway
            .log
            .lines()
            .iter()
            .filter(|line| line.contains(reason))
            .count()
    };
    let counts = [
        refused("Not for web pages"),
        refused("not for a name"),
        refused("token is missing"),
    ];
    println!(
        "refused: {} by Origin, {} by Host, {} by the token",
        counts[0], counts[1], counts[2]
    );
    assert!(
        counts.iter().all(|count| *count > 0),
        "each of the three was needed: {counts:?}"
    );
    gateway.stop().await;
}
