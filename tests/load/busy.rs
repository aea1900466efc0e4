//! The tests must be reliable on a machine that is slow or busy.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Calls that make a test depend on elapsed time.
const SIGNS: [&str; 3] = [".elapsed()", "sleep(", "timeout(Duration::from_"];
/// Files that may contain them, how often, and why.
const ALLOWED: &[(&str, usize, &str)] = &[
    (
        "gateway/app/src/telemetry/writer.rs",
        1,
        "asks again, for minutes",
    ),
    ("gateway/host/src/host/tests.rs", 1, "asks again, for minutes"),
    (
        "gateway/host/src/queue/tests.rs",
        1,
        "waits for something that must not happen",
    ),
    ("gateway/host/tests/all/compile.rs", 2, "asks again, for minutes"),
    (
        "gateway/host/tests/all/generations.rs",
        1,
        "another moment for each trial",
    ),
    (
        "gateway/host/tests/all/hostile.rs",
        1,
        "callers leave calls that never end",
    ),
    (
        "gateway/host/tests/all/http/lifetime.rs",
        1,
        "a server that trickles",
    ),
    (
        "gateway/host/tests/all/http/limits.rs",
        2,
        "servers that trickle and that hang",
    ),
    (
        "gateway/host/tests/all/http/server.rs",
        3,
        "asks again, for minutes",
    ),
    (
        "gateway/host/tests/all/signatures.rs",
        1,
        "time for what must not happen",
    ),
    ("gateway/host/tests/all/start.rs", 1, "asks again, for minutes"),
    (
        "gateway/host/tests/all/swap.rs",
        2,
        "asks again, for minutes; time for what must not happen",
    ),
    ("gateway/store/src/versions/tests.rs", 1, "has three attempts"),
    (
        "gateway/store/src/writer/tests.rs",
        1,
        "a minute for what takes a second",
    ),
    (
        "gateway/store/tests/it/restoring.rs",
        2,
        "another moment for each trial; a process that is there until it is killed",
    ),
    ("tests/bad_input/malformed.rs", 1, "a client that trickles"),
    ("tests/faults/kills.rs", 3, "another moment for each trial"),
    ("tests/faults/power_cuts.rs", 1, "another moment for each trial"),
    ("tests/faults/restores.rs", 1, "another moment for each trial"),
    ("tests/growth/watch.rs", 3, "runs in `just test-all` only"),
    ("tests/load/connections.rs", 2, "runs in `just test-all` only"),
    (
        "tests/load/floods.rs",
        1,
        "weaker where it is too short, and passes",
    ),
    (
        "tests/load/idle.rs",
        1,
        "weaker where it is too short, and passes",
    ),
    ("tests/load/queues.rs", 2, "runs in `just test-all` only"),
    ("tests/load/shares.rs", 1, "runs in `just test-all` only"),
    ("tests/load/slow.rs", 3, "clients that trickle"),
    (
        "tests/operations/main.rs",
        1,
        "waits for something that must not happen",
    ),
    (
        "tests/plugins/generations.rs",
        4,
        "a moment for each trial; the rest runs in `just test-all` only",
    ),
    ("tests/support/wait.rs", 2, "asks again, for minutes"),
];

/// Use `eventually` to wait for a condition, or wait for minutes. Tests of speed run in `just test-all` only.
#[test]
fn u13_no_test_depends_on_the_speed_of_the_machine() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let mut found = BTreeMap::new();
    for folder in ["gateway", "tests"] {
        look(root, &root.join(folder), &mut found);
    }
    let allowed = ALLOWED
        .iter()
        .map(|(file, count, _)| ((*file).to_owned(), *count));
    assert_eq!(found, allowed.collect(), "found, and what ALLOWED has");
}

/// Counts the calls in the tests below a folder.
fn look(root: &Path, folder: &Path, found: &mut BTreeMap<String, usize>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            // Guests are not tests, and benches measure time.
            if !["tests/guests/rust", "benches", "node_modules"]
                .iter()
                .any(|end| path.ends_with(end))
            {
                look(root, &path, found);
            }
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") || path.ends_with("load/busy.rs") {
            continue;
        }
        let name = path
            .strip_prefix(root)
            .expect("below the root")
            .display()
            .to_string();
        let text = fs::read_to_string(&path).expect("a source file");
        let tests = if name.contains("/src/") && !name.ends_with("/tests.rs") {
            text.split_once("\n#[cfg(test)]\nmod tests {")
                .map_or("", |(_, tests)| tests)
        } else {
            &text
        };
        let code = tests.lines().filter(|line| !line.trim_start().starts_with("//"));
        let count = code
            .filter(|line| SIGNS.iter().any(|sign| line.contains(sign)))
            .count();
        if count > 0 {
            found.insert(name, count);
        }
    }
}
