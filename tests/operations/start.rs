//! Starting: with nothing configured, with the old environment, and failing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use reqwest::StatusCode;
use serde_json::json;

use support::browser::token_in;
use support::setup::private_key;
use support::{Gateway, Setup, cli};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_does_not_start_and_reports_the_remedy() {
    let without_keys = Setup::serve().without_env("PRIVATE_KEY");
    let said = refused(&without_keys).await;
    assert!(
        said.contains("gateway keys generate") && said.contains("PRIVATE_KEY"),
        "{said}"
    );

    let no_directory = Setup::serve();
    fs::remove_dir_all(no_directory.dir.plugin_dir()).unwrap();
    let said = refused(&no_directory).await;
    let plugins = no_directory.dir.plugin_dir().display().to_string();
    assert!(said.contains(&plugins) && said.contains("plugin"), "{said}");

    // A directory that is a file, which root cannot read either.
    let a_file = Setup::serve();
    fs::remove_dir_all(a_file.dir.plugin_dir()).unwrap();
    fs::write(a_file.dir.plugin_dir(), "").unwrap();
    let said = refused(&a_file).await;
    assert!(
        said.contains(&a_file.dir.plugin_dir().display().to_string()),
        "{said}"
    );

    // A path at which no database can be.
    let unwritable = Setup::serve();
    fs::write(unwritable.dir.path().join("file"), "").unwrap();
    let nowhere = unwritable
        .dir
        .path()
        .join("file/database.sqlite")
        .display()
        .to_string();
    let said = refused(&unwritable.env("DATABASE_URL", &format!("sqlite:///{nowhere}"))).await;
    assert!(said.contains(&nowhere), "{said}");

    // A foreign database is rejected and left unchanged.
    let foreign = Setup::serve();
    let connection = rusqlite::Connection::open(foreign.dir.database()).unwrap();
    connection
        .execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1);")
        .unwrap();
    connection.close().unwrap();
    let before = fs::read(foreign.dir.database()).unwrap();
    let said = refused(&foreign).await;
    assert!(
        said.contains(&foreign.dir.database().display().to_string()),
        "{said}"
    );
    assert_eq!(fs::read(foreign.dir.database()).unwrap(), before, "untouched");

    // An invalid key, which must not be printed.
    let broken = Setup::serve().env(
        "PRIVATE_KEY",
        "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----",
    );
    let said = refused(&broken).await;
    assert!(
        said.contains("PRIVATE_KEY") && !said.contains("canary\n"),
        "{said}"
    );

    // A port in use.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refused(&Setup::serve().env("GATEWAY_LISTEN", &address)).await;
    assert!(said.contains(&address), "{said}");
}

/// Starts a gateway that must not start. Returns its output.
async fn refused(setup: &Setup) -> String {
    setup.write();
    let said = cli::finish(setup.command()).await.failed();
    assert!(
        !said.contains("panicked") && !said.contains("stack backtrace"),
        "{said}"
    );
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_rejects_addresses_other_than_loopback() {
    let directory = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "8.8.8.8:80"] {
        let mut command = cli::command();
        command
            .args(["dev", "--listen", address, "--data"])
            .arg(directory.path().join("data"));
        let said = cli::finish(command).await.failed();
        assert!(said.contains("loopback"), "{address}: {said}");
    }
    assert!(
        !directory.path().join("data").exists(),
        "nothing was made for a gateway that does not start"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_starts_from_nothing_with_its_examples() {
    let directory = tempfile::tempdir().unwrap();
    let setup = Setup::dev();
    let mut command = cli::command();
    command
        .args(["dev", "--listen", "127.0.0.1:0", "--data"])
        .arg(directory.path().join("data"))
        .current_dir(directory.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let gateway = Gateway::start(command, &setup).await;
    let browser = gateway.browser();
    let check = browser.get_json("/auth/check").await;
    let url = check["providers"]["dev"]["url"].as_str().unwrap();
    assert!(url.starts_with(gateway.external.as_str()), "{url}");
    let token = token_in(&browser.get(&format!("{url}&user=alice")).await);
    let (status, answer) = browser.authorize(&token, "example").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let id = answer["userid"].as_str().unwrap();
    assert_eq!(
        answer["permissions"],
        json!({"provider-token": format!("example-{id}")})
    );
    assert_eq!(browser.authorize(&token, "roles").await.0, StatusCode::OK);
    // The example extension: an address that it does not accept, and its message to the user.
    let response = gateway.browser().sign_in_dev("mallory").await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(response.text().await.unwrap().contains("evil.example"));
    let page = browser.get("/").await;
    assert_eq!(page.status(), StatusCode::OK);
    let csp = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(
        csp.contains("default-src 'none'") && !csp.contains("unsafe"),
        "{csp}"
    );
    let data = fs::metadata(directory.path().join("data")).unwrap();
    assert_eq!(
        data.permissions().mode() & 0o077,
        0,
        "the data is for its owner only"
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_adds_no_examples_to_a_directory_with_plugins() {
    let gateway = Setup::dev()
        .plugin("mine", test_guests::V1)
        .service("mine", "mine")
        .start()
        .await;
    let token = gateway.sign_in("alice").await;
    let browser = gateway.browser();
    assert_eq!(browser.authorize(&token, "mine").await.0, StatusCode::OK);
    let answer = browser.authorize(&token, "example").await;
    assert_eq!(
        answer,
        (StatusCode::OK, json!({"permissions": {}})),
        "no such service"
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_environment_alone_is_enough() {
    let setup = Setup::serve();
    setup.dir.place("sample", test_guests::V1);
    let directory = setup.dir.path();
    let mut command = cli::command();
    command
        .arg("serve")
        .current_dir(directory)
        .env("PRIVATE_KEY", private_key(gateway_token::Algorithm::RS256))
        .env("GITHUB_KEY", "key")
        .env("GITHUB_SECRET", "canary-secret")
        .env("DATABASE_URL", "sqlite:///users.sqlite")
        .env("EXTERNAL_ADDRESS", "auth.example.org")
        .env("ALLOWED_SERVICES", "example:sample;sample")
        .env("GATEWAY_LISTEN", "127.0.0.1:0")
        .env("GATEWAY_PLUGIN_DIR", setup.dir.plugin_dir())
        .env("GATEWAY_LOG_FORMAT", "json")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let gateway = Gateway::start(command, &setup).await;
    let check = gateway.browser().get_json("/auth/check").await;
    let url = check["providers"]["github"]["url"].as_str().unwrap();
    assert!(
        url.starts_with("https://auth.example.org/auth/login/github"),
        "{url}"
    );
    assert_eq!(
        check["providers"].as_object().unwrap().len(),
        1,
        "no development sign-in: {check}"
    );
    assert_eq!(
        gateway.browser().get("/auth/login/dev?user=alice").await.status(),
        StatusCode::NOT_FOUND
    );
    assert!(directory.join("users.sqlite").exists());
    gateway.stop().await;
}
