//! Schemathesis tests the API against its own description: it generates valid and invalid requests from `/openapi.json`
//! and checks every answer. `tests/api/schemathesis.toml` configures the generator and the checks.
//!
//! The document allows further properties, which a later gateway may add. This gateway must answer with exactly those
//! described, so schemathesis gets a stricter document.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use support::browser::token_in;
use support::fake_oidc::{FakeOidc, alice};
use support::{Gateway, Setup};
use tokio::process::Command;

/// Relative to `tests/api`.
const DOCUMENT: &str = "../../gateway/app/openapi.json";

/// The document without additional properties in answers.
fn strict() -> Value {
    let mut document: Value = serde_json::from_str(include_str!("../../gateway/app/openapi.json")).unwrap();
    let schemas = document["components"]["schemas"].as_object_mut().unwrap();
    // A key's members depend on its kind, and unknown members of a request are ignored.
    for (_, schema) in schemas
        .iter_mut()
        .filter(|(name, _)| !matches!(name.as_str(), "Jwk" | "Update"))
    {
        if schema.get("properties").is_some() {
            schema["additionalProperties"] = json!(false);
        }
    }
    for nothing in ["NotAuthorized", "NoAnswer"] {
        schemas[nothing]["properties"]["permissions"] = json!({ "type": "object", "maxProperties": 0 });
    }
    document
}

/// Starts a gateway with everything that the document describes, and its provider.
async fn start() -> (Gateway, FakeOidc) {
    let provider = FakeOidc::start(alice()).await;
    let gateway = Setup::serve()
        .oidc("google", &provider)
        .plugin("behave", test_guests::BEHAVE)
        .service("ok", "behave")
        .top("user_lookup = true\njsonp = true")
        .start()
        .await;
    (gateway, provider)
}

/// Runs one of the programs that `just api-tools` installs.
async fn run(command: &mut Command) {
    command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("api"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let status = command
        .status()
        .await
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}. Run `just api-fuzz`"));
    assert!(status.success(), "{status}: see above");
}

/// Runs schemathesis over all operations, with a session token or anonymously.
async fn fuzz(gateway: &Gateway, token: Option<&str>) {
    let document = gateway.dir.path().join("strict.json");
    std::fs::write(&document, strict().to_string()).unwrap();
    let mut command = Command::new("schemathesis");
    command
        .args(["--config-file", "schemathesis.toml", "run"])
        .arg(document)
        .arg("--url")
        .arg(format!("http://{}", gateway.address))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env(
            "HYPOTHESIS_STORAGE_DIRECTORY",
            gateway.dir.path().join("hypothesis"),
        );
    if let Some(examples) = std::env::var_os("API_EXAMPLES") {
        command.arg("--max-examples").arg(examples);
    }
    if let Some(token) = token {
        command
            .env("TOKEN", token)
            .args(["--header", &format!("Authorization: Bearer {token}")])
            // It would end the session.
            .args(["--exclude-path", "/auth/logout"]);
    }
    run(&mut command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_match_the_document_with_and_without_a_session() {
    let (gateway, provider) = start().await;
    let browser = gateway.browser();
    let token = token_in(&provider.sign_in(&browser, "/auth/login/google").await);
    run(Command::new("openapi-spec-validator").arg(DOCUMENT)).await;
    let document: Value = serde_json::from_str(include_str!("../../gateway/app/openapi.json")).unwrap();
    assert_eq!(browser.get_json("/openapi.json").await, document);
    fuzz(&gateway, None).await;
    fuzz(&gateway, Some(&token)).await;
    assert!(browser.is_signed_in(&token).await);

    let log = gateway.stop().await;
    let mut statuses: BTreeMap<u64, usize> = BTreeMap::new();
    for status in log.entries().iter().filter_map(|entry| entry["status"].as_u64()) {
        *statuses.entry(status).or_default() += 1;
    }
    println!(
        "{} requests answered: {statuses:?}",
        statuses.values().sum::<usize>()
    );
    assert!(statuses.keys().all(|status| *status < 500), "{statuses:?}");
}
