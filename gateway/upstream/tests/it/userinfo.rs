//! The userinfo endpoint (Core 1.0 section 5.3): whose word it is, and for what.

use gateway_upstream::UpstreamError;
use serde_json::{Value, json};

use crate::support::Fake;

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

#[tokio::test]
async fn an_answer_about_somebody_else_signs_nobody_in() {
    for userinfo in [
        json!({ "sub": "5678", "email": "bob@example.org", "email_verified": true }),
        json!({ "email": "bob@example.org", "email_verified": true }),
        json!({ "sub": null }),
        json!({ "sub": 1234 }),
        json!({ "sub": ["1234"] }),
        json!({ "sub": "1234 " }),
        json!(["1234"]),
        json!("1234"),
    ] {
        let fake = fake(&json!({}), userinfo.clone()).await;
        let answer = fake.sign_in().await;
        assert!(
            matches!(answer, Err(UpstreamError::BadResponse { .. })),
            "{userinfo}: {answer:?}"
        );
    }
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
