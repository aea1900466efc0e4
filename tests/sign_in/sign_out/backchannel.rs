//! Sign-outs that a provider requests with a logout token.

use std::collections::BTreeMap;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{count, setup, sign_in};
use crate::{APP, alice, login};
use support::browser::{encode, location, parameter, token_in};
use support::fake_github::FakeGitHub;
use support::fake_oidc::logout::unsigned;
use support::fake_oidc::{FakeOidc, Mood, now};
use support::{Gateway, Setup, eventually};

const BACKCHANNEL: &str = "/auth/backchannel_logout/google";

/// Sends a logout token as a provider. Returns the gateway's answer.
async fn tell(gateway: &Gateway, provider: &str, token: &str) -> (StatusCode, String) {
    let browser = gateway.browser();
    let path = format!("/auth/backchannel_logout/{provider}");
    let request = browser
        .request(Method::POST, &path)
        .form(&[("logout_token", token)]);
    let response = browser.send(request).await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    (response.status(), response.text().await.unwrap())
}

fn ok() -> (StatusCode, String) {
    (StatusCode::OK, String::new())
}

/// Signs in with a session of this name at the provider.
async fn sign_in_by(gateway: &Gateway, provider: &FakeOidc, subject: &str, sid: &str) -> String {
    provider.set_person(json!({"sub": subject, "name": "Somebody", "sid": sid}));
    sign_in(gateway, provider, "google").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p21_a_logout_token_ends_its_sessions_permanently_and_triggers_the_hooks() {
    let google = FakeOidc::start(alice()).await;
    let setup = setup(&google)
        .plugin("count", test_guests::COUNT)
        .plugin_table("count", "grants = [\"logging\"]")
        .extension("count");
    let mut gateway = setup.start().await;
    let browser = gateway.browser();
    let laptop = sign_in_by(&gateway, &google, "ann", "laptop").await;
    let phone = sign_in_by(&gateway, &google, "ann", "phone").await;
    let tablet = sign_in_by(&gateway, &google, "ann", "tablet").await;
    let bob = sign_in_by(&gateway, &google, "bob", "desk").await;
    let who = async || {
        let mut who = Vec::new();
        for token in [&laptop, &phone, &tablet, &bob] {
            who.push(browser.is_signed_in(token).await);
        }
        who
    };
    assert_eq!(who().await, [true; 4]);
    let claims = google.logout_claims(None, Some("laptop"));
    assert_eq!(
        tell(&gateway, "google", &google.logout_token(&claims)).await,
        ok()
    );
    assert_eq!(who().await, [false, true, true, true]);
    eventually("the hook gets the sign-out", async || {
        let told = gateway.flushed_log().await;
        let told = told.iter().any(|line| line.contains("hook=on-user-logout"));
        told.then_some(())
    })
    .await;
    // The answer does not reveal whether there was a session.
    let claims = google.logout_claims(Some("nobody"), None);
    assert_eq!(
        tell(&gateway, "google", &google.logout_token(&claims)).await,
        ok()
    );
    let claims = google.logout_claims(Some("ann"), None);
    let token = google.sign(&json!({"alg": "RS256"}), &claims);
    assert_eq!(tell(&gateway, "google", &token).await, ok());
    gateway.kill().await;

    let gateway = setup.start().await;
    let browser = gateway.browser();
    for (token, lives) in [(&laptop, false), (&phone, false), (&tablet, false), (&bob, true)] {
        assert_eq!(browser.is_signed_in(token).await, lives);
    }
    // The same person signs in again in a new session.
    let again = sign_in_by(&gateway, &google, "ann", "laptop-2").await;
    assert!(browser.is_signed_in(&again).await);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p21_an_invalid_logout_token_ends_no_session() {
    let google = FakeOidc::start(alice()).await;
    let other = FakeOidc::start(alice()).await;
    let gateway = setup(&google).oidc("other", &other).start().await;
    let browser = gateway.browser();
    let session = sign_in_by(&gateway, &google, "ann", "s").await;
    let id_token = google.id_tokens().pop().unwrap();
    let good = || google.logout_claims(Some("ann"), Some("s"));
    let header = |alg: &str| json!({"alg": alg, "kid": "key-1", "typ": "logout+jwt"});
    let with = |name: &str, value: Value| {
        let mut claims = good();
        claims[name] = value;
        google.logout_token(&claims)
    };
    let without = |name: &str| {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(name);
        google.logout_token(&claims)
    };
    let typed = |typ: &str| {
        let mut header = header("RS256");
        header["typ"] = typ.into();
        google.sign(&header, &good())
    };
    let mac = |key: &[u8]| {
        let key = jsonwebtoken::EncodingKey::from_secret(key);
        let message = unsigned(&header("HS256"), &good());
        let mac = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256);
        format!("{message}.{}", mac.unwrap())
    };
    let whole = google.logout_token(&good());
    let (message, signature) = whole.rsplit_once('.').unwrap();
    let elsewhere = other.logout_token(&other.logout_claims(Some("ann"), Some("s")));
    let huge = with("padding", "x".repeat(20_000).into());
    let mut brings_key = header("RS256");
    brings_key["jku"] = "https://evil.example/jwks".into();
    brings_key["kid"] = "evil".into();
    let mut critical = header("RS256");
    critical["crit"] = json!(["exp"]);
    let forged = [
        ("another key", google.forge(&header("RS256"), &good())),
        ("no algorithm", format!("{}.", unsigned(&header("none"), &good()))),
        ("no algorithm, signed", google.sign(&header("none"), &good())),
        (
            "no algorithm in capitals",
            format!("{}.", unsigned(&header("NONE"), &good())),
        ),
        ("no signature", format!("{message}.")),
        ("no signature at all", message.to_owned()),
        ("the client's secret as key", mac(google.client_secret.as_bytes())),
        ("an empty key", mac(b"")),
        (
            "another algorithm for the key",
            google.sign(&header("RS512"), &good()),
        ),
        ("a key in its header", google.forge(&brings_key, &good())),
        ("an extension", google.sign(&critical, &good())),
        (
            "the provider's signature over something else",
            format!("{}.{signature}", unsigned(&header("RS256"), &good())),
        ),
        ("cut", whole[..whole.len() - 4].to_owned()),
        ("more parts", format!("{whole}.x")),
        ("an ID token", id_token.clone()),
        ("an access token's type", typed("at+jwt")),
        ("another type", typed("secevent+jwt")),
        ("another provider's", elsewhere.clone()),
        ("another issuer's name", with("iss", other.issuer().into())),
        ("for another client", with("aud", "another-client".into())),
        ("for nobody", without("aud")),
        ("without an issuer", without("iss")),
        ("without an event", without("events")),
        (
            "another event",
            with(
                "events",
                json!({"http://schemas.openid.net/event/frontchannel-logout": {}}),
            ),
        ),
        ("a nonce", with("nonce", "n".into())),
        ("without an id", without("jti")),
        ("without a time", without("iat")),
        ("without an end", without("exp")),
        ("old", with("iat", (now() - 3600).into())),
        ("expired", with("exp", (now() - 120).into())),
        ("of the future", with("iat", (now() + 3600).into())),
        ("an empty session", with("sid", "".into())),
        ("too long", huge),
        ("rubbish", "rubbish".to_owned()),
        ("dots", "..".to_owned()),
        ("nothing", String::new()),
    ];
    for (what, token) in &forged {
        let (status, answer) = tell(&gateway, "google", token).await;
        assert!(browser.is_signed_in(&session).await, "{what}");
        // The key or algorithm may be new, and the keys were fetched a moment ago.
        if ["another algorithm for the key", "a key in its header"].contains(what) {
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{what}: {answer}");
            continue;
        }
        assert_eq!(status, StatusCode::BAD_REQUEST, "{what}: {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["error"], "invalid_request", "{what}");
        assert!(answer["error_description"].is_string(), "{what}");
    }
    // A valid token, sent in a way that no provider uses, or to another provider.
    let query = format!("{BACKCHANNEL}?logout_token={whole}");
    let in_query = browser.send(browser.request(Method::POST, &query)).await;
    let twice = [("logout_token", &whole), ("logout_token", &whole)];
    let twice = browser
        .send(browser.request(Method::POST, BACKCHANNEL).form(&twice))
        .await;
    let fetched = browser.get(&query).await;
    let statuses = [in_query.status(), twice.status(), fetched.status()];
    assert_eq!(
        statuses,
        [
            StatusCode::BAD_REQUEST,
            StatusCode::BAD_REQUEST,
            StatusCode::METHOD_NOT_ALLOWED
        ]
    );
    assert_eq!(tell(&gateway, "other", &whole).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(tell(&gateway, "nobody", &whole).await.0, StatusCode::NOT_FOUND);
    assert_eq!(tell(&gateway, "other", &elsewhere).await, ok());
    assert!(browser.is_signed_in(&session).await);
    assert_eq!(tell(&gateway, "google", &whole).await, ok());
    assert!(!browser.is_signed_in(&session).await);

    // Again, after the user has signed in again.
    let again = sign_in_by(&gateway, &google, "ann", "s-2").await;
    assert_eq!(tell(&gateway, "google", &whole).await.0, StatusCode::BAD_REQUEST);
    assert!(browser.is_signed_in(&again).await);
    let log = gateway.stop().await.text();
    assert!(log.contains("the logout token has been used before"));
    println!("logout tokens: {} invalid, none accepted", forged.len() + 5);
    assert!(!log.contains(signature), "no token is in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p21_a_sign_in_from_an_ended_session_is_rejected_and_a_reused_sid_works() {
    let google = FakeOidc::start(alice()).await;
    let gateway = setup(&google).start().await;
    sign_in_by(&gateway, &google, "ann", "s").await;
    let mut ended = google.logout_claims(None, Some("s"));
    ended["iat"] = now().into();
    assert_eq!(tell(&gateway, "google", &google.logout_token(&ended)).await, ok());
    // The provider reuses the name, and answers with an earlier time.
    let person = |at: u64| json!({"sub": "ann", "name": "Somebody", "sid": "s", "auth_time": at});
    google.set_person(person(now() - 60));
    let page = google.sign_in(&gateway.browser(), &login("google", APP)).await;
    assert_eq!(page.status(), StatusCode::FORBIDDEN);
    let page = page.text().await.unwrap();
    assert!(page.contains("You have been signed out at"), "{page}");
    let again = format!(
        "/auth/login/google?next={}&prompt=login",
        encode(&format!("{APP}/"))
    );
    assert!(page.contains(&again.replace('&', "&#38;")), "{again}\n{page}");
    let told = format!("{}&errors=next", login("google", APP));
    let told = location(&google.sign_in(&gateway.browser(), &told).await);
    assert_eq!(parameter(&told, "error").as_deref(), Some("access_denied"));

    google.set_person(person(now() + 5));
    let token = token_in(&google.sign_in(&gateway.browser(), &again).await);
    assert!(gateway.browser().is_signed_in(&token).await);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p21_a_logout_token_is_not_an_id_token() {
    let google = FakeOidc::start(alice()).await;
    // The client with the fewest checks: it sent nothing that must come back.
    let setup = setup(&google).table("providers.google", "nonce = \"off\"");
    let gateway = setup.start().await;
    for mood in [Mood::LogoutToken, Mood::EventToken] {
        google.set_mood(mood);
        let response = google.sign_in(&gateway.browser(), &login("google", APP)).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{mood:?}");
    }
    assert_eq!(count(&gateway, "SELECT count(*) FROM users"), 0);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p21_a_flood_of_forged_logout_tokens_costs_the_provider_and_others_nothing() {
    let google = FakeOidc::start(alice()).await;
    let gateway = setup(&google).start().await;
    let session = sign_in_by(&gateway, &google, "ann", "s").await;
    let header = |kid: String| json!({"alg": "RS256", "kid": kid});
    let claims = google.logout_claims(Some("ann"), None);
    let signature = google.sign(&json!({"alg": "RS256"}), &claims);
    let signature = signature.rsplit_once('.').unwrap().1.to_owned();
    let mut flood = tokio::task::JoinSet::new();
    for n in 0..300 {
        let kid = if n % 2 == 0 {
            "key-1".to_owned()
        } else {
            format!("made-up-{n}")
        };
        let token = format!("{}.{signature}", unsigned(&header(kid), &claims));
        let browser = gateway.browser();
        flood.spawn(async move {
            let request = browser.request(Method::POST, BACKCHANNEL);
            browser
                .send(request.form(&[("logout_token", token)]))
                .await
                .status()
        });
    }
    let mut statuses = BTreeMap::new();
    while let Some(status) = flood.join_next().await {
        *statuses.entry(status.unwrap().as_u16()).or_insert(0) += 1;
    }
    assert!(
        statuses.keys().all(|status| [400, 503].contains(status)),
        "{statuses:?}"
    );
    assert!(statuses[&400] > 0);
    let browser = gateway.browser();
    assert!(browser.is_signed_in(&session).await);
    let asked = google.requests().await;
    let asked = asked
        .iter()
        .filter(|request| request.url.path() == "/jwks")
        .count();
    // At most twice a minute. This may have used some of them.
    assert!(asked < 10, "{asked}");
    let good = google.logout_token(&google.logout_claims(None, Some("s")));
    assert_eq!(tell(&gateway, "google", &good).await, ok());
    assert!(!browser.is_signed_in(&session).await);
    assert_eq!(count(&gateway, "SELECT count(*) FROM upstream_sign_outs"), 2);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p21_a_token_that_cannot_be_verified_now_may_be_sent_again() {
    let google = FakeOidc::start(alice()).await;
    let setup = setup(&google);
    let gateway = setup.start().await;
    let session = sign_in_by(&gateway, &google, "ann", "s").await;
    gateway.stop().await;
    google.set_mood(Mood::Down);
    let gateway = setup.start().await;
    let token = google.logout_token(&google.logout_claims(None, Some("s")));
    let browser = gateway.browser();
    let request = browser
        .request(Method::POST, BACKCHANNEL)
        .form(&[("logout_token", &token)]);
    let response = browser.send(request).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    assert!(browser.is_signed_in(&session).await);
    google.set_mood(Mood::Well);
    assert_eq!(tell(&gateway, "google", &token).await, ok());
    assert!(!browser.is_signed_in(&session).await);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p21_only_an_openid_provider_has_logout_tokens() {
    let github = FakeGitHub::start().await;
    let gateway = Setup::serve()
        .table("providers.github", &github.table())
        .origin(APP)
        .start()
        .await;
    assert_eq!(tell(&gateway, "github", "x.y.z").await.0, StatusCode::NOT_FOUND);
    let config = gateway.cli(&["config", "check"]).await.succeeded();
    assert!(config.contains("providers.github.sign_out"), "{config}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p21_forged_logout_tokens_neither_use_up_the_key_fetches_of_sign_ins_nor_block_valid_tokens() {
    let google = FakeOidc::start(alice()).await;
    let gateway = setup(&google).start().await;
    let browser = gateway.browser();
    let session = sign_in_by(&gateway, &google, "ann", "s").await;
    let header = |kid: &str| json!({"alg": "RS256", "kid": kid, "typ": "logout+jwt"});
    let claims = google.logout_claims(Some("ann"), Some("s"));
    let junk = google.forge(&header("made-up"), &claims);
    assert_eq!(tell(&gateway, "google", &junk).await.0, StatusCode::BAD_REQUEST);
    google.rotate_key("key-2");
    let genuine = google.sign(&header("key-2"), &claims);
    let request = browser
        .request(Method::POST, BACKCHANNEL)
        .form(&[("logout_token", &genuine)]);
    let answer = browser.send(request).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "30");
    assert!(browser.is_signed_in(&session).await);
    // A sign-in fetches the keys itself, and then the token is accepted.
    sign_in_by(&gateway, &google, "bob", "t").await;
    assert_eq!(tell(&gateway, "google", &genuine).await, ok());
    assert!(!browser.is_signed_in(&session).await);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p21_an_address_that_sends_invalid_logout_tokens_gets_429_and_others_do_not() {
    let google = FakeOidc::start(alice()).await;
    let setup = setup(&google).table("server", "trusted_proxies = [\"127.0.0.1\"]");
    let gateway = setup.start().await;
    let session = sign_in_by(&gateway, &google, "ann", "s").await;
    let browser = gateway.browser();
    let send = async |from: &str, token: &str| {
        let request = browser.request(Method::POST, BACKCHANNEL);
        let request = request.header("x-forwarded-for", from);
        browser.send(request.form(&[("logout_token", token)])).await
    };
    let mut sent = 0;
    let refused = loop {
        let answer = send("198.51.100.1", "junk").await;
        if answer.status() != StatusCode::BAD_REQUEST {
            break answer;
        }
        sent += 1;
        assert!(sent < 10_000);
    };
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    assert!(sent >= 60, "{sent}");
    let claims = google.logout_claims(Some("ann"), Some("s"));
    let answer = send("198.51.100.2", &google.logout_token(&claims)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!browser.is_signed_in(&session).await);
    gateway.stop().await;
}
