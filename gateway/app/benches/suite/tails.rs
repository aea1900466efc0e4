//! The latency of `check` while a plugin loops without end and is called without pause: beside an idle
//! gateway, and beside a plugin that burns as much and then answers.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use gateway_token::Algorithm;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use test_guests::BEHAVE;

use crate::figure::{Latencies, Samples, Target};
use crate::http::{Expected, get};
use crate::load::{Background, Load, Requests};
use crate::report::{Section, Table, grouped, ms, rate};
use crate::site::{GATEWAY, Site};
use crate::{Plan, machine};

/// A tenth or less of what the gateway is capable of.
const RATE: f64 = 1_000.0;
const CONNECTIONS: usize = 4;
/// People who are asked for in turn.
const ACTIVE: usize = 1_000;
/// The fuel of a call, unless it is configured.
const FUEL: u64 = 100_000_000;
/// How much of it the harmless plugin uses. The rest is for the call around its loop.
const USED: f64 = 0.99;

/// Latencies of `check`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    idle: Latencies,
    /// By the number of callers.
    beside: Vec<Beside>,
}

/// The latencies beside `callers` that call without pause.
#[derive(Debug, Serialize, Deserialize)]
struct Beside {
    callers: usize,
    harmless: Latencies,
    looping: Latencies,
    /// Calls a second.
    harmless_calls: Samples,
    looping_calls: Samples,
}

/// Measures.
///
/// # Errors
/// When the gateway does not start, or an answer is another than expected.
pub(crate) fn measure(plan: &Plan) -> Result<Results> {
    let people = plan.everybody()?;
    let tokens = people.tokens(ACTIVE)?;
    let (key, _) = gateway_token::generate_key(Algorithm::RS256)?;
    let site = Site::new(&people.database, &key)?;
    site.place("behave", BEHAVE)?;
    let burn = format!("burn-{}", turns(&site)?);
    site.configure(&format!(
        "[service.spin]\nprovider = \"behave\"\n[service.{burn}]\nprovider = \"behave\"\n"
    ))?;
    let gateway = site.start()?;
    let check = Requests::cycle(tokens.iter().map(|token| get("/auth/check", token)));
    let call = |service: &str| get(&format!("/auth/authorize?service={service}"), &tokens[0]);
    let (harmless, looping) = (call(&burn), call("spin"));
    let latency = || {
        let load = Load {
            to: gateway.address,
            requests: &check,
            expected: Expected::ok("\"authenticated\":true"),
            connections: CONNECTIONS,
        };
        load.paced(RATE, plan.time)
    };

    let mut callers = vec![1, machine::cores()?];
    callers.dedup();
    let mut results = Results {
        idle: Latencies::default(),
        beside: callers
            .into_iter()
            .map(|callers| Beside {
                callers,
                harmless: Latencies::default(),
                looping: Latencies::default(),
                harmless_calls: Samples::default(),
                looping_calls: Samples::default(),
            })
            .collect(),
    };
    for round in plan.rounds() {
        let idle = latency()?;
        if round.counts {
            results.idle.push(&idle.times);
        }
        for beside in &mut results.beside {
            for (request, status, times, calls) in [
                (&harmless, "200", &mut beside.harmless, &mut beside.harmless_calls),
                (&looping, "503", &mut beside.looping, &mut beside.looping_calls),
            ] {
                let background = Background::start(gateway.address, request, status, beside.callers);
                let outcome = latency()?;
                let answers = background.stop()?;
                if round.counts {
                    times.push(&outcome.times);
                    calls.push(answers as f64 / outcome.elapsed.as_secs_f64());
                }
            }
        }
    }
    Ok(results)
}

/// How many turns of its loop the harmless plugin needs to burn what the looping one is given.
fn turns(site: &Site) -> Result<u64> {
    const TRIED: u64 = 1_000_000;
    let output = Command::new(GATEWAY)
        .args(["plugin", "bench", "--calls", "1", "--json", "--user", "ann"])
        .arg("--service")
        .arg(format!("burn-{TRIED}"))
        .arg("--cache")
        .arg(site.path("calibration"))
        .arg(site.path("plugins").join("behave.wasm"))
        .arg("get-permissions")
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "gateway plugin bench: {errors}");
    let measured: Value = serde_json::from_slice(&output.stdout)?;
    let fuel = measured["fresh"]["fuel_max"].as_f64().context("no fuel")?;
    Ok((FUEL as f64 * USED / fuel * TRIED as f64) as u64)
}

/// Its section of the report.
pub(crate) fn section(results: &Results, section: &mut Section) -> Result<()> {
    section.say(&format!(
        "The load is {} `check` requests per second, evenly spaced, over {CONNECTIONS} connections. That is far below \
         capacity, so the figures show latency and not queueing. A request's time counts from when it was due. \
         Meanwhile, callers call a plugin without pause: one that loops until its fuel is used up and the gateway ends \
         it, or a harmless one that burns {:.0} % of that fuel in the same loop and then answers.",
        grouped(RATE),
        USED * 100.0
    ));
    let Results { idle, beside } = results;
    let mut table = Table::new();
    table.row("otherwise idle, p50", &idle.p50, ms);
    table.row("otherwise idle, p99", &idle.p99, ms);
    for Beside {
        callers,
        harmless,
        looping,
        harmless_calls,
        looping_calls,
    } in beside
    {
        let callers = if *callers == 1 {
            "1 caller".to_owned()
        } else {
            format!("{callers} callers")
        };
        table.row(
            &format!("{callers}, harmless: calls a second"),
            harmless_calls,
            rate,
        );
        table.row(&format!("{callers}, harmless: p50"), &harmless.p50, ms);
        table.row(&format!("{callers}, harmless: p99"), &harmless.p99, ms);
        table.row(
            &format!("{callers}, looping: calls a second"),
            looping_calls,
            rate,
        );
        table.row(&format!("{callers}, looping: p50"), &looping.p50, ms);
        table.row(&format!("{callers}, looping: p99"), &looping.p99, ms);
        table.compare(
            "… of p99 beside the harmless one",
            &looping.p99.ratio_to(&harmless.p99),
            Some(Target::Most(1.5)),
        );
        table.compare(
            "… of p99 of an idle gateway",
            &looping.p99.ratio_to(&idle.p99),
            Some(Target::Most(5.0)),
        );
    }
    section.table(&table);
    Ok(())
}
