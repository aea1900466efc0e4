//! kill -9, fifty times, at random points of sign-ins: nothing that was acknowledged is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "in tests a panic is the report"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway_model::{SystemClock, SystemRandom};
use gateway_store::{DatabaseUrl, Store, StoreOptions, UserIds};
use reqwest::redirect::Policy;
use serde_json::Value;
use support::browser::token_in;
use support::{Gateway, Setup, eventually};
use tokio::task::JoinSet;

const KILLS: u32 = 50;
const CALLERS: u32 = 3;

/// Who has been told that they are signed in, and the session token that they were given.
type Acknowledged = Arc<Mutex<BTreeMap<String, String>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_during_sign_ins_lose_nobody_who_was_acknowledged() {
    let setup = Setup::dev()
        .env(
            "PRIVATE_KEY",
            &support::setup::private_key(gateway_token::Algorithm::ES256),
        )
        .plugin("count", test_guests::COUNT)
        .plugin_table("count", "grants = [\"logging\"]")
        .extension("count")
        // Session tokens name the gateway that issued them: it has to be the same one after each start.
        .env("EXTERNAL_ADDRESS", "http://127.0.0.1:9");
    let acknowledged: Acknowledged = Arc::default();
    let (mut logged, mut asked) = (BTreeSet::new(), 0);
    let mut dice = Dice::new();
    for kill in 0..KILLS {
        let mut gateway = setup.start().await;
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let url = format!("http://{}/auth/login/dev?user=", gateway.address);
            callers.spawn(sign_in_until_killed(
                url,
                format!("p{kill}-{caller}"),
                Arc::clone(&acknowledged),
            ));
        }
        // The point in time is the experiment: anywhere in the first sign-ins, or some way into them.
        tokio::time::sleep(Duration::from_micros(dice.below(300_000))).await;
        gateway.kill().await;
        gateway.log.wait_for_end().await;
        gateway.log.assert_no_panic();
        asked += callers.join_all().await.into_iter().sum::<u32>();
        logged.extend(events_in(&gateway));
        assert_sound(&setup.dir.database());
    }

    let gateway = setup.start().await;
    eventually("no event is pending", async || {
        pending(&setup.dir.database()).await.is_empty().then_some(())
    })
    .await;
    logged.extend(events_in(&gateway));
    let export = gateway.cli(&["user", "export"]).await.succeeded();
    let users: BTreeMap<String, Value> = export
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|user| {
            (
                user["identities"][0]["subject"]
                    .as_str()
                    .expect("a subject")
                    .to_owned(),
                user,
            )
        })
        .collect();
    let acknowledged = acknowledged.lock().unwrap().clone();
    let browser = gateway.browser();
    for (person, token) in &acknowledged {
        assert!(
            browser.is_signed_in(token).await,
            "{person} was given a session and it is lost"
        );
        let user = users
            .get(person)
            .unwrap_or_else(|| panic!("{person} was acknowledged and is lost"));
        // Each hook leaves the event's id behind; it is the one that the log has, where the log could
        // still be written before the kill.
        for hook in ["seen-on-new-user", "seen-on-user-login"] {
            let event = user["attributes"][hook].as_str();
            let event = event.unwrap_or_else(|| panic!("{hook} was never called for {person}: {user}"));
            assert_eq!(event.len(), 32, "{event}");
        }
    }
    for (person, user) in &users {
        assert_eq!(
            user["status"], "active",
            "{person}, whose events were told again: {user}"
        );
    }
    // Whoever was killed half-way can still sign in.
    for person in users.keys().filter(|person| !acknowledged.contains_key(*person)) {
        gateway.sign_in(person).await;
    }
    let stamped: BTreeSet<_> = acknowledged
        .keys()
        .filter_map(|person| users[person]["attributes"]["seen-on-user-login"].as_str())
        .collect();
    let in_log = stamped.iter().filter(|event| logged.contains(**event)).count();
    println!(
        "{KILLS} kills, {asked} sign-ins begun, {} acknowledged, {} users, none lost; {in_log} of {} login \
         events of acknowledged sign-ins are in the log too",
        acknowledged.len(),
        users.len(),
        stamped.len()
    );
    assert!(
        acknowledged.len() >= KILLS as usize,
        "too few sign-ins to show anything: {}",
        acknowledged.len()
    );
    assert!(asked as usize > acknowledged.len(), "no kill ever hit a sign-in");
    gateway.stop().await;
    assert_sound(&setup.dir.database());
}

/// Signs new people in, one after the other, until the gateway is gone. Gives how many it began with.
async fn sign_in_until_killed(url: String, prefix: String, acknowledged: Acknowledged) -> u32 {
    let client = reqwest::Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .build()
        .expect("a client");
    for person in 0.. {
        let name = format!("{prefix}-{person}");
        match client.get(format!("{url}{name}")).send().await {
            Ok(response) => {
                acknowledged.lock().unwrap().insert(name, token_in(&response));
            }
            Err(_) => return person + 1,
        }
    }
    unreachable!()
}

/// The ids of all events that the extension has logged.
fn events_in(gateway: &Gateway) -> BTreeSet<String> {
    let lines = gateway.log.lines();
    lines
        .iter()
        .filter(|line| line.contains("hook=on-"))
        .filter_map(|line| line.split_once(" event="))
        .map(|(_, rest)| rest.chars().take_while(char::is_ascii_hexdigit).collect())
        .collect()
}

/// SQLite's own check, by another reader than the gateway.
fn assert_sound(database: &Path) {
    let connection = rusqlite::Connection::open(database).expect("the database opens");
    let verdict: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("it can be checked");
    assert_eq!(verdict, "ok");
    let mut violations = connection.prepare("PRAGMA foreign_key_check").expect("SQL");
    assert!(
        !violations.exists([]).expect("it can be checked"),
        "a row refers to one that is not there"
    );
}

async fn pending(database: &Path) -> Vec<String> {
    let options = StoreOptions {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        user_ids: UserIds::Random,
        event_retention: Duration::from_secs(86_400),
    };
    let store = Store::open(&DatabaseUrl::File(database.to_owned()), options)
        .await
        .expect("the database opens");
    let events = store.pending_events().await.expect("it can be read");
    store.close().await.expect("it closes");
    events
        .into_iter()
        .map(|(event, _)| event.id.to_string())
        .collect()
}

/// Numbers that differ from run to run.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = u64::from(std::process::id()) ^ (support::fake_oidc::now() << 20) | 1;
        println!("dice begin at {seed}");
        Self(seed)
    }

    /// xorshift64.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
