//! A provider whose code is cached is swapped for another, again and again: the latency of `authorize`
//! meanwhile, how soon a swap shows, and how soon a rollback is in force.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use gateway_token::Algorithm;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use test_guests::{V1, V2};

use crate::Plan;
use crate::figure::{Latencies, Target, Times};
use crate::http::{self, Connection, Expected, get};
use crate::load::{Load, Requests};
use crate::report::{Section, Table, grouped, ms};
use crate::site::{Server, Site};
use crate::start;

/// Far below what the gateway is capable of, also where it signs every answer.
const RATE: f64 = 200.0;
const CONNECTIONS: usize = 4;
/// People who are asked for in turn.
const ACTIVE: usize = 32;
const ASK: &str = "/auth/authorize?service=swapped";
/// When a version should show.
const PATIENCE: Duration = Duration::from_secs(10);

/// Latencies.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Of the same people in turn.
    active: Pair,
    /// Of ever-new people.
    ever_new: Pair,
    swaps: u64,
    /// From a rename to the first new answer, in each round.
    shows: Latencies,
    rollbacks: u64,
    /// From asking for a rollback to the answer that it is in force, in each round.
    in_force: Latencies,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Pair {
    without: Latencies,
    during: Latencies,
}

/// The gateway and what is swapped in it.
struct Swapped {
    site: Site,
    gateway: Server,
    ask: String,
}

/// Measures.
///
/// # Errors
/// When a request fails or a version does not show.
pub(crate) fn measure(plan: &Plan) -> Result<Results> {
    let people = plan.everybody()?;
    let runs = 4 * (plan.rounds + 1);
    let needed = (RATE * plan.time.as_secs_f64()) as usize * runs;
    let tokens = people.tokens((ACTIVE + needed).max(1_000))?;
    let (key, _) = gateway_token::generate_key(Algorithm::RS256)?;
    let site = Site::new(&people.database, &key)?;
    site.place("swapped", V1)?;
    site.configure("[service.swapped]\nprovider = \"swapped\"\n")?;
    let swapped = Swapped {
        gateway: site.start()?,
        site,
        ask: get(ASK, &tokens[0]),
    };
    // Both are compiled before anything counts.
    swapped.swap(true)?;
    swapped.swap(false)?;

    let (active, new) = tokens.split_at(ACTIVE);
    let active = Requests::cycle(active.iter().map(|token| get(ASK, token)));
    let new = Requests::once(new.iter().map(|token| get(ASK, token)));
    let mut results = Results {
        active: Pair::default(),
        ever_new: Pair::default(),
        swaps: 0,
        shows: Latencies::default(),
        rollbacks: 0,
        in_force: Latencies::default(),
    };
    for round in plan.rounds() {
        let mut shows = Times::new()?;
        for (pair, requests) in [(&mut results.active, &active), (&mut results.ever_new, &new)] {
            let without = swapped.latency(requests, plan.time)?;
            let during = swapped.latency_during_swaps(requests, plan.time, &mut shows)?;
            if round.counts {
                pair.without.push(&without);
                pair.during.push(&during);
            }
        }
        let in_force = swapped.rollbacks(plan.time)?;
        if round.counts {
            results.swaps += shows.len();
            results.shows.push(&shows);
            results.rollbacks += in_force.len();
            results.in_force.push(&in_force);
        }
    }
    Ok(results)
}

impl Swapped {
    fn latency(&self, requests: &Requests, time: Duration) -> Result<Times> {
        let load = Load {
            to: self.gateway.address,
            requests,
            expected: Expected::ok("\"version\":"),
            connections: CONNECTIONS,
        };
        Ok(load.paced(RATE, time)?.times)
    }

