//! Faults of the machine: kills, power cuts, failing system calls, full disks, locked and damaged databases, hanging
//! upstream providers, clocks that jump. Acknowledged changes are kept, requests that cannot succeed are rejected in
//! time, and the gateway recovers on its own when the fault is over.
//!
//! | module | fault or helper |
//! |---|---|
//! | [`ledger`] | users who sign in and set usernames, and the answers that they got |
//! | [`machine`] | mounts, and messages if the machine does not allow what a test needs |
//! | [`kills`] | kill -9 at random points of sign-ins, updates and swaps |
//! | [`power_cuts`] | a disk that holds only what was synced |
//! | [`restores`] | kill -9 at random points of sign-ins, then a restore |
//! | [`calls`] | failing system calls |
//! | [`full_disk`] | a full disk, and then space again |
//! | [`locked`] | another process that holds the database |
//! | [`damage`] | flipped bytes, truncated files, foreign files |
//! | [`upstream`] | providers that hang, reset, and send garbage |
//! | [`clock`] | a clock that jumps |
//!
//! `cargo test` makes few trials, `just test-all` many. A test that the machine does not allow prints `skipped: ` and
//! the reason on stderr, and passes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "in tests a panic is the report"
)]
mod calls;
mod clock;
mod damage;
mod full_disk;
mod kills;
mod ledger;
mod locked;
mod machine;
mod power_cuts;
mod restores;
mod upstream;

/// The number of trials: `few` for `cargo test`, `many` for `just test-all`.
const fn trials(few: u32, many: u32) -> u32 {
    if cfg!(feature = "test-all") { many } else { few }
}
