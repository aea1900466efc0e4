//! Start to ready with plugins whose code is cached, beside a start without plugins; memory when idle and
//! under full load.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use gateway_token::Algorithm;
use guest_examples::{ALL, ROLES};
use serde::{Deserialize, Serialize};

use crate::figure::{Samples, Target, ms};
use crate::http::{Expected, ask, get};
use crate::load::{Load, Requests};
use crate::rates::AUTHORIZE;
use crate::report::{self, Section, Table, megabytes};
use crate::site::Site;
use crate::{Plan, machine};

/// How long a gateway is left alone before its memory is looked at.
const IDLE: Duration = Duration::from_secs(1);
/// Connections of the full load.
const CONNECTIONS: usize = 64;

/// People who are asked for under full load, unless there are fewer.
const ASKED: usize = 200_000;

/// The costs of plugins at the start.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    starts: Vec<Starts>,
    people: usize,
    /// Most bytes that were resident under full load, in MB.
    loaded: Samples,
}

/// Starts with the same plugins.
#[derive(Debug, Serialize, Deserialize)]
struct Starts {
    plugins: usize,
    what: String,
    /// Milliseconds.
    ready: Samples,
    /// MB.
    idle: Samples,
    /// MB.
    code: Samples,
}

/// Measures.
///
/// # Errors
/// When a gateway does not start, or a plugin does not answer.
pub(crate) fn measure(plan: &Plan) -> Result<Results> {
    let people = plan.everybody()?;
    let tokens = people.tokens(ASKED)?;
    let (key, _) = gateway_token::generate_key(Algorithm::RS256)?;
    let site = || Site::new(&people.database, &key);

    let three = site()?;
    for example in ALL {
        three.place(example.name, example.wasm)?;
    }
    three.configure(&format!(
        "extensions = [\"email-domains\"]\n[service.example]\nprovider = \"example\"\n\
         [plugin.email-domains]\ngrants = [\"config\"]\nsettings = {{ domains = \"example.org\" }}\n{}",
        roles("roles")?
    ))?;
    let (ten, ten_what) = ten(site()?)?;
    let none = site()?;
    let sites = [
        (none, 0, "none".to_owned()),
        (three, 3, "three in Rust".to_owned()),
        (ten, 10, ten_what),
    ];
    let mut results = Results {
        starts: sites
            .iter()
            .map(|(_, plugins, what)| Starts {
                plugins: *plugins,
                what: what.clone(),
                ready: Samples::default(),
                idle: Samples::default(),
                code: Samples::default(),
            })
            .collect(),
        people: tokens.len(),
        loaded: Samples::default(),
    };
    // The first round compiles.
    for round in plan.rounds() {
        for ((site, ..), starts) in sites.iter().zip(&mut results.starts) {
            let begun = Instant::now();
            let gateway = site.start()?;
            let ready = begun.elapsed();
            std::thread::sleep(IDLE);
            let memory = gateway.memory()?;
            for number in 0..if starts.plugins == 10 { 10 } else { 0 } {
                let request = get(&format!("/auth/authorize?service=roles-{number}"), &tokens[0]);
                let answer = ask(gateway.address, &request, &Expected::ok(""))?;
                ensure!(answer.contains("\"read\":true"), "roles-{number}: {answer}");
            }
            if round.counts {
                starts.ready.push(ms(ready));
                starts.idle.push(memory.resident as f64 / 1e6);
                starts.code.push(memory.code as f64 / 1e6);
            }
        }
    }
    for round in plan.rounds() {
        let peak = full_load(&sites[1].0, &tokens, plan.time * 2)?;
        if round.counts {
            results.loaded.push(peak / 1e6);
        }
    }
    Ok(results)
}

