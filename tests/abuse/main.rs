//! Attacks from outside, as matrices of which every cell must fail: impersonation, reading others' data, forged proofs.
//! Each test prints the number of its cells.
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
use serde_json::{Value, json};
use support::browser::encode;
use support::fake_oidc::FakeOidc;
use support::setup::EXTERNAL;
use support::{Gateway, Setup};

/// A gateway with the provider `google` and the service `ok`.
async fn start() -> (Gateway, FakeOidc) {
    let google = FakeOidc::start(json!({"sub": "1", "name": "Alice"})).await;
    let gateway = Setup::serve()
        .oidc("google", &google)
        .plugin("behave", test_guests::BEHAVE)
        .service("ok", "behave")
        .start()
        .await;
    (gateway, google)
}

fn login() -> String {
    format!("/auth/login/google?next={}", encode(EXTERNAL))
}

/// The claims of a token, unverified.
fn claims(token: &str) -> Value {
    let claims = token.split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64url")).expect("JSON")
}
