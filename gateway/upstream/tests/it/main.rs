//! Sign-ins through providers that behave, and through providers that do not.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

mod discovery;
mod id_tokens;
mod sign_in;
mod support;
