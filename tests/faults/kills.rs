//! kill -9 at random points of sign-ins, username updates and plugin swaps. Nothing that was acknowledged is lost, and
//! only complete components serve afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway_model::{SystemClock, SystemRandom, UserLimits};
use gateway_store::{DatabaseUrl, Store, StoreOptions, UserIds};
use reqwest::StatusCode;
use sha2::{Digest, Sha256};

use super::ledger::{Ledger, claims};
use super::machine::{Dice, assert_sound};
use super::trials;
use support::setup::{SetupDir, private_key};
use support::{Gateway, Setup, eventually};

const KILLS: u32 = trials(4, 200);
const CALLERS: u32 = 3;
const PLUGIN: &str = "swapped";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_during_sign_ins_updates_and_swaps_lose_nothing_that_was_acknowledged() {
    let setup = Setup::dev()
        .env("PRIVATE_KEY", &private_key(gateway_token::Algorithm::ES256))
        .plugin("count", test_guests::COUNT)
        .plugin_table("count", "grants = [\"logging\"]")
        .extension("count")
        .service("example", PLUGIN)
        // Session tokens name the gateway that issued them, so it must have the same name after each start.
        .env("EXTERNAL_ADDRESS", "http://127.0.0.1:9");
    let swaps = Swaps::default();
    swaps.place(&setup.dir, 0);
    let ledger = Ledger::default();
    let (mut logged, mut asked, mut halves) = (BTreeSet::new(), 0, 0);
    let mut dice = Dice::new();
    for kill in 0..KILLS {
        let mut gateway = setup.start().await;
        halves += u32::from(!swaps.assert_serves_what_was_whole(&gateway, kill).await);
        let mut crowd = ledger.crowd(&gateway, &format!("p{kill}"), CALLERS);
        let swapper = tokio::spawn(swaps.clone().go_on(Arc::clone(&setup.dir), dice.below(15)));
        // The kill comes at a random point: during the first sign-ins, or some way into them.
        crowd.have_answers(u64::from(kill % 6) * 2).await;
        tokio::time::sleep(Duration::from_micros(dice.below(50_000))).await;
        gateway.kill().await;
        swapper.abort();
        gateway.log.wait_for_end().await;
        gateway.log.assert_no_panic();
        asked += crowd.until_gone().await[0];
        logged.extend(events_in(&gateway));
        assert_sound(&setup.dir.database());
    }

    let gateway = setup.start().await;
    swaps.assert_serves_what_was_whole(&gateway, KILLS).await;
    eventually("no event is pending", async || {
        pending(&setup.dir).await.is_empty().then_some(())
    })
    .await;
    logged.extend(events_in(&gateway));
    ledger.assert_served(&gateway).await;
    let users = ledger.assert_stored(&setup.dir, &[]).await;
    let acknowledged = ledger.people();
    for person in acknowledged.keys() {
        // Each hook records the event's id. It equals the one in the log, if that was written before the kill.
        for hook in ["seen-on-new-user", "seen-on-user-login"] {
            let user = &users[person];
            let event = user["attributes"][hook].as_str();
            let event = event.unwrap_or_else(|| panic!("{hook} was never called for {person}: {user}"));
            assert_eq!(event.len(), 32, "{event}");
        }
    }
    for (person, user) in &users {
        assert_eq!(
            user["status"], "active",
            "{person}, whose events were delivered again: {user}"
        );
    }
    // A user whose sign-in was interrupted can sign in again.
    for person in users.keys().filter(|person| !acknowledged.contains_key(*person)) {
        gateway.sign_in(person).await;
    }
    let stamped: BTreeSet<_> = acknowledged
        .keys()
        .filter_map(|person| users[person]["attributes"]["seen-on-user-login"].as_str())
        .collect();
    let in_log = stamped.iter().filter(|event| logged.contains(**event)).count();
    let names = acknowledged
        .values()
        .filter(|told| told.username.is_some())
        .count();
    println!(
        "{KILLS} kills, {asked} sign-ins and updates begun, {} sign-ins and {names} usernames acknowledged, {} users, \
         none lost; {in_log} of {} login events of acknowledged sign-ins are in the log too; {} components placed, \
         {halves} starts found half a file, all served what was whole",
        acknowledged.len(),
        users.len(),
        stamped.len(),
        swaps.0.lock().unwrap().len(),
    );
    assert!(
        !acknowledged.is_empty() && names > 0,
        "too few sign-ins to show anything: {}",
        acknowledged.len()
    );
    assert!(
        asked as usize > acknowledged.len() + names,
        "no kill ever hit a request"
    );
    gateway.stop().await;
    assert_sound(&setup.dir.database());
}

