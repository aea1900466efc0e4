//! Thousands of new connections that send nothing and stay open.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpSocket;
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};

use support::Gateway;

const A_SECOND: usize = 5_000;
const SECONDS: usize = 10;
/// The connections of a second are opened in this many portions.
const PORTIONS: usize = 200;

/// The tests take turns, as each of them uses the whole machine.
static TURN: Mutex<()> = Mutex::const_new(());

/// Opens a connection and keeps it until the gateway closes it.
async fn keep(from: Ipv4Addr, to: SocketAddr, opened: &AtomicUsize) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    // No TIME_WAIT on our side, which would block the port for a minute.
    socket.set_zero_linger()?;
    let mut connection = socket.connect(to).await?;
    opened.fetch_add(1, Ordering::Relaxed);
    connection.read_u8().await.map(drop)
}

/// Opens new connections from these addresses all the time. Returns their number.
async fn flood(from: &[Ipv4Addr], to: SocketAddr) -> usize {
    let opened: Arc<AtomicUsize> = Arc::default();
    let mut portions = interval(Duration::from_secs(1) / PORTIONS as u32);
    portions.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for portion in 0..PORTIONS * SECONDS {
        portions.tick().await;
        for number in 0..A_SECOND / PORTIONS {
            let from = from[(portion + number) % from.len()];
            let opened = Arc::clone(&opened);
            tokio::spawn(async move { keep(from, to, &opened).await });
        }
    }
    opened.load(Ordering::Relaxed)
}

/// The times of requests of a well-behaved client that opens a connection for each.
async fn ask(gateway: &Gateway, token: &str, stop: &AtomicUsize) -> Vec<Duration> {
    let browser = gateway.browser();
    let mut times = Vec::new();
    while stop.load(Ordering::Relaxed) == 0 {
        let path = [
            "/auth/check",
            "/auth/authorize?service=example",
            "/auth/public-key",
        ][times.len() % 3];
        let request = browser.request(Method::GET, path).bearer_auth(token);
        let begin = Instant::now();
        let answer = request.header("connection", "close").send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{path}, after {}: {error:?}", times.len()));
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.bytes().await.expect("a body");
        times.push(begin.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    times
}

async fn good_clients_are_served(name: &str, proxies: &str, from: &[Ipv4Addr]) {
    let _turn = TURN.lock().await;
    crate::allow_many_sockets();
    let gateway = crate::setup()
        .table("server", &format!("trusted_proxies = [{proxies}]"))
        .start()
        .await;
    let token = gateway.sign_in("good").await;
    let stop = AtomicUsize::new(0);
    let flooding = async {
        let opened = flood(from, gateway.address).await;
        stop.store(1, Ordering::Relaxed);
        opened
    };
    let (opened, mut times) = tokio::join!(flooding, ask(&gateway, &token, &stop));
    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100];
    println!(
        "{name}: {opened} new connections in {SECONDS} seconds; a good client: {} of {} requests answered, p50 {:?}, p99 {p99:?}, longest {:?}",
        times.len(),
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1],
    );
    // A slow machine may not open all of them, but far more than fit into places that are freed at intervals.
    assert!(opened > A_SECOND * SECONDS * 8 / 10, "{opened} opened");
    assert!(p99 < Duration::from_millis(500), "{p99:?}");
    gateway.stop().await;
}

/// As through a proxy that is not configured: all clients have one address, including the good one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(
    debug_assertions,
    ignore = "a flood that only a release build keeps up with: `just connections`"
)]
async fn a9_five_thousand_new_connections_a_second_from_one_address_that_many_share() {
    good_clients_are_served("one address", "", &[Ipv4Addr::LOCALHOST; 1]).await;
}

/// Each address is a separate client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(
    debug_assertions,
    ignore = "a flood that only a release build keeps up with: `just connections`"
)]
async fn a9_five_thousand_new_connections_a_second_from_many_addresses() {
    let from: Vec<Ipv4Addr> = (2..=100).map(|last| Ipv4Addr::new(127, 0, 0, last)).collect();
    good_clients_are_served("99 addresses", "\"192.0.2.1\"", &from).await;
}

/// One address opens all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(
    debug_assertions,
    ignore = "a flood that only a release build keeps up with: `just connections`"
)]
async fn a9_five_thousand_new_connections_a_second_from_another_address() {
    let from = [Ipv4Addr::new(127, 0, 0, 2)];
    good_clients_are_served("another address", "\"192.0.2.1\"", &from).await;
}
