//! More load than the gateway can handle, and malicious clients: a well-behaved client beside them is served, nothing
//! panics, memory stays bounded, and the gateway recovers when they are gone.
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

/// A gateway with a development sign-in and a permission provider for `example`. Its signatures are cheap, so that the
/// test is about connections.
fn setup() -> Setup {
    Setup::dev()
        .env("PRIVATE_KEY", &support::setup::private_key(Algorithm::ES256))
        .plugin("v1", test_guests::V1)
        .service("example", "v1")
}

/// `few` for `cargo test`, `all` for `just test-all`.
const fn many(few: usize, all: usize) -> usize {
    if cfg!(feature = "test-all") { all } else { few }
}

/// Raises this process's limit of open files, as it needs thousands of connections.
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
    setrlimit(Resource::Nofile, raised).expect("the soft limit can be raised to the hard limit");
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(
        most >= 12_000,
        "these tests need 12,000 open files, and may have {most}: raise `ulimit -Hn`"
    );
}
