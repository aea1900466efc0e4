//! Nothing of one user is ever seen by the next: guests in every language look wherever they can keep
//! something, and leave the user's id there. That they look in the right places is shown by
//! `tests/guests/tests/bare/canary.rs`, where a host that uses a store again leaks in all of them.
//!
//! Every call is for another user. The pool has fewer memories than `CANARY_CALLS` has calls, so most calls run in a
//! memory that an earlier call used.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gateway_host::PluginSet;
use gateway_model::UserId;
use serde_json::json;
use test_guests::{Canary, canaries};
use tokio::task::JoinSet;

use crate::support::{Fixture, instances, set};

/// Calls unless the variable `CANARY_CALLS` says how many, all languages together.
const CALLS: usize = if cfg!(feature = "test-all") { 10_000 } else { 300 };
/// Concurrent callers of each plugin.
const CALLERS: usize = 6;
/// Prepared instances of each plugin.
const PREPARED: usize = 8;
/// Swaps of the plugin that is a different one each time. Those that are small are components that there have
/// not been, so that with their prepared instances they use more memories than the 128 that the pool leaves
/// to the components that used them: from then on one gets another's.
const SWAPS: u64 = if cfg!(feature = "test-all") { 40 } else { 4 };
/// Bytes of a component that is compiled for each swap.
const SMALL: usize = 200_000;
/// Concurrent calls before and after a swap.
const CALLS_BY_A_SWAP: usize = 12;

/// The prefix of the plugins' names.
const PREFIX: &str = "canary-";
/// The one with a service more.
const WAT: &str = "canary-wat";
/// The plugin that is swapped.
const SWAPPED: &str = "canary-swapped";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_one_user_is_ever_seen_by_the_next() {
    let mut canaries = canaries().unwrap();
    for canary in &mut canaries {
        // Metrics are counted by name, over all tests of the process.
        canary.language.insert_str(0, PREFIX);
    }
    let shares = shares(&canaries, calls());
    let files: Vec<_> = canaries
        .iter()
        .map(|canary| (&*canary.language, &*canary.wasm))
        .collect();
    let fixture = Arc::new(Fixture::new(&files, plugins(&canaries, 0)).await);

    ask_all(&fixture, shares.iter().map(|(plugin, calls)| (plugin, calls / 2))).await;
    for plugin in shares.keys() {
        assert_eq!(instances(plugin, "ahead"), 0, "{plugin}");
    }

    fixture.host.reconfigure(plugins(&canaries, PREPARED)).await;
    for plugin in shares.keys() {
        fixture.ready(plugin, PREPARED).await;
    }
    ask_all(
        &fixture,
        shares.iter().map(|(plugin, calls)| (plugin, calls - calls / 2)),
    )
    .await;
    for (plugin, calls) in &shares {
        let (fresh, ahead) = (instances(plugin, "fresh"), instances(plugin, "ahead"));
        assert_eq!(fresh + ahead, *calls as u64, "{plugin}");
        assert!(ahead >= PREPARED as u64, "{plugin}");
        say(&format!(
            "{plugin}: {calls} calls, {ahead} of them in prepared instances, no leak"
        ));
    }

    swap(&fixture, &canaries).await;
    let swapped = instances(SWAPPED, "fresh") + instances(SWAPPED, "ahead");
    say(&format!(
        "one plugin swapped {SWAPS} times: {swapped} calls, no leak"
    ));
}

/// How many calls there are, in all.
fn calls() -> usize {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long to test is for whoever runs the test to say"
    )]
    let calls = std::env::var("CANARY_CALLS");
    calls.map_or(CALLS, |calls| calls.parse().expect("CANARY_CALLS is a number"))
}

