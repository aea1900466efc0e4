//! The cookies of sign-ins beside others: whatever cookies a browser has, one more sign-in works, and nothing grows.

use std::collections::BTreeMap;

use reqwest::{Method, Response, StatusCode};

use super::{APP, login, start};
use support::Gateway;
use support::browser::{Browser, location, parameter, token_in};
use support::fake_oidc::FakeOidc;

/// nginx's default buffer for the head of an answer, and for one header line of a request.
const ANSWER: usize = 4096;
/// How many bytes of a request the cookies of sign-ins may take.
const TOGETHER: usize = 3_000;

/// An application's address of `length` characters.
fn address(length: usize) -> String {
    let path = "x".repeat(length - APP.len() - 1);
    format!("{APP}/{path}")
}

fn size(cookies: &BTreeMap<String, String>) -> usize {
    let pairs = cookies.iter().map(|(name, value)| name.len() + value.len() + 3);
    pairs.sum()
}

/// The size of an answer's head in bytes.
fn head(response: &Response) -> usize {
    let lines = response
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4);
    lines.sum::<usize>() + "HTTP/1.1 302 Found\r\n\r\n".len()
}

/// Headers of a browser that a page of another site sent here, without a click.
const BY_A_PAGE: [(&str, &str); 3] = [
    ("sec-fetch-site", "cross-site"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
];

async fn begin(browser: &Browser, next: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = browser.request(Method::GET, &login("google", next));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = browser.send(request).await;
    assert!(head(&response) <= ANSWER, "{} bytes", head(&response));
    assert!(
        size(&browser.cookies()) <= TOGETHER,
        "{} bytes",
        size(&browser.cookies())
    );
    response
}

/// Lets the user of a sign-in in progress consent. Returns the callback.
async fn consent(browser: &Browser, begun: &Response) -> url::Url {
    location(&browser.get(location(begun).as_str()).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_foreign_cookies_of_any_bytes_do_not_hide_ours() {
    let (gateway, google, _other) = start().await;
    for foreign in [
        "name=José".as_bytes(),
        b"name=Jos\xe9",
        b"\xff=\xfe",
        b"__Host-auth-0123456789abcdef=\xff",
        b"__Host-auth-0123456789abcdef=made-up",
        b"; ;=; a",
    ] {
        for in_one_header in [true, false] {
            let browser = gateway.browser();
            let callback = google.go(&browser, &login("google", APP)).await;
            let (name, value) = browser.cookies().pop_first().unwrap();
            let ours = format!("{name}={value}").into_bytes();
            // Another application's cookie with the same name: only the sealed one counts.
            let same_name = format!("{name}=other").into_bytes();
            browser.set_cookies(BTreeMap::new());
            let mut request = browser.request(Method::GET, callback.as_str());
            if in_one_header {
                request = request.header("cookie", [foreign, &ours, &same_name].join(&b"; "[..]));
            } else {
                for cookie in [&same_name[..], foreign, &ours] {
                    request = request.header("cookie", cookie);
                }
            }
            token_in(&browser.send(request).await);
        }
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_the_cookies_of_many_sign_ins_stay_small_and_the_newest_works() {
    let (gateway, _google, _other) = start().await;
    for length in [30, 150, 600, 1200, 1950] {
        let browser = gateway.browser();
        let mut newest = None;
        for _ in 0..20 {
            newest = Some(begin(&browser, &address(length), &[]).await);
        }
        let callback = consent(&browser, &newest.unwrap()).await;
        let back = location(&browser.get(callback.as_str()).await);
        assert_eq!(back.as_str().split("?jwt=").next(), Some(&*address(length)));
    }
    // Three tabs with long addresses do not disturb each other.
    let browser = gateway.browser();
    let mut tabs = Vec::new();
    for _ in 0..3 {
        tabs.push(begin(&browser, &address(600), &[]).await);
    }
    for tab in tabs {
        let callback = consent(&browser, &tab).await;
        token_in(&browser.get(callback.as_str()).await);
    }
    // One large sign-in after many small ones: the head of the answer that clears them also stays small.
    let browser = gateway.browser();
    for _ in 0..30 {
        begin(&browser, &address(30), &[]).await;
    }
    let mut large = begin(&browser, &address(1950), &[]).await;
    if large.status() == StatusCode::OK {
        // Too many to clear in one answer: the user continues by a click.
        large = begin(&browser, &address(1950), &[("sec-fetch-site", "same-origin")]).await;
    }
    token_in(&browser.get(consent(&browser, &large).await.as_str()).await);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_cookies_that_only_look_like_ours_are_dropped() {
    let (gateway, google, _other) = start().await;
    for (count, length) in [(180, 10), (60, 100), (8, 1100), (2, 3900)] {
        let browser = gateway.browser();
        let garbage = (0..count).map(|number| (format!("__Host-auth-{number:016x}"), "g".repeat(length)));
        browser.set_cookies(garbage.collect());
        let mut rounds = 0;
        loop {
            let response = browser.get(&login("google", APP)).await;
            assert!(head(&response) <= ANSWER, "{} bytes", head(&response));
            if response.status() == StatusCode::FOUND {
                assert!(size(&browser.cookies()) <= TOGETHER);
                let callback = consent(&browser, &response).await;
                token_in(&browser.get(callback.as_str()).await);
                break;
            }
            rounds += 1;
            assert!(rounds < 10, "{count} cookies of {length} bytes");
        }
    }
    assert_eq!(google.token_calls(), 4);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_an_address_that_is_too_long_for_a_cookie_is_rejected_with_a_reason() {
    let (gateway, _google, _other) = start().await;
    for length in [2300, 3000, 4000] {
        let response = gateway.browser().get(&login("google", &address(length))).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert!(response.headers().get("set-cookie").is_none());
        let page = response.text().await.unwrap();
        assert!(page.contains("shorter than 2,000 characters"), "{page}");
    }
    gateway.stop().await;
}

/// A user begins a sign-in, and then a hostile page begins many others in the same browser. Returns the answers to the
/// latter.
async fn attack(
    gateway: &Gateway,
    google: &FakeOidc,
    length: usize,
    mine: &[(&str, &str)],
) -> Vec<StatusCode> {
    let browser = gateway.browser();
    let begun = begin(&browser, APP, mine).await;
    let mut answers = Vec::new();
    for _ in 0..100 {
        answers.push(begin(&browser, &address(length), &BY_A_PAGE).await.status());
    }
    let calls = google.token_calls();
    token_in(&browser.get(consent(&browser, &begun).await.as_str()).await);
    assert_eq!(google.token_calls(), calls + 1);
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a8_a_page_that_begins_sign_ins_does_not_drop_those_of_the_user() {
    let (gateway, google, _other) = start().await;
    for length in [30, 600, 1950] {
        for mine in [
            &[][..],
            &[
                ("sec-fetch-site", "none"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
            ],
            // An application that sends every visitor to sign in cannot be distinguished from a hostile page.
            &BY_A_PAGE,
        ] {
            let answers = attack(&gateway, &google, length, mine).await;
            let begun = answers
                .iter()
                .filter(|status| **status == StatusCode::FOUND)
                .count();
            let asked = answers.iter().filter(|status| **status == StatusCode::OK).count();
            assert_eq!(begun + asked, 100, "{answers:?}");
            assert!(begun <= 16, "{begun} were begun");
        }
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a8_a_user_can_sign_in_after_a_page_has_begun_many_sign_ins() {
    let (gateway, google, _other) = start().await;
    let by_click = [
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-user", "?1"),
        ("referer", "https://app.example.org/"),
    ];
    let browser = gateway.browser();
    for _ in 0..5 {
        for _ in 0..100 {
            begin(&browser, &address(600), &BY_A_PAGE).await;
        }
        // By a click on a page of an application.
        let begun = begin(&browser, &address(600), &by_click).await;
        token_in(&browser.get(consent(&browser, &begun).await.as_str()).await);
        for _ in 0..100 {
            begin(&browser, &address(600), &BY_A_PAGE).await;
        }
        // An application sends the user here without a click: a page asks, and the user continues.
        let asked = begin(&browser, &address(600), &BY_A_PAGE).await;
        assert_eq!(asked.status(), StatusCode::OK);
        assert!(asked.headers().get("set-cookie").is_none());
        let page = asked.text().await.unwrap();
        let link = page
            .split("class=\"button\" href=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        assert!(link.starts_with("/auth/login/google?next="), "{link}");
        let request = browser.request(Method::GET, &link.replace("&#38;", "&"));
        let begun = browser
            .send(request.header("sec-fetch-site", "same-origin"))
            .await;
        token_in(&browser.get(consent(&browser, &begun).await.as_str()).await);
    }
    assert_eq!(google.token_calls(), 10);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_requested_parameters_survive_the_question_whether_to_continue() {
    let (gateway, _google, _other) = start().await;
    let browser = gateway.browser();
    let hinted = format!(
        "{}&login_hint=ann%2Bx%40example.org&prompt=select_account",
        login("google", &address(600))
    );
    let mut asked = None;
    for _ in 0..100 {
        let mut request = browser.request(Method::GET, &hinted);
        for (name, value) in BY_A_PAGE {
            request = request.header(name, value);
        }
        let answer = browser.send(request).await;
        if answer.status() == StatusCode::OK {
            asked = Some(answer.text().await.unwrap());
            break;
        }
    }
    let page = asked.expect("the person is asked when there is no room");
    let link = page.split("class=\"button\" href=\"").nth(1).unwrap();
    let link = link.split('"').next().unwrap().replace("&#38;", "&");
    let request = browser
        .request(Method::GET, &link)
        .header("sec-fetch-site", "same-origin");
    let authorize = location(&browser.send(request).await);
    for (name, value) in [("login_hint", "ann+x@example.org"), ("prompt", "select_account")] {
        assert_eq!(parameter(&authorize, name).as_deref(), Some(value), "{authorize}");
    }
    gateway.stop().await;
}
