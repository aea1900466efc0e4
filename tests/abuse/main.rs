//! What others try from outside to be somebody else, to see what is not theirs, or to be believed: matrices, each
//! of whose cells has to fail. How many there are is printed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]
mod admin;
mod answers;
mod caches;
mod forwarded;
mod growth;
mod leaks;
mod lines;
mod reach;
mod replay;
mod takeover;
mod tokens;
mod usernames;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// The claims of a token, unverified.
fn claims(token: &str) -> Value {
    let claims = token.split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64url")).expect("JSON")
}
