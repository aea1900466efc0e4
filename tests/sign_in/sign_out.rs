//! Signing out: at the provider too, or because the provider requests it.

mod backchannel;

use std::collections::BTreeMap;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{APP, alice, login};
use support::browser::{Browser, encode, location, parameter, token_in};
use support::fake_oidc::{CLIENT_ID, FakeOidc, Mood};
use support::{Gateway, Setup};

const HOME: &str = "https://auth.example.org/";

const CALLBACK: &str = "https://auth.example.org/auth/logout_callback/google";

fn setup(google: &FakeOidc) -> Setup {
    Setup::serve()
        .oidc("google", google)
        .table("providers.google", "sign_out = \"provider\"")
        .origin(APP)
}

async fn sign_in(gateway: &Gateway, provider: &FakeOidc, name: &str) -> String {
    token_in(&provider.sign_in(&gateway.browser(), &login(name, APP)).await)
}

/// Signs out as a script does. Returns the answer.
async fn sign_out(browser: &Browser, token: &str, next: &str) -> (StatusCode, Value) {
    let request = browser.request(Method::POST, "/auth/logout").bearer_auth(token);
    let response = browser.send(request.form(&[("next", next)])).await;
    (response.status(), response.json().await.unwrap())
}

/// Adds the headers that browsers send with a form.
fn as_form(request: RequestBuilder, form: &[(&str, &str)]) -> RequestBuilder {
    request
        .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document")
        .header("sec-fetch-site", "cross-site")
        .header("origin", APP)
        .form(form)
}

fn see_other(response: &Response) -> url::Url {
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    response.headers()["location"].to_str().unwrap().parse().unwrap()
}

fn url_in(answer: &Value) -> url::Url {
    answer["url"].as_str().expect("a URL").parse().unwrap()
}

