//! Sign-ins through well-behaved and hostile providers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

mod bounds;
mod configuration;
mod connections;
mod discovery;
mod exchange;
mod freshness;
mod github;
mod hostile;
mod id_tokens;
mod secrets;
mod settings;
mod sign_in;
mod signatures;
mod support;
mod userinfo;
