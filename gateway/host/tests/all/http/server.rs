//! Listeners on loopback that answer as a test wants, and remember who came.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// The requests that have arrived.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The clients, in order of arrival.
    peers: Mutex<Vec<SocketAddr>>,
    /// Those of them who were the test itself.
    probes: Mutex<Vec<SocketAddr>>,
    open: AtomicUsize,
    heads: Mutex<Vec<String>>,
}

impl Seen {
    /// Reads a request's head and remembers it; `None` where none came.
    pub(super) async fn head(&self, stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        self.heads.lock().unwrap().push(head.clone());
        Some(head)
    }
}

/// A connection that counts as open while this lives.
struct Open(Arc<Seen>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A listener, until it is dropped.
pub(super) struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    /// One on 127.0.0.1 that hands every connection to `handle`.
    pub(super) async fn with<F, H>(handle: F) -> Self
    where
        F: Fn(TcpStream, Arc<Seen>) -> H + Send + 'static,
        H: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let also = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                also.peers.lock().unwrap().push(peer);
                also.open.fetch_add(1, Ordering::SeqCst);
                let open = Open(Arc::clone(&also));
                let handled = handle(stream, Arc::clone(&also));
                tokio::spawn(async move {
                    let _open = open;
                    handled.await;
                });
            }
        });
        Self {
            address,
            seen,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// One that hands every connection to `answer` once a request's head has come.
    pub(super) async fn new<F, A>(answer: F) -> Self
    where
        F: Fn(TcpStream, String) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        Self::with(move |mut stream, seen| {
            let answer = answer.clone();
            async move {
                if let Some(head) = seen.head(&mut stream).await {
                    answer(stream, head).await;
                }
            }
        })
        .await
    }

    /// One that always says the same.
    pub(super) async fn saying(text: impl Into<String>) -> Self {
        let text: Arc<str> = text.into().into();
        Self::new(move |mut stream, _| {
            let text = Arc::clone(&text);
            async move {
                let _ = stream.write_all(text.as_bytes()).await;
                gone(&mut stream).await;
            }
        })
        .await
    }

    /// One that says `hello`.
    pub(super) async fn hello() -> Self {
        Self::saying("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await
    }

    /// One that takes the request and says nothing.
    pub(super) async fn silent() -> Self {
        Self::new(|mut stream, _| async move { gone(&mut stream).await }).await
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its origin, by its address.
    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections there have been, up to now: one of the test's own comes after all of them, and
    /// is waited for.
    pub(super) async fn connections(&self) -> usize {
        let probe = TcpStream::connect(self.address).await.unwrap();
        let own = probe.local_addr().unwrap();
        self.seen.probes.lock().unwrap().push(own);
        while !self.seen.peers.lock().unwrap().contains(&own) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let probes = self.seen.probes.lock().unwrap();
        let peers = self.seen.peers.lock().unwrap();
        peers.iter().filter(|peer| !probes.contains(peer)).count()
    }

    /// The heads of the requests so far.
    pub(super) fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().unwrap().clone()
    }

    /// Waits until `count` connections are open.
    pub(super) async fn wait_for_open(&self, count: usize) {
        let waited = tokio::time::timeout(Duration::from_secs(240), async {
            while self.seen.open.load(Ordering::SeqCst) != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let open = || self.seen.open.load(Ordering::SeqCst);
        waited
            .await
            .unwrap_or_else(|_| panic!("{} are open, not {count}", open()));
    }
}

/// Waits until the other end is gone.
pub(super) async fn gone(stream: &mut (impl AsyncRead + Unpin)) {
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
}