/// Counts rows of the database.
fn count(gateway: &Gateway, sql: &str) -> i64 {
    let database = Connection::open(gateway.dir.database()).unwrap();
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p20_a_script_receives_the_providers_sign_out_address_and_the_user_returns() {
    let google = FakeOidc::start(alice()).await;
    let gateway = setup(&google).start().await;
    let browser = gateway.browser();
    let token = sign_in(&gateway, &google, "google").await;
    let next = format!("{APP}/bye?a=1&b=%20x#part");
    let (status, answer) = sign_out(&browser, &token, &next).await;
    assert_eq!((status, &answer["success"]), (StatusCode::OK, &json!(true)));
    assert!(!browser.is_signed_in(&token).await);

    let url = url_in(&answer);
    assert!(
        url.as_str()
            .starts_with(&format!("{}/end-session?", google.issuer())),
        "{url}"
    );
    assert_eq!(parameter(&url, "id_token_hint"), google.id_tokens().pop());
    assert_eq!(
        parameter(&url, "post_logout_redirect_uri").as_deref(),
        Some(CALLBACK)
    );
    assert!(
        !url.as_str().contains("bye"),
        "the provider does not learn where the person goes: {url}"
    );
    let back = location(&browser.get(url.as_str()).await);
    assert!(back.as_str().starts_with(&format!("{CALLBACK}?state=")), "{back}");
    assert_eq!(location(&browser.get(back.as_str()).await).as_str(), next);
    assert_eq!(browser.cookies(), BTreeMap::new());

    // The session has ended, so the token leads nobody to the provider again.
    let (_, answer) = sign_out(&browser, &token, &next).await;
    assert_eq!(answer, json!({"success": true, "url": next}));
    let log = gateway.stop().await.text();
    for id_token in google.id_tokens() {
        assert!(!log.contains(&id_token));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p20_a_form_leads_to_the_provider_without_a_script() {
    let google = FakeOidc::start(alice()).await;
    let gateway = setup(&google).start().await;
    let browser = gateway.browser();
    let token = sign_in(&gateway, &google, "google").await;
    let post = async |form: &[(&str, &str)]| {
        browser
            .send(as_form(browser.request(Method::POST, "/auth/logout"), form))
            .await
    };
    // A page of another origin can only have its own token, and cannot send users to the provider with it.
    for origin in ["https://evil.example", "null"] {
        let request = browser.request(Method::POST, "/auth/logout");
        let mut request = as_form(request, &[("jwt", &token), ("next", APP)])
            .build()
            .unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        let response = reqwest::Client::new().execute(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{origin}");
        assert!(browser.is_signed_in(&token).await, "{origin}");
    }
    let response = post(&[("jwt", &token), ("next", APP)]).await;
    let url = see_other(&response);
    assert_eq!(parameter(&url, "id_token_hint"), google.id_tokens().pop());
    assert!(!browser.is_signed_in(&token).await);
    // A user without a session continues to the application, and no page can sign a user out at the provider.
    for form in [vec![("next", APP)], vec![("jwt", "x"), ("next", APP)]] {
        assert_eq!(see_other(&post(&form).await).as_str(), format!("{APP}/"));
    }
    let evil = post(&[("jwt", &token), ("next", "https://evil.example/")]).await;
    assert_eq!(evil.status(), StatusCode::BAD_REQUEST);
    assert!(
        evil.text()
            .await
            .unwrap()
            .contains("This site does not know https://evil.example")
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p20_a_sign_out_without_next_is_answered_as_before() {
    let google = FakeOidc::start(alice()).await;
    let other = FakeOidc::start(alice()).await;
    let gateway = setup(&google).oidc("other", &other).start().await;
    let browser = gateway.browser();
    let token = sign_in(&gateway, &google, "google").await;
    assert_eq!(
        browser.post_as(&token, "/auth/logout").await,
        json!({"success": true})
    );
    assert!(!browser.is_signed_in(&token).await);
    // The default is local, and stores nothing for it.
    let token = sign_in(&gateway, &other, "other").await;
    assert_eq!(count(&gateway, "SELECT count(*) FROM id_token_hints"), 0);
    let (_, answer) = sign_out(&browser, &token, APP).await;
    assert_eq!(answer, json!({"success": true, "url": format!("{APP}/")}));
    assert!(!browser.is_signed_in(&token).await);
    let (_, answer) = sign_out(&browser, "", APP).await;
    assert_eq!(answer, json!({"success": false, "error": "No token"}));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p20_a_sign_out_never_redirects_to_an_address_that_is_not_allowed() {
    let google = FakeOidc::start(alice()).await;
    let other = FakeOidc::start(alice()).await;
    let gateway = setup(&google)
        .oidc("other", &other)
        .table("providers.other", "sign_out = \"provider\"")
        .start()
        .await;
    let browser = gateway.browser();
    let token = sign_in(&gateway, &google, "google").await;
    let long = format!("{APP}/{}", "x".repeat(2000));
    for next in [
        "https://evil.example/",
        "//evil.example",
        "javascript:alert(1)",
        "/",
        "",
        &long,
    ] {
        let (status, answer) = sign_out(&browser, &token, next).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{next}");
        assert!(answer["error"].is_string());
        assert!(browser.is_signed_in(&token).await, "nothing has happened: {next}");
    }

    let (_, answer) = sign_out(&browser, &token, APP).await;
    let state = parameter(&url_in(&answer), "state").unwrap();
    let arrives = async |query: &str| location(&browser.get(&format!("{CALLBACK}{query}")).await).to_string();
    assert_eq!(arrives(&format!("?state={state}")).await, format!("{APP}/"));
    let home = format!("{HOME}#signed-out");
    let mut changed = state.clone().into_bytes();
    changed[20] ^= 1;
    let changed = String::from_utf8(changed).unwrap();
    let sealed_elsewhere = browser.get(&login("google", "https://app.example.org/")).await;
    let cookie = sealed_elsewhere.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .to_owned();
    let cookie = cookie.split(['=', ';']).nth(1).unwrap();
    for query in [
        "",
        "?state=",
        "?state=https://evil.example/",
        &format!("?state={changed}"),
        &format!("?state={state}&state={state}"),
        &format!("?state={cookie}"),
        &format!("?next={}", encode("https://evil.example/")),
        "?state=%ff",
    ] {
        let response = browser.get(&format!("{CALLBACK}{query}")).await;
        if response.status() != StatusCode::BAD_REQUEST {
            assert_eq!(location(&response).as_str(), home, "{query}");
        }
    }
    // A value that was sealed for one provider is useless for another.
    let elsewhere = CALLBACK.replace("google", "other");
    let response = browser.get(&format!("{elsewhere}?state={state}")).await;
    assert_eq!(location(&response).as_str(), home);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p20_the_id_token_is_sealed_in_the_database_and_goes_with_the_session() {
    let google = FakeOidc::start(alice()).await;
    let gateway = setup(&google).start().await;
    let token = sign_in(&gateway, &google, "google").await;
    assert_eq!(count(&gateway, "SELECT count(*) FROM id_token_hints"), 1);
    let id_token = google.id_tokens().pop().unwrap();
    let parts: Vec<&str> = id_token.split('.').collect();
    for file in ["", "-wal"] {
        let path = format!("{}{file}", gateway.dir.database().display());
        let bytes = std::fs::read(path).unwrap();
        for part in &parts[1..] {
            let part = &part.as_bytes()[..24];
            assert!(!bytes.windows(part.len()).any(|window| window == part), "{file}");
        }
    }
    gateway.browser().post_as(&token, "/auth/logout").await;
    assert_eq!(count(&gateway, "SELECT count(*) FROM id_token_hints"), 0);

    // Replacing one's row by another user's gains nothing.
    let token = sign_in(&gateway, &google, "google").await;
    google.set_person(json!({"sub": "5678", "name": "Bob"}));
    sign_in(&gateway, &google, "google").await;
    let swap = "UPDATE id_token_hints SET sealed =
        (SELECT other.sealed FROM id_token_hints other WHERE other.session <> id_token_hints.session)
        WHERE session = (SELECT id FROM sessions ORDER BY identity_id LIMIT 1)";
    let database = Connection::open(gateway.dir.database()).unwrap();
    assert_eq!(database.execute(swap, []).unwrap(), 1);
    let (_, answer) = sign_out(&gateway.browser(), &token, APP).await;
    let url = url_in(&answer);
    assert_eq!(parameter(&url, "id_token_hint"), None);
    assert_eq!(parameter(&url, "client_id").as_deref(), Some(CLIENT_ID));
    assert_eq!(
        parameter(&url, "logout_hint").as_deref(),
        Some("alice@example.org")
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p20_an_id_token_that_is_too_long_for_a_url_is_omitted() {
    let person = |bytes: usize| {
        let mut person = alice();
        person["groups"] = "g".repeat(bytes).into();
        person
    };
    let google = FakeOidc::start(person(4000)).await;
    let gateway = setup(&google).start().await;
    let browser = gateway.browser();
    let token = sign_in(&gateway, &google, "google").await;
    assert_eq!(count(&gateway, "SELECT count(*) FROM id_token_hints"), 0);
    let (_, answer) = sign_out(&browser, &token, APP).await;
    let url = url_in(&answer);
    assert_eq!(parameter(&url, "id_token_hint"), None);
    assert_eq!(
        parameter(&url, "logout_hint").as_deref(),
        Some("alice@example.org")
    );

    // A script gets an address that is too long for a redirect behind a proxy.
    google.set_person(person(2200));
    let next = format!("{APP}/{}", "x".repeat(1900));
    let token = sign_in(&gateway, &google, "google").await;
    let (_, answer) = sign_out(&browser, &token, &next).await;
    assert!(parameter(&url_in(&answer), "id_token_hint").is_some());
    let token = sign_in(&gateway, &google, "google").await;
    let request = browser.request(Method::POST, "/auth/logout");
    let url = see_other(
        &browser
            .send(as_form(request, &[("jwt", &token), ("next", &next)]))
            .await,
    );
    assert_eq!(parameter(&url, "id_token_hint"), None);
    assert!(url.as_str().len() < 3_400, "{}", url.as_str().len());
    let back = location(&browser.get(url.as_str()).await);
    assert_eq!(location(&browser.get(back.as_str()).await).as_str(), next);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p20_a_provider_without_sign_out_does_not_prevent_the_local_sign_out() {
    let google = FakeOidc::start(alice()).await;
    google.set_signs_out(false);
    let setup = setup(&google);
    let gateway = setup.start().await;
    let token = sign_in(&gateway, &google, "google").await;
    let (_, answer) = sign_out(&gateway.browser(), &token, APP).await;
    assert_eq!(answer, json!({"success": true, "url": format!("{APP}/")}));
    assert!(!gateway.browser().is_signed_in(&token).await);
    let log = gateway.flushed_log().await;
    assert!(
        log.iter().any(|line| line.contains("no end_session_endpoint")),
        "{log:?}"
    );

    // The provider is down, and the gateway has restarted without its metadata.
    let token = sign_in(&gateway, &google, "google").await;
    gateway.stop().await;
    google.set_mood(Mood::Down);
    let gateway = setup.start().await;
    let (_, answer) = sign_out(&gateway.browser(), &token, APP).await;
    assert_eq!(answer, json!({"success": true, "url": format!("{APP}/")}));
    assert!(!gateway.browser().is_signed_in(&token).await);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p20_of_two_providers_with_one_issuer_the_one_that_began_the_session_ends_it() {
    let google = FakeOidc::start(alice()).await;
    let gateway = setup(&google).oidc("local", &google).start().await;
    let token = sign_in(&gateway, &google, "google").await;
    let later = sign_in(&gateway, &google, "local").await;
    let (_, answer) = sign_out(&gateway.browser(), &token, APP).await;
    assert_eq!(url_in(&answer).path(), "/end-session", "{answer}");
    let (_, answer) = sign_out(&gateway.browser(), &later, APP).await;
    assert_eq!(url_in(&answer).path(), "/", "{answer}");
    gateway.stop().await;
}
