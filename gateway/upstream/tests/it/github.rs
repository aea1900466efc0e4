//! GitHub: the requests to it, the user it identifies, and the handling of malformed answers.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_upstream::http::HttpError;
use gateway_upstream::{ErrorKind, Hints, Refusal, UpstreamError};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wiremock::ResponseTemplate;

use self::fake::{
    EMAILS, ENDPOINTS, Fake, TOKEN, USER, address, form, header, provider, provider_within, token,
};
use crate::support::{CLIENT_ID, CLIENT_SECRET, REDIRECT};

mod fake;

#[tokio::test]
async fn the_authorization_url_has_state_and_challenge() {
    let there = provider("https://github.com", "https://api.github.com", true).unwrap();
    assert_eq!((there.issuer(), there.name()), ("https://github.com", "github"));
    let first = there.begin(Hints::default()).await.unwrap();
    assert!(
        first
            .url
            .as_str()
            .starts_with("https://github.com/login/oauth/authorize?")
    );
    let asked: HashMap<String, String> = first.url.query_pairs().into_owned().collect();
    assert_eq!(asked["response_type"], "code");
    assert_eq!(asked["client_id"], CLIENT_ID);
    assert_eq!(asked["redirect_uri"], REDIRECT);
    assert_eq!(asked["scope"], "read:user user:email read:org");
    assert_eq!(asked["state"], first.flow.state);
    assert_eq!(asked["code_challenge_method"], "S256");
    assert_eq!(
        asked["code_challenge"],
        URL_SAFE_NO_PAD.encode(Sha256::digest(&first.flow.verifier))
    );
    assert!(!first.url.as_str().contains(CLIENT_SECRET));
    let second = there.begin(Hints::default()).await.unwrap();
    assert!(first.flow.state != second.flow.state && first.flow.verifier != second.flow.verifier);
}

#[tokio::test]
async fn urls_without_tls_are_rejected() {
    for (web, api) in [
        ("http://github.example.org", "https://api.example.org"),
        ("https://github.example.org", "http://api.example.org"),
        ("https://github.example.org", "http://127.0.0.1:1"),
    ] {
        assert!(
            matches!(provider(web, api, true), Err(UpstreamError::Config(_))),
            "{web} {api}"
        );
    }
}

#[tokio::test]
async fn the_subject_is_the_numeric_id() {
    let fake = Fake::start().await;
    let user = fake.sign_in().await.unwrap();
    assert_eq!(user.identity.provider, "github");
    assert_eq!(user.identity.issuer, fake.server.uri());
    assert_eq!(user.identity.subject, "583231");
    assert_eq!(user.name, "The Octocat");
    assert_eq!(
        user.avatar_url.as_deref(),
        Some("https://avatars.example.org/u/1")
    );
    assert_eq!(user.claims.get("login"), "octocat");

    fake.json(USER, json!({ "id": 583_231, "login": "renamed", "name": null }));
    let renamed = fake.sign_in().await.unwrap();
    assert_eq!(renamed.identity, user.identity);
    assert_eq!(renamed.name, "renamed");
}

#[tokio::test]
async fn requests_follow_githubs_documentation() {
    let fake = Fake::start().await;
    let flow = fake.provider.begin(Hints::default()).await.unwrap().flow;
    fake.finish(&flow, None).await.unwrap();

    let exchange = &fake.seen(TOKEN).await[0];
    let sent = form(exchange);
    assert_eq!(header(exchange, "accept"), "application/json");
    assert_eq!(header(exchange, "authorization"), "");
    assert_eq!(
        (sent["client_id"].as_str(), sent["client_secret"].as_str()),
        (CLIENT_ID, CLIENT_SECRET)
    );
    assert_eq!(
        (sent["code"].as_str(), sent["redirect_uri"].as_str()),
        ("canary-code", REDIRECT)
    );
    assert_eq!(sent["code_verifier"], flow.verifier);
    for at in [USER, EMAILS] {
        let request = &fake.seen(at).await[0];
        assert_eq!(header(request, "authorization"), "Bearer gho_canary-access-token");
        assert_eq!(header(request, "accept"), "application/vnd.github+json");
        assert_eq!(header(request, "x-github-api-version"), "2022-11-28");
        assert!(header(request, "user-agent").starts_with("auth-gateway/"));
        assert!(!request.url.as_str().contains("canary"));
    }
}

