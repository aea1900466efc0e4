//! The control of the canaries: a host that reuses a store shows one user what another left, in every place that they
//! search.

use test_guests::{CANARY_WAT, canaries};
use wasmtime::OptLevel;

use super::Guest;
use super::providers::{cause, shown};

/// Ids with this ending make the guest search the expensive places too.
const USERS: [&str; 3] = [
    "CANARY-00000000000000a0",
    "CANARY-00000000000000b0",
    "CANARY-00000000000000c0",
];

#[test]
fn a_used_instance_leaks_in_every_place() {
    for canary in canaries().unwrap() {
        // Some contain an interpreter. Optimizing it takes longer than the test.
        let guest = Guest::compile(&canary.wasm, OptLevel::None).unwrap();
        let answers: Vec<_> = guest
            .ask_one_instance("s", &USERS)
            .into_iter()
            .map(|answer| places(&shown(answer)))
            .collect();
        let [(looked, first), used @ ..] = &*answers else {
            panic!("there are three answers");
        };
        assert_eq!(first, "", "{}", canary.language);
        assert!(looked.contains(' '), "{}: it looks nowhere", canary.language);
        for (_, found) in used {
            assert_eq!(found, looked, "{}", canary.language);
        }
    }
}

#[test]
fn segments_that_were_dropped_are_missed_in_a_used_instance() {
    let guest = Guest::load(CANARY_WAT).unwrap();
    let mut answers = guest.ask_one_instance("segments", &USERS).into_iter();
    assert_eq!(places(&shown(answers.next().unwrap())).1, "");
    assert_eq!(
        cause(answers.next().unwrap()),
        "wasm trap: out of bounds memory access"
    );
}

/// The places that the guest searched, and those where it found something.
fn places(answer: &str) -> (String, String) {
    let (_, answer) = answer.split_once("looked=").unwrap();
    let (looked, found) = answer.split_once(" found=").unwrap();
    (looked.to_owned(), found.to_owned())
}
