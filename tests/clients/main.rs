//! Clients that popular generators make from `gateway/app/openapi.json` compile under the strictest checks that the
//! generators' own code passes, and work with a gateway. `tests/clients` has a program for each client.
//!
//! A relay between client and gateway records the requests, so that the tests can check where the token was.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use support::browser::token_in;
use support::fake_oidc::{FakeOidc, alice};
use support::{Gateway, Setup};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

/// The files of `tests/clients` with which a generated client is compiled and run.
const SOURCES: [&str; 5] = ["fetch.ts", "hey.ts", "tsconfig.json", "client.py", "models.py"];

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .canonicalize()
        .unwrap()
}

/// A directory with the programs, where clients can be generated.
fn workshop() -> TempDir {
    let (place, clients) = (TempDir::new().unwrap(), clients());
    for source in SOURCES {
        fs::copy(clients.join(source), place.path().join(source)).unwrap();
    }
    fs::copy(clients.join("package.json"), place.path().join("package.json")).unwrap();
    symlink(clients.join("node_modules"), place.path().join("node_modules")).unwrap();
    place
}

/// A program that `just node-modules` or `just client-tools` installs.
fn tool(name: &str) -> PathBuf {
    let python = env::var_os("CLIENT_TOOLS").map_or_else(|| clients().join("out"), PathBuf::from);
    let places = [clients().join("node_modules/.bin"), python.join("bin")];
    let found = places
        .into_iter()
        .map(|place| place.join(name))
        .find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is missing: run `just node-modules client-tools`"))
}

/// Runs a tool in a directory to its end. It must succeed.
async fn run(place: &TempDir, name: impl AsRef<Path>, arguments: &[&str]) {
    let name = name.as_ref();
    // The formatter that `openapi-python-client` calls is in the same directory.
    let beside = name.parent().map(Path::to_owned).unwrap_or_default();
    let path = env::join_paths(
        [beside]
            .into_iter()
            .chain(env::split_paths(&env::var_os("PATH").unwrap())),
    );
    let ended = Command::new(name)
        .args(arguments)
        .current_dir(place.path())
        .env("PATH", path.unwrap())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap_or_else(|error| panic!("{} does not start: {error}", name.display()));
    assert!(
        ended.status.success(),
        "{} {arguments:?}: {}\n{}\n{}",
        name.display(),
        ended.status,
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
}

/// The document that a gateway serves.
fn document() -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway/app/openapi.json");
    document.to_str().unwrap().to_owned()
}

/// The bytes that clients sent to a gateway, by connection.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<Vec<u8>>>>);

impl Sent {
    /// Relays connections to `gateway`, and records the bytes that clients send.
    async fn relay(gateway: SocketAddr) -> (Self, SocketAddr) {
        let (sent, listener) = (Self::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (address, all) = (listener.local_addr().unwrap(), sent.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = {
                    let mut all = all.0.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                tokio::spawn(all.clone().connection(number, client, gateway));
            }
        });
        (sent, address)
    }

    async fn connection(self, number: usize, client: TcpStream, gateway: SocketAddr) {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_gateway, mut to_gateway) = TcpStream::connect(gateway).await.unwrap().into_split();
        tokio::spawn(async move { copy(&mut from_gateway, &mut to_client).await });
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read) = from_client.read(&mut buffer).await {
            self.0.lock().unwrap()[number].extend_from_slice(&buffer[..read]);
            if read == 0 || to_gateway.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    }

    /// The number of requests with the token. It must be in `Authorization: Bearer`, once, and nowhere else.
    fn with_the_token(&self, token: &str) -> usize {
        let mut requests = 0;
        for connection in self.0.lock().unwrap().iter() {
            let text = String::from_utf8_lossy(connection);
            assert!(!text.contains("jwt") && !text.contains("auth-token"), "{text}");
            for head in text.split("\r\n\r\n") {
                let bearers = head.lines().filter(|line| {
                    line.split_once(": ").is_some_and(|(name, value)| {
                        name.eq_ignore_ascii_case("authorization") && value == format!("Bearer {token}")
                    })
                });
                let (times, bearers) = (head.matches(token).count(), bearers.count());
                assert!(times <= 1 && times == bearers, "{head}");
                requests += times;
            }
        }
        requests
    }
}

/// Starts a gateway with one service that answers and one that fails.
async fn start() -> (Gateway, FakeOidc) {
    let provider = FakeOidc::start(alice()).await;
    let gateway = Setup::serve()
        .oidc("google", &provider)
        .plugin("behave", test_guests::BEHAVE)
        .service("ok", "behave")
        .service("trap", "behave")
        .start()
        .await;
    (gateway, provider)
}

/// Runs a client's program against a gateway. `command` comes before the gateway's address and the token.
async fn talk(place: &TempDir, program: impl AsRef<Path>, command: &[&str]) {
    let (gateway, provider) = start().await;
    let token = token_in(&provider.sign_in(&gateway.browser(), "/auth/login/google").await);
    let (sent, address) = Sent::relay(gateway.address).await;
    let url = format!("http://{address}");
    let arguments: Vec<&str> = command
        .iter()
        .copied()
        .chain([url.as_str(), token.as_str()])
        .collect();
    run(place, program, &arguments).await;
    assert!(sent.with_the_token(&token) >= 8);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typescript_clients_compile_and_send_the_token_once() {
    let place = workshop();
    run(
        &place,
        tool("openapi-typescript"),
        &[&document(), "--output", "schema.ts"],
    )
    .await;
    run(
        &place,
        tool("openapi-ts"),
        &["--input", &document(), "--output", "hey", "--no-log-file"],
    )
    .await;
    run(&place, tool("tsc"), &[]).await;
    for program in ["fetch.js", "hey.js"] {
        talk(&place, "node", &[program]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_clients_check_and_send_the_token_once() {
    let place = workshop();
    let client = [
        "generate",
        "--meta",
        "none",
        "--output-path",
        "gateway_client",
        "--fail-on-warning",
        "--path",
    ];
    run(
        &place,
        tool("openapi-python-client"),
        &[client.as_slice(), &[&document()]].concat(),
    )
    .await;
    let models = [
        "--input-file-type",
        "openapi",
        "--output-model-type",
        "pydantic_v2.BaseModel",
        "--use-annotated",
        "--formatters",
        "builtin",
        "--target-python-version",
        "3.11",
        "--output",
        "gateway_models.py",
        "--input",
    ];
    run(
        &place,
        tool("datamodel-codegen"),
        &[models.as_slice(), &[&document()]].concat(),
    )
    .await;
    // The runtime of openapi-python-client does not pass the strict checks.
    let check = [
        "--strict",
        "--follow-imports=silent",
        "client.py",
        "models.py",
        "gateway_models.py",
    ];
    run(&place, tool("mypy"), &check).await;
    for program in ["client.py", "models.py"] {
        talk(&place, tool("python"), &[program]).await;
    }
}
