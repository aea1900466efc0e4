//! More than the gateway can do, and callers who mean it no good: a good client beside them is served, nothing panics,
//! memory stays bounded, and when they are gone all is as before.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "in tests a panic is the report"
)]
mod busy;
#[cfg(feature = "test-all")]
mod connections;
mod floods;
mod good;
mod idle;
mod queues;
mod rates;
#[cfg(feature = "test-all")]
mod shares;
mod slow;

use gateway_token::Algorithm;

use support::Setup;

/// A gateway with a development sign-in and a permission provider for `example`. A signature takes little, so that it is
/// the connections that are tested.
fn setup() -> Setup {
    Setup::dev()
        .env("PRIVATE_KEY", &support::setup::private_key(Algorithm::ES256))
        .plugin("v1", test_guests::V1)
        .service("example", "v1")
}

/// One number for `cargo test`, another for `just test-all`.
const fn many(few: usize, all: usize) -> usize {
    if cfg!(feature = "test-all") { all } else { few }
}

/// The test's own process has thousands of connections: it needs as many files as it may have.
fn allow_many_sockets() {
    if !cfg!(feature = "test-all") {
        return;
    }
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("the limit can be raised to what it may be");
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(
        most >= 12_000,
        "these tests need 12,000 open files, and may have {most}: raise `ulimit -Hn`"
    );
}
