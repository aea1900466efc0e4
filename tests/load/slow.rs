//! Slow clients of every kind.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::good::GoodClient;
use support::eventually;
use support::raw::exchange;

const CLIENTS: usize = crate::many(60, 2_000);

#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Sends a byte of a head now and then.
    Head,
    /// Sends a byte of a body now and then.
    Body,
    /// Requests a lot, and reads nothing.
    Deaf,
}

/// The connections that are open now, and the number of those that the gateway closed.
#[derive(Default)]
struct Counts {
    held: AtomicUsize,
    cut: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_slow_clients_do_not_block_a_good_one() {
    crate::allow_many_sockets();
    let setup = crate::setup().table("server", "header_timeout = \"2s\"");
    let gateway = setup.start().await;
    let counts: Arc<Counts> = Arc::default();
    let mut slow = JoinSet::new();
    for number in 0..CLIENTS {
        let manner = [Manner::Head, Manner::Body, Manner::Deaf][number % 3];
        slow.spawn(be_slow(gateway.address, manner, Arc::clone(&counts)));
    }
    eventually("all of them are connected", async || {
        (counts.held.load(Ordering::Relaxed) == CLIENTS).then_some(())
    })
    .await;
    let good = GoodClient::begin(&gateway).await;
    let mut least = CLIENTS;
    // As many as send a slow head or body: each is closed and connects again. Clients that do not read get more time.
    eventually("they are cut", async || {
        least = least.min(counts.held.load(Ordering::Relaxed));
        (counts.cut.load(Ordering::Relaxed) * 3 >= CLIENTS * 2).then_some(())
    })
    .await;
    let answered = good.end().await;
    let cut = counts.cut.load(Ordering::Relaxed);
    slow.shutdown().await;
    println!(
        "{CLIENTS} slow clients, at least {least} connected at any time, {cut} cut and connected again; a good client: {answered} of {answered} requests answered"
    );
    // Afterwards the gateway works as before.
    gateway.sign_in("after").await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_body_times_out() {
    let setup = crate::setup().table("server", "header_timeout = \"300ms\"");
    let gateway = setup.start().await;
    let head = b"POST /auth/update HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\na";
    let answer = exchange(gateway.address, head).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    gateway.stop().await;
}

/// Connects, is slow until the gateway closes the connection, and connects again.
async fn be_slow(address: SocketAddr, manner: Manner, counts: Arc<Counts>) {
    loop {
        let Some(socket) = connect(address, manner).await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        counts.held.fetch_add(1, Ordering::Relaxed);
        until_cut(socket, manner).await;
        counts.held.fetch_sub(1, Ordering::Relaxed);
        counts.cut.fetch_add(1, Ordering::Relaxed);
    }
}

async fn connect(address: SocketAddr, manner: Manner) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    if matches!(manner, Manner::Deaf) {
        socket.set_recv_buffer_size(4096).expect("a small buffer");
    }
    socket.connect(address).await.ok()
}

async fn until_cut(mut socket: TcpStream, manner: Manner) {
    let begin: &[u8] = match manner {
        Manner::Head => b"GET /auth/check HTTP/1.1\r\nhost: x\r\nx: ",
        Manner::Body => b"POST /auth/update HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 60000\r\n\r\n",
        Manner::Deaf => b"GET /assets/gateway.js HTTP/1.1\r\nhost: x\r\n\r\n",
    };
    if socket.write_all(begin).await.is_err() {
        return;
    }
    loop {
        match manner {
            Manner::Deaf => {
                if socket.write_all(begin).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Manner::Head | Manner::Body => {
                // Any answer is the end: a 408 or nothing.
                let mut answer = [0; 512];
                let told = tokio::time::timeout(Duration::from_secs(1), socket.read(&mut answer)).await;
                if told.is_ok() || socket.write_all(b"a").await.is_err() {
                    return;
                }
            }
        }
    }
}
