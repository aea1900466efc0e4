//! The configuration of an author's project, for `gateway plugin` and `gateway dev`.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};
use test_guests::{IMPORTS_CONFIG, IMPORTS_SECRETS, PLAIN};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use url::Url;

use super::Desk;
use support::Setup;
use support::browser::{Browser, token_in};
use support::cli;
use support::wait::PATIENCE;

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
