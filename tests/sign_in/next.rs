//! Attacks on `next`: the gateway redirects only to the allowed origins.

use reqwest::{Response, StatusCode};

use super::oracle::{Visit, escapes};
use super::payloads::{attacks, mutated};
use super::{APP, alice, assert_refused, login, start};
use support::Setup;
use support::browser::{Browser, encode, location, token_in};
use support::fake_oidc::FakeOidc;
use support::setup::EXTERNAL;

/// Whether a sign-in continued. A rejected one has a plain answer, from `check` too.
async fn is_let_through(browser: &Browser, next: &str, login: &Response) -> bool {
    let check = browser.get(&format!("/auth/check?next={}", encode(next))).await;
    let through = login.status() == StatusCode::FOUND;
    if through {
        assert_eq!(check.status(), StatusCode::OK, "{next:?}: check and login differ");
    } else {
        assert!(login.status().is_client_error(), "{next:?}: {}", login.status());
        assert!(
            check.status().is_client_error(),
            "{next:?}: check and login differ"
        );
        assert_eq!(login.headers().get("location"), None, "{next:?}");
    }
    through
}

/// The address to which the user is redirected in the end.
fn visit(next: String, response: &Response) -> Visit {
    let location = response.headers()["location"].to_str().expect("ASCII").to_owned();
    let token = token_in(response);
    Visit {
        next,
        location,
        token,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_leads_only_to_allowed_origins() {
    let (gateway, _google, _other) = start().await;
    let (mut refused, mut visits) = (0, Vec::new());
    for attack in attacks() {
        let browser = gateway.browser();
        let login = browser.get(&login("google", &attack)).await;
        if !is_let_through(&browser, &attack, &login).await {
            refused += 1;
            continue;
        }
        let authorize = location(&login);
        let callback = location(&browser.get(authorize.as_str()).await);
        let visit = visit(attack, &browser.get(callback.as_str()).await);
        assert!(browser.is_signed_in(&visit.token).await, "{visit:?}");
        visits.push(visit);
    }
    let escapes = escapes(&visits, &[APP, EXTERNAL.trim_end_matches('/')]);
    println!(
        "{refused} refused, {} let through, {} escapes",
        visits.len(),
        escapes.len()
    );
    assert!(refused > 60 && visits.len() > 5, "{refused}, {visits:?}");
    assert_eq!(escapes, [] as [String; 0]);

    // If `next` occurs twice, it is unclear which one counts.
    for twice in [
        format!("next={0}&next={0}", encode(APP)),
        format!("next={}&next=", encode(APP)),
    ] {
        for path in ["/auth/check", "/auth/login/google"] {
            let status = gateway.browser().get(&format!("{path}?{twice}")).await.status();
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path}?{twice}");
        }
    }
    gateway.stop().await;
}

/// How many mutations of attacks are tried.
const MUTATIONS: usize = if cfg!(feature = "test-all") { 5000 } else { 800 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_mutation_of_an_attack_leads_anywhere_else() {
    // The development sign-in is one request, and handles the address like all others.
    let gateway = Setup::dev()
        .origin(APP)
        .table("rate_limits", "sign_in = \"off\"")
        .start()
        .await;
    let browser = gateway.browser();
    let (payloads, mut visits) = (mutated(MUTATIONS), Vec::new());
    for payload in &payloads {
        let login = browser
            .get(&format!("{}&user=alice", login("dev", payload)))
            .await;
        if is_let_through(&browser, payload, &login).await {
            visits.push(visit(payload.clone(), &login));
        }
    }
    let escapes = escapes(&visits, &[APP, gateway.external.as_str().trim_end_matches('/')]);
    println!(
        "{} payloads, {} let through, {} escapes",
        payloads.len(),
        visits.len(),
        escapes.len()
    );
    assert!(visits.len() > MUTATIONS / 10, "{}", visits.len());
    assert_eq!(escapes, [] as [String; 0]);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_token_in_next_is_replaced_and_the_rest_stays() {
    let (gateway, google, _other) = start().await;
    for (next, before, after) in [
        ("/?jwt=old", "/?jwt=", ""),
        ("/?jwt=old&a=%41+b", "/?a=%41+b&jwt=", ""),
        ("/?a=1&jwt=old&jwt=older&b", "/?a=1&b&jwt=", ""),
        ("/#part", "/?jwt=", "#part"),
        ("/?jwt=old#jwt=x", "/?jwt=", "#jwt=x"),
        ("/x?my_jwt=1", "/x?my_jwt=1&jwt=", ""),
    ] {
        let response = google
            .sign_in(&gateway.browser(), &login("google", &format!("{APP}{next}")))
            .await;
        let token = token_in(&response);
        assert_eq!(
            location(&response).as_str(),
            format!("{APP}{before}{token}{after}"),
            "{next}"
        );
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_removed_during_a_sign_in_is_not_redirected_to() {
    let google = FakeOidc::start(alice()).await;
    let setup = Setup::serve().oidc("google", &google);
    let gateway = setup.clone().origin(APP).start().await;
    let browser = gateway.browser();
    let callback = google.go(&browser, &login("google", APP)).await;
    setup.write();
    assert!(gateway.reload().await.contains("is in force"));
    assert_refused("struck off", browser.get(callback.as_str()).await).await;
    assert_eq!(google.token_calls(), 0);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_every_endpoint_has_the_same_limit_for_next() {
    let (gateway, google, _other) = start().await;
    let browser = gateway.browser();
    let token = token_in(&google.sign_in(&browser, &login("google", APP)).await);
    let of = |length: usize| format!("{APP}/{}", "a".repeat(length - APP.len() - 1));
    for (length, goes) in [(1_999, true), (2_000, false), (2_100, false), (4_000, false)] {
        let next = of(length);
        let stranger = gateway.browser();
        let check = stranger.get(&format!("/auth/check?next={}", encode(&next))).await;
        assert_eq!(check.status() == StatusCode::OK, goes, "check {length}");
        let begun = stranger.get(&login("google", &next)).await;
        assert_eq!(begun.status() == StatusCode::FOUND, goes, "login {length}");
        let request = browser
            .request(reqwest::Method::POST, "/auth/logout")
            .form(&[("next", &next)]);
        let out = browser.send(request).await;
        assert_eq!(out.status() == StatusCode::OK, goes, "logout {length}");
        for refused in [check, begun, out] {
            assert!(goes || refused.status() == StatusCode::BAD_REQUEST, "{refused:?}");
        }
    }
    assert!(browser.is_signed_in(&token).await);
    gateway.stop().await;
}
