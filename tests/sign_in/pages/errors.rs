//! The messages to users and applications when a sign-in fails.

use reqwest::header::{ACCEPT, REFERER};
use reqwest::{Method, Response, StatusCode};

use super::{HTML, links, open, page};
use crate::state::aged;
use crate::{APP, login, start};
use support::Setup;
use support::browser::{encode, location, parameter, token_in};
use support::fake_oidc::Mood;
use support::setup::EXTERNAL;

const NEXT: &str = "https://app.example.org/page?a=1&error=old&b=2#part";

fn telling(login: &str) -> String {
    format!("{login}&errors=next")
}

/// The callback with which the provider rejects a sign-in in progress.
fn refusal(callback: &url::Url, code: &str, issuer: &str) -> String {
    let state = parameter(callback, "state").unwrap();
    format!(
        "/auth/oauth_callback/google?error={code}&error_description=%22canary%22&state={state}&iss={}",
        encode(issuer)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_with_errors_next_the_application_learns_why_a_sign_in_failed() {
    let (gateway, google, _other) = start().await;
    let told = |response: &Response| {
        let back = location(response);
        assert_eq!(back.fragment(), Some("part"), "{back}");
        let pairs: Vec<_> = back.query_pairs().into_owned().collect();
        let [(a, _), (b, _), (error, code), (description, why)] = &pairs[..] else {
            panic!("{back}")
        };
        assert_eq!(
            [a, b, error, description],
            ["a", "b", "error", "error_description"]
        );
        assert!(!why.is_empty() && !why.contains("canary"), "{why}");
        assert!(back.as_str().starts_with(&format!("{APP}/page?")), "{back}");
        code.clone()
    };
    let begin = telling(&login("google", NEXT));
    for (code, word) in [
        ("access_denied", "access_denied"),
        ("temporarily_unavailable", "temporarily_unavailable"),
        ("server_error", "server_error"),
        ("invalid_scope", "server_error"),
        ("made-up", "access_denied"),
    ] {
        let browser = gateway.browser();
        let callback = google.go(&browser, &begin).await;
        let denied = browser.get(&refusal(&callback, code, &google.issuer())).await;
        assert_eq!(told(&denied), word, "{code}");
    }
    let browser = gateway.browser();
    let callback = google.go(&browser, &begin).await;
    browser.set_cookies(aged(&browser.cookies(), 601));
    assert_eq!(told(&browser.get(callback.as_str()).await), "access_denied");
    for (mood, word) in [
        (Mood::Down, "temporarily_unavailable"),
        (Mood::Rubbish, "server_error"),
    ] {
        let browser = gateway.browser();
        let callback = google.go(&browser, &begin).await;
        google.set_mood(mood);
        assert_eq!(told(&browser.get(callback.as_str()).await), word, "{mood:?}");
        google.set_mood(Mood::Well);
        // The page is loaded again, by the back button.
        assert_eq!(told(&browser.get(callback.as_str()).await), "access_denied");
    }
    // The address does not keep the error of an earlier failure beside a token.
    let end = google.sign_in(&gateway.browser(), &begin).await;
    token_in(&end);
    assert_eq!(parameter(&location(&end), "error"), None);
    // `check` returns such addresses.
    let check = gateway
        .browser()
        .get_json(&format!("/auth/check?errors=next&next={}", encode(APP)))
        .await;
    let url = check["providers"]["google"]["url"].as_str().unwrap();
    assert!(url.ends_with("&errors=next"), "{url}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_errors_go_only_to_known_applications_that_requested_them() {
    let (gateway, google, _other) = start().await;
    // An application of the old service gets a page, and its own parameter `error` is unchanged.
    let browser = gateway.browser();
    let callback = google.go(&browser, &login("google", NEXT)).await;
    let denied = refusal(&callback, "access_denied", &google.issuer());
    let (status, text) = page(browser.get(&denied).await).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("You did not let Google sign you in"), "{text}");
    let end = google.sign_in(&gateway.browser(), &login("google", NEXT)).await;
    assert_eq!(parameter(&location(&end), "error").as_deref(), Some("old"));
    for next in [
        "https://evil.example/",
        "//evil.example",
        "https://app.example.org.evil.example/",
        "https://app.example.org@evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
    ] {
        for target in [login("google", next), login("nobody", next)] {
            let (status, text) = page(open(&browser, &telling(&target)).await).await;
            assert!(status.is_client_error(), "{target}: {status}");
            assert!(links(&text).iter().all(|link| !link.contains("evil")), "{text}");
        }
    }
    // An origin that has been removed from the configuration meanwhile gets no error either.
    let callback = google.go(&browser, &telling(&login("google", NEXT))).await;
    let elsewhere = Setup::serve().oidc("google", &google).start().await;
    let moved = elsewhere.browser();
    moved.set_cookies(browser.cookies());
    let (status, _) = page(
        moved
            .get(&refusal(&callback, "access_denied", &google.issuer()))
            .await,
    )
    .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    elsewhere.stop().await;
    for wrong in ["errors=", "errors=yes", "errors=next&errors=next"] {
        let target = format!("{}&{wrong}", login("google", APP));
        assert_eq!(page(browser.get(&target).await).await.0, StatusCode::BAD_REQUEST);
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_every_error_page_links_back_and_to_a_new_sign_in() {
    let (gateway, google, _other) = start().await;
    let browser = gateway.browser();
    let callback = google.go(&browser, &login("google", NEXT)).await;
    let denied = refusal(&callback, "access_denied", &google.issuer());
    let another = format!("/auth/login?next={}", encode(NEXT));
    let (_, text) = page(browser.get(&denied).await).await;
    assert_eq!(links(&text), [login("google", NEXT).as_str(), &another, NEXT]);
    assert!(text.contains("Back to app.example.org"), "{text}");
    // The user's destination is not known, but the page that they came from is.
    for target in [
        "/auth/login/nobody",
        "/auth/nothing",
        "/auth/login/google?next=nonsense",
        "/auth/login/google?next=https%3A%2F%2Fevil.example%2F",
        "/auth/oauth_callback/google?state=made-up",
        "/auth/oauth_callback/google",
        "/auth/login/google?next=a&next=b",
    ] {
        for (referrer, back) in [
            (
                Some(format!("{APP}/somewhere?jwt=secret")),
                Some(format!("{APP}/somewhere")),
            ),
            (Some("https://evil.example/".to_owned()), None),
            (Some(format!("{EXTERNAL}auth/login")), None),
            (None, None),
        ] {
            let mut request = browser.request(Method::GET, target).header(ACCEPT, HTML);
            if let Some(referrer) = &referrer {
                request = request.header(REFERER, referrer);
            }
            let (status, text) = page(browser.send(request).await).await;
            assert!(status.is_client_error(), "{target}: {status}");
            let mut expected = vec!["/".to_owned()];
            expected.extend(back);
            assert_eq!(links(&text), expected, "{target} from {referrer:?}");
        }
    }
    gateway.stop().await;
}
