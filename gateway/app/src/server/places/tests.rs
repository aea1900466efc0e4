//! Who makes room for whom. Connections here have waited for a long time or only just begun to, so that nothing depends
//! on how fast the machine is.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::{PART, Peer, Place, Places};

const HOUR: Duration = Duration::from_secs(3600);

/// A listener that began an hour ago, and its connections.
struct Listener {
    places: Arc<Places>,
    open: Vec<Place>,
}

impl Listener {
    fn new(most: usize) -> Self {
        let mut places = Places::new(most, 128 << 10);
        places.began = Instant::now().checked_sub(HOUR).unwrap();
        Self {
            places: Arc::new(places),
            open: Vec::new(),
        }
    }

    /// A new connection, which does not have to wait for its place. Connections that are told to end do so at once.
    fn connect(&mut self, client: Option<&str>) -> &Place {
        let client = client.map(|client| client.parse::<IpAddr>().unwrap());
        // Without the budget after which tokio makes a task wait for others.
        let room = unconstrained(self.places.room()).now_or_never();
        let room = room.expect("room at once");
        self.open.push(self.places.seat(room, client).0);
        self.places.make_room();
        self.open.retain(|place| !place.seat.cut.is_aborted());
        self.open.last().unwrap()
    }

    /// A new connection that has been waited for since a time, in milliseconds after the listener began.
    fn connect_earlier(&mut self, client: Option<&str>, since: u64) -> u64 {
        let place = self.connect(client);
        place.seat.waiting_since.store(since, Ordering::Relaxed);
        place.number
    }

    fn is_open(&self, number: u64) -> bool {
        self.open.iter().any(|place| place.number == number)
    }
}

#[tokio::test]
async fn a9_as_many_places_are_freed_at_once_as_are_wanted() {
    let mut listener = Listener::new(4096);
    let idle: Vec<u64> = (0..3_900)
        .map(|since| listener.connect_earlier(None, since))
        .collect();
    // Each of them finds room at once: `connect` fails if not.
    for _ in 0..1_000 {
        listener.connect(None);
    }
    let gone = idle.iter().filter(|number| !listener.is_open(**number)).count();
    // No more go than it takes to keep a part of the places free, and those go that were waited for longest.
    assert!((800..=1_000).contains(&gone), "{gone}");
    assert!(idle[..gone].iter().all(|number| !listener.is_open(*number)));
    for _ in 0..2_900 {
        listener.connect(None);
    }
    assert!(listener.open.len() <= 4096);
    // A burst that arrives before anybody can make room again finds what is kept free.
    let burst = (0..4096 / PART).map_while(|_| unconstrained(listener.places.room()).now_or_never());
    assert_eq!(burst.collect::<Vec<_>>().len(), 4096 / PART);
}

#[tokio::test]
async fn a9_a_client_with_more_than_its_share_makes_room_for_others() {
    let mut listener = Listener::new(640);
    // They have been waited for longest, and none has more than its share of ten.
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
async fn a9_connections_of_a_proxy_count_for_nobody() {
    let mut listener = Listener::new(640);
    let proxied: Vec<u64> = (0..400)
        .map(|since| listener.connect_earlier(None, since))
        .collect();
    for since in 1_000..2_000 {
        listener.connect_earlier(Some("198.51.100.1"), since);
    }
    assert!(proxied.iter().all(|number| listener.is_open(*number)));
    // Among themselves, the one that has been waited for longest goes.
    for since in 2_000..3_000 {
        listener.connect_earlier(None, since);
    }
    assert!(proxied.iter().all(|number| !listener.is_open(*number)));
}

#[tokio::test]
async fn a9_who_is_being_served_is_left_alone_whatever_its_share() {
    let mut listener = Listener::new(64);
    let mut served = Vec::new();
    for _ in 0..50 {
        let place = listener.connect(Some("198.51.100.1"));
        Peer::new([198, 51, 100, 1].into(), place).is_served();
        served.push(place.number);
    }
    for since in 0..500 {
        let client = format!("2001:db8:0:{since}::");
        listener.connect_earlier(Some(&client), since);
    }
    assert!(served.iter().all(|number| listener.is_open(*number)));
}

#[tokio::test]
async fn a_connection_that_ended_by_itself_is_not_waited_for() {
    let mut listener = Listener::new(64);
    for since in 0..1_000 {
        listener.connect_earlier(None, since);
        // Chosen to make room, but gone before it was its turn.
        listener.open.truncate(20);
    }
    assert_eq!(listener.places.leaving.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a9_what_connections_hold_is_bounded_in_sum() {
    // However much each of them sends.
    const SENT: usize = 1_000_000;
    const LARGE: usize = 128 << 10;
    let mut listener = Listener::new(4096);
    let ordinary = listener.connect(None);
    ordinary.held().read(2_000);
    let ordinary = ordinary.number;
    for _ in 0..2_000 {
        listener.connect(None).held().read(SENT);
        listener.open.retain(|place| !place.seat.cut.is_aborted());
        assert!(listener.open.len() * LARGE <= (64 << 20) + 2_000 * 8192);
    }
    assert!(listener.open.len() * LARGE >= 32 << 20);
    assert!(listener.is_open(ordinary));
    // What is answered is not held any more.
    for place in &listener.open {
        Peer::new([127, 0, 0, 1].into(), place).is_waited_for();
    }
    assert_eq!(listener.places.held.load(Ordering::Relaxed), 0);
}