/// Most bytes that are resident while everybody is asked for in turn, half of them by `check`, and half of them
/// by `authorize`.
fn full_load(site: &Site, tokens: &[String], time: Duration) -> Result<f64> {
    let gateway = site.start()?;
    let requests = Requests::cycle(
        tokens
            .iter()
            .enumerate()
            .map(|(number, token)| get(if number % 2 == 0 { "/auth/check" } else { AUTHORIZE }, token)),
    );
    let load = Load {
        to: gateway.address,
        requests: &requests,
        expected: Expected::ok(""),
        connections: CONNECTIONS,
    };
    load.rate(time)?;
    Ok(gateway.memory()?.peak as f64)
}

/// Adds the role provider ten times, each a different component, in four languages if `just guests` has built them.
/// Returns a description of them too.
fn ten(site: Site) -> Result<(Site, String)> {
    let out = machine::workspace().join("guest-examples/out");
    let read = |language| read(&out, language);
    let (kinds, what) = match (read("c")?, read("js")?, read("python")?) {
        (Some(c), Some(js), Some(python)) => {
            let rust = ROLES.wasm.to_vec();
            let what = "ten: four in Rust, two each in C, JavaScript and Python";
            (vec![(rust, 4), (c, 2), (js, 2), (python, 2)], what)
        }
        _ => (
            vec![(ROLES.wasm.to_vec(), 10)],
            "ten in Rust (`just guests` had not made those in other languages)",
        ),
    };
    let kinds = kinds
        .iter()
        .flat_map(|(component, times)| std::iter::repeat_n(component, *times));
    let mut configuration = String::new();
    for (number, component) in kinds.enumerate() {
        let name = format!("roles-{number}");
        site.place(&name, &distinct(component, number as u64))?;
        configuration.push_str(&roles(&name)?);
    }
    site.configure(&configuration)?;
    Ok((site, what.to_owned()))
}

fn read(directory: &Path, language: &str) -> Result<Option<Vec<u8>>> {
    let file = directory.join(format!("{language}-role-provider.wasm"));
    Ok(if file.exists() {
        Some(std::fs::read(file)?)
    } else {
        None
    })
}

/// A service and a plugin of that name, the role provider.
pub(crate) fn roles(name: &str) -> Result<String> {
    let mut configuration = String::new();
    writeln!(
        configuration,
        "[service.{name}]\nprovider = \"{name}\"\n[plugin.{name}]\ngrants = [\"config\", \"users\"]\n\
         settings = {{ \"role.reader\" = \"read\", default = \"reader\" }}"
    )?;
    Ok(configuration)
}

/// The same component with a unique custom section, so that it counts as a different component.
pub(crate) fn distinct(component: &[u8], number: u64) -> Vec<u8> {
    let mut component = component.to_vec();
    // Section 0, of ten bytes: a name of one byte, and the number.
    component.extend([0, 10, 1, b'n']);
    component.extend(number.to_le_bytes());
    component
}

/// Its section of the report.
pub(crate) fn section(results: &Results, section: &mut Section) -> Result<()> {
    section.say(&format!(
        "*Ready*: the time from starting the process to the line that reports it ready. The code of all plugins is in \
         the cache, and the gateway authenticates every entry at start. *Idle*: resident memory after {} s without a \
         request. *Code*: compiled code, which is mapped; the part that has run is resident too. *Full load*: the \
         largest resident memory while {CONNECTIONS} connections sent `check` and `authorize` without pause, cycling \
         through {} people.",
        IDLE.as_secs(),
        report::grouped(results.people as f64)
    ));
    let mut table = Table::new();
    for Starts {
        plugins,
        what,
        ready,
        idle,
        code,
    } in &results.starts
    {
        let target = |most| (*plugins == 3).then_some(Target::Most(most));
        table.judged(&format!("{what}: ready"), ready, report::ms, target(60.0));
        table.judged(&format!("{what}: idle"), idle, megabytes, target(40.0));
        if *plugins > 0 {
            table.row(&format!("{what}: code"), code, megabytes);
        }
    }
    table.judged(
        "three in Rust: full load",
        &results.loaded,
        megabytes,
        Some(Target::Most(120.0)),
    );
    section.table(&table);
    Ok(())
}