/// Each plugin's share of the calls: those that are slow have less.
fn shares(canaries: &[Canary], calls: usize) -> BTreeMap<String, usize> {
    let share = |plugin: &str| match plugin {
        "canary-rust" | WAT | "canary-c" => 300,
        "canary-js" => 70,
        _ => 30,
    };
    canaries
        .iter()
        .map(|canary| (canary.language.clone(), calls * share(&canary.language) / 1000))
        .collect()
}

/// Every canary, for a service of its name, and the first once more, to be swapped.
fn plugins(canaries: &[Canary], prepared: usize) -> PluginSet {
    let mut services: Vec<_> = canaries
        .iter()
        .map(|canary| (&*canary.language, &*canary.language))
        .collect();
    services.extend([("segments", WAT), (SWAPPED, SWAPPED)]);
    let mut set = set(&services, &[]);
    // Prepared instances may use half of their plugin's memory, and an interpreter keeps 32 MiB for each.
    set.total_memory = Some(4 << 30);
    for config in set.plugins.values_mut() {
        config.prepared = prepared;
        // Those that look at everything an interpreter has take long.
        config.limits.fuel = 10_000_000_000;
        config.limits.deadline = Duration::from_secs(600);
    }
    set
}

/// Calls all plugins at the same time, each the given number of times.
async fn ask_all(fixture: &Arc<Fixture>, shares: impl Iterator<Item = (&String, usize)>) {
    let mut callers = JoinSet::new();
    for (plugin, calls) in shares {
        for caller in 0..CALLERS {
            let (fixture, plugin) = (Arc::clone(fixture), plugin.clone());
            callers.spawn(async move {
                for call in (caller..calls).step_by(CALLERS) {
                    let segments = plugin == WAT && call % 2 == 0;
                    ask(&fixture, if segments { "segments" } else { &plugin }).await;
                }
            });
        }
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
}

/// Makes another guest the plugin, again and again, while it is called.
async fn swap(fixture: &Arc<Fixture>, canaries: &[Canary]) {
    let mut files = canaries.iter().cycle();
    for number in 1..=SWAPS {
        let mut callers = JoinSet::new();
        let call = |callers: &mut JoinSet<()>| {
            for _ in 0..CALLS_BY_A_SWAP {
                let fixture = Arc::clone(fixture);
                callers.spawn(async move { ask(&fixture, SWAPPED).await });
            }
        };
        if number > 1 {
            call(&mut callers);
        }
        fixture.put(SWAPPED, &another(files.next().unwrap(), number));
        fixture
            .wait(SWAPPED, |status| {
                status
                    .generation
                    .as_ref()
                    .is_some_and(|(serving, _)| *serving == number)
            })
            .await;
        call(&mut callers);
        while let Some(caller) = callers.join_next().await {
            caller.unwrap();
        }
        fixture.ready(SWAPPED, PREPARED).await;
    }
}

/// The same guest in a component that is another's, where that does not take long to compile.
fn another(canary: &Canary, number: u64) -> Vec<u8> {
    let mut wasm = canary.wasm.clone();
    if wasm.len() < SMALL {
        // A custom section: its number, its size, its name's size, its name.
        let name = format!("{number:04}");
        wasm.extend([0, 5, 4]);
        wasm.extend(name.bytes());
    }
    wasm
}

/// Asks about a user that there has not been.
async fn ask(fixture: &Fixture, service: &str) {
    static USERS: AtomicU64 = AtomicU64::new(1);
    // An odd factor makes other digits of every number.
    let user = USERS
        .fetch_add(1, Ordering::Relaxed)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let user = format!("CANARY-{user:016x}");
    // Not by the fixture: a busy machine is not a leak.
    let asked = fixture.host.get_permissions(service, &UserId::from(&*user)).await;
    let answer = json!(asked.unwrap().permissions);
    assert_eq!(
        (&answer["user"], &answer["found"]),
        (&json!(user), &json!("")),
        "{service}"
    );
}

#[expect(clippy::print_stderr, reason = "the figures are for the record")]
fn say(figures: &str) {
    eprintln!("{figures}");
}
