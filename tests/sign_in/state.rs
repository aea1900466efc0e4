//! A sign-in belongs to one browser, works once, and expires.

use std::collections::BTreeMap;

use gateway::sealed_state::SealedState;
use reqwest::StatusCode;

use super::{APP, alice, assert_refused, login, start};
use support::Setup;
use support::browser::{encode, location, parameter, token_in};
use support::fake_github::FakeGitHub;
use support::fake_oidc::FakeOidc;
use support::setup::session_key;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_state_is_rejected_with_and_without_the_cookie() {
    let (gateway, google, other) = start().await;
    let mut tried = 0;
    for cookie in [true, false] {
        for case in ["absent", "empty", "wrong", "another's", "cut", "longer", "twice"] {
            let browser = gateway.browser();
            let mut callback = google.go(&browser, &login("google", APP)).await;
            let state = parameter(&callback, "state").unwrap();
            let code = parameter(&callback, "code").unwrap();
            let strange = match case {
                "absent" => None,
                "empty" => Some(String::new()),
                "wrong" => Some("das".to_owned()),
                "another's" => {
                    let elsewhere = google.go(&gateway.browser(), &login("google", APP)).await;
                    parameter(&elsewhere, "state")
                }
                "cut" => Some(state[..state.len() - 1].to_owned()),
                "longer" => Some(format!("{state}A")),
                _ => Some(state.clone()),
            };
            callback.set_query(None);
            callback
                .query_pairs_mut()
                .append_pair("code", &code)
                .append_pair("iss", &google.issuer());
            for state in strange.iter().chain((case == "twice").then_some(&state)) {
                callback.query_pairs_mut().append_pair("state", state);
            }
            if !cookie {
                browser.set_cookies(BTreeMap::new());
            }
            assert_refused(
                &format!("{case}, cookie {cookie}"),
                browser.get(callback.as_str()).await,
            )
            .await;
            tried += 1;
        }
    }

    // The right state without the cookie.
    let browser = gateway.browser();
    let callback = google.go(&browser, &login("google", APP)).await;
    let cookies = browser.cookies();
    browser.set_cookies(BTreeMap::new());
    assert_refused("no cookie", browser.get(callback.as_str()).await).await;
    // The right state with a modified cookie, one byte at a time.
    let (name, value) = cookies.first_key_value().unwrap();
    for at in [0, 1, value.len() / 2, value.len() - 2] {
        let mut bytes = value.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        browser.set_cookies(BTreeMap::from([(
            name.clone(),
            String::from_utf8(bytes).unwrap(),
        )]));
        assert_refused("a forged cookie", browser.get(callback.as_str()).await).await;
        tried += 1;
    }
    assert_eq!(
        google.token_calls() + other.token_calls(),
        0,
        "no code went to the provider in {tried} attempts"
    );
    gateway.log.assert_no_panic();

    // None of this used the state up: with its cookie it still works, once.
    browser.set_cookies(cookies.clone());
    token_in(&browser.get(callback.as_str()).await);
    assert_refused("replayed, cookie cleared", browser.get(callback.as_str()).await).await;
    browser.set_cookies(cookies);
    assert_refused("replayed, cookie kept", browser.get(callback.as_str()).await).await;
    assert_eq!(google.token_calls(), 1);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_expires_after_ten_minutes() {
    let (gateway, google, _other) = start().await;
    for (seconds_ago, good) in [(0, true), (500, true), (601, false), (86_400, false)] {
        let browser = gateway.browser();
        let callback = google.go(&browser, &login("google", APP)).await;
        browser.set_cookies(aged(&browser.cookies(), seconds_ago));
        let response = browser.get(callback.as_str()).await;
        if good {
            token_in(&response);
        } else {
            assert_refused(&format!("{seconds_ago} s old"), response).await;
        }
    }
    assert_eq!(google.token_calls(), 2);
    gateway.stop().await;
}

/// The cookies of sign-ins that began `seconds` earlier, sealed with the secret that the test configured.
pub(crate) fn aged(cookies: &BTreeMap<String, String>, seconds: u64) -> BTreeMap<String, String> {
    let key = session_key();
    let aged = |name: &String, sealed: &String| {
        let mut state = SealedState::open(&key, name, sealed).expect("it opens");
        state.issued -= seconds;
        state.seal(&key, name).expect("sealed")
    };
    cookies
        .iter()
        .map(|(name, sealed)| (name.clone(), aged(name, sealed)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swapped_cookies_sign_nobody_in() {
    let (gateway, google, _other) = start().await;
    let (attacker, victim) = (gateway.browser(), gateway.browser());
    let attackers_callback = google.go(&attacker, &login("google", APP)).await;
    let victims_callback = google.go(&victim, &login("google", APP)).await;
    // Login CSRF: the attacker's code and state in the victim's browser, and vice versa.
    assert_refused(
        "attacker's in victim's",
        victim.get(attackers_callback.as_str()).await,
    )
    .await;
    assert_refused(
        "victim's in attacker's",
        attacker.get(victims_callback.as_str()).await,
    )
    .await;
    let (of_attacker, of_victim) = (attacker.cookies(), victim.cookies());
    attacker.set_cookies(of_victim);
    victim.set_cookies(of_attacker);
    assert_refused("jars swapped", victim.get(victims_callback.as_str()).await).await;
    assert_refused("jars swapped", attacker.get(attackers_callback.as_str()).await).await;
    assert_eq!(google.token_calls(), 0);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_fifty_concurrent_identical_callbacks_succeeds() {
    let (gateway, google, _other) = start().await;
    let browser = gateway.browser();
    let callback = google.go(&browser, &login("google", APP)).await;
    let mut tabs = tokio::task::JoinSet::new();
    for _ in 0..50 {
        // Each with the cookie, in its own jar, so that the first answer does not clear the cookie of the others.
        let tab = gateway.browser();
        tab.set_cookies(browser.cookies());
        let callback = callback.clone();
        tabs.spawn(async move { tab.get(callback.as_str()).await.status() });
    }
    let statuses = tabs.join_all().await;
    let of = |status| statuses.iter().filter(|s| **s == status).count();
    assert_eq!(
        (of(StatusCode::FOUND), of(StatusCode::BAD_REQUEST)),
        (1, 49),
        "{statuses:?}"
    );
    assert_eq!(google.token_calls(), 1);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callback_at_another_provider_makes_no_token_call() {
    let (gateway, google, other) = start().await;
    let browser = gateway.browser();
    let callback = google.go(&browser, &login("google", APP)).await;
    let mixed_up = callback
        .as_str()
        .replace("oauth_callback/google", "oauth_callback/other");
    assert_refused("mixed up", browser.get(&mixed_up).await).await;
    // RFC 9207: the right path with another issuer.
    let browser = gateway.browser();
    let callback = google.go(&browser, &login("google", APP)).await;
    let foreign = callback
        .as_str()
        .replace(&encode(&google.issuer()), &encode(&other.issuer()));
    assert_ne!(foreign, callback.as_str());
    assert_refused("a foreign iss", browser.get(&foreign).await).await;
    let browser = gateway.browser();
    let callback = google.go(&browser, &login("google", APP)).await;
    let silent = callback.as_str().split("&iss=").next().unwrap().to_owned();
    assert_refused("no iss", browser.get(&silent).await).await;
    assert_eq!(google.token_calls() + other.token_calls(), 0);
    assert_eq!(
        browser
            .get("/auth/oauth_callback/nobody?state=a&code=b")
            .await
            .status(),
        StatusCode::NOT_FOUND
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_tabs_all_finish() {
    let (gateway, google, other) = start().await;
    let browser = gateway.browser();
    let mut callbacks = Vec::new();
    for page in 0..4 {
        let (provider, name) = if page % 2 == 0 {
            (&google, "google")
        } else {
            (&other, "other")
        };
        callbacks.push((
            page,
            provider
                .go(&browser, &login(name, &format!("{APP}/{page}")))
                .await,
        ));
    }
    for (page, callback) in callbacks.into_iter().rev() {
        let back = location(&browser.get(callback.as_str()).await);
        assert_eq!(back.path(), format!("/{page}"));
    }
    assert_eq!(browser.cookies(), BTreeMap::new());
    // Repeated starts do not accumulate cookies without a limit.
    for _ in 0..30 {
        google.go(&browser, &login("google", APP)).await;
    }
    assert!(browser.cookies().len() <= 16, "{}", browser.cookies().len());
    let callback = google.go(&browser, &login("google", APP)).await;
    token_in(&browser.get(callback.as_str()).await);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callback_at_a_provider_that_sends_no_issuer_makes_no_token_call_either() {
    let google = FakeOidc::start(alice()).await;
    let github = FakeGitHub::start().await;
    let gateway = Setup::serve()
        .oidc("google", &google)
        .table("providers.github", &github.table())
        .origin(APP)
        .start()
        .await;
    let browser = gateway.browser();
    let callback = google.go(&browser, &login("google", APP)).await;
    let (code, state) = (
        parameter(&callback, "code").unwrap(),
        parameter(&callback, "state").unwrap(),
    );
    let mixed_up = format!("/auth/oauth_callback/github?code={code}&state={state}");
    assert_refused("mixed up", browser.get(&mixed_up).await).await;
    assert_eq!(github.token_requests(), 0, "Google's code went to GitHub");
    gateway.stop().await;
}
