//! A server on its own socket, and clients that write bytes.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Body, Peer, run};
use crate::config::ServerLimits;

/// Longer than any limit in these tests.
const NEVER: Duration = Duration::from_secs(120);
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Generous limits. A test shortens the one that it is about.
fn limits() -> ServerLimits {
    ServerLimits {
        connections: 16,
        header_timeout: NEVER * 2,
        request_timeout: NEVER * 2,
        max_body: 1024,
        drain: NEVER * 2,
    }
}

struct Server {
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
    ended: JoinHandle<()>,
    /// A message for each request to `/hang` that has begun.
    hanging: mpsc::UnboundedReceiver<()>,
    /// Lets requests to `/hang` end.
    release: CancellationToken,
}

impl Server {
    async fn start(limits: ServerLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, release) = (CancellationToken::new(), CancellationToken::new());
        let (began, hanging) = mpsc::unbounded_channel();
        let handler = {
            let release = release.clone();
            move |request, peer| handle(request, peer, began.clone(), release.clone())
        };
        let ended = {
            let shutdown = shutdown.clone();
            tokio::spawn(async move { run(listener, &limits, |_| None, handler, shutdown).await })
        };
        Self {
            address,
            shutdown,
            ended,
            hanging,
            release,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection whose request is being handled.
    async fn hang(&mut self) -> TcpStream {
        let mut caller = self.connect().await;
        send(&mut caller, b"GET /hang HTTP/1.1\r\nhost: x\r\n\r\n").await;
        timeout(NEVER, self.hanging.recv()).await.unwrap().unwrap();
        caller
    }
}

async fn handle(
    request: Request<Body>,
    peer: Peer,
    began: mpsc::UnboundedSender<()>,
    release: CancellationToken,
) -> Response<Full<Bytes>> {
    match request.uri().path() {
        "/hang" => {
            peer.is_served();
            began.send(()).unwrap();
            release.cancelled().await;
        }
        "/panic" => panic!("a mistake of ours"),
        "/refuse" => {}
        "/large" => return Response::new(Full::from(vec![b'x'; 60_000])),
        _ => {
            request.into_body().collect().await.unwrap();
        }
    }
    Response::new(Full::from("done"))
}

async fn send(caller: &mut TcpStream, bytes: &[u8]) {
    caller.write_all(bytes).await.unwrap();
}

/// Reads one response of the handler, the only one requested on the connection.
async fn answer(caller: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"done") {
        let mut some = [0; 1024];
        let read = timeout(NEVER, caller.read(&mut some))
            .await
            .expect("no answer")
            .unwrap();
        assert_ne!(
            read,
            0,
            "the connection ended after {:?}",
            String::from_utf8_lossy(&text)
        );
        text.extend_from_slice(&some[..read]);
    }
    String::from_utf8(text).unwrap()
}

