//! What others try from outside to be somebody else, to see what is not theirs, or to be believed: matrices, each
//! of whose cells has to fail. How many there are is printed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

#[path = "abuse/admin.rs"]
mod admin;
#[path = "abuse/answers.rs"]
mod answers;
#[path = "abuse/caches.rs"]
mod caches;
#[path = "abuse/forwarded.rs"]
mod forwarded;
#[path = "abuse/growth.rs"]
mod growth;
#[path = "abuse/leaks.rs"]
mod leaks;
#[path = "abuse/lines.rs"]
mod lines;
#[path = "abuse/reach.rs"]
mod reach;
#[path = "abuse/replay.rs"]
mod replay;
mod support;
#[path = "abuse/takeover.rs"]
mod takeover;
#[path = "abuse/tokens.rs"]
mod tokens;
#[path = "abuse/usernames.rs"]
mod usernames;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// The claims of a token, unverified.
fn claims(token: &str) -> Value {
    let claims = token.split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64url")).expect("JSON")
}
