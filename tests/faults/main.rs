//! What the machine does to a gateway: kills, power cuts, calls that fail, full disks, locked and damaged
//! databases, upstreams that hang, clocks that jump. What was acknowledged is kept, what cannot be done is
//! refused in time, and when the fault is over all is well again by itself.
//!
//! | module | what it does |
//! |---|---|
//! | [`ledger`] | people who sign in and set usernames, and what they were told |
//! | [`machine`] | mounts, and saying so where the machine does not allow what a test needs |
//! | [`kills`] | kill -9 at random points of sign-ins, updates and swaps |
//! | [`power_cuts`] | a disk that has what was synced and nothing else |
//! | [`restores`] | kill -9 at random points of sign-ins, then a restore |
//! | [`calls`] | system calls that fail |
//! | [`full_disk`] | no room, and room again |
//! | [`locked`] | another process that holds the database |
//! | [`damage`] | flipped bytes, cut files, foreign files |
//! | [`upstream`] | providers that hang, reset, and talk rubbish |
//! | [`clock`] | a clock that jumps |
//!
//! Many trials where `test-all` is on, fewer in `cargo test`. A test that the machine does not allow says so on
//! stderr, `skipped: `, and passes.
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

/// One number of trials for `cargo test`, another for `just test-all`.
const fn trials(few: u32, many: u32) -> u32 {
    if cfg!(feature = "test-all") { many } else { few }
}