    /// The next swap begins when the one before shows.
    fn latency_during_swaps(&self, requests: &Requests, time: Duration, shows: &mut Times) -> Result<Times> {
        let stop = AtomicBool::new(false);
        let (times, swaps) = std::thread::scope(|scope| {
            let swaps = scope.spawn(|| {
                let mut swaps = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    swaps.push(self.swap(true)?);
                    swaps.push(self.swap(false)?);
                }
                Ok::<_, anyhow::Error>(swaps)
            });
            let times = self.latency(requests, time);
            stop.store(true, Ordering::Relaxed);
            (
                times,
                swaps.join().map_err(|_| anyhow!("the swapping thread panicked")),
            )
        });
        for swap in swaps?? {
            shows.record(swap);
        }
        times
    }

    /// Swaps for the second version, or back to the first; gives how long it took until it showed.
    fn swap(&self, second: bool) -> Result<Duration> {
        let placed = Instant::now();
        self.site.place("swapped", if second { V2 } else { V1 })?;
        let mut connection = Connection::open(self.gateway.address)?;
        let expected = Expected::ok("\"token\":\"");
        loop {
            let answer = connection.exchange(self.ask.as_bytes(), &expected)?;
            if memchr::memmem::find(answer, b"\"version\":2").is_some() == second {
                return Ok(placed.elapsed());
            }
            ensure!(placed.elapsed() < PATIENCE, "a version does not show");
            // It should not be this that keeps the gateway busy.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Rolls back one version after the other, for so long.
    fn rollbacks(&self, time: Duration) -> Result<Times> {
        let admin = Admin::new(&self.site)?;
        let mut times = Times::new()?;
        let begin = Instant::now();
        while begin.elapsed() < time {
            // One that is like no other, so that there is always one before it.
            let component = start::distinct(V2, u64::try_from(begin.elapsed().as_nanos())?);
            let before = admin.status()?;
            self.site.place("swapped", &component)?;
            let placed = loop {
                let status = admin.status()?;
                if status["generation"] != before["generation"] && status["rolled_back"] == false {
                    break status;
                }
                std::thread::sleep(Duration::from_millis(1));
            };
            let asked = Instant::now();
            let status = admin.rollback()?;
            times.record(asked.elapsed());
            ensure!(
                status["rolled_back"] == true && status["generation"] != placed["generation"],
                "not rolled back: {status}"
            );
        }
        Ok(times)
    }
}

/// The admin listener's client.
struct Admin<'a> {
    site: &'a Site,
    token: String,
}

impl<'a> Admin<'a> {
    fn new(site: &'a Site) -> Result<Self> {
        let token = std::fs::read_to_string(site.path("data").join("admin-token"))?;
        Ok(Self {
            site,
            token: token.trim().to_owned(),
        })
    }

    /// The plugin's status.
    fn status(&self) -> Result<Value> {
        let mut answer = self.ask("GET", "/plugins")?;
        let plugin = answer["plugins"].get_mut(0).context("no plugin")?;
        Ok(plugin.take())
    }

    /// Rolls the plugin back, and returns its new status.
    fn rollback(&self) -> Result<Value> {
        self.ask("POST", "/plugins/swapped/rollback")
    }

    fn ask(&self, method: &str, target: &str) -> Result<Value> {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: 0\r\n\r\n",
            self.site.admin, self.token
        );
        let answer = http::ask(self.site.admin, &request, &Expected::ok(""))?;
        Ok(serde_json::from_str(http::body(&answer)?)?)
    }
}

/// Its section of the report.
pub(crate) fn section(results: &Results, section: &mut Section) -> Result<()> {
    section.say(&format!(
        "The load is {RATE} `authorize` requests per second, evenly spaced, over {CONNECTIONS} connections, first to a \
         provider that is not swapped, then to one that is swapped for another version as soon as the previous swap is \
         visible. A swap changes the claims, so tokens cannot be reused: for the same {ACTIVE} people each swap costs \
         new signatures; for ever-new people every token is signed anyway."
    ));
    let mut table = Table::new();
    for (who, Pair { without, during }) in [
        ("people in turn", &results.active),
        ("ever-new people", &results.ever_new),
    ] {
        table.row(&format!("{who}, without swaps: p50"), &without.p50, ms);
        table.row(&format!("{who}, without swaps: p99"), &without.p99, ms);
        table.row(&format!("{who}, during swaps: p50"), &during.p50, ms);
        table.row(&format!("{who}, during swaps: p99"), &during.p99, ms);
        table.compare(
            "… of p99 without swaps",
            &during.p99.ratio_to(&without.p99),
            Some(Target::Most(1.5)),
        );
    }
    section.table(&table);
    section.say(&format!(
        "The time of a swap, from the rename of the file to the first answer of the new version, over {} swaps; 40 ms \
         of it is the wait for the plugin directory to stop changing. The time of a rollback, from the request to its \
         answer, over {} rollbacks.",
        grouped(results.swaps as f64),
        grouped(results.rollbacks as f64)
    ));
    let mut table = Table::new();
    for (what, Latencies { p50, p99, max }) in [("swap", &results.shows), ("rollback", &results.in_force)] {
        table.row(&format!("{what}: p50"), p50, ms);
        table.row(&format!("{what}: p99"), p99, ms);
        table.row(&format!("{what}: longest"), max, ms);
    }
    section.table(&table);
    Ok(())
}
