//! The userinfo endpoint (Core 1.0 section 5.3): whose word it is, and for what.

use std::time::Duration;

use gateway_upstream::{Callback, ErrorKind, UpstreamError, Userinfo};
use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, ResponseTemplate};

use crate::support::{Fake, Key, NOW, config, configured, parts};

/// A provider whose ID tokens say of the person what `token` says, and nothing else.
async fn fake(token: &Value, userinfo: Value) -> Fake {
    let fake = Fake::start().await;
    let token = token.as_object().unwrap().clone();
    fake.claims(move |claims| {
        let claims = claims.as_object_mut().unwrap();
        claims.retain(|name, _| !matches!(name.as_str(), "name" | "email" | "email_verified"));
        claims.extend(token.clone());
    });
    fake.set(|answers| answers.userinfo = userinfo);
    fake
}

/// The same, where the endpoint is asked as the setting says.
async fn with(setting: Userinfo, token: &Value, userinfo: Value) -> Fake {
    let mut fake = fake(token, userinfo).await;
    let mut config = config(&fake.server.uri());
    config.userinfo = setting;
    fake.provider = configured(config, fake.clock.clone(), Duration::from_secs(60));
    fake
}

fn ann() -> Value {
    json!({ "name": "Ann", "email": "ann@example.org", "email_verified": true })
}

#[tokio::test]
async fn an_answer_about_somebody_else_signs_nobody_in() {
    for sub in ["5678", "1234 ", ""] {
        let userinfo = json!({ "sub": sub, "email": "bob@example.org", "email_verified": true });
        let fake = fake(&json!({}), userinfo).await;
        assert_eq!(fake.sign_in().await, Err(UpstreamError::OtherSubject), "{sub:?}");
    }
}

#[tokio::test]
async fn an_answer_about_nobody_adds_nothing() {
    for userinfo in [
        json!({ "email": "bob@example.org", "email_verified": true }),
        json!({ "sub": null, "email": "bob@example.org", "email_verified": true }),
        json!({ "sub": 1234, "email": "bob@example.org", "email_verified": true }),
        json!({ "sub": ["1234"], "email": "bob@example.org", "email_verified": true }),
        json!(["1234"]),
        json!("1234"),
    ] {
        let fake = fake(&json!({}), userinfo.clone()).await;
        let user = fake.sign_in().await.unwrap();
        assert_eq!(user.identity.subject, "1234");
        assert_eq!(
            (user.email, user.claims.get("email")),
            (None, Value::Null),
            "{userinfo}"
        );
        let strict = with(Userinfo::Required, &ann(), userinfo.clone()).await;
        let answer = strict.sign_in().await;
        assert!(
            matches!(answer, Err(UpstreamError::BadResponse { .. })),
            "{userinfo}: {answer:?}"
        );
    }
}

/// Answers that are of no use, and whether it is only for the moment.
fn useless() -> Vec<(ResponseTemplate, bool)> {
    let status = ResponseTemplate::new;
    vec![
        (status(401), false),
        (
            status(403).set_body_json(json!({ "error": "insufficient_scope" })),
            false,
        ),
        (status(404), false),
        (status(307).insert_header("location", "/elsewhere"), false),
        (status(204), false),
        (status(200).set_body_raw("<html>", "text/html"), false),
        (status(200).set_body_raw("{\"sub\": ", "application/json"), false),
        (status(200).set_body_raw("e30.e30.e30", "application/jwt"), false),
        (status(200).set_body_raw([0xff, 0xfe], "application/jwt"), false),
        (status(200).set_body_string("x".repeat(100 << 10)), false),
        (status(500), true),
        (
            status(503).set_body_json(json!({ "error": "server_error" })),
            true,
        ),
    ]
}

#[tokio::test]
async fn p3_userinfo_that_fails_keeps_nobody_out_whose_id_token_is_enough() {
    for (answer, passes) in useless() {
        let what = format!("{answer:?}");
        // The name is missing, so it is asked.
        let token = json!({ "email": "ann@example.org", "email_verified": true });
        let fake = fake(&token, json!({})).await;
        let failing = Mock::given(path("/userinfo"))
            .respond_with(answer)
            .with_priority(1);
        failing.mount(&fake.server).await;
        let user = fake
            .sign_in()
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(user.email.unwrap().address, "ann@example.org", "{what}");

        // Without an address, an outage would make a second account of somebody who has one by their address.
        fake.claims(|claims| {
            let claims = claims.as_object_mut().unwrap();
            claims.retain(|name, _| !matches!(name.as_str(), "name" | "email" | "email_verified"));
        });
        let answer = fake.sign_in().await;
        if passes {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Down, "{what}");
        } else {
            assert_eq!(answer.unwrap().identity.subject, "1234", "{what}");
        }
    }
}

