//! `webhook`: the messages that the receiver gets, and the result of a sign-in when it accepts none.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use guest_examples::WEBHOOK;
use reqwest::StatusCode;
use serde_json::json;
use wiremock::{Request, ResponseTemplate};

use super::peer::{Nobody, Peer, json_of};
use super::{id_of, setup, users};
use support::fake_oidc::now;
use support::{Gateway, Setup};

const KEY: &[u8] = b"canary-key-of-the-webhook-0123456789";

/// The plugin as an extension that posts to `origin`.
fn posting(origin: &str, settings: &[(&str, &str)]) -> Setup {
    setup(WEBHOOK, settings)
        .table(
            "plugin.webhook.settings",
            &format!("url = \"{origin}/hooks/users\""),
        )
        .table(
            "plugin.webhook.http",
            &format!("allow = [{origin:?}]\ntimeout = \"1m\""),
        )
        .extension("webhook")
}

/// The same, with a signing key.
fn signing(setup: Setup) -> Setup {
    setup
        .env("WEBHOOK_SECRET", &format!("whsec_{}", STANDARD.encode(KEY)))
        .table("plugin.webhook.secrets", "signing = { env = \"WEBHOOK_SECRET\" }")
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.headers[name].to_str().expect("ASCII")
}

/// Verifies a message as a receiver would.
fn assert_signed(request: &Request) {
    let (id, sent_at) = (
        header(request, "webhook-id"),
        header(request, "webhook-timestamp"),
    );
    let age = now().abs_diff(sent_at.parse().expect("seconds"));
    assert!(age < 300, "sent {age} seconds from now");
    let signature = header(request, "webhook-signature")
        .strip_prefix("v1,")
        .expect("version 1");
    let mut signed = format!("{id}.{sent_at}.").into_bytes();
    signed.extend(&request.body);
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY);
    hmac::verify(&key, &signed, &STANDARD.decode(signature).expect("base64")).expect("the right signature");
}

/// Tries to sign in, and expects a rejection.
async fn assert_not_let_in(gateway: &Gateway, user: &str) {
    let response = gateway.browser().sign_in_dev(user).await;
    assert_ne!(response.status(), StatusCode::FOUND, "{user}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receiver_gets_one_signed_message_per_new_user() {
    let receiver = Peer::start(ResponseTemplate::new(204)).await;
    let gateway = signing(posting(&receiver.origin(), &[("timeout", "1m")]))
        .start()
        .await;
    let token = gateway.sign_in("alice").await;
    gateway.sign_in("alice").await;
    let told = receiver.requests().await;
    assert_eq!(told.len(), 1, "a later sign-in is not a new user");
    assert_signed(&told[0]);
    assert_eq!(told[0].method.as_str(), "POST");
    assert_eq!(told[0].url.path(), "/hooks/users");
    assert_eq!(header(&told[0], "content-type"), "application/json");

    let message = json_of(&told[0]);
    assert_eq!(message["type"], "user.created");
    assert_eq!(message["id"], header(&told[0], "webhook-id"));
    let timestamp = message["timestamp"].as_str().unwrap();
    assert!(timestamp.ends_with('Z') && timestamp.len() == 20, "{timestamp}");
    let id = id_of(&gateway, &token).await;
    assert_eq!(
        message["data"],
        json!({
            "user": {
                "id": id, "name": "Alice", "email": "alice@example.org", "email_trusted": true,
                "avatar_url": null, "attributes": {},
            },
            "identity": {"provider": "dev", "issuer": "urn:auth-gateway:dev", "subject": "alice"},
        })
    );

    gateway.sign_in("bob").await;
    let told = receiver.requests().await;
    assert_eq!(told.len(), 2);
    assert_signed(&told[1]);
    assert_ne!(header(&told[1], "webhook-id"), header(&told[0], "webhook-id"));
    let said = gateway.flushed_log().await.join("\n");
    assert!(
        !said.contains("canary") && !said.contains(&STANDARD.encode(KEY)),
        "{said}"
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_waits_for_the_receiver_and_repeats_the_message() {
    let receiver = Peer::start(ResponseTemplate::new(503)).await;
    let gateway = posting(&receiver.origin(), &[("timeout", "1m")]).start().await;
    assert_not_let_in(&gateway, "alice").await;
    gateway
        .log
        .wait_for("why", |line| {
            line.contains("the webhook was not notified: it answered 503")
        })
        .await;
    assert_eq!(users(&gateway).await[0]["status"], "pending");
    let elsewhere = format!("{}/elsewhere", receiver.origin());
    for other in [
        ResponseTemplate::new(302).insert_header("location", elsewhere),
        ResponseTemplate::new(404),
    ] {
        receiver.answers(other);
        assert_not_let_in(&gateway, "alice").await;
    }

    receiver.answers(ResponseTemplate::new(200).set_body_string("thanks"));
    gateway.sign_in("alice").await;
    assert_eq!(users(&gateway).await[0]["status"], "active");
    let told = receiver.requests().await;
    let ids: Vec<_> = told.iter().map(|request| header(request, "webhook-id")).collect();
    assert_eq!(ids.len(), 4, "no redirect was followed");
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(json_of(&told[0]), json_of(&told[3]));
    assert!(
        told.iter()
            .all(|request| !request.headers.contains_key("webhook-signature"))
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sign_ins_succeed_without_the_receiver_if_the_settings_allow_it() {
    let hanging = ResponseTemplate::new(200).set_delay(Duration::from_secs(600));
    let receiver = Peer::start(hanging).await;
    let nobody = Nobody::new();
    for (origin, timeout, why) in [
        (receiver.origin(), "1s", "no answer within 1s"),
        (nobody.origin(), "1m", "ErrorCode::ConnectionRefused"),
    ] {
        let gateway = posting(&origin, &[("timeout", timeout)]).start().await;
        assert_not_let_in(&gateway, "alice").await;
        gateway.log.wait_for(why, |line| line.contains(why)).await;
        gateway.stop().await;

        let settings = [("timeout", timeout), ("undelivered", "pass")];
        let gateway = posting(&origin, &settings).start().await;
        gateway.sign_in("alice").await;
        gateway
            .log
            .wait_for(why, |line| {
                line.contains("the webhook was not notified of event") && line.contains(why)
            })
            .await;
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_secret_sends_nothing_unsigned() {
    let receiver = Peer::start(ResponseTemplate::new(200)).await;
    let settings = [("timeout", "1m"), ("undelivered", "pass")];
    let gateway = signing(posting(&receiver.origin(), &settings))
        .env("WEBHOOK_SECRET", "whsec_canary")
        .start()
        .await;
    assert_not_let_in(&gateway, "alice").await;
    let why = "the secret `signing` cannot be used";
    let line = gateway.log.wait_for(why, |line| line.contains(why)).await;
    assert!(!line.contains("canary"), "{line}");
    assert!(receiver.requests().await.is_empty());
    gateway.stop().await;
}
