//! The userinfo endpoint (Core 1.0 section 5.3).

use std::time::Duration;

use gateway_upstream::{Callback, ErrorKind, UpstreamError, Userinfo};
use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, ResponseTemplate};

use crate::support::{Fake, Key, NOW, config, configured, parts};

/// A provider whose ID tokens have the claims in `token` and no others about the user.
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

/// The same with this setting.
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
async fn an_answer_about_another_user_ends_the_sign_in() {
    for sub in ["5678", "1234 ", ""] {
        let userinfo = json!({ "sub": sub, "email": "bob@example.org", "email_verified": true });
        let fake = fake(&json!({}), userinfo).await;
        assert_eq!(fake.sign_in().await, Err(UpstreamError::OtherSubject), "{sub:?}");
    }
}

#[tokio::test]
async fn an_answer_without_a_subject_is_ignored() {
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

/// Useless answers, and whether each is a temporary failure.
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
async fn p3_a_failing_userinfo_endpoint_is_ignored_if_the_id_token_suffices() {
    for (answer, passes) in useless() {
        let what = format!("{answer:?}");
        // The name is missing, so the endpoint is asked.
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

        // Without an address, an outage would create a second account for an existing user.
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
async fn p3_the_setting_decides_when_userinfo_is_asked_and_if_it_may_fail() {
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
    // Without an endpoint, only the setting that requires it fails.
    for (setting, signs_in) in [(Userinfo::Always, true), (Userinfo::Required, false)] {
        let fake = with(setting, &ann(), json!({})).await;
        fake.set(|answers| answers.discovery["userinfo_endpoint"] = json!(null));
        let answer = sign_in(&fake, false).await;
        assert_eq!(answer.is_ok(), signs_in, "{setting:?} {answer:?}");
    }
}

#[tokio::test]
async fn p4_hooks_receive_claims_from_userinfo() {
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

/// A sign-in; `hooks`: whether hooks read claims.
async fn sign_in(fake: &Fake, hooks: bool) -> Result<gateway_model::UpstreamUser, UpstreamError> {
    let (_, flow) = fake.begin().await;
    let callback = Callback {
        code: "canary-code",
        iss: None,
    };
    fake.provider.finish(&flow, callback, hooks).await
}

/// Makes the endpoint answer with this token.
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

    // With a key that the provider has added since.
    let new = Key::new();
    fake.set(|answers| answers.keys.push(new.jwk.clone()));
    fake.server.reset().await;
    fake.mount().await;
    serve(&fake, new.sign(&claims(&fake))).await;
    fake.clock.advance(Duration::from_secs(31));
    assert_eq!(fake.sign_in().await.unwrap().name, "Ann Lee");
}

#[tokio::test]
async fn p3_signed_answers_from_for_or_about_others_are_rejected() {
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
    // If it is about another user, it ends the sign-in like an unsigned one.
    fake.server.reset().await;
    fake.mount().await;
    let other = json!({ "iss": fake.server.uri(), "aud": "gateway", "sub": "5678" });
    serve(&fake, fake.key.sign(&other)).await;
    assert_eq!(fake.sign_in().await, Err(UpstreamError::OtherSubject));
}

#[tokio::test]
async fn an_address_and_its_verification_must_come_from_one_source() {
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
async fn p3_an_invalid_endpoint_is_ignored_if_it_is_never_asked() {
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
async fn p7_an_address_or_a_denial_counts_from_either_source() {
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