#[tokio::test]
async fn p3_a_setting_says_when_userinfo_is_asked_and_whether_a_failure_counts() {
    let asked = |fake: &Fake| fake.seen("/userinfo");
    for (setting, complete, hooks, expected) in [
        (Userinfo::Auto, true, false, 0),
        (Userinfo::Auto, true, true, 1),
        (Userinfo::Auto, false, false, 1),
        (Userinfo::Always, true, false, 1),
        (Userinfo::Required, true, false, 1),
        (Userinfo::Never, false, true, 0),
    ] {
        let token = if complete { ann() } else { json!({}) };
        let fake = with(setting, &token, json!({ "sub": "1234", "groups": ["g"] })).await;
        let user = sign_in(&fake, hooks).await.unwrap();
        assert_eq!(asked(&fake), expected, "{setting:?} {complete} {hooks}");
        assert_eq!(user.name, if complete { "Ann" } else { "" });
    }
    let broken = json!({ "sub": null });
    for setting in [Userinfo::Auto, Userinfo::Always] {
        let fake = with(setting, &ann(), broken.clone()).await;
        sign_in(&fake, true).await.unwrap();
        assert_eq!(asked(&fake), 1, "{setting:?}");
    }
    let required = with(Userinfo::Required, &ann(), broken).await;
    sign_in(&required, false).await.unwrap_err();
    // Without an endpoint there is nothing to ask; a setting that demands it says so.
    for (setting, signs_in) in [(Userinfo::Always, true), (Userinfo::Required, false)] {
        let fake = with(setting, &ann(), json!({})).await;
        fake.set(|answers| answers.discovery["userinfo_endpoint"] = json!(null));
        let answer = sign_in(&fake, false).await;
        assert_eq!(answer.is_ok(), signs_in, "{setting:?} {answer:?}");
    }
}

#[tokio::test]
async fn p4_hooks_get_what_only_userinfo_says() {
    let fake = fake(
        &ann(),
        json!({ "sub": "1234", "name": "Other", "groups": ["x"], "roles": ["admin"] }),
    )
    .await;
    let plain = sign_in(&fake, false).await.unwrap();
    assert_eq!(plain.claims.get("roles"), Value::Null, "nobody would read them");
    let user = sign_in(&fake, true).await.unwrap();
    assert_eq!(user.claims.get("roles"), json!(["admin"]));
    assert_eq!(user.claims.get("groups"), json!(["staff"]), "what is signed wins");
    assert_eq!(user.name, "Ann");
}

/// A sign-in, with hooks that read claims or without.
async fn sign_in(fake: &Fake, hooks: bool) -> Result<gateway_model::UpstreamUser, UpstreamError> {
    let (_, flow) = fake.begin().await;
    let callback = Callback {
        code: "canary-code",
        iss: None,
    };
    fake.provider.finish_with(&flow, callback, hooks).await
}

/// Serves this token as the answer of the endpoint.
async fn serve(fake: &Fake, token: String) {
    let answer = ResponseTemplate::new(200).set_body_raw(token, "application/jwt; charset=utf-8");
    let mock = Mock::given(path("/userinfo"))
        .respond_with(answer)
        .with_priority(1);
    mock.mount(&fake.server).await;
}

#[tokio::test]
async fn p3_a_signed_answer_is_verified_and_read() {
    let claims = |fake: &Fake| {
        json!({
            "iss": fake.server.uri(), "aud": "gateway", "sub": "1234", "name": "Ann Lee", "email": "ann@example.org",
            "email_verified": true, "iat": NOW,
        })
    };
    let fake = fake(&json!({}), json!({})).await;
    let token = fake.key.sign(&claims(&fake));
    serve(&fake, token).await;
    let user = fake.sign_in().await.unwrap();
    assert_eq!((user.name.as_str(), user.email.is_some()), ("Ann Lee", true));

    // With a key that the provider has brought in since.
    let new = Key::new();
    fake.set(|answers| answers.keys.push(new.jwk.clone()));
    fake.server.reset().await;
    fake.mount().await;
    serve(&fake, new.sign(&claims(&fake))).await;
    fake.clock.advance(Duration::from_secs(31));
    assert_eq!(fake.sign_in().await.unwrap().name, "Ann Lee");
}

