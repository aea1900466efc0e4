//! Providers that hang, reset, and send garbage, at each step of a sign-in: it fails in time with 502 or 504,
//! everything else continues, and sign-ins work again as soon as the provider does.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::{Response, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use support::Setup;
use support::browser::{Browser, encode, token_in};
use support::fake_oidc::FakeOidc;

const APP: &str = "https://app.example.org/";

/// How connections behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// They are relayed.
    Well,
    /// There is no answer.
    Hangs,
    /// The headers promise a body, of which one byte is sent.
    Stalls,
    /// The connection is reset (RST).
    Resets,
    /// The connection is closed in the middle of an answer.
    Breaks,
    /// The answer is not HTTP.
    Gibberish,
    /// The body never ends.
    Endless,
}

use Manner::{Breaks, Endless, Gibberish, Hangs, Resets, Stalls, Well};

const TROUBLE: [(Manner, StatusCode); 6] = [
    (Hangs, StatusCode::GATEWAY_TIMEOUT),
    (Stalls, StatusCode::GATEWAY_TIMEOUT),
    (Resets, StatusCode::BAD_GATEWAY),
    (Breaks, StatusCode::BAD_GATEWAY),
    (Gibberish, StatusCode::BAD_GATEWAY),
    (Endless, StatusCode::BAD_GATEWAY),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_fault_fails_only_the_sign_in_and_in_time() {
    let trials = TROUBLE.map(|(manner, expected)| trial(manner, expected));
    futures_util::future::join_all(trials).await;
    println!(
        "{} sign-ins met trouble upstream, all refused in time, all well afterwards",
        TROUBLE.len() * 2
    );
}

async fn trial(manner: Manner, expected: StatusCode) {
    let between = Between::listen().await;
    let person = json!({"sub": "1", "name": "Alice"});
    let provider = FakeOidc::behind(&between.origin(), person).await;
    between.leads_to(provider.address());
    // A provider's metadata is cached for an hour, so each case needs a new gateway.
    let gateway = Setup::serve()
        .oidc("corporate", &provider)
        .origin(APP)
        // Only a provider that hangs takes this long.
        .table("upstream", "timeout = \"3s\"\nmax_body = \"16KiB\"")
        .start()
        .await;
    let login = format!("/auth/login/corporate?next={}", encode(APP));

    // At the first step, discovery.
    between.set(manner);
    let (browser, other) = (gateway.browser(), gateway.browser());
    let (refused, ()) = tokio::join!(browser.get(&login), others(&other));
    assert_eq!(refused.status(), expected, "discovery {manner:?}");
    assert_plain(refused).await;
    between.set(Well);
    let token = token_in(&provider.sign_in(&gateway.browser(), &login).await);

    // At the last step, the exchange of the code.
    let callback = provider.go(&browser, &login).await;
    between.set(manner);
    let (refused, ()) = tokio::join!(browser.get(callback.as_str()), others(&other));
    assert_eq!(refused.status(), expected, "token endpoint {manner:?}");
    assert_plain(refused).await;
    assert!(gateway.browser().is_signed_in(&token).await, "{manner:?}");
    between.set(Well);
    token_in(&provider.sign_in(&gateway.browser(), &login).await);
    gateway.stop().await;
}

/// Requests that do not involve the provider are still answered.
async fn others(browser: &Browser) {
    for path in ["/auth/check", "/auth/public-key", "/.well-known/jwks.json"] {
        assert_eq!(browser.get(path).await.status(), StatusCode::OK, "{path}");
    }
}

async fn assert_plain(response: Response) {
    assert!(!response.headers().contains_key("location"));
    let page = response.text().await.unwrap();
    assert!(page.contains("<h1") && !page.contains("127.0.0.1"), "{page}");
}

/// A relay between the gateway and a provider.
struct Between {
    address: SocketAddr,
    state: Arc<watch::Sender<(Manner, Option<SocketAddr>)>>,
}

impl Between {
    /// Ends with the test's runtime.
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(watch::Sender::new((Well, None)));
        let seen = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (manner, provider) = *seen.borrow();
                tokio::spawn(treat(stream, manner, provider.expect("a provider")));
            }
        });
        Self { address, state }
    }

    fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    fn leads_to(&self, provider: SocketAddr) {
        self.state.send_modify(|state| state.1 = Some(provider));
    }

    /// How connections behave from now on. No connection is used twice.
    fn set(&self, manner: Manner) {
        self.state.send_modify(|state| state.0 = manner);
    }
}

async fn treat(mut stream: TcpStream, manner: Manner, provider: SocketAddr) -> std::io::Result<()> {
    let mut head = vec![0; 16 << 10];
    let read = stream.read(&mut head).await?;
    let head = &head[..read];
    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    match manner {
        Well => {
            let mut provider = TcpStream::connect(provider).await?;
            let line = head.iter().position(|byte| *byte == b'\n').unwrap_or_default() + 1;
            provider.write_all(&head[..line]).await?;
            provider.write_all(b"connection: close\r\n").await?;
            provider.write_all(&head[line..]).await?;
            tokio::io::copy_bidirectional(&mut stream, &mut provider).await?;
            return Ok(());
        }
        Hangs => {}
        Stalls => {
            stream.write_all(answer).await?;
            stream.write_all(b"content-length: 100\r\n\r\n{").await?;
        }
        Resets => {
            stream.set_zero_linger()?;
            return Ok(());
        }
        Breaks => {
            stream.write_all(answer).await?;
            return stream.write_all(b"content-length: 100\r\n\r\n{\"iss").await;
        }
        Gibberish => {
            return stream
                .write_all(b"\0\xff220 mail.example.org ESMTP\r\n\r\n")
                .await;
        }
        Endless => {
            stream.write_all(answer).await?;
            stream.write_all(b"transfer-encoding: chunked\r\n\r\n").await?;
            // Ends when the reader stops.
            loop {
                stream
                    .write_all(format!("400\r\n{}\r\n", " ".repeat(1024)).as_bytes())
                    .await?;
            }
        }
    }
    // Until the client closes.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
