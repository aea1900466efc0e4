//! Sign-ins that cannot continue: each page says why, and leads to a new sign-in.

use std::collections::BTreeMap;

use reqwest::{Response, StatusCode};

use super::state::aged;
use super::{APP, login, start};
use support::browser::{Browser, encode, location, parameter, token_in};
use support::fake_oidc::Mood;

/// The page of a rejected callback: its text and its link.
async fn page(response: Response, status: StatusCode) -> (String, String) {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    assert!(response.headers().get("location").is_none());
    let page = response.text().await.unwrap();
    assert!(!page.contains("<script"), "{page}");
    let link = page
        .split("class=\"button\" href=\"")
        .nth(1)
        .unwrap_or_else(|| panic!("no link: {page}"));
    let link = link.split('"').next().unwrap().replace("&#38;", "&");
    (page, link)
}

/// Follows a link that begins a sign-in, to its end.
async fn sign_in_again(browser: &Browser, link: &str) -> url::Url {
    let begun = browser.get(link).await;
    let callback = location(&browser.get(location(&begun).as_str()).await);
    let end = browser.get(callback.as_str()).await;
    token_in(&end);
    location(&end)
}

const NEXT: &str = "https://app.example.org/page?a=1&b=%3Cxss%3E#part";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_a_sign_in_that_took_too_long_says_so_and_links_to_a_new_one_with_the_same_next() {
    let (gateway, google, _other) = start().await;
    let browser = gateway.browser();
    let callback = google.go(&browser, &login("google", NEXT)).await;
    browser.set_cookies(aged(&browser.cookies(), 601));
    for _reload in 0..2 {
        let (page, link) = page(browser.get(callback.as_str()).await, StatusCode::BAD_REQUEST).await;
        assert!(page.contains("This sign-in took too long"), "{page}");
        assert_eq!(link, login("google", NEXT));
    }
    let back = sign_in_again(&browser, &login("google", NEXT)).await;
    assert!(
        back.as_str()
            .starts_with(&format!("{APP}/page?a=1&b=%3Cxss%3E&jwt=")),
        "{back}"
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_a_sign_in_that_has_been_completed_says_so() {
    let (gateway, google, _other) = start().await;
    let browser = gateway.browser();
    let callback = google.go(&browser, &login("google", NEXT)).await;
    let before = browser.cookies();
    token_in(&browser.get(callback.as_str()).await);
    assert_eq!(browser.cookies(), BTreeMap::new());
    // The cookie is gone, so only the state shows it. The user's destination is no longer known.
    for _reload in 0..2 {
        let (page, link) = page(browser.get(callback.as_str()).await, StatusCode::BAD_REQUEST).await;
        assert!(page.contains("was already completed"), "{page}");
        assert_eq!(link, "/");
    }
    // A tab that was restored with its cookies.
    browser.set_cookies(before);
    let (page, link) = page(browser.get(callback.as_str()).await, StatusCode::BAD_REQUEST).await;
    assert!(page.contains("was already completed"), "{page}");
    assert_eq!(link, login("google", NEXT));
    assert_eq!(google.token_calls(), 1);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_a_sign_in_that_began_elsewhere_says_so() {
    let (gateway, google, _other) = start().await;
    let callback = google.go(&gateway.browser(), &login("google", NEXT)).await;
    let elsewhere = gateway.browser();
    let (page, link) = page(elsewhere.get(callback.as_str()).await, StatusCode::BAD_REQUEST).await;
    assert!(page.contains("did not begin in this browser"), "{page}");
    assert_eq!(link, "/", "another browser does not learn the address");
    assert_eq!(google.token_calls(), 0);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_a_reload_after_a_failure_says_what_to_do() {
    let (gateway, google, _other) = start().await;
    for (mood, status) in [(Mood::Down, None), (Mood::Rubbish, Some(StatusCode::BAD_GATEWAY))] {
        let browser = gateway.browser();
        let callback = google.go(&browser, &login("google", NEXT)).await;
        google.set_mood(mood);
        let failed = browser.get(callback.as_str()).await;
        let status = status.unwrap_or(failed.status());
        assert!(status.is_server_error());
        let (_, link) = page(failed, status).await;
        assert_eq!(link, login("google", NEXT));
        google.set_mood(Mood::Well);
        let calls = google.token_calls();
        let (page, link) = page(browser.get(callback.as_str()).await, StatusCode::BAD_REQUEST).await;
        assert!(page.contains("This sign-in has failed"), "{page}");
        assert_eq!(google.token_calls(), calls, "a code is sent once");
        sign_in_again(&browser, &link).await;
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_a_user_who_declined_can_reload_the_page_and_continue() {
    let (gateway, google, _other) = start().await;
    let browser = gateway.browser();
    let callback = google.go(&browser, &login("google", NEXT)).await;
    let state = super::parameter(&callback, "state").unwrap();
    let denied = format!(
        "/auth/oauth_callback/google?error=access_denied&state={state}&iss={}",
        encode(&google.issuer())
    );
    for _reload in 0..2 {
        let (page, link) = page(browser.get(&denied).await, StatusCode::BAD_REQUEST).await;
        assert!(page.contains("You did not let Google sign you in"), "{page}");
        assert_eq!(link, login("google", NEXT));
    }
    token_in(&browser.get(callback.as_str()).await);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p17_an_error_response_of_another_issuer_does_not_end_the_sign_in() {
    let (gateway, google, _other) = start().await;
    let browser = gateway.browser();
    let callback = google
        .go(&browser, &format!("{}&errors=next", login("google", NEXT)))
        .await;
    let state = parameter(&callback, "state").unwrap();
    let refusal = |iss: &str| {
        let iss = encode(iss);
        format!("/auth/oauth_callback/google?error=access_denied&state={state}&iss={iss}")
    };
    let told = location(&browser.get(&refusal("https://evil.example")).await);
    assert_eq!(
        parameter(&told, "error").as_deref(),
        Some("server_error"),
        "{told}"
    );
    // The sign-in is unchanged.
    token_in(&browser.get(callback.as_str()).await);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b6_an_application_receives_the_error_for_a_duplicate_parameter() {
    let (gateway, _google, _other) = start().await;
    let address = format!("{}&errors=next&prompt=login&prompt=login", login("google", NEXT));
    let told = location(&gateway.browser().get(&address).await);
    assert_eq!(
        parameter(&told, "error").as_deref(),
        Some("invalid_request"),
        "{told}"
    );
    let description = parameter(&told, "error_description").unwrap();
    assert!(description.contains("twice"), "{description}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_a_wrong_prompt_has_its_own_page() {
    let (gateway, _google, _other) = start().await;
    let address = format!("{}&prompt=none", login("google", NEXT));
    let (page, _) = page(gateway.browser().get(&address).await, StatusCode::BAD_REQUEST).await;
    assert!(
        page.contains("asked for a sign-in in a way that is not possible here"),
        "{page}"
    );
    gateway.stop().await;
}
