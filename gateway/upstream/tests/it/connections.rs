//! Providers that close the gateway's idle connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gateway_upstream::{Callback, ErrorKind, Hints, Provider, UpstreamError};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Fake, claims, config, configured};

/// A proxy in front of a provider. It closes each connection as a second request arrives on it: the moment at which a
/// server that closes idle connections can collide with a request, reproduced every time.
struct Front {
    uri: String,
    /// Requests that arrived on a closing connection.
    cut: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

impl Front {
    async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Self {
            uri: format!("http://{}", listener.local_addr().unwrap()),
            cut: Arc::default(),
            connections: Arc::default(),
        };
        let (cut, connections) = (Arc::clone(&front.cut), Arc::clone(&front.connections));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let cut = Arc::clone(&cut);
                tokio::spawn(async move {
                    let server = TcpStream::connect(to).await.unwrap();
                    if pass(client, server).await {
                        cut.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        front
    }

    fn cut(&self) -> usize {
        self.cut.load(Ordering::SeqCst)
    }
}

/// Forwards one request and its answer. Returns whether another request arrived.
async fn pass(mut client: TcpStream, mut server: TcpStream) -> bool {
    let (mut answered, mut up, mut down) = (false, [0; 16 << 10], [0; 16 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(0) | Err(_) => return false,
                Ok(_) if answered => return true,
                Ok(bytes) => server.write_all(&up[..bytes]).await.unwrap(),
            },
            read = server.read(&mut down) => match read {
                Ok(0) | Err(_) => return false,
                Ok(bytes) => {
                    answered = true;
                    client.write_all(&down[..bytes]).await.unwrap();
                }
            },
        }
    }
}

/// A provider behind the proxy at this URL.
async fn behind(fake: &Fake, uri: &str) -> Provider {
    let (uri, key) = (uri.to_owned(), Arc::clone(&fake.key));
    let provider = configured(config(&uri), fake.clock.clone(), Duration::from_secs(60));
    fake.set(|answers| {
        for member in [
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "userinfo_endpoint",
        ] {
            let path = answers.discovery[member]
                .as_str()
                .unwrap()
                .rsplit_once('/')
                .unwrap()
                .1
                .to_owned();
            answers.discovery[member] = json!(format!("{uri}/{path}"));
        }
        answers.discovery["issuer"] = json!(uri);
        answers.userinfo = json!({ "sub": "1234" });
        answers.id_token = Box::new(move |nonce| {
            let mut claims = claims(&uri, nonce);
            claims.as_object_mut().unwrap().remove("name");
            key.sign(&claims)
        });
    });
    provider
}

async fn sign_in(fake: &Fake, provider: &Provider) -> Result<(), UpstreamError> {
    let flow = provider.begin(Hints::default()).await?.flow;
    fake.nonce(flow.nonce.as_deref().unwrap());
    let callback = Callback { code: "c", iss: None };
    provider.finish(&flow, callback, false).await.map(drop)
}

#[tokio::test]
async fn p15_requests_on_closing_connections_are_retried() {
    const COUNT: usize = 100;
    let fake = Fake::start().await;
    let front = Front::start(*fake.server.address()).await;
    let provider = behind(&fake, &front.uri).await;
    for number in 0..COUNT {
        let answer = sign_in(&fake, &provider).await;
        assert!(answer.is_ok(), "{number}: {answer:?}");
    }
    // Each endpoint received each request once: those on closing connections were not answered, and were sent again.
    assert_eq!((fake.seen("/token"), fake.seen("/userinfo")), (COUNT, COUNT));
    assert!(
        front.cut() >= COUNT,
        "{} requests met a closing connection",
        front.cut()
    );
}

#[tokio::test]
async fn p15_concurrent_requests_on_closing_connections_are_retried() {
    let fake = Fake::start().await;
    let front = Front::start(*fake.server.address()).await;
    let provider = Arc::new(behind(&fake, &front.uri).await);
    fake.nonce("the same for all");
    for _ in 0..5 {
        let people: Vec<_> = (0..20)
            .map(|_| {
                let provider = Arc::clone(&provider);
                tokio::spawn(async move {
                    let mut flow = provider.begin(Hints::default()).await?.flow;
                    flow.nonce = Some("the same for all".to_owned());
                    let callback = Callback { code: "c", iss: None };
                    provider.finish(&flow, callback, false).await.map(drop)
                })
            })
            .collect();
        for person in people {
            assert_eq!(person.await.unwrap(), Ok(()));
        }
    }
    assert_eq!(fake.seen("/token"), 100);
}

#[tokio::test]
async fn p15_requests_on_new_connections_are_not_retried() {
    let fake = Fake::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/token", listener.local_addr().unwrap());
    fake.set(|answers| answers.discovery["token_endpoint"] = json!(uri));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    // The provider may have used the code.
    let error = fake.sign_in().await.unwrap_err();
    assert_eq!(
        (error.kind(), asked.load(Ordering::SeqCst)),
        (ErrorKind::Down, 1),
        "{error}"
    );
}
