//! Requests a second. `check` and `authorize` beside a bare hyper server that answers the same bytes,
//! `authorize` for ever-new people beside signing alone on the same cores, and both beside the old service.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use gateway_token::{Algorithm, PermissionClaims, SigningKeys};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::figure::{Samples, Target};
use crate::http::{EXTERNAL, Expected, ask, get};
use crate::load::{Load, Requests};
use crate::old_service::{self, OldService};
use crate::report::{Section, Table, grouped, rate};
use crate::site::{Server, Site};
use crate::{Plan, bare, machine};

/// Connections that send requests at the same time.
pub(crate) const CONNECTIONS: usize = 32;
/// Connections to the old service, which accepts a new one for each request and has two workers.
const OLD_CONNECTIONS: usize = 8;
/// People who are active.
const ACTIVE: usize = 1_000;

/// The service that is asked for.
pub(crate) const SERVICE: &str = "[service.example]\nprovider = \"example\"\n";
/// How it is asked for.
pub(crate) const AUTHORIZE: &str = "/auth/authorize?service=example";

/// Rates, a second.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    people: usize,
    bare_check: Samples,
    check: Samples,
    bare_authorize: Samples,
    /// A few people, again and again.
    authorize_few: Samples,
    /// More people, again and again.
    authorize_active: Samples,
    ever_new: Vec<EverNew>,
    old: Old,
}

/// With one kind of key.
#[derive(Debug, Serialize, Deserialize)]
struct EverNew {
    algorithm: Algorithm,
    signing: Samples,
    authorize: Samples,
}

#[derive(Debug, Serialize, Deserialize)]
enum Old {
    Measured {
        versions: String,
        check: Samples,
        authorize: Samples,
    },
    /// Why not.
    LeftOut(String),
}

/// A gateway with one kind of key, and what of it is measured.
struct Signer {
    keys: SigningKeys,
    gateway: Server,
    _site: Site,
    requests: Requests,
    measured: EverNew,
}

/// Measures.
///
/// # Errors
/// When a server does not start, or an answer is another than expected.
pub(crate) fn measure(plan: &Plan) -> Result<Results> {
    let people = plan.everybody()?;
    let tokens = people.tokens(people.count)?;
    let each = Requests::once(tokens.iter().map(|token| get(AUTHORIZE, token)));
    let mut signers = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]
        .map(|algorithm| Signer::new(&people.database, &each, algorithm))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let gateway = signers.first().context("no gateway")?.gateway.address;
    let old = old_service::start(plan)?;

    let active = || tokens.iter().step_by(tokens.len().div_ceil(ACTIVE));
    let check = Requests::cycle(active().map(|token| get("/auth/check", token)));
    let few = Requests::cycle(active().take(CONNECTIONS).map(|token| get(AUTHORIZE, token)));
    let more = Requests::cycle(active().map(|token| get(AUTHORIZE, token)));
    let answer = |target| ask(gateway, &get(target, &tokens[0]), &Expected::ok(""));
    let bare_check = bare::start(&answer("/auth/check")?)?;
    let bare_authorize = bare::start(&answer(AUTHORIZE)?)?;
    let mut results = Results {
        people: people.count,
        bare_check: Samples::default(),
        check: Samples::default(),
        bare_authorize: Samples::default(),
        authorize_few: Samples::default(),
        authorize_active: Samples::default(),
        ever_new: Vec::new(),
        old: match &old {
            Ok(old) => Old::Measured {
                versions: old.versions.clone(),
                check: Samples::default(),
                authorize: Samples::default(),
            },
            Err(reason) => Old::LeftOut(reason.clone()),
        },
    };

    let (profile, token) = ("\"authenticated\":true", "\"token\":\"");
    for round in plan.rounds() {
        let rate = |samples: &mut Samples, to, requests, text| {
            let rate = closed(to, requests, Expected::ok(text), plan.time)?;
            if round.counts {
                samples.push(rate);
            }
            Ok::<_, anyhow::Error>(())
        };
        rate(&mut results.bare_check, bare_check.address, &check, profile)?;
        rate(&mut results.check, gateway, &check, profile)?;
        rate(&mut results.bare_authorize, bare_authorize.address, &few, token)?;
        rate(&mut results.authorize_few, gateway, &few, token)?;
        rate(&mut results.authorize_active, gateway, &more, token)?;
        for signer in &mut signers {
            let signing = signing_rate(&signer.keys, plan.time)?;
            if round.counts {
                signer.measured.signing.push(signing);
            }
            let (to, requests) = (signer.gateway.address, &signer.requests);
            rate(&mut signer.measured.authorize, to, requests, token)?;
        }
        if let (Ok(old), Old::Measured { check, authorize, .. }) = (&old, &mut results.old) {
            for (samples, target, text) in [
                (check, "/auth/check", "\"authenticated\": true"),
                (authorize, AUTHORIZE, "\"token\": \""),
            ] {
                let rate = old_rate(old, target, text, plan.time)?;
                if round.counts {
                    samples.push(rate);
                }
            }
        }
    }
    results.ever_new = signers.into_iter().map(|signer| signer.measured).collect();
    Ok(results)
}

impl Signer {
    fn new(database: &std::path::Path, each: &Requests, algorithm: Algorithm) -> Result<Self> {
        let (key, _) = gateway_token::generate_key(algorithm)?;
        let site = example(database, &key)?;
        Ok(Self {
            keys: SigningKeys::from_pems(&[key], &[])?,
            gateway: site.start()?,
            _site: site,
            requests: each.again(),
            measured: EverNew {
                algorithm,
                signing: Samples::default(),
                authorize: Samples::default(),
            },
        })
    }
}