/// The components that were placed as complete files: digest and version.
#[derive(Clone, Default)]
struct Swaps(Arc<Mutex<BTreeMap<String, u64>>>);

impl Swaps {
    /// Places the `n`th component, which is new.
    fn place(&self, dir: &SetupDir, n: usize) {
        let (component, version) = component(n);
        let digest = hex::encode(Sha256::digest(&component));
        self.0.lock().unwrap().insert(digest, version);
        dir.place(PLUGIN, &component);
    }

    /// Swaps until the end, with `pause` milliseconds after each step. Every second component is first written in
    /// place, as `cp` does it, and is incomplete for a while.
    async fn go_on(self, dir: Arc<SetupDir>, pause: u64) {
        loop {
            let n = self.0.lock().unwrap().len();
            if n % 2 == 1 {
                let (component, _) = component(n);
                fs::write(dir.plugin_file(PLUGIN), &component[..component.len() / 2]).expect("a file");
                tokio::time::sleep(Duration::from_millis(10 + pause)).await;
            }
            self.place(&dir, n);
            tokio::time::sleep(Duration::from_millis(10 + pause)).await;
        }
    }

    /// A complete file serves; otherwise an earlier one does. Returns whether the file is complete.
    async fn assert_serves_what_was_whole(&self, gateway: &Gateway, kill: u32) -> bool {
        let token = gateway.sign_in(&format!("asks{kill}")).await;
        let (status, answer) = gateway.browser().authorize(&token, "example").await;
        assert_eq!(status, StatusCode::OK, "{answer}\n{}", gateway.log.text());
        let claims = claims(answer["token"].as_str().expect("a token"));
        let serves = claims["plugin"].as_str().expect("a digest");
        let placed = self.0.lock().unwrap();
        let version = placed
            .get(serves)
            .unwrap_or_else(|| panic!("a component serves that was never placed: {serves}"));
        assert_eq!(answer["permissions"]["version"], *version);
        let file = fs::read(gateway.dir.plugin_file(PLUGIN)).expect("the file");
        let there = hex::encode(Sha256::digest(file));
        let whole = placed.contains_key(&there);
        if whole {
            assert_eq!(serves, there, "the file is whole and does not serve");
        }
        whole
    }
}

/// A provider that differs from all others by a custom section without meaning, and its version.
fn component(n: usize) -> (Vec<u8>, u64) {
    let (component, version) = [(test_guests::V1, 1), (test_guests::V2, 2)][n % 2];
    let text = format!("{n:08}");
    // A custom section: its id, the size of the rest, and a name, all below 128.
    let mut section = vec![0, 10, 1, b'n'];
    section.extend_from_slice(text.as_bytes());
    ([component, &section].concat(), version)
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

async fn pending(dir: &SetupDir) -> Vec<String> {
    let options = StoreOptions {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        user_ids: UserIds::Random,
        event_retention: Duration::from_secs(86_400),
        limits: UserLimits::default(),
    };
    let store = Store::open(&DatabaseUrl::File(dir.database()), options)
        .await
        .expect("the database opens");
    let (mut place, mut events) = (0, Vec::new());
    while let Some((found, event, user)) = store
        .next_pending_sign_in(place, i64::MAX)
        .await
        .expect("it can be read")
    {
        place = found;
        events.push((event, user));
    }
    store.close().await.expect("it closes");
    events
        .into_iter()
        .map(|(event, _)| event.id.to_string())
        .collect()
}