/// Reads what the server still sends until it closes the connection.
async fn rest(mut caller: TcpStream) -> String {
    let mut text = Vec::new();
    // A reset ends the connection too.
    let _ = timeout(NEVER, caller.read_to_end(&mut text))
        .await
        .expect("the connection is still open");
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn answers_one_request_after_another() {
    let server = Server::start(limits()).await;
    let mut caller = server.connect().await;
    for _ in 0..3 {
        send(&mut caller, GET).await;
        assert!(answer(&mut caller).await.starts_with("HTTP/1.1 200 OK"));
    }
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_closed() {
    let server = Server::start(ServerLimits {
        // Enough for a head that is sent whole.
        header_timeout: Duration::from_secs(2),
        ..limits()
    })
    .await;
    let mut half = server.connect().await;
    send(&mut half, b"GET / HTTP/1.1\r\nhost:").await;
    let silent = server.connect().await;
    let mut idle = server.connect().await;
    send(&mut idle, GET).await;
    answer(&mut idle).await;
    for caller in [half, silent, idle] {
        rest(caller).await;
    }
}

#[tokio::test]
async fn slow_requests_are_503() {
    let short = Duration::from_millis(50);
    let server = Server::start(ServerLimits {
        request_timeout: short,
        ..limits()
    })
    .await;
    let mut endless = server.connect().await;
    send(&mut endless, b"GET /hang HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut slow_body = server.connect().await;
    send(
        &mut slow_body,
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\na",
    )
    .await;
    for caller in [endless, slow_body] {
        let answer = rest(caller).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        for header in [
            "connection: close",
            "retry-after: 1",
            "x-content-type-options: nosniff",
        ] {
            assert!(answer.contains(header), "{answer} lacks {header}");
        }
    }
}

#[tokio::test]
async fn a_panic_is_500_and_ends_nothing_else() {
    let server = Server::start(limits()).await;
    let mut unlucky = server.connect().await;
    send(&mut unlucky, b"GET /panic HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let told = rest(unlucky).await;
    assert!(
        told.starts_with("HTTP/1.1 500") && !told.contains("mistake"),
        "{told}"
    );
    let mut next = server.connect().await;
    send(&mut next, GET).await;
    answer(&mut next).await;
}

#[tokio::test]
async fn malformed_requests_are_rejected() {
    let server = Server::start(limits()).await;
    let long_header = format!("GET / HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "a".repeat(70_000));
    let many_headers = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(200));
    let smuggled = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd";
    for (bytes, status) in [
        ("rubbish\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost : x\r\n\r\n", "400"),
        ("GET / HTTP/9.9\r\nhost: x\r\n\r\n", ""),
        (smuggled, "400"),
        (&long_header, "431"),
        (&many_headers, "431"),
    ] {
        let mut caller = server.connect().await;
        // The server may close the connection before everything is written.
        let _ = caller.write_all(bytes.as_bytes()).await;
        let told = rest(caller).await;
        assert!(
            !told.contains("200") && told.contains(status),
            "{bytes:.60?}: {told}"
        );
        let whole = told.is_empty() || told.contains("x-content-type-options: nosniff");
        assert!(whole, "{bytes:.60?}: {told}");
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let mut server = Server::start(ServerLimits {
        connections: 1,
        ..limits()
    })
    .await;
    let mut first = server.hang().await;
    let mut second = server.connect().await;
    send(&mut second, b"GET /hang HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.release.cancel();
    answer(&mut first).await;
    assert!(server.hanging.try_recv().is_err(), "both had a place");
    drop(first);
    answer(&mut second).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let short = Duration::from_millis(50);
    let limits = ServerLimits {
        request_timeout: short,
        ..limits()
    };
    let server = Server::start(limits).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = socket.connect(server.address).await.unwrap();
    let requests = b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n".repeat(500);
    let asking = tokio::spawn(async move {
        let _ = deaf.write_all(&requests).await;
        deaf
    });
    let _deaf = asking.await.unwrap();
    server.shutdown.cancel();
    // The server waits for the last connection.
    timeout(NEVER, server.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn waiting_connections_are_closed_for_new_ones() {
    let mut server = Server::start(ServerLimits {
        connections: 5,
        ..limits()
    })
    .await;
    let mut busy = server.hang().await;
    let silent = server.connect().await;
    let mut idle = server.connect().await;
    send(&mut idle, GET).await;
    answer(&mut idle).await;
    let mut slow_head = server.connect().await;
    send(&mut slow_head, b"GET / HTTP/1.1\r\nhost:").await;
    let mut slow_body = server.connect().await;
    send(
        &mut slow_body,
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\na",
    )
    .await;
    let mut kept = Vec::new();
    for _ in 0..12 {
        let mut next = server.connect().await;
        send(&mut next, GET).await;
        answer(&mut next).await;
        kept.push(next);
    }
    for cut in [silent, idle, slow_head, slow_body] {
        assert_eq!(rest(cut).await, "");
    }
    // A request in progress is left alone.
    server.release.cancel();
    answer(&mut busy).await;
}

#[tokio::test]
async fn a_shutdown_waits_only_for_requests_in_flight() {
    let mut server = Server::start(limits()).await;
    let new = server.connect().await;
    let mut idle = server.connect().await;
    send(&mut idle, GET).await;
    answer(&mut idle).await;
    let busy = server.hang().await;
    server.shutdown.cancel();
    assert_eq!(
        (rest(idle).await, rest(new).await),
        (String::new(), String::new())
    );
    assert!(!server.ended.is_finished());
    server.release.cancel();
    let told = rest(busy).await;
    assert!(told.ends_with("done"), "{told}");
    timeout(NEVER, server.ended).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn requests_that_outlast_the_drain_are_dropped() {
    let short = Duration::from_millis(50);
    let mut server = Server::start(ServerLimits {
        drain: short,
        ..limits()
    })
    .await;
    let busy = server.hang().await;
    server.shutdown.cancel();
    timeout(NEVER, server.ended).await.unwrap().unwrap();
    // The handler is dropped, and so is the connection.
    assert_eq!(timeout(NEVER, server.hanging.recv()).await.unwrap(), None);
    assert_eq!(rest(busy).await, "");
}

#[tokio::test]
async fn a9_pipelined_requests_are_answered_one_after_another() {
    let mut server = Server::start(limits()).await;
    let mut caller = server.connect().await;
    send(&mut caller, &b"GET /hang HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50)).await;
    timeout(NEVER, server.hanging.recv()).await.unwrap().unwrap();
    // Another connection was answered meanwhile, so a second request of the first would have begun.
    let mut other = server.connect().await;
    send(&mut other, GET).await;
    answer(&mut other).await;
    assert!(server.hanging.try_recv().is_err(), "two at the same time");
    server.release.cancel();
    for _ in 1..50 {
        timeout(NEVER, server.hanging.recv()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_response_before_the_body_is_read_arrives_and_closes_the_connection() {
    let server = Server::start(limits()).await;
    let body = "b".repeat(4 << 20);
    let requests = [
        format!(
            "POST /refuse HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
        format!(
            "POST /refuse HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        ),
        format!("GET /refuse HTTP/1.1\r\nhost: x\r\na: {body}\r\n\r\n"),
    ];
    for request in requests {
        let mut caller = server.connect().await;
        // A client that reads after it has written everything loses nothing.
        send(&mut caller, request.as_bytes()).await;
        let mut told = String::new();
        timeout(NEVER, caller.read_to_string(&mut told))
            .await
            .unwrap()
            .unwrap();
        assert!(told.contains("connection: close"), "{request:.60}: {told}");
        assert!(
            told.ends_with("done") || told.starts_with("HTTP/1.1 431"),
            "{request:.60}: {told}"
        );
    }
}

#[tokio::test]
async fn a_body_that_was_read_leaves_the_connection_open() {
    let server = Server::start(limits()).await;
    let mut caller = server.connect().await;
    for request in [
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody",
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        "GET /refuse HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        send(&mut caller, request.as_bytes()).await;
        let told = answer(&mut caller).await;
        assert!(!told.contains("connection: close"), "{request:?}: {told}");
    }
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_clients_that_keep_sending() {
    let server = Server::start(ServerLimits {
        request_timeout: NEVER * 12,
        ..limits()
    })
    .await;
    let mut caller = server.connect().await;
    send(
        &mut caller,
        b"POST /refuse HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n",
    )
    .await;
    answer(&mut caller).await;
    server.shutdown.cancel();
    // It never closes its side. `drain` is longer than this test waits.
    timeout(NEVER, server.ended).await.unwrap().unwrap();
}
