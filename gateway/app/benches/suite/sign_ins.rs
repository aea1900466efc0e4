//! Sign-ins of new people, from the provider's callback to the redirect with the session token: 64 at a time, which
//! share their commits, beside sign-ins that do not share them.
//!
//! A sign-in writes three times (the state is used; the user and the events; the end), and each write is on
//! the disk before the next step. The gateway always shares commits, so two comparisons replace
//! a gateway that does not:
//!
//! * one sign-in at a time, which has no other to share a commit with;
//! * the three writes alone, one after the other, without HTTP, provider and hook. Writes go through one
//!   thread, so 64 sign-ins at a time, each commit for itself, could not be quicker than this: the ratio to
//!   it is the least that sharing gains.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use gateway_model::{Clock, SystemClock};
use gateway_token::Algorithm;
use guest_examples::EMAIL_DOMAINS;
use serde::{Deserialize, Serialize};
use url::Url;

use self::provider::Provider;
use crate::figure::{Samples, Target};
use crate::http::{Connection, Expected};
use crate::load::{Load, Requests};
use crate::report::{Section, Table, rate};
use crate::site::Site;
use crate::{Plan, people};

mod provider;

/// Sign-ins at a time.
const AT_A_TIME: usize = 64;

/// Sign-ins a second.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    many: Samples,
    one: Samples,
    writes: Samples,
}

/// Measures.
///
/// # Errors
/// When a sign-in fails.
pub(crate) fn measure(plan: &Plan) -> Result<Results> {
    let directory = tempfile::tempdir_in(&plan.cache)?;
    let provider = Provider::start()?;
    let (key, _) = gateway_token::generate_key(Algorithm::RS256)?;
    let site = Site::new(&directory.path().join("gateway.db"), &key)?;
    site.place(EMAIL_DOMAINS.name, EMAIL_DOMAINS.wasm)?;
    site.configure(&format!(
        "extensions = [\"email-domains\"]\n[plugin.email-domains]\ngrants = [\"config\"]\n\
         settings = {{ domains = \"example.org\" }}\n{}",
        provider.configuration()
    ))?;
    let gateway = site.start()?;
    let sign_in = |people: std::ops::Range<usize>, at_a_time: usize| {
        let callbacks = begin(&gateway, people)?;
        let load = Load {
            to: gateway.address,
            requests: &Requests::once(callbacks),
            expected: Expected::new("302", "jwt="),
            connections: at_a_time,
        };
        Ok::<_, anyhow::Error>(load.all()?.rate())
    };

    let mut results = Results {
        many: Samples::default(),
        one: Samples::default(),
        writes: Samples::default(),
    };
    let mut first = 0;
    let mut next = |count: usize| {
        first += count;
        first - count..first
    };
    // How many fit into the time is known after some of them.
    let seconds = plan.time.as_secs_f64();
    let mut many = AT_A_TIME * 8;
    let mut one = 32;
    for round in plan.rounds() {
        let rates = [
            sign_in(next(many), AT_A_TIME)?,
            sign_in(next(one), 1)?,
            writes(&directory.path().join("writes.db"), next(one))?,
        ];
        many = (rates[0] * seconds).ceil() as usize;
        one = (rates[1] * seconds).ceil() as usize;
        if round.counts {
            for (samples, rate) in [&mut results.many, &mut results.one, &mut results.writes]
                .into_iter()
                .zip(rates)
            {
                samples.push(rate);
            }
        }
    }
    Ok(results)
}

/// Begins sign-ins, and returns the requests with which browsers return from the provider.
fn begin(gateway: &crate::site::Server, people: std::ops::Range<usize>) -> Result<Vec<String>> {
    let mut connection = Connection::open(gateway.address)?;
    let expected = Expected::new("302", "");
    people
        .map(|person| {
            let login = "GET /auth/login/github HTTP/1.1\r\nHost: auth.example.org\r\n\r\n";
            let answer = std::str::from_utf8(connection.exchange(login.as_bytes(), &expected)?)?;
            let field = |name: &str| {
                let line = answer.lines().find_map(|line| line.strip_prefix(name));
                line.with_context(|| format!("no {name} in {answer}"))
            };
            let authorization = Url::parse(field("location: ")?)?;
            let state = authorization.query_pairs().find(|(name, _)| name == "state");
            let state = state.context("no state")?.1.into_owned();
            let cookie = field("set-cookie: ")?.split(';').next().unwrap_or_default();
            Ok(format!(
                "GET /auth/oauth_callback/github?code={person}&state={state} HTTP/1.1\r\n\
                 Host: auth.example.org\r\nCookie: {cookie}\r\n\r\n"
            ))
        })
        .collect()
}

/// Sign-ins a second if only their writes are done, one after the other.
#[tokio::main(flavor = "current_thread")]
async fn writes(database: &Path, people: std::ops::Range<usize>) -> Result<f64> {
    let store = people::store(database).await?;
    let count = people.len();
    let begun = Instant::now();
    for number in people {
        let expires = SystemClock.now().after(std::time::Duration::from_secs(600));
        if let Some(state) = store.claim_state(&format!("state-{number}"), expires)? {
            state.consume().await?;
        }
        people::sign_in(&store, &people::person(number)).await?;
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    store.close().await?;
    Ok(rate)
}

/// Its section of the report.
pub(crate) fn section(results: &Results, section: &mut Section) -> Result<()> {
    section.say(&format!(
        "Sign-ins of new people per second, from the callback to the redirect with the session token. Each sends three \
         requests to a fake GitHub, calls a hook in Rust twice, and writes to the database three times; each write is \
         on the disk before the next step. {AT_A_TIME} at a time share their commits. *One at a time* has nobody to \
         share with. *The three writes alone* run one after the other without anything else. Writes go through one \
         thread, so {AT_A_TIME} at a time without shared commits (which the gateway cannot be configured to do) could \
         not be faster than that."
    ));
    let Results { many, one, writes } = results;
    let mut table = Table::new();
    table.row(&format!("{AT_A_TIME} at a time"), many, rate);
    table.row("one at a time", one, rate);
    table.compare(
        &format!("{AT_A_TIME} at a time: … of one at a time"),
        &many.ratio_to(one),
        Some(Target::Least(5.0)),
    );
    table.row("the three writes alone, one commit each", writes, rate);
    table.compare(
        &format!("{AT_A_TIME} at a time: … of the three writes alone"),
        &many.ratio_to(writes),
        Some(Target::Least(5.0)),
    );
    section.table(&table);
    Ok(())
}
