//! A session that has ended is rejected everywhere immediately, and no user gets a session that another person knows.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{claims, login, start};
use support::browser::{location, token_in};
use support::fake_oidc::FakeOidc;
use support::{Gateway, Setup};

/// Sends the token in each place to each endpoint. Returns how many accepted it, and how many were asked.
async fn shown_everywhere(gateway: &Gateway, token: &str) -> (usize, usize) {
    let browser = gateway.browser();
    let (mut taken, mut asked) = (0, 0);
    for (method, path, nobody) in [
        (Method::GET, "/auth/check", "\"authenticated\":false"),
        (Method::GET, "/auth/authorize?service=ok", "{\"permissions\":{}}"),
        (Method::POST, "/auth/update?username=late", "Not authenticated"),
    ] {
        let join = if path.contains('?') { '&' } else { '?' };
        for request in [
            browser.request(method.clone(), path).bearer_auth(token),
            browser.request(method.clone(), path).header("auth-token", token),
            browser.request(method.clone(), &format!("{path}{join}jwt={token}")),
        ] {
            let answer = browser.send(request).await.text().await.unwrap();
            taken += usize::from(!answer.contains(nobody));
            asked += 1;
        }
    }
    (taken, asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_rejected_as_soon_as_it_ends_in_any_way() {
    let (gateway, google) = start().await;
    let mut replayed = 0;
    for end in [
        "logout",
        "session end",
        "session end --user",
        "user disable",
        "user delete",
    ] {
        let token = token_in(&google.sign_in(&gateway.browser(), &login()).await);
        // Now the session is cached.
        let (taken, asked) = shown_everywhere(&gateway, &token).await;
        assert_eq!(taken, asked, "{end}: it is good before");
        let said = claims(&token);
        let (session, user) = (said["sid"].as_str().unwrap(), said["sub"].as_str().unwrap());
        match end {
            "logout" => {
                let answer = gateway.browser().post_as(&token, "/auth/logout").await;
                assert_eq!(answer, json!({"success": true}));
            }
            "session end" => drop(gateway.cli(&["session", "end", session]).await.succeeded()),
            "session end --user" => drop(gateway.cli(&["session", "end", "--user", user]).await.succeeded()),
            "user disable" => drop(gateway.cli(&["user", "disable", user]).await.succeeded()),
            _ => drop(gateway.cli(&["user", "delete", user, "--yes"]).await.succeeded()),
        }
        for _ in 0..2 {
            let (taken, asked) = shown_everywhere(&gateway, &token).await;
            // `update` reports a deleted user in each of the three places.
            let told_otherwise = if end == "user delete" { 3 } else { 0 };
            assert_eq!(taken, told_otherwise, "{end}");
            replayed += asked;
        }
        let answer = gateway
            .browser()
            .post_as(&token, "/auth/update?username=late")
            .await;
        assert_eq!(answer["success"], false, "{end}: {answer}");
        if end == "user disable" {
            gateway.cli(&["user", "enable", user]).await.succeeded();
            let (taken, _) = shown_everywhere(&gateway, &token).await;
            assert_eq!(taken, 0, "an ended session does not come back");
        }
    }
    println!("replay: {replayed} times an ended session's token, 0 taken");
    gateway.stop().await;
}

/// The attacker puts everything that could be taken for a session into every place of the victim's browser, through the
/// whole sign-in. The victim still gets a session that the attacker has never seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_creates_a_new_session_whatever_the_browser_sends() {
    let (gateway, google) = start().await;
    let attacker = token_in(&google.sign_in(&gateway.browser(), &login()).await);
    let attackers = claims(&attacker);
    google.set_person(json!({"sub": "2", "name": "Victim"}));
    let names = [
        "session",
        "sid",
        "jwt",
        "token",
        "auth",
        "auth-session",
        "__Host-auth-session",
        "__Host-auth",
    ];
    let (mut seen, mut tried) = (vec![attackers["sid"].clone()], 0);
    for name in names {
        for value in [attacker.as_str(), attackers["sid"].as_str().unwrap()] {
            let browser = gateway.browser();
            browser.set_cookies([(name.to_owned(), value.to_owned())].into());
            let brought =
                |request: reqwest::RequestBuilder| request.bearer_auth(&attacker).header("auth-token", value);
            let begin = format!("{}&jwt={attacker}&{name}={value}", login());
            let begun = browser.send(brought(browser.request(Method::GET, &begin))).await;
            let back = location(&browser.get(location(&begun).as_str()).await);
            let end = format!("{back}&jwt={attacker}&{name}={value}");
            let signed_in = token_in(&browser.send(brought(browser.request(Method::GET, &end))).await);
            let said = claims(&signed_in);
            assert_ne!(said["sub"], attackers["sub"], "{name}");
            assert!(!seen.contains(&said["sid"]), "{name}: {}", said["sid"]);
            seen.push(said["sid"].clone());
            tried += 1;
        }
    }
    let name = async |token: &str| gateway.browser().check(token).await["profile"]["name"].clone();
    assert_eq!(
        name(&attacker).await,
        "Alice",
        "and the attacker is who they were"
    );
    println!(
        "fixation: {tried} sign-ins with a session brought along, {} sessions, all of them new",
        seen.len() - 1
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_session_is_rejected() {
    let google = FakeOidc::start(json!({"sub": "1"})).await;
    let gateway = Setup::serve()
        .oidc("google", &google)
        .table("tokens", "session_lifetime = \"2s\"")
        .start()
        .await;
    let token = token_in(&google.sign_in(&gateway.browser(), &login()).await);
    let expires = claims(&token)["exp"].as_u64().unwrap();
    support::eventually("it expires", async || {
        let answer: Value = gateway.browser().check(&token).await;
        (answer["authenticated"] == false).then_some(())
    })
    .await;
    assert!(support::fake_oidc::now() >= expires, "not before its time");
    let nothing = (StatusCode::OK, json!({"permissions": {}}));
    assert_eq!(gateway.browser().authorize(&token, "ok").await, nothing);
    gateway.stop().await;
}
