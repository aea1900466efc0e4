//! Components that nobody has written, against admission: those that the fuzzer keeps, made of random bytes by
//! wasm-smith and by mutation, and the project's own guests with bytes changed. None may be more than refused,
//! and whatever comes, what served before serves on. The same ones each time: `fuzz/` looks for others.

use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, panic, thread};

use gateway_host::PluginSet;
use gateway_sandbox::Limits;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use test_guests::{
    BAD_VARIANT, CANARY_WAT, HTTP_IMPORT, MANY_MEMORIES, MULTI_MEMORY, PLAIN, PLANT, UNKNOWN_IMPORT, V1,
};

use crate::support::{Fixture, set};

/// Enough for a trial call of a good guest; a loop that a changed byte makes is over soon.
const FUEL: u64 = 5_000_000;

/// Numbers that look random (SplitMix64), the same each time.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next().to_le_bytes()[0])
            .take(count)
            .collect()
    }
}

/// How often a thread of the host has panicked: the panic is logged, and the plugin keeps its status.
static CRASHES: AtomicUsize = AtomicUsize::new(0);

fn count_crashes() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if thread::current().name() == Some("guest") {
                CRASHES.fetch_add(1, Ordering::Relaxed);
            }
            usual(info);
        }));
    });
}

/// How many files had which result.
#[derive(Debug, Default, PartialEq)]
struct Count {
    tried: usize,
    admitted: usize,
    refused: usize,
}

/// A host in which [`PLAIN`] serves, and files that take its place.
struct Bench {
    fixture: Fixture,
    set: PluginSet,
    count: Count,
}

impl Bench {
    async fn new() -> Self {
        count_crashes();
        let mut set = set(&[("s", "p")], &[]);
        for config in set.plugins.values_mut() {
            config.limits = Limits {
                fuel: FUEL,
                ..config.limits.clone()
            };
        }
        Self {
            fixture: Fixture::new(&[("p", PLAIN)], set.clone()).await,
            set,
            count: Count::default(),
        }
    }

    async fn put(&self, bytes: &[u8]) {
        self.fixture.put("p", bytes);
        self.fixture.host.reconfigure(self.set.clone()).await;
    }

    /// Puts a file in place, and what is good again where it was taken.
    async fn try_file(&mut self, bytes: &[u8]) {
        let before = self.fixture.status("p").generation;
        self.put(bytes).await;
        let status = self.fixture.status("p");
        self.count.tried += 1;
        if let Some(problem) = &status.problem {
            self.count.refused += 1;
            assert_eq!(status.generation, before, "{problem}");
        } else {
            self.count.admitted += 1;
            let digest = status.generation.clone().map(|(_, digest)| digest);
            assert_eq!(digest, Some(hex::encode(Sha256::digest(bytes))));
            // It may say or fail as it likes.
            let _ = self.fixture.ask("s").await;
        }
        if status.generation != before {
            self.put(PLAIN).await;
        }
        assert_eq!(
            self.fixture.ask("s").await.unwrap(),
            json!({}),
            "what is good serves"
        );
    }

    #[expect(clippy::print_stdout, reason = "with `--nocapture` it says what was tried")]
    fn report(&self, what: &str) {
        let Count {
            tried,
            admitted,
            refused,
        } = self.count;
        let crashes = CRASHES.load(Ordering::Relaxed);
        println!("{tried} {what}, {admitted} admitted, {refused} refused, {crashes} crashes");
        assert_eq!((admitted + refused, crashes), (tried, 0));
    }
}

/// The files that the fuzzer keeps for its target `component`: those whose first byte says that the rest is the
/// file itself.
fn kept() -> Vec<Vec<u8>> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let mut paths: Vec<_> = ["corpus/component", "regressions/component"]
        .iter()
        .filter_map(|directory| fs::read_dir(fuzz.join(directory)).ok())
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let inputs = paths.into_iter().map(|path| fs::read(path).unwrap());
    inputs
        .filter_map(|input| match input.split_first() {
            Some((kind, file)) if kind % 4 == 0 => Some(file.to_vec()),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn components_that_the_fuzzer_keeps_are_refused_at_worst() {
    let mut bench = Bench::new().await;
    for file in kept() {
        bench.try_file(&file).await;
    }
    bench.report("components that the fuzzer keeps");
    assert!(bench.count.tried > 200, "its corpus is not there");
}

#[tokio::test]
async fn guests_with_changed_bytes_are_refused_at_worst() {
    const SMALL: [&[u8]; 8] = [
        PLAIN,
        PLANT,
        CANARY_WAT,
        MULTI_MEMORY,
        MANY_MEMORIES,
        BAD_VARIANT,
        HTTP_IMPORT,
        UNKNOWN_IMPORT,
    ];
    let (mut bench, mut dice) = (Bench::new().await, Dice(2));
    for round in 0..if cfg!(feature = "test-all") { 600 } else { 60 } {
        // One in thirty is what a compiler makes, which takes longer to compile.
        let guest = if round % 30 == 29 {
            V1
        } else {
            SMALL[dice.below(SMALL.len())]
        };
        let mut file = guest.to_vec();
        for _ in 0..1 + dice.below(3) {
            let at = dice.below(file.len());
            match dice.below(4) {
                0 => file[at] ^= 1 << dice.below(8),
                1 => file[at] = dice.bytes(1)[0],
                2 => file.insert(at, dice.bytes(1)[0]),
                _ => drop(file.remove(at)),
            }
        }
        bench.try_file(&file).await;
    }
    bench.report("guests with changed bytes");
    assert!(
        bench.count.admitted > 0,
        "nothing that was changed is taken: too much is"
    );
}
