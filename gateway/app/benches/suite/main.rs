//! The costs of the gateway, end to end. One load generator, on the same cores, drives the real binary, a bare hyper
//! server that answers the same bytes and, if it can be installed, dgp-oauth2.
//!
//! | module | what it measures |
//! |---|---|
//! | [`rates`] | requests a second of `check` and `authorize`, beside bare hyper, signing alone, the old service |
//! | [`tails`] | the latency of `check` while a plugin loops |
//! | [`swaps`] | the latency of `authorize` while its plugin is swapped; how soon a swap or a rollback is in force |
//! | [`start`] | start to ready with cached plugins; memory, idle and under load |
//! | [`sign_ins`] | sign-ins that share their commits, beside sign-ins that do not |
//! | [`scale`] | cost as users, services, connections and plugins grow |
//!
//! | module | what these use |
//! |---|---|
//! | [`people`] | databases of people who are signed in, kept between runs |
//! | [`site`] | a gateway as an operator runs it; any server in its own process |
//! | [`bare`], [`old_service`] | what it is compared with |
//! | [`load`], [`http`] | the load generator, and HTTP as it speaks it |
//! | [`figure`] | samples, ratios, targets |
//! | [`results`] | what was measured, in `<target>/bench/<topic>.json` |
//! | [`report`], [`plot`], [`machine`], [`in_process`] | `docs/benchmarks/`, made from these files and from criterion's |
//!
//! The subjects of a comparison are measured in turns, for several rounds, so that a drift of the machine's speed affects
//! all of them. Ratios are of one round. A round before these warms up and does not count.

// A bench prints its progress and ends at the first error.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod bare;
mod figure;
mod http;
mod in_process;
mod load;
mod machine;
mod old_service;
mod people;
mod plot;
mod rates;
mod report;
mod results;
mod scale;
mod sign_ins;
mod site;
mod start;
mod swaps;
mod tails;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use crate::people::People;

#[derive(Parser)]
struct Args {
    /// Measure this alone; may be given more than once. The report has what was measured before of the rest
    #[arg(long, value_name = "TOPIC")]
    only: Vec<Topic>,
    /// Find out in a minute or two whether everything works. The figures mean little: they and their report
    /// go to `<target>/bench/quick`
    #[arg(long)]
    quick: bool,
    /// Seconds that each measurement of a round takes
    #[arg(long)]
    seconds: Option<f64>,
    /// Rounds of each measurement
    #[arg(long)]
    rounds: Option<usize>,
    /// Be the bare hyper server that gives this answer. For the suite itself
    #[arg(long, hide = true)]
    bare: Option<String>,
    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Topic {
    Rates,
    Tails,
    Swaps,
    Start,
    SignIns,
    Scale,
    /// Nothing is measured
    Report,
}

impl Topic {
    const ALL: [Self; 6] = [
        Self::Rates,
        Self::Tails,
        Self::Swaps,
        Self::Start,
        Self::SignIns,
        Self::Scale,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Rates => "rates",
            Self::Tails => "tails",
            Self::Swaps => "swaps",
            Self::Start => "start",
            Self::SignIns => "sign-ins",
            Self::Scale => "scale",
            Self::Report => "report",
        }
    }
}

/// How much is measured, and where it is kept.
struct Plan {
    /// The time of each measurement of a round.
    time: Duration,
    rounds: usize,
    /// How many people the databases have, from small to large.
    people: Vec<usize>,
    /// Most connections.
    connections: usize,
    /// The target directory's `bench`: databases and the old service, which are made once.
    cache: PathBuf,
    /// The directory of the results.
    results: PathBuf,
    /// The directory of the report.
    docs: PathBuf,
}

impl Plan {
    fn new(args: &Args) -> Result<Self> {
        let cache = machine::target().context("no target directory")?.join("bench");
        let seconds = args.seconds.unwrap_or(if args.quick { 0.5 } else { 2.0 });
        let plan = if args.quick {
            Self {
                time: Duration::from_secs_f64(seconds),
                rounds: args.rounds.unwrap_or(2),
                people: vec![1_000, 10_000, 50_000],
                connections: 1_000,
                results: cache.join("quick"),
                docs: cache.join("quick"),
                cache,
            }
        } else {
            Self {
                time: Duration::from_secs_f64(seconds),
                rounds: args.rounds.unwrap_or(5),
                people: vec![1_000, 10_000, 100_000, 1_000_000],
                connections: 10_000,
                results: cache.clone(),
                docs: machine::workspace().join("docs/benchmarks"),
                cache,
            }
        };
        std::fs::create_dir_all(&plan.results)?;
        Ok(plan)
    }

    /// The database with the most people.
    fn everybody(&self) -> Result<People> {
        let largest = self.people.last().context("no people")?;
        people::database(&self.cache, *largest)
    }

    /// Rounds, one of them before those that count.
    fn rounds(&self) -> impl Iterator<Item = Round> {
        (0..=self.rounds).map(|number| Round { counts: number > 0 })
    }
}

/// One turn of everything that is compared.
#[derive(Clone, Copy)]
struct Round {
    /// Not the first, which warms up caches, connections and branch predictors.
    counts: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(answer) = &args.bare {
        return bare::serve(answer);
    }
    machine::allow_many_sockets()?;
    let plan = Plan::new(&args)?;
    let topics = if args.only.is_empty() {
        Topic::ALL.to_vec()
    } else {
        args.only.clone()
    };
    for topic in topics {
        let begun = Instant::now();
        eprintln!("{}:", topic.name());
        match topic {
            Topic::Rates => results::write(&plan, topic, rates::measure)?,
            Topic::Tails => results::write(&plan, topic, tails::measure)?,
            Topic::Swaps => results::write(&plan, topic, swaps::measure)?,
            Topic::Start => results::write(&plan, topic, start::measure)?,
            Topic::SignIns => results::write(&plan, topic, sign_ins::measure)?,
            Topic::Scale => results::write(&plan, topic, scale::measure)?,
            Topic::Report => {}
        }
        eprintln!("  {} took {:.0} s", topic.name(), begun.elapsed().as_secs_f64());
    }
    report::write(&plan)
}
