//! The plugin host with real components: what they may do, what they must not get away with, and how
//! they are swapped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests, their helpers too"
)]

mod admission;
mod calls;
mod hooks;
mod hostile;
mod support;
mod swap;