/// A site with the example provider as [`SERVICE`].
pub(crate) fn example(database: &std::path::Path, key: &SecretString) -> Result<Site> {
    let site = Site::new(database, key)?;
    site.place("example", guest_examples::EXAMPLE.wasm)?;
    site.configure(SERVICE)?;
    Ok(site)
}

fn closed(to: std::net::SocketAddr, requests: &Requests, expected: Expected, time: Duration) -> Result<f64> {
    let load = Load {
        to,
        requests,
        expected,
        connections: CONNECTIONS,
    };
    Ok(load.rate(time)?.rate())
}

fn old_rate(old: &OldService, target: &str, text: &'static str, time: Duration) -> Result<f64> {
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: auth.example.org\r\nauth-token: {}\r\n\r\n",
        old.token
    );
    let load = Load {
        to: old.server.address,
        requests: &Requests::cycle([request]),
        expected: Expected::ok(text),
        connections: OLD_CONNECTIONS,
    };
    Ok(load.rate(time)?.rate())
}

/// Permission tokens a second that all cores sign when they do nothing else.
fn signing_rate(keys: &SigningKeys, time: Duration) -> Result<f64> {
    let cores = machine::cores()?;
    let begin = Instant::now();
    let sign = || {
        let mut count = 0;
        while begin.elapsed() < time {
            keys.sign(&claims(count))?;
            count += 1;
        }
        Ok(count)
    };
    let total: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(sign)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a signing thread panicked"))?)
            .sum::<Result<u64>>()
    })?;
    Ok(total as f64 / begin.elapsed().as_secs_f64())
}

/// Claims as the gateway signs them, other ones for each `number`.
fn claims(number: u64) -> PermissionClaims {
    let user = format!("{number:032x}");
    let permission = serde_json::Value::from(format!("example-{user}"));
    PermissionClaims {
        iss: EXTERNAL.to_owned(),
        sub: user.clone(),
        userid: user,
        service: "example".to_owned(),
        permissions: [("provider-token".to_owned(), permission.into())]
            .into_iter()
            .collect(),
        aud: None,
        plugin: "0".repeat(64),
        iat: number,
        exp: number + 900,
    }
}

/// Its section of the report.
pub(crate) fn section(results: &Results, section: &mut Section) -> Result<()> {
    let Results {
        check,
        authorize_few,
        authorize_active,
        bare_check,
        bare_authorize,
        ..
    } = results;
    section.say(&format!(
        "Requests per second over {CONNECTIONS} connections, each of which sends its next request when it has received \
         the answer to the previous one. The database has {} people. *In turn*: the requests cycle through 1,000 of \
         them, spread over the database. *Ever-new*: each person appears in one request only, so every answer is \
         signed; the row above it is the rate of signing such tokens on all cores and nothing else.",
        grouped(results.people as f64)
    ));
    let mut table = Table::new();
    table.row("bare hyper, the bytes of `check`", bare_check, rate);
    table.row("`check`, valid sessions in turn", check, rate);
    table.compare(
        "… of bare hyper",
        &check.ratio_to(bare_check),
        Some(Target::Least(0.60)),
    );
    table.row("bare hyper, the bytes of `authorize`", bare_authorize, rate);
    for (people, samples) in [(CONNECTIONS, authorize_few), (ACTIVE, authorize_active)] {
        table.row(
            &format!("`authorize`, {} people in turn", grouped(people as f64)),
            samples,
            rate,
        );
        let ratio = samples.ratio_to(bare_authorize);
        table.compare("… of bare hyper", &ratio, Some(Target::Least(0.35)));
    }
    for EverNew {
        algorithm,
        signing,
        authorize,
    } in &results.ever_new
    {
        table.row(&format!("{algorithm} signatures, nothing else"), signing, rate);
        table.row(
            &format!("`authorize`, ever-new people, {algorithm}"),
            authorize,
            rate,
        );
        // The other two have no target: they sign so quickly that the rest counts for more.
        let target = (*algorithm == Algorithm::RS256).then_some(Target::Least(0.88));
        table.compare("… of signing alone", &authorize.ratio_to(signing), target);
    }
    section.table(&table);

    section.heading("Beside dgp-oauth2");
    match &results.old {
        Old::LeftOut(reason) => section.say(&format!("Left out: {reason}.")),
        Old::Measured {
            versions,
            check: old_check,
            authorize: old_authorize,
        } => {
            section.say(&format!(
                "{versions}, two workers, a user in SQLite, its sample permission provider; {OLD_CONNECTIONS} \
                 concurrent connections, each of which it closes after one answer. The ratios use the gateway's rates \
                 above."
            ));
            let mut table = Table::new();
            table.row("dgp-oauth2, `check`", old_check, rate);
            table.compare(
                "… of dgp-oauth2",
                &check.ratio_to(old_check),
                Some(Target::Least(45.0)),
            );
            table.row("dgp-oauth2, `authorize`", old_authorize, rate);
            for (people, samples) in [(CONNECTIONS, authorize_few), (ACTIVE, authorize_active)] {
                let what = format!("… of dgp-oauth2, {} people in turn", grouped(people as f64));
                table.compare(
                    &what,
                    &samples.ratio_to(old_authorize),
                    Some(Target::Least(1000.0)),
                );
            }
            section.table(&table);
        }
    }
    Ok(())
}
