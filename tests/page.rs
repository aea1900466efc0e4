//! The gateway's own page, clicked through in headless Chromium.

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_clicks_through_the_page() {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/browser");
    assert!(
        tests.join("node_modules/playwright-core").exists(),
        "the browser's driver is not installed: run `just node-modules`"
    );
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
    let chromium = std::env::var_os("CHROMIUM").unwrap_or_else(|| "/usr/bin/chromium".into());
    assert!(
        Path::new(&chromium).exists(),
        "there is no Chromium at {chromium:?}: set CHROMIUM to where it is"
    );
    let status = Command::new("node")
        .arg("click-through.mjs")
        .arg(gateway.external.as_str())
        .arg(screenshots)
        .env("CHROMIUM", chromium)
        .current_dir(&tests)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .expect("node starts");
    assert!(status.success(), "{status}: see above for the step that failed");
    gateway.stop().await;
}
