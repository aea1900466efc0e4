//! What plugins cost, measured with the real binary: how soon a swap shows and a rollback is in force, what ten
//! plugins add to the start and to the memory, and what a call takes in each language, in an instance made
//! for it and in one made ahead.
//!
//! `just guests && cargo bench -p gateway --bench plugins -- --rounds 5 --seconds 20`

// A bench prints its figures and ends at the first thing that is wrong.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

#[path = "plugins/calls.rs"]
mod calls;
#[path = "support/load.rs"]
#[expect(dead_code, reason = "shared with the other bench")]
mod load;
#[path = "support/setup.rs"]
#[expect(dead_code, reason = "shared with the other bench")]
mod setup;
#[path = "plugins/start.rs"]
mod start;
#[path = "plugins/swap.rs"]
mod swap;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

use crate::setup::Setup;

#[derive(Parser)]
struct Args {
    /// Starts with plugins, and as many without.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of swaps.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Calls of a kind in each language.
    #[arg(long, default_value_t = 5_000)]
    calls: usize,
    /// Where `just guests` leaves components.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-examples/out"))]
    guests: PathBuf,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The role provider in four languages.
struct Guests {
    rust: Vec<u8>,
    c: Vec<u8>,
    javascript: Vec<u8>,
    python: Vec<u8>,
}

impl Guests {
    fn read(args: &Args) -> Result<Self> {
        let read = |language: &str| {
            let path = args.guests.join(format!("{language}-role-provider.wasm"));
            std::fs::read(&path).with_context(|| format!("{}: `just guests` makes it", path.display()))
        };
        Ok(Self {
            rust: guest_examples::ROLES.wasm.to_owned(),
            c: read("c")?,
            javascript: read("js")?,
            python: read("python")?,
        })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let guests = Guests::read(&args)?;
    let setup = Setup::new(1).await?;
    swap::measure(&setup, Duration::from_secs(args.seconds)).await?;
    start::measure(&setup, &guests, args.rounds).await?;
    calls::measure(&setup, &guests, args.calls)
}

/// Milliseconds.
fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Median, the 99th of 100, and the longest, in milliseconds.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |percent: usize| ms(times[(times.len() * percent).div_ceil(100).max(1) - 1]);
    format!("{:.1} | {:.1} | {:.1}", at(50), at(99), at(100))
}
