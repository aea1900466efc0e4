//! Cost as users, services, connections and plugins grow: rates in a closed loop, the latencies that come
//! with them, memory.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use gateway_token::Algorithm;
use guest_examples::ROLES;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::figure::{Latencies, Samples, Target};
use crate::http::{Expected, get};
use crate::load::{Load, Requests};
use crate::people::People;
use crate::rates::{AUTHORIZE, CONNECTIONS, example};
use crate::report::{Section, Table, grouped, megabytes, ms, rate};
use crate::site::{Server, Site};
use crate::{Plan, machine, people, plot, start};

/// People who are active.
const ACTIVE: usize = 1_000;
/// People who send requests in turn when everybody does: more than can send one in the second for which the gateway may
/// remember them.
const EVERYBODY: usize = 200_000;
/// Calls of plugins that the gateway accepts at the same time.
const CALLS: usize = 1_024;
/// Files that the load generator needs beside its connections.
const FILES: usize = 256;

const PROFILE: &str = "\"authenticated\":true";
const TOKEN: &str = "\"token\":\"";

/// The dimensions that grow, one after the other.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results(Vec<Growth>);

/// Something that grows.
#[derive(Debug, Serialize, Deserialize)]
struct Growth {
    of: Of,
    steps: Vec<Step>,
    /// The steps that were left out, and the reason.
    note: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Of {
    Users,
    Services,
    Connections,
    Plugins,
}

/// The measurements with `count` of it.
#[derive(Debug, Serialize, Deserialize)]
struct Step {
    count: usize,
    runs: Vec<Run>,
    /// Most that was resident, in MB.
    memory: Samples,
}

/// The measurements of one endpoint.
#[derive(Debug, Serialize, Deserialize)]
struct Run {
    what: String,
    /// A second.
    rate: Samples,
    latencies: Latencies,
}

/// A step and what measures it.
struct Subject {
    _site: Site,
    gateway: Server,
    connections: usize,
    /// The requests of each run, and a text that every answer contains.
    load: Vec<(Requests, &'static str)>,
    step: Step,
}

/// Measures.
///
/// # Errors
/// When a gateway does not start, or an answer is another than expected.
pub(crate) fn measure(plan: &Plan) -> Result<Results> {
    let (key, _) = gateway_token::generate_key(Algorithm::RS256)?;
    let everybody = plan.everybody()?;
    let tokens = everybody.tokens(ACTIVE)?;
    let growths = [
        (Of::Users, users(plan, &key)?, None),
        (Of::Services, services(&everybody, &tokens, &key)?, None),
        connections(plan, &everybody, &tokens, &key)?,
        (Of::Plugins, plugins(&everybody, &tokens, &key)?, None),
    ];
    let growths = growths.into_iter().map(|(of, subjects, note)| {
        eprintln!("  {}", of.name());
        let steps = run(plan, subjects)?;
        Ok(Growth { of, steps, note })
    });
    Ok(Results(growths.collect::<Result<_>>()?))
}

/// All steps in turn, in some rounds.
fn run(plan: &Plan, mut subjects: Vec<Subject>) -> Result<Vec<Step>> {
    for round in plan.rounds() {
        for subject in &mut subjects {
            for ((requests, text), run) in subject.load.iter().zip(&mut subject.step.runs) {
                let load = Load {
                    to: subject.gateway.address,
                    requests,
                    expected: Expected::ok(text),
                    connections: subject.connections,
                };
                let outcome = load.rate(plan.time / 2)?;
                if round.counts {
                    run.rate.push(outcome.rate());
                    run.latencies.push(&outcome.times);
                }
            }
            if round.counts {
                let memory = subject.gateway.memory()?.peak;
                subject.step.memory.push(memory as f64 / 1e6);
            }
        }
    }
    Ok(subjects.into_iter().map(|subject| subject.step).collect())
}

impl Subject {
    fn new(
        site: Site,
        count: usize,
        connections: usize,
        load: Vec<(&str, Requests, &'static str)>,
    ) -> Result<Self> {
        let run = |what: &str| Run {
            what: what.to_owned(),
            rate: Samples::default(),
            latencies: Latencies::default(),
        };
        Ok(Self {
            gateway: site.start()?,
            _site: site,
            connections,
            step: Step {
                count,
                runs: load.iter().map(|(what, ..)| run(what)).collect(),
                memory: Samples::default(),
            },
            load: load
                .into_iter()
                .map(|(_, requests, text)| (requests, text))
                .collect(),
        })
    }
}

fn users(plan: &Plan, key: &SecretString) -> Result<Vec<Subject>> {
    plan.people
        .iter()
        .map(|count| {
            let people = people::database(&plan.cache, *count)?;
            let active = people.tokens(ACTIVE)?;
            let all = people.tokens(EVERYBODY)?;
            let asked =
                |tokens: &[String], target| Requests::cycle(tokens.iter().map(|token| get(target, token)));
            let load = vec![
                (
                    "check, 1,000 people in turn",
                    asked(&active, "/auth/check"),
                    PROFILE,
                ),
                ("check, everybody in turn", asked(&all, "/auth/check"), PROFILE),
                (
                    "authorize, 1,000 people in turn",
                    asked(&active, AUTHORIZE),
                    TOKEN,
                ),
            ];
            Subject::new(example(&people.database, key)?, *count, CONNECTIONS, load)
        })
        .collect()
}

fn services(people: &People, tokens: &[String], key: &SecretString) -> Result<Vec<Subject>> {
    [1, 10, 100, 1_000]
        .into_iter()
        .map(|count| {
            let site = example(&people.database, key)?;
            let mut configuration = String::new();
            for number in 0..count {
                writeln!(
                    configuration,
                    "[service.service-{number}]\nprovider = \"example\""
                )?;
            }
            site.configure(&configuration)?;
            let requests = in_turn(tokens, "service", count);
            Subject::new(site, count, CONNECTIONS, vec![("authorize", requests, TOKEN)])
        })
        .collect()
}

fn plugins(people: &People, tokens: &[String], key: &SecretString) -> Result<Vec<Subject>> {
    [1, 2, 5, 10]
        .into_iter()
        .map(|count| {
            let site = Site::new(&people.database, key)?;
            let mut configuration = String::new();
            for number in 0..count {
                let name = format!("plugin-{number}");
                site.place(&name, &start::distinct(ROLES.wasm, number as u64))?;
                configuration.push_str(&start::roles(&name)?);
            }
            site.configure(&configuration)?;
            let requests = in_turn(tokens, "plugin", count);
            Subject::new(site, count, CONNECTIONS, vec![("authorize", requests, TOKEN)])
        })
        .collect()
}

fn connections(
    plan: &Plan,
    people: &People,
    tokens: &[String],
    key: &SecretString,
) -> Result<(Of, Vec<Subject>, Option<String>)> {
    let possible = machine::files().saturating_sub(FILES);
    let note = (plan.connections > possible).then(|| {
        format!(
            "The limit on open files, {}, leaves room for {possible} connections only.",
            machine::files()
        )
    });
    let most = plan.connections.min(possible);
    let steps = [CONNECTIONS, 1_000, most];
    let mut subjects = Vec::new();
    for (number, count) in steps.into_iter().enumerate() {
        if count > most || steps[..number].contains(&count) {
            continue;
        }
        let site = example(&people.database, key)?;
        site.configure(&format!(
            "{}[server]\nconnections = {}\n",
            crate::rates::SERVICE,
            // Those of the run before may not have ended yet.
            2 * most
        ))?;
        let asked = |target| Requests::cycle(tokens.iter().map(|token| get(target, token)));
        let mut load = vec![("check", asked("/auth/check"), PROFILE)];
        if count <= CALLS {
            load.push(("authorize", asked(AUTHORIZE), TOKEN));
        }
        subjects.push(Subject::new(site, count, count, load)?);
    }
    Ok((Of::Connections, subjects, note))
}

/// People in turn, each for one of `count` services.
fn in_turn(tokens: &[String], service: &str, count: usize) -> Requests {
    Requests::cycle(tokens.iter().enumerate().map(|(number, token)| {
        let target = format!("/auth/authorize?service={service}-{}", number % count);
        get(&target, token)
    }))
}

impl Of {
    const fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Services => "services",
            Self::Connections => "connections",
            Self::Plugins => "plugins",
        }
    }

