//! Ten thousand connections that send nothing; fewer in `cargo test`.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::good::GoodClient;
use support::{Gateway, eventually};

const CONNECTIONS: usize = crate::many(200, 10_000);
/// Places for some of the connections only.
const PLACES: usize = CONNECTIONS * 2 / 5;
/// Connections are opened in groups of this size, as the listen backlog is not under test.
const AT_ONCE: usize = 100;

async fn open(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut open = Vec::with_capacity(count);
    while open.len() < count {
        let mut opening = JoinSet::new();
        for _ in 0..AT_ONCE {
            opening.spawn(TcpStream::connect(address));
        }
        for connection in opening.join_all().await {
            open.push(connection.expect("the gateway listens"));
        }
    }
    open
}

/// The number of connections that the gateway has not closed.
fn still_open(connections: &[TcpStream]) -> usize {
    let mut byte = [0];
    let is_open = |connection: &&TcpStream| matches!(connection.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
    connections.iter().filter(is_open).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_are_kept_if_there_is_room() {
    crate::allow_many_sockets();
    let lines = format!("connections = {}\nheader_timeout = \"5m\"", CONNECTIONS + 1_000);
    let room = crate::setup().table("server", &lines);
    let gateway = room.start().await;
    let good = GoodClient::begin(&gateway).await;
    let mut idle = open(gateway.address, CONNECTIONS).await;
    // Long enough for the gateway to close connections. On a slow machine the test is weaker.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (kept, answered) = (still_open(&idle), good.end().await);
    println!(
        "{CONNECTIONS} idle connections, {kept} kept; a good client: {answered} of {answered} requests answered"
    );
    assert_eq!(kept, CONNECTIONS);
    // Each of them can still send a request.
    for connection in idle.iter_mut().step_by(CONNECTIONS / 10) {
        tokio::io::AsyncWriteExt::write_all(connection, b"GET /auth/check HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .expect("it is open");
        let mut answer = [0; 12];
        connection.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    drop(idle);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_closed_to_make_room() {
    crate::allow_many_sockets();
    let lines = format!("connections = {PLACES}\nheader_timeout = \"5m\"");
    let gateway = crate::setup().table("server", &lines).start().await;
    let good = GoodClient::begin(&gateway).await;
    let idle = open(gateway.address, CONNECTIONS).await;
    let admin = gateway.admin().await;
    let closed = eventually("idle connections make room", async || {
        let closed = admin.metric("gateway_connections_closed_for_room_total", &[]);
        Some(closed.await).filter(|closed| *closed >= (CONNECTIONS - PLACES) as f64)
    })
    .await;
    let answered = good.end().await;
    println!(
        "{CONNECTIONS} idle connections at a limit of {PLACES}, {closed} closed; a good client: {answered} of {answered} requests answered"
    );
    eventually("the connections are closed", async || {
        (still_open(&idle) <= PLACES).then_some(())
    })
    .await;
    drop(idle);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_low_limit_of_open_files_lowers_the_connection_limit() {
    let setup = crate::setup().table("server", "header_timeout = \"5m\"");
    setup.write();
    let command = setup.command();
    let command = command.as_std();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 400; exec \"$@\"", "sh"]);
    limited.arg(command.get_program()).args(command.get_args());
    limited
        .envs(setup.dir.environment())
        .current_dir(setup.dir.path());
    limited.stdout(Stdio::piped()).stderr(Stdio::piped());
    let gateway = Gateway::start(limited, &setup).await;
    let idle = open(gateway.address, 500).await;
    let good = GoodClient::begin(&gateway).await;
    let admin = gateway.admin().await;
    eventually("idle connections make room", async || {
        let closed = admin.metric("gateway_connections_closed_for_room_total", &[]);
        (closed.await >= 100.0).then_some(())
    })
    .await;
    good.end().await;
    drop(idle);
    let log = gateway.stop().await.text();
    assert!(
        log.contains("fewer connections") && !log.contains("cannot accept connections"),
        "{log}"
    );
}
