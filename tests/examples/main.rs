//! The example plugins that use external services, in a real gateway: an upstream provider with groups, a policy
//! service and a webhook, each of them up and down.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]
mod meanwhile;
mod peer;
mod policy;
mod stored_roles;
mod webhook;

use serde_json::Value;
use support::{Gateway, Setup};

/// `gateway dev` with an example, everything that it needs granted, and these settings.
fn setup(example: guest_examples::Example, settings: &[(&str, &str)]) -> Setup {
    let name = example.name;
    let mut setup = Setup::dev()
        .env(
            "PRIVATE_KEY",
            &support::setup::private_key(gateway_token::Algorithm::ES256),
        )
        .plugin(name, example.wasm)
        // Far more than it needs, so that the test also passes on busy machines.
        .plugin_table(
            name,
            &format!("grants = {:?}\nlimits.deadline = \"2m\"", example.grants),
        );
    for (setting, value) in settings {
        setup = setup.table(
            &format!("plugin.{name}.settings"),
            &format!("{setting:?} = {value:?}"),
        );
    }
    setup
}

/// The id of the user who has this session token.
async fn id_of(gateway: &Gateway, token: &str) -> String {
    let profile = &gateway.browser().check(token).await["profile"];
    profile["id"].as_str().expect("signed in").to_owned()
}

/// All users, from `gateway user export`.
async fn users(gateway: &Gateway) -> Vec<Value> {
    let export = gateway.cli(&["user", "export"]).await.succeeded();
    let lines = export
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    lines.collect()
}
