//! Endless heads and bodies from many clients at the same time are rejected, with bounded memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::good::GoodClient;

const CALLERS: usize = crate::many(10, 500);
/// The amount that each client tries to send: far beyond any limit and the kernel's buffers.
const AMOUNT: usize = 64 << 20;
/// The memory that all of them together may use: a head and a body each, twice, as buffers grow, and some reserve.
const MEMORY: u64 = CALLERS as u64 * 2 * (128 << 10) + (64 << 20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_heads_and_bodies_are_rejected_with_little_memory() {
    crate::allow_many_sockets();
    let gateway = crate::setup()
        .table("server", "header_timeout = \"5m\"")
        .start()
        .await;
    let good = GoodClient::begin(&gateway).await;
    let before = gateway.peak_memory();
    let mut floods = 0;
    let mut sent = 0;
    for (begin, more, refusals) in [
        (
            "GET /auth/check HTTP/1.1\r\nhost: x\r\nx: ",
            "a".repeat(8192),
            &["431", "400"][..],
        ),
        (
            "GET /auth/check HTTP/1.1\r\nhost: x\r\n",
            "x: a\r\n".repeat(1000),
            &["431", "400"],
        ),
        ("GET /", "a".repeat(8192), &["414", "431", "400"]),
        (
            "POST /auth/update HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 9999999999\r\n\r\n",
            "a".repeat(8192),
            &["413"],
        ),
        (
            "POST /auth/update HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\ntransfer-encoding: chunked\r\n\r\n",
            format!("2000\r\n{}\r\n", "a".repeat(8192)),
            &["413"],
        ),
        (
            "POST /auth/update HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\ntransfer-encoding: chunked\r\n\r\n",
            "1\r\na\r\n".repeat(1000),
            &["413"],
        ),
    ] {
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            callers.spawn(flood(gateway.address, begin, more.clone()));
        }
        for (written, answer) in callers.join_all().await {
            floods += 1;
            sent += written;
            // The answer can be lost if the connection is closed while bytes are in flight.
            let refused = answer.is_empty()
                || refusals
                    .iter()
                    .any(|status| answer.starts_with(&format!("HTTP/1.1 {status}")));
            assert!(refused, "{begin:.40?}: {answer}");
            assert!(written < AMOUNT, "{begin:.40?}: all of it was read");
        }
    }
    let answered = good.end().await;
    let grown = gateway.peak_memory() - before;
    println!(
        "{floods} floods, {} MiB sent, none accepted; peak memory grew by {} MiB; a good client: {answered} of {answered} requests answered",
        sent >> 20,
        grown >> 20
    );
    assert!(grown < MEMORY, "{grown} bytes");
    gateway.stop().await;
}

/// A body of 60,000 chunks of one byte, on enough connections that the memory of each is visible.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_tiny_chunks_cost_no_more_than_their_size() {
    const CONNECTIONS: usize = crate::many(20, 200);
    const BEGIN: &str = "POST /auth/update HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: \
                         application/x-www-form-urlencoded\r\ntransfer-encoding: chunked\r\n\r\n";
    let gateway = crate::setup()
        .table("server", "header_timeout = \"5m\"")
        .start()
        .await;
    let before = gateway.peak_memory();
    let body: Arc<str> = format!("{BEGIN}{}", "1\r\na\r\n".repeat(60_000)).into();
    let mut writing = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (address, body) = (gateway.address, Arc::clone(&body));
        writing.spawn(async move {
            let mut socket = TcpStream::connect(address).await.expect("the gateway listens");
            socket.write_all(body.as_bytes()).await.expect("it reads");
            socket
        });
    }
    let sockets = writing.join_all().await;
    // All of them are being received, and none has ended. On a slow machine fewer bytes are in memory by now, and the
    // test is weaker.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for mut socket in sockets {
        socket.write_all(b"0\r\n\r\n").await.expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let grown = gateway.peak_memory() - before;
    println!(
        "{CONNECTIONS} bodies of 60,000 chunks: peak memory grew by {} MiB",
        grown >> 20
    );
    assert!(
        grown < CONNECTIONS as u64 * (256 << 10) + (64 << 20),
        "{grown} bytes"
    );
    gateway.stop().await;
}

/// Sends until the gateway stops reading. Returns the number of bytes and the answer.
async fn flood(address: SocketAddr, begin: &str, more: String) -> (usize, String) {
    let socket = TcpStream::connect(address).await.expect("the gateway listens");
    let (mut read, mut write) = socket.into_split();
    let mut written = 0;
    let writing = async {
        if write.write_all(begin.as_bytes()).await.is_err() {
            return;
        }
        while written < AMOUNT && write.write_all(more.as_bytes()).await.is_ok() {
            written += more.len();
        }
    };
    let mut answer = Vec::new();
    let reading = async {
        // A reset is an end as well.
        let _ = read.read_to_end(&mut answer).await;
    };
    // Stops when it gets the answer.
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
    (written, String::from_utf8_lossy(&answer).into_owned())
}
