//! Answers that a provider posts to the gateway (`form_post`).

use reqwest::Method;
use url::Url;

use super::fake::Fake;
use super::kinds::one;
use super::{post, start};
use crate::{APP, login};
use support::browser::{location, parameter, token_in};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p9_a_posted_answer_ends_a_sign_in_only_in_the_browser_that_began_it() {
    let fake = Fake::start(one("apple")).await;
    let gateway = start(std::slice::from_ref(&fake)).await;
    let ann = gateway.browser();
    let authorize = location(&ann.get(&login("apple", APP)).await);
    for cookie in ann.cookies().keys() {
        assert!(cookie.starts_with("__Host-"), "{cookie}");
    }
    let answer = ann.get(authorize.as_str()).await;
    let action = answer.headers()["x-form-action"].to_str().unwrap().to_owned();
    let form = answer.text().await.unwrap();

    // Login CSRF: the other user's browser posts Ann's answer.
    let bob = gateway.browser();
    let callback = post(&bob, &action, form.clone()).await;
    let stolen = bob.get(&callback).await;
    assert_eq!(stolen.status(), 400);
    assert!(
        stolen
            .text()
            .await
            .unwrap()
            .contains("did not begin in this browser")
    );

    // Neither the code nor the name is in the address, which proxies log.
    let code = url::form_urlencoded::parse(form.as_bytes())
        .find(|(name, _)| name == "code")
        .unwrap()
        .1
        .into_owned();
    assert!(
        !callback.contains(&code) && !callback.contains("Ann"),
        "{callback}"
    );

    // A sealed answer fits only its own sign-in.
    let second = location(&ann.get(&login("apple", APP)).await);
    let other_state = parameter(&second, "state").unwrap();
    let mut swapped = Url::parse(&callback).unwrap();
    let sealed = parameter(&swapped, "answer").unwrap();
    swapped
        .query_pairs_mut()
        .clear()
        .append_pair("state", &other_state)
        .append_pair("answer", &sealed);
    assert_eq!(ann.get(swapped.as_str()).await.status(), 400);

    // Frames and scripts cannot post it.
    let image = bob
        .request(Method::POST, &action)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "cross-site")
        .header("sec-fetch-mode", "no-cors")
        .header("sec-fetch-dest", "empty")
        .body(form.clone());
    assert_eq!(bob.send(image).await.status(), 403);

    // In Ann's own browser it works, once.
    token_in(&ann.get(&callback).await);
    assert_eq!(ann.get(&callback).await.status(), 400);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p9_only_providers_that_post_their_answers_have_a_callback_for_it() {
    let fake = Fake::start(one("google")).await;
    let gateway = start(std::slice::from_ref(&fake)).await;
    let browser = gateway.browser();
    let request = browser
        .request(Method::POST, "/auth/oauth_callback/google")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("state=x&code=y");
    let answer = browser.send(request).await;
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.headers()["allow"], "GET, HEAD, OPTIONS");
    gateway.stop().await;
}
