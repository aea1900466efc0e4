//! Signing in through a real OpenID provider process (npm `oidc-provider`), with the complete redirect flow.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]
mod glewlwyd;
mod matrix;

use reqwest::Method;
use serde_json::{Value, json};
use support::browser::{location, parameter, token_in};
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
async fn two_providers_can_be_used_together() {
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

const SIGNED_OUT: &str = "https://auth.example.org/auth/logout_callback/company";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p20_a_sign_out_at_the_provider_makes_the_next_sign_in_ask_for_the_account() {
    let mut provider = OpenIdProvider::start(CALLBACK, "RS256", Claims::InIdToken).await;
    let gateway = Setup::serve()
        .table("providers.company", &provider.table())
        .table("providers.company", "sign_out = \"provider\"")
        .start()
        .await;
    provider.knows(&gateway).await;
    let (browser, person) = (gateway.browser(), Person::new("ann"));
    let sign_out = async |token: &str| {
        let request = browser.request(Method::POST, "/auth/logout").bearer_auth(token);
        let response = browser.send(request.form(&[("next", EXTERNAL)])).await;
        let answer: Value = response.json().await.unwrap();
        answer["url"].as_str().unwrap().parse::<url::Url>().unwrap()
    };
    let token = token_in(&dance(&browser, LOGIN, &person, CALLBACK).await);
    let to_provider = location(&browser.get(LOGIN).await);
    assert!(
        !person.is_asked_who_they_are(&to_provider).await,
        "signed in there"
    );

    let url = sign_out(&token).await;
    assert!(url.as_str().starts_with(&provider.issuer), "{url}");
    assert!(parameter(&url, "id_token_hint").is_some());
    assert!(!browser.is_signed_in(&token).await);
    let back = person.sign_out(&url, SIGNED_OUT).await;
    assert_eq!(location(&browser.get(back.as_str()).await).as_str(), EXTERNAL);
    // The provider also sends a logout token for the same sign-out, which ends nothing more.
    assert_eq!(provider.told().await, "200");
    assert!(person.is_asked_who_they_are(&to_provider).await);

    // Without an ID token the provider uses the client's id.
    let token = token_in(&dance(&browser, LOGIN, &person, CALLBACK).await);
    rusqlite::Connection::open(gateway.dir.database())
        .unwrap()
        .execute("DELETE FROM id_token_hints", [])
        .unwrap();
    let url = sign_out(&token).await;
    assert_eq!(parameter(&url, "id_token_hint"), None);
    assert_eq!(parameter(&url, "logout_hint").as_deref(), Some("ann@example.org"));
    let back = person.sign_out(&url, SIGNED_OUT).await;
    assert_eq!(location(&browser.get(back.as_str()).await).as_str(), EXTERNAL);
    assert!(person.is_asked_who_they_are(&to_provider).await);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p21_a_sign_out_at_the_provider_ends_the_session_that_began_there() {
    for algorithm in ["RS256", "ES256"] {
        let mut provider = OpenIdProvider::start(CALLBACK, algorithm, Claims::InIdToken).await;
        let gateway = gateway_for(&provider).await;
        provider.knows(&gateway).await;
        let browser = gateway.browser();
        let (laptop, phone) = (Person::new("ann"), Person::new("ann"));
        let on_laptop = token_in(&dance(&browser, LOGIN, &laptop, CALLBACK).await);
        let on_phone = token_in(&dance(&browser, LOGIN, &phone, CALLBACK).await);
        let end: url::Url = format!("{}/session/end", provider.issuer).parse().unwrap();
        laptop.sign_out(&end, &provider.issuer).await;
        assert_eq!(provider.told().await, "200");
        assert!(!browser.is_signed_in(&on_laptop).await);
        assert!(browser.is_signed_in(&on_phone).await);
        let again = token_in(&dance(&browser, LOGIN, &laptop, CALLBACK).await);
        assert_eq!(browser.check(&again).await["authenticated"], json!(true));
        gateway.stop().await;
    }
}