#[tokio::test]
async fn p3_a_signed_answer_that_is_not_the_providers_for_us_about_this_person_adds_nothing() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 9] = [
        ("another issuer", |c| {
            c["iss"] = json!("https://other.example.org")
        }),
        ("no issuer", |c| drop(c.as_object_mut().unwrap().remove("iss"))),
        ("another audience", |c| c["aud"] = json!("somebody-else")),
        ("other audiences", |c| c["aud"] = json!(["a", "b"])),
        ("no audience", |c| drop(c.as_object_mut().unwrap().remove("aud"))),
        ("expired", |c| c["exp"] = json!(NOW - 1)),
        ("no subject", |c| drop(c.as_object_mut().unwrap().remove("sub"))),
        ("a subject that is a number", |c| c["sub"] = json!(1234)),
        ("a list", |c| *c = json!([c.take()])),
    ];
    for (what, change) in changes {
        let fake = fake(&json!({}), json!({})).await;
        let mut claims =
            json!({ "iss": fake.server.uri(), "aud": ["gateway"], "sub": "1234", "name": "Mallory" });
        change(&mut claims);
        serve(&fake, fake.key.sign(&claims)).await;
        assert_eq!(fake.sign_in().await.unwrap().name, "", "{what}");
    }
    let fake = fake(&json!({}), json!({})).await;
    let claims = json!({ "iss": fake.server.uri(), "aud": "gateway", "sub": "1234", "name": "Mallory" });
    let stranger = Key::new();
    let mut header = stranger.header();
    header.kid = Some(fake.key.kid.clone());
    let unsigned = format!("{}.", parts("{\"alg\":\"none\"}", &claims.to_string()));
    for token in [
        stranger.sign_under(&header, &claims),
        stranger.sign(&claims),
        unsigned,
    ] {
        fake.server.reset().await;
        fake.mount().await;
        serve(&fake, token).await;
        assert_eq!(fake.sign_in().await.unwrap().name, "");
    }
    // About somebody else, it ends the sign-in as an unsigned one does.
    fake.server.reset().await;
    fake.mount().await;
    let other = json!({ "iss": fake.server.uri(), "aud": "gateway", "sub": "5678" });
    serve(&fake, fake.key.sign(&other)).await;
    assert_eq!(fake.sign_in().await, Err(UpstreamError::OtherSubject));
}

#[tokio::test]
async fn an_address_counts_only_with_a_true_from_the_same_place() {
    let ann = "ann@example.org";
    for (token, mut userinfo, expected) in [
        (
            json!({}),
            json!({ "email": ann, "email_verified": true }),
            Some(ann),
        ),
        (
            json!({ "email": "typed@example.org" }),
            json!({ "email": ann, "email_verified": true }),
            Some(ann),
        ),
        (json!({}), json!({ "email": ann, "email_verified": "true" }), None),
        (json!({}), json!({ "email": ann, "email_verified": 1 }), None),
        (json!({}), json!({ "email": ann }), None),
        (json!({ "email": ann }), json!({ "email_verified": true }), None),
        (json!({ "email_verified": true }), json!({ "email": ann }), None),
        (
            json!({ "email": ann, "email_verified": false }),
            json!({ "email": "other@example.org", "email_verified": true }),
            None,
        ),
    ] {
        userinfo["sub"] = json!("1234");
        let fake = fake(&token, userinfo.clone()).await;
        let email = fake.sign_in().await.unwrap().email;
        let address = email.map(|email| email.address);
        assert_eq!(address.as_deref(), expected, "{token} {userinfo}");
    }
}

#[tokio::test]
async fn without_the_endpoint_a_person_may_have_no_name() {
    let fake = fake(&json!({}), json!({})).await;
    fake.set(|answers| {
        drop(
            answers
                .discovery
                .as_object_mut()
                .unwrap()
                .remove("userinfo_endpoint"),
        )
    });
    let user = fake.sign_in().await.unwrap();
    assert_eq!((user.name.as_str(), user.email), ("", None));
}

#[tokio::test]
async fn p3_an_endpoint_that_is_never_asked_keeps_nobody_out() {
    for endpoint in [
        json!("http://id.example.org/userinfo"),
        json!("https://169.254.169.254/userinfo"),
        json!("/userinfo"),
        json!({}),
    ] {
        for (setting, signs_in) in [
            (Userinfo::Auto, true),
            (Userinfo::Always, true),
            (Userinfo::Never, true),
            (Userinfo::Required, false),
        ] {
            let fake = with(setting, &ann(), json!({ "sub": "1234" })).await;
            fake.set(|answers| answers.discovery["userinfo_endpoint"] = endpoint.clone());
            let answer = fake.sign_in().await;
            assert_eq!(answer.is_ok(), signs_in, "{endpoint} {setting:?} {answer:?}");
            assert_eq!(fake.seen("/userinfo"), 0);
        }
    }
}

#[tokio::test]
async fn p7_an_address_is_found_and_a_no_counts_wherever_they_are() {
    let address = json!({ "sub": "1234", "email": "ann@example.org", "email_verified": true });
    let nothing = json!({ "email": null, "email_verified": null, "name": null });
    let fake = with(Userinfo::Auto, &nothing, address.clone()).await;
    let user = fake.sign_in().await.unwrap();
    assert_eq!(user.email.unwrap().address, "ann@example.org");

    let unsaid = json!({ "sub": "1234", "email": "ann@example.org" });
    for (token, userinfo) in [
        (json!({ "email_verified": false }), unsaid.clone()),
        (
            json!({ "email": "ann@example.org" }),
            json!({ "sub": "1234", "email_verified": false }),
        ),
    ] {
        let mut fake = with(Userinfo::Always, &token, userinfo).await;
        let mut config = config(&fake.server.uri());
        config.assume_email_verified = true;
        config.userinfo = Userinfo::Always;
        fake.provider = configured(config, fake.clock.clone(), Duration::from_secs(60));
        assert_eq!(fake.sign_in().await.unwrap().email, None, "{token}");
    }
}
