//! Which connections are closed for which. Each has waited either for very long or not at all, so that nothing depends
//! on the machine's speed.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::{ConnectionLimit, PART, Peer, Slot};

const HOUR: Duration = Duration::from_secs(3600);

/// A listener that began an hour ago, and its connections.
struct Listener {
    limit: Arc<ConnectionLimit>,
    open: Vec<Slot>,
}

impl Listener {
    fn new(most: usize) -> Self {
        let mut limit = ConnectionLimit::new(most, 128 << 10);
        limit.began = Instant::now().checked_sub(HOUR).unwrap();
        Self {
            limit: Arc::new(limit),
            open: Vec::new(),
        }
    }

    /// A new connection, which must find a slot immediately. Connections that the limit cuts close immediately.
    fn connect(&mut self, client: Option<&str>) -> &Slot {
        let client = client.map(|client| client.parse::<IpAddr>().unwrap());
        // Without tokio's budget, after which a task yields.
        let room = unconstrained(self.limit.room()).now_or_never();
        let room = room.expect("a free slot");
        self.open.push(self.limit.take(room, client).0);
        self.limit.make_room();
        self.open.retain(|slot| !slot.connection.cut.is_aborted());
        self.open.last().unwrap()
    }

    /// A new connection for which the gateway has waited since a time, in milliseconds after the listener began.
    fn connect_earlier(&mut self, client: Option<&str>, since: u64) -> u64 {
        let slot = self.connect(client);
        slot.connection.waiting_since.store(since, Ordering::Relaxed);
        slot.number
    }

    fn is_open(&self, number: u64) -> bool {
        self.open.iter().any(|slot| slot.number == number)
    }
}

#[tokio::test]
async fn a9_as_many_connections_are_closed_together_as_needed() {
    let mut listener = Listener::new(4096);
    let idle: Vec<u64> = (0..3_900)
        .map(|since| listener.connect_earlier(None, since))
        .collect();
    // Each finds a slot immediately: `connect` fails if not.
    for _ in 0..1_000 {
        listener.connect(None);
    }
    let gone = idle.iter().filter(|number| !listener.is_open(**number)).count();
    // No more are closed than needed to keep a part of the slots free, those with the longest wait first.
    assert!((800..=1_000).contains(&gone), "{gone}");
    assert!(idle[..gone].iter().all(|number| !listener.is_open(*number)));
    for _ in 0..2_900 {
        listener.connect(None);
    }
    assert!(listener.open.len() <= 4096);
    // A burst of connections finds the slots that are kept free.
    let burst = (0..4096 / PART).map_while(|_| unconstrained(listener.limit.room()).now_or_never());
    assert_eq!(burst.collect::<Vec<_>>().len(), 4096 / PART);
}

#[tokio::test]
async fn a9_a_client_above_its_share_loses_its_own_connections() {
    let mut listener = Listener::new(640);
    // They have waited longest, but none has more than its share of ten.
    let others: Vec<u64> = (0..200)
        .map(|number| {
            let client = format!("192.0.2.{}", number % 20);
            listener.connect_earlier(Some(&client), number)
        })
        .collect();
    for since in 1_000..2_000 {
        listener.connect_earlier(Some("198.51.100.1"), since);
    }
    assert!(others.iter().all(|number| listener.is_open(*number)));
    assert!(listener.open.len() > 600);
}

#[tokio::test]
async fn a9_connections_of_a_proxy_count_against_no_client() {
    let mut listener = Listener::new(640);
    let proxied: Vec<u64> = (0..400)
        .map(|since| listener.connect_earlier(None, since))
        .collect();
    for since in 1_000..2_000 {
        listener.connect_earlier(Some("198.51.100.1"), since);
    }
    assert!(proxied.iter().all(|number| listener.is_open(*number)));
    // Among themselves, the one with the longest wait is closed.
    for since in 2_000..3_000 {
        listener.connect_earlier(None, since);
    }
    assert!(proxied.iter().all(|number| !listener.is_open(*number)));
}

#[tokio::test]
async fn a9_connections_in_use_are_never_closed() {
    let mut listener = Listener::new(64);
    let mut served = Vec::new();
    for _ in 0..50 {
        let slot = listener.connect(Some("198.51.100.1"));
        Peer::new([198, 51, 100, 1].into(), slot).is_served();
        served.push(slot.number);
    }
    for since in 0..500 {
        let client = format!("2001:db8:0:{since}::");
        listener.connect_earlier(Some(&client), since);
    }
    assert!(served.iter().all(|number| listener.is_open(*number)));
}

#[tokio::test]
async fn a_connection_that_ended_before_is_not_counted_as_leaving() {
    let mut listener = Listener::new(64);
    for since in 0..1_000 {
        listener.connect_earlier(None, since);
        // Chosen to be closed, but ended before.
        listener.open.truncate(20);
    }
    assert_eq!(listener.limit.leaving.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a9_the_memory_of_all_connections_is_bounded() {
    // However much each of them sends.
    const SENT: usize = 1_000_000;
    const LARGE: usize = 128 << 10;
    let mut listener = Listener::new(4096);
    let ordinary = listener.connect(None);
    ordinary.memory().read(2_000);
    let ordinary = ordinary.number;
    for _ in 0..2_000 {
        listener.connect(None).memory().read(SENT);
        listener.open.retain(|slot| !slot.connection.cut.is_aborted());
        assert!(listener.open.len() * LARGE <= (64 << 20) + 2_000 * 8192);
    }
    assert!(listener.open.len() * LARGE >= 32 << 20);
    assert!(listener.is_open(ordinary));
    // After its response, a connection holds nothing.
    for slot in &listener.open {
        Peer::new([127, 0, 0, 1].into(), slot).is_waited_for();
    }
    assert_eq!(listener.limit.held.load(Ordering::Relaxed), 0);
}
