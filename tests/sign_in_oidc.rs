//! Signing in through a real OpenID provider process (npm `oidc-provider`), the whole redirect dance.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

mod support;

use support::browser::token_in;
use support::fake_github::FakeGitHub;
use support::openid_provider::{Claims, OpenIdProvider, Person, dance};
use support::setup::EXTERNAL;
use support::{Gateway, Setup};

const CALLBACK: &str = "https://auth.example.org/auth/oauth_callback/company";
const LOGIN: &str = "/auth/login/company";

async fn gateway_for(provider: &OpenIdProvider) -> Gateway {
    assert!(CALLBACK.starts_with(EXTERNAL));
    Setup::serve()
        .table("providers.company", &provider.table())
        .plugin("count", test_guests::COUNT)
        .plugin_table("count", "grants = [\"logging\"]")
        .extension("count")
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_twice_and_stays_the_same() {
    for (algorithm, claims) in [("RS256", Claims::InIdToken), ("ES256", Claims::InUserinfo)] {
        let provider = OpenIdProvider::start(CALLBACK, algorithm, claims).await;
        let gateway = gateway_for(&provider).await;
        let person = Person::new("ann");
        let browser = gateway.browser();
        let first = token_in(&dance(&browser, LOGIN, &person, CALLBACK).await);
        let profile = browser.check(&first).await["profile"].clone();
        assert_eq!(profile["name"], "The person ann");
        assert_eq!(profile["email"], "ann@example.org");
        assert_eq!(profile["avatar_url"], "https://img.example.org/ann.png");
        assert_eq!(profile["provider_id"], "company:ann");

        let again = token_in(&dance(&gateway.browser(), LOGIN, &Person::new("ann"), CALLBACK).await);
        assert_ne!(again, first);
        assert_eq!(browser.check(&again).await["profile"]["id"], profile["id"]);
        let somebody = token_in(&dance(&gateway.browser(), LOGIN, &Person::new("bob"), CALLBACK).await);
        assert_ne!(browser.check(&somebody).await["profile"]["id"], profile["id"]);
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_not_verified_does_not_count() {
    let provider = OpenIdProvider::start(CALLBACK, "RS256", Claims::InIdToken).await;
    let gateway = gateway_for(&provider).await;
    let browser = gateway.browser();
    let token = token_in(&dance(&browser, LOGIN, &Person::new("unverified-eve"), CALLBACK).await);
    let profile = browser.check(&token).await["profile"].clone();
    assert_eq!(profile["name"], "The person unverified-eve");
    assert_eq!(profile["email"], serde_json::Value::Null);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_providers_serve_at_once() {
    let provider = OpenIdProvider::start(CALLBACK, "RS256", Claims::InIdToken).await;
    let github = FakeGitHub::start().await;
    let gateway = Setup::serve()
        .table("providers.company", &provider.table())
        .table("providers.github", &github.table())
        .start()
        .await;
    let browser = gateway.browser();
    let company = token_in(&dance(&browser, LOGIN, &Person::new("ann"), CALLBACK).await);
    let hub = token_in(&github.sign_in(&browser, "/auth/login/github").await);
    assert_eq!(
        browser.check(&company).await["profile"]["provider_id"],
        "company:ann"
    );
    assert_eq!(
        browser.check(&hub).await["profile"]["provider_id"],
        "github:583231"
    );
    gateway.stop().await;
}
