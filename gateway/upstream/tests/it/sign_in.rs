//! Successful sign-ins, and the requests and checks of each step.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_upstream::{Callback, ErrorKind, UpstreamError};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::support::{CLIENT_ID, CLIENT_SECRET, Fake, REDIRECT};

fn query(url: &Url) -> HashMap<String, String> {
    url.query_pairs().into_owned().collect()
}

#[tokio::test]
async fn the_user_comes_from_the_id_token() {
    let fake = Fake::start().await;
    let user = fake.sign_in().await.unwrap();
    assert_eq!(
        (user.identity.provider.as_str(), user.identity.subject.as_str()),
        ("p", "1234")
    );
    assert_eq!(user.identity.issuer, fake.server.uri());
    assert_eq!(user.name, "Ann");
    assert_eq!(
        user.email.map(|email| (email.address, email.trusted)),
        Some(("ann@example.org".to_owned(), true))
    );
    assert_eq!(user.avatar_url.as_deref(), Some("https://img.example.org/a.png"));
    assert_eq!(user.claims.get("groups"), json!(["staff"]));
    assert_eq!(fake.seen("/userinfo"), 0, "everything was in the ID token");
}

#[tokio::test]
async fn each_sign_in_has_its_own_state_nonce_and_verifier() {
    let fake = Fake::start().await;
    let (url, flow) = fake.begin().await;
    let asked = query(&url);
    assert_eq!(asked["response_type"], "code");
    assert_eq!(asked["client_id"], CLIENT_ID);
    assert_eq!(asked["redirect_uri"], REDIRECT);
    assert_eq!(asked["scope"], "openid email profile groups");
    assert_eq!(asked["code_challenge_method"], "S256");
    assert_eq!(
        asked["code_challenge"],
        URL_SAFE_NO_PAD.encode(Sha256::digest(&flow.verifier))
    );
    assert_eq!(
        (&asked["state"], Some(&asked["nonce"])),
        (&flow.state, flow.nonce.as_ref())
    );

    let (_, other) = fake.begin().await;
    assert!(flow.state != other.state && flow.nonce != other.nonce && flow.verifier != other.verifier);
    fake.provider
        .finish(&other, Callback { code: "c", iss: None }, false)
        .await
        .unwrap();
    assert_eq!(fake.form()["code_verifier"], other.verifier);
    assert_eq!(
        fake.seen("/.well-known/openid-configuration"),
        1,
        "discovery is kept"
    );
}

#[tokio::test]
async fn the_secret_is_sent_as_the_metadata_says() {
    let fake = Fake::start().await;
    fake.sign_in().await.unwrap();
    assert!(
        !fake.form().contains_key("client_secret"),
        "basic, without a word on it"
    );
    let fake = Fake::start().await;
    fake.set(|answers| {
        answers.discovery["token_endpoint_auth_methods_supported"] = json!(["client_secret_post"])
    });
    fake.sign_in().await.unwrap();
    assert_eq!(fake.form()["client_secret"], CLIENT_SECRET);
}

#[tokio::test]
async fn an_address_counts_only_if_verified_is_a_boolean() {
    for verified in [json!(false), json!("true"), json!("false"), Value::Null] {
        let fake = Fake::start().await;
        let odd = verified.clone();
        fake.claims(move |claims| claims["email_verified"] = odd.clone());
        assert_eq!(fake.sign_in().await.unwrap().email, None, "{verified}");
    }
}

#[tokio::test]
async fn userinfo_adds_claims_of_the_same_user_only() {
    let fake = Fake::start().await;
    fake.claims(|claims| {
        let claims = claims.as_object_mut().unwrap();
        claims.retain(|name, _| !matches!(name.as_str(), "name" | "email" | "email_verified"));
    });
    fake.set(|answers| {
        answers.userinfo = json!({ "sub": "1234", "name": "Ann Lee", "email": "a@example.org", "email_verified": true, "groups": ["other"] });
    });
    let user = fake.sign_in().await.unwrap();
    assert_eq!(
        (user.name.as_str(), user.email.unwrap().address.as_str()),
        ("Ann Lee", "a@example.org")
    );
    assert_eq!(user.claims.get("groups"), json!(["staff"]), "what is signed wins");

    fake.set(|answers| answers.userinfo["sub"] = json!("somebody-else"));
    assert_eq!(fake.sign_in().await, Err(UpstreamError::OtherSubject));
}

#[tokio::test]
async fn the_issuer_in_the_callback_is_checked() {
    let fake = Fake::start().await;
    let (_, flow) = fake.begin().await;
    let other = Callback {
        code: "c",
        iss: Some("https://other.example.org"),
    };
    assert_eq!(
        fake.provider.finish(&flow, other, false).await,
        Err(UpstreamError::IssuerMismatch)
    );
    assert_eq!(fake.seen("/token"), 0, "no code goes to the wrong one");
    let right = fake.server.uri();
    fake.provider
        .finish(
            &flow,
            Callback {
                code: "c",
                iss: Some(&right),
            },
            false,
        )
        .await
        .unwrap();

    let fake = Fake::start().await;
    fake.set(|answers| answers.discovery["authorization_response_iss_parameter_supported"] = json!(true));
    assert_eq!(
        fake.sign_in().await,
        Err(UpstreamError::IssuerMismatch),
        "promised, and missing"
    );
}

#[tokio::test]
async fn p17_refusals_are_logged_without_the_values_that_were_sent() {
    let fake = Fake::start().await;
    let (_, flow) = fake.begin().await;
    fake.server.reset().await;
    let refusal =
        json!({ "error": "invalid_grant", "error_description": "the code canary-code\nhas expired" });
    let answer = wiremock::ResponseTemplate::new(400).set_body_json(refusal);
    wiremock::Mock::given(wiremock::matchers::path("/token"))
        .respond_with(answer)
        .mount(&fake.server)
        .await;
    let error = fake
        .provider
        .finish(
            &flow,
            Callback {
                code: "canary-code",
                iss: None,
            },
            false,
        )
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the token endpoint rejected the request: invalid_grant ("the code [removed]has expired")"#
    );
    assert_eq!(error.kind(), ErrorKind::Refused);
}
