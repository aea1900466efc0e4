//! What the endpoints cost, as ratios against something that runs beside them in the same run:
//! `check` against a bare hyper server that answers the same bytes, `authorize` for ever-new users
//! against signing alone on the same cores. The gateway is the real binary with its request log and
//! metrics on; the load generator shares its cores. Rounds are interleaved, so that a drift of the
//! machine's speed meets both sides.
//!
//! `cargo bench -p gateway --bench endpoints -- --rounds 5 --seconds 4`

// A bench prints its figures and ends at the first thing that is wrong.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

#[path = "endpoints/bare.rs"]
mod bare;
#[path = "support/load.rs"]
mod load;
#[path = "support/setup.rs"]
mod setup;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;

use crate::load::Requests;

#[derive(Parser)]
struct Args {
    /// Rounds of each measurement.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that each measurement of a round takes.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Connections that send requests at once.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Users to sign in beforehand; `authorize` asks for each of them once.
    #[arg(long, default_value_t = 120_000)]
    users: usize,
    /// Be the bare hyper server, answering this. For the bench itself.
    #[arg(long, hide = true)]
    bare: Option<String>,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            match args.bare {
                Some(body) => bare::serve(body).await,
                None => measure(&args).await,
            }
        })
}

async fn measure(args: &Args) -> Result<()> {
    let duration = Duration::from_secs(args.seconds);
    let setup = setup::Setup::new(args.users).await?;
    setup.place("plugins", "example", guest_examples::EXAMPLE.wasm)?;
    let gateway = setup
        .gateway("plugins", "[service.example]\nprovider = \"example\"\n")
        .await?;
    let check = setup::get("/auth/check", &setup.tokens[0]);
    let bare = setup::bare(&load::body_of(gateway.address, &check).await?).await?;
    let each: Arc<[String]> = setup
        .tokens
        .iter()
        .map(|t| setup::get("/auth/authorize?service=example", t))
        .collect();
    let position = Arc::new(AtomicUsize::new(0));

    let mut rates = [const { Vec::new() }; 4];
    // The first round warms caches, connections and branch predictors up, and does not count.
    for round in 0..=args.rounds {
        let hyper = Requests::Same(setup::get("/auth/check", &setup.tokens[0]).into());
        let hyper = load::rate(
            bare.address,
            hyper,
            args.connections,
            duration,
            "\"authenticated\"",
        )
        .await?;
        let same = Requests::Same(check.as_str().into());
        let check = load::rate(
            gateway.address,
            same,
            args.connections,
            duration,
            "\"authenticated\":true",
        )
        .await?;
        let signing = signing_rate(&setup, duration)?;
        let new = Requests::Each(Arc::clone(&each), Arc::clone(&position));
        let authorize = load::rate(gateway.address, new, args.connections, duration, "\"token\":\"").await?;
        if round > 0 {
            for (all, rate) in rates.iter_mut().zip([hyper, check, signing, authorize]) {
                all.push(rate);
            }
        }
    }

    let [hyper, check, signing, authorize] = rates.map(median);
    let cores = cores()?;
    println!(
        "{cores} cores, {} rounds of {} s, {} connections; medians",
        args.rounds, args.seconds, args.connections
    );
    println!("| what | a second | ratio |");
    println!("|---|---|---|");
    println!("| bare hyper server, the same bytes | {hyper:.0} | |");
    println!(
        "| check, valid session | {check:.0} | {:.2} of bare hyper |",
        check / hyper
    );
    println!("| RS256 signatures, all cores | {signing:.0} | |");
    println!(
        "| authorize, ever-new users | {authorize:.0} | {:.2} of signing |",
        authorize / signing
    );
    // How far it is from signing alone depends on how quickly the processor signs; what comes on top does not.
    let micros = |rate: f64| cores as f64 * 1e6 / rate;
    println!(
        "A signature takes {:.0} µs of a core; authorize takes {:.0} µs more, the load generator's share included.",
        micros(signing),
        micros(authorize) - micros(signing)
    );
    Ok(())
}

/// Permission tokens a second that all cores sign when they do nothing else.
fn signing_rate(setup: &setup::Setup, duration: Duration) -> Result<f64> {
    let begin = Instant::now();
    let counts: Vec<Result<u64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores()?)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0;
                    while begin.elapsed() < duration {
                        setup.keys.sign(&setup.claims(count))?;
                        count += 1;
                    }
                    Ok(count)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().map_err(|_| anyhow::anyhow!("a signing thread panicked")))
            .collect::<Result<_>>()
    })?;
    let total = counts.into_iter().sum::<Result<u64>>()?;
    Ok(total as f64 / begin.elapsed().as_secs_f64())
}

fn cores() -> Result<usize> {
    Ok(std::thread::available_parallelism()
        .context("counting cores")?
        .get())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
