//! The plugin host with real components: what they may do, what they must not get away with, and how
//! they are swapped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests, their helpers too"
)]

mod admission;
mod calls;
mod canary;
mod compile;
mod generations;
mod hooks;
mod hostile;
mod http;
mod key_value;
mod links;
mod random_components;
mod ready;
mod shares;
mod signatures;
mod start;
mod support;
mod swap;
mod versions;
mod workbench;
