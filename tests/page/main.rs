//! Pages in headless Chromium: the gateway's own, clicked through, and a hostile one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;
use support::Setup;
use support::fake_oidc::{FakeOidc, Mood, alice};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

/// Runs a script with the browser's driver to its end.
async fn run(script: &str, arguments: &[&str]) {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("browser");
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
async fn the_page_works_by_clicks() {
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
async fn every_page_is_accessible_in_each_language_on_a_phone_and_a_desktop() {
    let example = guest_examples::ALL
        .iter()
        .find(|example| example.name == "example")
        .expect("an example");
    let provider = FakeOidc::start(json!({"sub": "1", "name": "Alice"})).await;
    let down = FakeOidc::start(json!({"sub": "1"})).await;
    down.set_mood(Mood::Down);
    let setup = Setup::dev()
        .oidc("google", &provider)
        .oidc("zulu", &provider)
        .oidc("github", &down)
        .table("providers.github", "kind = \"oidc\"")
        .plugin("example", example.wasm)
        .service("example", "example")
        .plugin("behave", test_guests::BEHAVE)
        .service("trap", "behave")
        .plugin("reject", test_guests::REJECT)
        .extension("reject")
        .table("pages", "name = \"Acme Research\"");
    let gateway = setup.start().await;
    let screenshots = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../screenshots/pages");
    let screenshots = screenshots.to_str().expect("a path that is text");
    run("pages.mjs", &[gateway.external.as_str(), screenshots]).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b11_the_published_angular_client_of_the_old_service_completes_its_flow_under_dev() {
    let example = guest_examples::ALL
        .iter()
        .find(|example| example.name == "example")
        .expect("an example");
    let gateway = Setup::dev()
        .plugin("example", example.wasm)
        .service("example", "example")
        .start()
        .await;
    run("angular-client.mjs", &[gateway.external.as_str()]).await;
    gateway.stop().await;
}

/// Serves a page with its own origin.
async fn a_page() -> MockServer {
    let pages = MockServer::start().await;
    let page = ResponseTemplate::new(200).set_body_raw("<!doctype html><title>page</title>", "text/html");
    Mock::given(any()).respond_with(page).mount(&pages).await;
    pages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_the_page_accepts_a_token_only_from_a_sign_in_that_began_in_its_tab() {
    let gateway = Setup::dev().start().await;
    let hostile = a_page().await;
    run("own-page.mjs", &[gateway.external.as_str(), &hostile.uri()]).await;
    gateway.stop().await;
}

/// nginx as configured in `docs/operations.md`, but without TLS. Everything else has nginx's defaults. Ends when it is
/// dropped.
async fn nginx(directory: &Path, port: u16, gateway: std::net::SocketAddr) -> Child {
    let page = include_str!("../../docs/operations.md");
    let server = page
        .split("```nginx")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let server = server
        .expect("an example")
        .replace("listen 443 ssl", &format!("listen 127.0.0.1:{port}"));
    assert!(server.contains("127.0.0.1:8080"), "{server}");
    let server = server.replace("127.0.0.1:8080", &gateway.to_string());
    let own = directory.display();
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {own}/{what};\n"))
        .concat();
    let configuration = format!(
        "daemon off;\nmaster_process off;\npid {own}/nginx.pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\naccess_log off;\n{paths}{server}}}\n"
    );
    let file = directory.join("nginx.conf");
    std::fs::write(&file, configuration).expect("a file");
    // Debian installs it in a directory that is only in root's path.
    #[expect(
        clippy::disallowed_methods,
        reason = "where programs are is for whoever runs the test to say"
    )]
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let child = Command::new("nginx")
        .env("PATH", path)
        .args([
            "-p",
            directory.to_str().expect("text"),
            "-c",
            file.to_str().expect("text"),
            "-e",
            "stderr",
        ])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("nginx starts: install it");
    support::eventually("nginx listens", async || {
        TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await;
    child
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_after_twenty_begun_sign_ins_behind_nginx_a_sign_in_works() {
    let provider = FakeOidc::start(alice()).await;
    let (application, hostile) = (a_page().await, a_page().await);
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("a port")
        .port();
    let external = format!("http://127.0.0.1:{port}/");
    let gateway = Setup::serve()
        .env("EXTERNAL_ADDRESS", &external)
        .oidc("google", &provider)
        .origin(&application.uri())
        .table("server", "trusted_proxies = [\"127.0.0.1\"]")
        .start()
        .await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut nginx = nginx(directory.path(), port, gateway.address).await;
    // Another site than 127.0.0.1.
    let hostile = hostile.uri().replace("127.0.0.1", "localhost");
    let arguments = [
        external.as_str(),
        &provider.issuer(),
        &application.uri(),
        &hostile,
    ];
    run("behind-a-proxy.mjs", &arguments).await;
    nginx.kill().await.expect("nginx ends");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_knows_the_token_cannot_use_the_admin_listener() {
    // Two generations, so that a rollback is possible.
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
    // No request that a browser makes for a page gets as far as the check of the token.
    let counts = [refused("Not for web pages"), refused("not a name")];
    println!("refused: {} as a page's, {} by Host", counts[0], counts[1]);
    assert!(
        counts.iter().all(|count| *count > 0),
        "both were needed: {counts:?}"
    );
    gateway.stop().await;
}
