//! One user, one plugin or one upstream provider grows whatever it can, for as long as the test lets it. The gateway
//! stays small, other users are served as well as before, and a restart is immediate.
//!
//! `GROWTH_SECONDS` sets for how long each of them grows; the default is 20. The recorded figures are those of ten
//! minutes each, from a release build: `just growth`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "in tests a panic is the report"
)]
mod plugin;
mod provider;
mod user;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gateway_token::Algorithm;
use tokio::task::JoinSet;

use support::Setup;

/// The number of concurrent attackers of one kind.
const ATTACKERS: usize = 4;

/// A gateway with the development sign-in and a small plugin for the good client's service.
fn setup() -> Setup {
    Setup::dev()
        .env("PRIVATE_KEY", &support::setup::private_key(Algorithm::ES256))
        // Session tokens name the gateway that issued them, so it must keep its name after a restart.
        .env("EXTERNAL_ADDRESS", "http://127.0.0.1:9")
        .plugin("v1", test_guests::V1)
        .service("example", "v1")
}

/// Attackers that repeat one action until they are stopped.
struct Attack {
    stop: Arc<AtomicBool>,
    acts: Arc<AtomicU64>,
    running: JoinSet<()>,
}

impl Attack {
    fn new() -> Self {
        Self {
            stop: Arc::default(),
            acts: Arc::default(),
            running: JoinSet::new(),
        }
    }

    /// Adds [`ATTACKERS`] that repeat `act`. Each call gets its own number.
    fn add<Act, Acting>(&mut self, act: Act)
    where
        Act: Fn(u64) -> Acting + Clone + Send + Sync + 'static,
        Acting: Future<Output = ()> + Send,
    {
        for _ in 0..ATTACKERS {
            let (stop, acts, act) = (Arc::clone(&self.stop), Arc::clone(&self.acts), act.clone());
            self.running.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    act(acts.fetch_add(1, Ordering::Relaxed)).await;
                }
            });
        }
    }

    /// Stops all of them and returns how often they acted.
    async fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.running.join_next().await {
            ended.expect("an attacker takes any answer");
        }
        self.acts.load(Ordering::Relaxed)
    }
}