#[tokio::test]
async fn only_the_primary_and_verified_address_counts() {
    let fake = Fake::start().await;
    for (emails, expected) in [
        (json!([]), None),
        (json!([address("p@example.org", true, false)]), None),
        (json!([address("v@example.org", false, true)]), None),
        // The profile's public address is ignored, because it may be unverified.
        (
            json!([
                address("p@example.org", true, false),
                address("v@example.org", false, true)
            ]),
            None,
        ),
        (
            json!([
                address("v@example.org", false, true),
                address("p@example.org", true, true)
            ]),
            Some("p@example.org"),
        ),
        (json!([address("not an address", true, true)]), None),
    ] {
        fake.json(EMAILS, emails.clone());
        let user = fake.sign_in().await.unwrap();
        assert_eq!(
            user.email.map(|email| (email.address, email.trusted)),
            expected.map(|address| (address.to_owned(), true)),
            "{emails}"
        );
    }
    let api = format!("{}/api/v3", fake.server.uri());
    let distrusted = provider(&fake.server.uri(), &api, false).unwrap();
    fake.json(EMAILS, json!([address("p@example.org", true, true)]));
    let flow = distrusted.begin(Hints::default()).await.unwrap().flow;
    let callback = gateway_upstream::Callback { code: "c", iss: None };
    let user = distrusted.finish(&flow, callback, false).await.unwrap();
    assert_eq!(user.email.map(|email| email.trusted), Some(false));
}

#[tokio::test]
async fn only_a_few_pages_of_addresses_are_read() {
    let full = || -> Vec<Value> {
        (0..100)
            .map(|n| address(&format!("{n}@x.org"), false, true))
            .collect()
    };
    let fake = Fake::start().await;
    fake.answer(EMAILS, move |request| {
        let third = request
            .url
            .query_pairs()
            .any(|(name, value)| name == "page" && value == "3");
        let page = if third {
            vec![address("p@x.org", true, true)]
        } else {
            full()
        };
        ResponseTemplate::new(200).set_body_json(page)
    });
    assert_eq!(fake.sign_in().await.unwrap().email.unwrap().address, "p@x.org");
    assert_eq!(fake.seen(EMAILS).await.len(), 3);

    // An endless list does not keep the gateway busy forever.
    let endless = Fake::start().await;
    endless.answer(EMAILS, move |_| ResponseTemplate::new(200).set_body_json(full()));
    assert_eq!(endless.sign_in().await.unwrap().email, None);
    assert_eq!(endless.seen(EMAILS).await.len(), 5);
}

#[tokio::test]
async fn without_the_scope_there_is_no_address() {
    let fake = Fake::start().await;
    for scope in ["read:user", "read:user,user:emailx", "user:follow"] {
        fake.json(TOKEN, token(scope));
        assert_eq!(fake.sign_in().await.unwrap().email, None, "{scope}");
    }
    assert_eq!(
        fake.seen(EMAILS).await.len(),
        0,
        "the gateway does not request data without a grant"
    );
    for scope in ["user:email", "user", "repo,user:email"] {
        fake.json(TOKEN, token(scope));
        assert!(fake.sign_in().await.unwrap().email.is_some(), "{scope}");
    }
}