    const fn about(self) -> &'static str {
        match self {
            Self::Users => {
                "The number of people in the database, each signed in. *1,000 people in turn* are spread over the \
                 database, as active users are. *Everybody in turn* cycles through all of them: except in the smallest \
                 database, a person comes back after the cached session has expired, so each request reads the \
                 database."
            }
            Self::Services => {
                "The number of services in the configuration, all with one provider; the requests cycle through the \
                 services and 1,000 people."
            }
            Self::Connections => {
                "The number of connections, all of them busy; the requests cycle through 1,000 people. `authorize` is \
                 not measured with more than 1,024 connections, because the gateway lets at most 1,024 calls wait for \
                 plugins and answers 503 to the others."
            }
            Self::Plugins => {
                "The number of plugins, each with its own component and service; the requests cycle through the \
                 services and 1,000 people."
            }
        }
    }
}

/// Its section of the report, with the plots.
pub(crate) fn section(results: &Results, section: &mut Section) -> Result<()> {
    section.say(&format!(
        "One dimension grows, and the others stay fixed: {CONNECTIONS} connections, the largest database, one service, \
         one plugin. The load is a closed loop, so the latencies are those of a gateway that is busy all the time. \
         *Memory* is the largest resident memory."
    ));
    for Growth { of, steps, note } in &results.0 {
        section.heading(&format!("{}{}", of.name()[..1].to_uppercase(), &of.name()[1..]));
        section.say(of.about());
        if let Some(note) = note {
            section.say(note);
        }
        let file = format!("scale-{}.svg", of.name());
        plot(&section.path(&file), of.name(), steps)?;
        section.image(
            &format!("Requests per second and memory as {} grow", of.name()),
            &file,
        );
        let mut rows = Vec::new();
        for Step { count, runs, memory } in steps {
            for Run {
                what,
                rate: rates,
                latencies,
            } in runs
            {
                rows.push([
                    grouped(*count as f64),
                    what.clone(),
                    rate(rates.median()),
                    format!("{} – {}", rate(rates.spread().0), rate(rates.spread().1)),
                    ms(latencies.p50.median()),
                    ms(latencies.p99.median()),
                    megabytes(memory.median()),
                ]);
            }
        }
        section.rows(
            [of.name(), "", "a second", "from – to", "p50", "p99", "memory"],
            &rows,
        );
        if *of == Of::Users {
            section.table(&users_targets(steps)?);
        }
    }
    Ok(())
}

