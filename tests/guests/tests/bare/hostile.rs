//! The hand-written guests: each does the harm in its name.

use super::Guest;
use super::providers::{cause, shown};

const OUT_OF_FUEL: &str = "wasm trap: all fuel consumed by WebAssembly";

#[test]
fn loops_outside_calls() {
    for guest in [
        test_guests::START_LOOP,
        test_guests::POST_RETURN_LOOP,
        test_guests::REALLOC_LOOP,
    ] {
        assert_eq!(cause(Guest::load(guest).unwrap().ask("s")), OUT_OF_FUEL);
    }
    let guest = Guest::load(test_guests::START_TRAP).unwrap();
    assert_eq!(
        cause(guest.ask("s")),
        "wasm trap: wasm `unreachable` instruction executed"
    );
}

#[test]
fn returns_invalid_answers() {
    for (guest, expected) in [
        (test_guests::BAD_REALLOC, "realloc return: beyond end of memory"),
        (test_guests::BAD_ANSWER_POINTER, "pointer out of bounds of memory"),
        (
            test_guests::BAD_POINTER,
            "list pointer/length out of bounds of memory",
        ),
        (
            test_guests::BAD_LENGTH,
            "list pointer/length out of bounds of memory",
        ),
        (
            test_guests::BAD_UTF8,
            "invalid utf-8 sequence of 1 bytes from index 0",
        ),
        (test_guests::BAD_VARIANT, "unexpected discriminant: 9"),
    ] {
        let cause = cause(Guest::load(guest).unwrap().ask("s"));
        assert!(cause.contains(expected), "{expected}: {cause}");
    }
    let guest = Guest::load(test_guests::SAME_BYTES).unwrap();
    let cause = cause(guest.ask("s"));
    assert!(
        cause.contains("fuel allocated for hostcalls has been exhausted"),
        "{cause}"
    );
}

/// With a limit of 16 MiB on each memory, these get several times as much.
#[test]
fn exceeds_a_limit_on_each_memory() {
    assert_eq!(
        shown(Guest::load(test_guests::MANY_MEMORIES).unwrap().ask("s")),
        "pages=1928"
    );
    assert_eq!(
        shown(Guest::load(test_guests::TABLE_BOMB).unwrap().ask("s")),
        "elements=400000"
    );
}

/// wasmtime charges for the bytes that the instruction moves. Otherwise a hundred turns of the loop would cost a few
/// hundred units.
#[test]
fn pays_for_the_memory_it_moves() {
    let guest = Guest::load(test_guests::BULK_FILL).unwrap();
    let mut store = guest.store();
    store.data_mut().limits = wasmtime::StoreLimits::default();
    store.set_fuel(100 << 20).unwrap();
    assert_eq!(cause(guest.ask_in(&mut store, "s")), OUT_OF_FUEL);
}

/// A runtime with all features enabled accepts these. The plugin host's tests say whether the host does.
#[test]
fn uses_features_that_plugins_do_not_need() {
    assert_eq!(
        shown(Guest::load(test_guests::MULTI_MEMORY).unwrap().ask("s")),
        ""
    );
    assert_eq!(
        shown(Guest::load(test_guests::MANY_INSTANCES).unwrap().ask("s")),
        ""
    );
    assert!(Guest::load(test_guests::SHARED_MEMORY).is_ok());
}

/// It must be large enough to take noticeable time. The host's tests compile it, with a limit.
#[test]
fn is_large_enough_to_be_slow_to_compile() {
    assert!((1 << 20..2 << 20).contains(&test_guests::COMPILE_BOMB.len()));
}

#[test]
fn is_not_a_plugin() {
    for guest in [test_guests::UNKNOWN_IMPORT, test_guests::HTTP_IMPORT] {
        let error = format!("{:#}", Guest::load(guest).unwrap().ask("s").unwrap_err());
        assert!(
            error.contains("evil:corp/backdoor@1.0.0") || error.contains("wasi:http/outgoing-handler@0.2.6")
        );
    }
    for guest in [
        test_guests::WRONG_TYPE,
        test_guests::WRONG_VERSION,
        test_guests::EMPTY_INTERFACE,
        test_guests::NO_EXPORTS,
    ] {
        assert!(Guest::load(guest).unwrap().ask("s").is_err());
    }
    assert!(Guest::load(test_guests::CORE_MODULE).is_err());
}