#[tokio::test]
async fn p12_a_github_app_may_lack_access_to_addresses() {
    // Tokens of GitHub Apps have no scopes.
    for answer in [
        token(""),
        json!({ "access_token": "t", "token_type": "bearer" }),
        json!({ "access_token": "t", "token_type": "bearer", "scope": null }),
        json!({ "access_token": "t", "scope": [], "expires_in": "28800", "refresh_token_expires_in": 15_811_200 }),
    ] {
        let fake = Fake::start().await;
        fake.json(TOKEN, answer.clone());
        let user = fake.sign_in().await.unwrap();
        assert!(user.email.is_some(), "{answer}");
        // Without the permission GitHub answers 403 or 404, and the user has no address.
        for status in [403, 404] {
            fake.answer(EMAILS, move |_| {
                let refusal = json!({ "message": "Resource not accessible by integration" });
                ResponseTemplate::new(status).set_body_json(refusal)
            });
            assert_eq!(fake.sign_in().await.unwrap().email, None, "{answer} {status}");
        }
        // An outage does not count as a refusal.
        fake.answer(EMAILS, |_| ResponseTemplate::new(503));
        assert_eq!(fake.sign_in().await.unwrap_err().kind(), ErrorKind::Down);
    }
}

#[tokio::test]
async fn refusals_with_status_200_are_recognised() {
    let fake = Fake::start().await;
    for (code, kind) in [
        ("bad_verification_code", ErrorKind::Refused),
        ("incorrect_client_credentials", ErrorKind::Wrong),
        ("redirect_uri_mismatch", ErrorKind::Wrong),
    ] {
        let body = json!({ "error": code, "error_description": "canary-code is wrong", "error_uri": "https://docs" });
        for status in [200, 400] {
            let body = body.clone();
            fake.answer(TOKEN, move |_| ResponseTemplate::new(status).set_body_json(&body));
            let error = fake.sign_in().await.unwrap_err();
            let refusal = Refusal::new(code, Some("[removed] is wrong"));
            assert_eq!(error, UpstreamError::TokenRefused(refusal), "{status}");
            assert_eq!(error.kind(), kind);
        }
    }
    fake.json(TOKEN, json!({ "error": "canary-code/expired" }));
    let error = fake.sign_in().await.unwrap_err();
    assert!(matches!(error, UpstreamError::TokenRefused(_)), "{error:?}");
    assert_eq!(fake.seen(USER).await.len(), 0);
}

#[tokio::test]
async fn an_issuer_in_the_callback_is_checked() {
    let fake = Fake::start().await;
    let home = fake.server.uri();
    let flow = fake.provider.begin(Hints::default()).await.unwrap().flow;
    for iss in [
        "https://github.com",
        "https://other.example.org",
        "",
        &format!("{home}/login/oauth/"),
        &format!("{home}.example.org"),
    ] {
        assert_eq!(
            fake.finish(&flow, Some(iss)).await,
            Err(UpstreamError::IssuerMismatch),
            "{iss:?}"
        );
    }
    assert_eq!(fake.seen(TOKEN).await.len(), 0, "no code goes to the wrong one");
    for iss in [None, Some(home.clone()), Some(format!("{home}/login/oauth"))] {
        fake.finish(&flow, iss.as_deref()).await.unwrap();
    }
}

