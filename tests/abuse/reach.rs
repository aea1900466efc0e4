//! Guests' HTTP requests, in the real gateway: a listener that is not allowed receives nothing. The plugin host's tests
//! cover each rule.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use support::Setup;

/// Counts connections over IPv4 and IPv6, and answers all of them with a permission.
struct Canary {
    port: u16,
    seen: Arc<AtomicUsize>,
}

impl Canary {
    async fn start() -> Self {
        // One socket for all addresses of the machine, in both versions.
        let listener = TcpListener::bind("[::]:0").await.expect("a socket");
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((mut caller, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let _ = caller.read(&mut [0; 4096]).await;
                    let body = "{\"result\":{\"canary\":true}}";
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    );
                    let _ = caller.write_all(format!("{head}{body}").as_bytes()).await;
                });
            }
        });
        Self { port, seen }
    }

    fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

/// Spellings of this machine's address, and the addresses at which clouds keep their secrets.
const HOSTS: &[&str] = &[
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.9.9.9",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0x7f.1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "ip6-localhost",
    "0.0.0.0",
    "0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]",
    "169.254.169.254",
    "[fd00:ec2::254]",
    "metadata.google.internal",
    "127.0.0.1.",
    "①②⑦.⓪.⓪.①",
    "user@127.0.0.1",
    "allowed.example@127.0.0.1",
    "127.0.0.1#@allowed.example",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_is_not_allowed_receives_nothing_from_a_guest() {
    let canary = Canary::start().await;
    let redirecting = MockServer::start().await;
    let target = format!("http://127.0.0.1:{}/v1", canary.port);
    Mock::given(any())
        .respond_with(ResponseTemplate::new(302).insert_header("location", target.as_str()))
        .mount(&redirecting)
        .await;
    let policy = guest_examples::POLICY;
    let base = Setup::dev()
        .plugin(policy.name, policy.wasm)
        .plugin_table(
            policy.name,
            &format!("grants = {:?}\nlimits.deadline = \"2m\"", policy.grants),
        )
        .service("wiki", policy.name);
    let asking = |url: &str, rule: &str| {
        let settings = format!("timeout = \"1m\"\ncache = \"0s\"\nurl = {url:?}");
        base.clone()
            .table("plugin.policy.settings", &settings)
            .table("plugin.policy.http", rule)
    };
    let others = "allow = [\"https://allowed.example\", \"http://192.0.2.1\"]";
    let gateway = asking(&target, others).start().await;
    let put = async |url: &str, rule: &str| {
        asking(url, rule).write();
        let said = gateway.reload().await;
        assert!(!said.contains("mistakes"), "{url} under {rule}: {said}");
    };
    let session = gateway.sign_in("alice").await;
    let mut tried = 0;
    for host in HOSTS {
        let url = format!("http://{host}:{}/latest/meta-data/", canary.port);
        // With nothing allowed; with others allowed; and with this very name allowed, which resolves to this machine.
        let name = format!("http://{host}:{}", canary.port);
        let is_name = host.chars().all(|char| char.is_ascii_alphabetic() || char == '-');
        let named = format!("allow = [{name:?}]");
        let mut rules = vec!["allow = []", others];
        if is_name {
            rules.push(&named);
        }
        for rule in rules {
            put(&url, rule).await;
            let (status, answer) = gateway.browser().authorize(&session, "wiki").await;
            assert_eq!(
                status,
                StatusCode::SERVICE_UNAVAILABLE,
                "{url} under {rule}: {answer}"
            );
            assert_eq!(canary.seen(), 0, "{url} under {rule}");
            tried += 1;
        }
    }
    // An allowed server that redirects the guest.
    let allowed = redirecting.uri();
    put(&format!("{allowed}/v1"), &format!("allow = [{allowed:?}]")).await;
    let (status, _) = gateway.browser().authorize(&session, "wiki").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        redirecting.received_requests().await.unwrap().len(),
        1,
        "the guest came there"
    );
    assert_eq!(canary.seen(), 0, "and not here");

    // The control: the guest reaches it once its address is allowed.
    let allow = format!("allow = [\"http://127.0.0.1:{}\"]", canary.port);
    put(&target, &allow).await;
    let (status, answer) = gateway.browser().authorize(&session, "wiki").await;
    assert_eq!(
        (status, &answer["permissions"]),
        (StatusCode::OK, &json!({"canary": true})),
        "{answer}"
    );
    assert_eq!(canary.seen(), 1);
    println!(
        "guests' requests: {} tried, the canary saw 0; allowed: 1, the canary saw 1",
        tried + 1
    );
    gateway.stop().await;
}
