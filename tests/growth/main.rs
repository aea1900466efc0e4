//! One user, one plugin or one upstream provider grows whatever it can, for as long as the test lets it. The gateway
//! stays small, the others are served as well as before, and it restarts at once.
//!
//! `GROWTH_SECONDS` says for how long each of them grows: 20 unless it is set. The figures on record are those of ten
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

/// How many attackers of one kind act at once.
const ATTACKERS: usize = 4;

/// A gateway with the development sign-in and a small plugin for the good client's service.
fn setup() -> Setup {
    Setup::dev()
        .env("PRIVATE_KEY", &support::setup::private_key(Algorithm::ES256))
        // Session tokens name the gateway that issued them: it is the same one after a restart.
        .env("EXTERNAL_ADDRESS", "http://127.0.0.1:9")
        .plugin("v1", test_guests::V1)
        .service("example", "v1")
}

/// Attackers that act again and again until they are told to stop.
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

    /// Adds [`ATTACKERS`] that do `act` again and again. Each act gets a number of its own.
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
