//! Signing in through upstream providers: complete flows, and everything that can go wrong in them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]
mod cookies;
mod endings;
mod github;
mod large;
mod matrix;
mod navigations;
mod network;
mod next;
mod oracle;
mod own_page;
mod pages;
mod payloads;
mod presets;
mod sign_out;
mod state;
mod trouble;

use std::collections::BTreeMap;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use support::browser::{encode, location, parameter, token_in};
use support::fake_oidc::FakeOidc;
use support::setup::EXTERNAL;
use support::{Gateway, Setup};

const APP: &str = "https://app.example.org";

fn alice() -> Value {
    json!({"sub": "1234", "name": "Alice Liddell", "email": "alice@example.org", "email_verified": true})
}

/// A gateway with two OpenID providers, `google` and `other`.
async fn start() -> (Gateway, FakeOidc, FakeOidc) {
    let google = FakeOidc::start(alice()).await;
    let other = FakeOidc::start(json!({"sub": "b-1", "name": "Bob"})).await;
    let gateway = Setup::serve()
        .oidc("google", &google)
        .oidc("other", &other)
        .origin(APP)
        .start()
        .await;
    (gateway, google, other)
}

fn login(provider: &str, next: &str) -> String {
    format!("/auth/login/{provider}?next={}", encode(next))
}

/// Asserts that a sign-in was rejected: a plain page, no cookie kept, no token.
async fn assert_refused(what: &str, response: Response) {
    assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{what}");
    assert_eq!(response.headers().get("location"), None, "{what}");
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("text/html"), "{what}: {kind}");
    let page = response.text().await.unwrap();
    assert!(!page.contains("<script"), "{what}: {page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_returns_login_urls_that_lead_through_the_provider_and_back() {
    let (gateway, google, _other) = start().await;
    let browser = gateway.browser();
    let next = format!("{APP}/page?a=1&b=%20x#part");
    let check = browser
        .get_json(&format!("/auth/check?next={}", encode(&next)))
        .await;
    let urls = check["providers"].as_object().unwrap();
    assert_eq!(urls.keys().collect::<Vec<_>>(), ["google", "other"]);
    let url = urls["google"]["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("{EXTERNAL}auth/login/google?")), "{url}");

    let response = google.sign_in(&browser, url).await;
    let back = location(&response);
    let token = token_in(&response);
    assert_eq!(back.as_str(), format!("{APP}/page?a=1&b=%20x&jwt={token}#part"));
    let profile = browser.check(&token).await["profile"].clone();
    assert_eq!(profile["name"], "Alice Liddell");
    assert_eq!(profile["email"], "alice@example.org");
    assert_eq!(profile["provider_id"], "google:1234");
    assert_eq!(
        browser.cookies(),
        BTreeMap::new(),
        "the cookie of a finished sign-in is cleared"
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cookie_is_bound_to_the_host_and_out_of_reach_of_scripts() {
    let (gateway, _google, _other) = start().await;
    let response = gateway.browser().get(&login("google", APP)).await;
    let cookie =
        cookie::Cookie::parse(response.headers()["set-cookie"].to_str().unwrap().to_owned()).unwrap();
    assert!(cookie.name().starts_with("__Host-"), "{cookie}");
    assert_eq!(cookie.secure(), Some(true));
    assert_eq!(cookie.http_only(), Some(true));
    assert_eq!(cookie.same_site(), Some(cookie::SameSite::Lax));
    assert_eq!(cookie.path(), Some("/"));
    assert_eq!(cookie.domain(), None);
    assert!(cookie.max_age().unwrap().whole_seconds() <= 3600);
    let state = parameter(&location(&response), "state").unwrap();
    assert!(!cookie.value().contains(&state), "sealed");
    let authorize = location(&response);
    assert_eq!(
        parameter(&authorize, "code_challenge_method").as_deref(),
        Some("S256")
    );
    assert_eq!(
        parameter(&authorize, "redirect_uri").as_deref(),
        Some("https://auth.example.org/auth/oauth_callback/google")
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_the_same_user_at_the_second_sign_in_and_another_at_another_provider() {
    let (gateway, google, other) = start().await;
    let id = async |provider: &FakeOidc, name: &str| {
        let browser = gateway.browser();
        let token = token_in(&provider.sign_in(&browser, &login(name, APP)).await);
        browser.check(&token).await["profile"]["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = id(&google, "google").await;
    google.set_person(json!({"sub": "1234", "name": "Alice Hargreaves"}));
    assert_eq!(
        id(&google, "google").await,
        first,
        "the subject counts, whatever else changed"
    );
    // `other` is not trusted for email, so the same verified address is a different user there.
    other.set_person(json!({"sub": "1234", "email": "alice@example.org", "email_verified": true}));
    assert_ne!(id(&other, "other").await, first);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_counts_only_if_the_provider_says_true() {
    let (gateway, google, _other) = start().await;
    for (subject, verified) in [("1", json!(false)), ("2", json!("true")), ("4", Value::Null)] {
        google.set_person(json!({"sub": subject, "email": "x@example.org", "email_verified": verified}));
        let browser = gateway.browser();
        let token = token_in(&google.sign_in(&browser, &login("google", APP)).await);
        assert_eq!(
            browser.check(&token).await["profile"]["email"],
            Value::Null,
            "{verified}"
        );
    }
    gateway.stop().await;
}