fn users_targets(steps: &[Step]) -> Result<Table> {
    let (first, last) = steps.first().zip(steps.last()).context("no steps")?;
    let mut table = Table::new();
    for (few, many) in first.runs.iter().zip(&last.runs) {
        let what = format!(
            "{}: at {} of at {}",
            many.what,
            grouped(last.count as f64),
            grouped(first.count as f64)
        );
        let target = many.what.starts_with("check").then_some(Target::Least(0.90));
        table.compare(&what, &many.rate.ratio_to(&few.rate), target);
    }
    Ok(table)
}

fn plot(path: &std::path::Path, name: &str, steps: &[Step]) -> Result<()> {
    let first = steps.first().context("no steps")?;
    let rates = (0..first.runs.len()).map(|run| plot::Line {
        name: first.runs[run].what.clone(),
        points: steps
            .iter()
            .filter_map(|step| Some((step.count as f64, step.runs.get(run)?.rate.median())))
            .collect(),
    });
    let memory = plot::Line {
        name: "memory".to_owned(),
        points: steps
            .iter()
            .map(|step| (step.count as f64, step.memory.median()))
            .collect(),
    };
    plot::draw(
        path,
        name,
        &[
            ("requests a second", rates.collect()),
            ("MB resident at most", vec![memory]),
        ],
    )
}
