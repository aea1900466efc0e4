//! The cost of an attack: memory, waiting time of other users, and time of a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use reqwest::{Method, StatusCode};
use tokio::task::JoinHandle;

use crate::Attack;
use support::{Gateway, Setup};

/// The limit of what the process may have in RAM beyond its idle size.
const GROWTH: u64 = 256 << 20;
/// How often the good client sends a request: far below the machine's capacity, so that the times are the gateway's.
const PACE: Duration = Duration::from_millis(10);
/// How long the test measures before the attack begins.
const BEFORE: Duration = Duration::from_secs(10);
/// The limit for a restart.
const RESTART: Duration = Duration::from_secs(1);

/// How long each attack takes.
fn duration() -> Duration {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long to attack is for whoever runs the test to say"
    )]
    let seconds = std::env::var("GROWTH_SECONDS").map_or(20, |text| text.parse().expect("seconds"));
    Duration::from_secs(seconds)
}

/// Runs an attack beside a good client. `harmless` is the same load without the malice: beside the attack, the client
/// must not wait more than twice as long as beside that.
///
/// # Panics
/// If the gateway grows too much, a good request fails, or a restart takes too long.
pub(crate) async fn watch(
    name: &str,
    setup: &Setup,
    mut gateway: Gateway,
    harmless: impl FnOnce(&mut Attack),
    attack: impl FnOnce(&mut Attack),
) {
    let token = gateway.sign_in("good").await;
    let measure = async |gateway: &Gateway, time: Duration| {
        let client = GoodClient::begin(gateway, &token);
        let end = Instant::now() + time;
        let mut most = 0;
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(200)).await;
            most = most.max(gateway.memory());
        }
        (client.end().await, most)
    };
    let (quiet, idle) = measure(&gateway, BEFORE).await;
    let mut beside = Attack::new();
    harmless(&mut beside);
    let (busy, _) = measure(&gateway, BEFORE).await;
    let harmless = beside.end().await;
    let mut running = Attack::new();
    attack(&mut running);
    let (attacked, most) = measure(&gateway, duration()).await;
    let acts = running.end().await;
    let grown = most.saturating_sub(idle);

    gateway.kill().await;
    let begun = Instant::now();
    let gateway = setup.start().await;
    let restart = begun.elapsed();
    assert!(
        gateway.browser().is_signed_in(&token).await,
        "the good client's session outlives it"
    );
    let after = gateway.memory();
    println!(
        "{name}: {acts} acts in {:?}; {} MiB when idle, grown by {} MiB, {} MiB after a restart that took {restart:?}; \
         a good client's p99 {} µs alone, {} µs beside {harmless} harmless acts, {} µs beside the attack ({} requests, \
         none failed)",
        duration(),
        idle >> 20,
        grown >> 20,
        after >> 20,
        quiet.value_at_quantile(0.99),
        busy.value_at_quantile(0.99),
        attacked.value_at_quantile(0.99),
        attacked.len(),
    );
    assert!(grown < GROWTH, "{name}: grown by {grown} bytes");
    assert!(
        after.saturating_sub(idle) < GROWTH,
        "{name}: {after} bytes after a restart"
    );
    // Times are meaningless in a debug build, or beside other tests.
    if cfg!(debug_assertions) {
        gateway.stop().await;
        return;
    }
    assert!(restart < RESTART, "{name}: the restart took {restart:?}");
    let (p99, beside) = (attacked.value_at_quantile(0.99), busy.value_at_quantile(0.99));
    assert!(
        p99 <= 2 * beside,
        "{name}: a p99 of {p99} µs, {beside} µs beside harmless acts"
    );
    gateway.stop().await;
}

/// Sends requests at a steady pace, and measures.
struct GoodClient {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Histogram<u64>>,
}

impl GoodClient {
    fn begin(gateway: &Gateway, token: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (browser, token, stopped) = (gateway.browser(), token.to_owned(), Arc::clone(&stop));
        let asking = tokio::spawn(async move {
            let mut times = Histogram::new(3).expect("a histogram");
            let mut pace = tokio::time::interval(PACE);
            pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            for n in 0_usize.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                pace.tick().await;
                let path = ["/auth/check", "/auth/authorize?service=example"][n % 2];
                let begun = Instant::now();
                let response = browser
                    .request(Method::GET, path)
                    .bearer_auth(&token)
                    .send()
                    .await
                    .expect("an answer");
                let status = response.status();
                let text = response.text().await.expect("text");
                let micros = u64::try_from(begun.elapsed().as_micros()).expect("a short time");
                assert_eq!(status, StatusCode::OK, "{path}: {text}");
                times.record(micros).expect("it grows automatically");
            }
            times
        });
        Self { stop, asking }
    }

    /// The times of its answers, in microseconds.
    async fn end(self) -> Histogram<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.await.expect("every answer was right")
    }
}