#[tokio::test]
async fn malformed_answers_are_rejected() {
    let fake = Fake::start().await;
    let mut odd: Vec<(&str, Value)> = vec![
        (TOKEN, json!({ "scope": "user:email", "token_type": "bearer" })),
        (TOKEN, json!({ "access_token": 7, "token_type": "bearer" })),
        (
            TOKEN,
            json!({ "access_token": "canary\nx: y", "token_type": "bearer" }),
        ),
        (EMAILS, json!([{ "email": "a@example.org" }])),
        (
            EMAILS,
            json!([{ "email": "a@example.org", "primary": "true", "verified": "true" }]),
        ),
    ];
    for id in [
        json!("583231"),
        json!(-1),
        json!(1.5),
        json!(1e30),
        json!(null),
        json!([1]),
    ] {
        odd.push((USER, json!({ "id": id, "login": "octocat" })));
    }
    for at in ENDPOINTS {
        for body in [json!(null), json!("text"), json!([[]]), json!(7)] {
            odd.push((at, body));
        }
    }
    odd.push((USER, json!({ "login": "octocat" })));
    odd.push((USER, json!([])));
    odd.push((EMAILS, json!({ "message": "canary" })));
    for (at, body) in odd {
        let fresh = Fake::start().await;
        fresh.json(at, body.clone());
        let error = fresh.sign_in().await.expect_err(&body.to_string());
        assert!(
            matches!(error, UpstreamError::BadResponse { .. }),
            "{at} {body}: {error:?}"
        );
    }
    for at in ENDPOINTS {
        let fresh = Fake::start().await;
        fresh.answer(at, |_| {
            ResponseTemplate::new(200).set_body_raw("<h1>canary</h1>", "text/html")
        });
        let error = fresh.sign_in().await.unwrap_err();
        assert!(
            matches!(error, UpstreamError::BadResponse { .. }),
            "{at}: {error:?}"
        );
    }
    fake.answer(TOKEN, |_| {
        ResponseTemplate::new(200).set_body_raw(
            "access_token=canary&token_type=bearer",
            "application/x-www-form-urlencoded",
        )
    });
    assert!(matches!(
        fake.sign_in().await,
        Err(UpstreamError::BadResponse { .. })
    ));
}

#[tokio::test]
async fn requests_to_a_hanging_endpoint_time_out() {
    let hangs = async |at: &'static str| {
        let mut fake = Fake::start().await;
        let uri = fake.server.uri();
        // Long enough for the endpoints that answer.
        let time = Duration::from_secs(4);
        fake.provider = provider_within(&uri, &format!("{uri}/api/v3/"), true, time).unwrap();
        fake.answer(at, |_| {
            ResponseTemplate::new(200).set_delay(Duration::from_secs(600))
        });
        match fake.sign_in().await.unwrap_err() {
            UpstreamError::Http { error, .. } => assert_eq!(error, HttpError::TimedOut, "{at}"),
            error => panic!("{at}: {error:?}"),
        }
    };
    tokio::join!(hangs(TOKEN), hangs(USER), hangs(EMAILS));
}

#[tokio::test]
async fn outages_slow_endless_and_redirected_answers_are_errors() {
    let elsewhere = Fake::start().await;
    let away = format!("{}{USER}", elsewhere.server.uri());
    for at in ENDPOINTS {
        let fake = Fake::start().await;
        let http = async || match fake.sign_in().await.unwrap_err() {
            UpstreamError::Http { error, .. } => error,
            error => panic!("{at}: {error:?}"),
        };
        fake.answer(at, |_| ResponseTemplate::new(503).set_body_string("canary"));
        assert_eq!(http().await, HttpError::Status(503), "{at}");
        fake.answer(at, |_| {
            ResponseTemplate::new(200).set_body_string("x".repeat(100 << 10))
        });
        assert_eq!(http().await, HttpError::TooLarge(64 << 10), "{at}");
        let location = away.clone();
        fake.answer(at, move |_| {
            ResponseTemplate::new(307).insert_header("location", location.as_str())
        });
        assert_eq!(http().await, HttpError::Status(307), "{at}");
    }
    assert_eq!(elsewhere.server.received_requests().await.unwrap().len(), 0);
    for at in [USER, EMAILS] {
        for status in [401, 403, 404] {
            let fake = Fake::start().await;
            fake.answer(at, move |_| {
                ResponseTemplate::new(status).set_body_json(json!({ "message": "canary" }))
            });
            let error = fake.sign_in().await.unwrap_err();
            assert!(
                matches!(&error, UpstreamError::Http { error: HttpError::Status(s), .. } if *s == status),
                "{at}: {error:?}"
            );
        }
    }
}
