//! `policy`: the requests to the policy service, the answers from the cache, and the results when the service is down.

use std::time::Duration;

use guest_examples::POLICY;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use wiremock::ResponseTemplate;

use super::peer::{Nobody, Peer, json_of};
use super::{id_of, setup};
use support::{Gateway, Setup};

/// The plugin as the provider of `wiki` and `shop`, with the policy service at `origin`.
fn asking(origin: &str, settings: &[(&str, &str)]) -> Setup {
    setup(POLICY, settings)
        .table(
            "plugin.policy.settings",
            &format!("url = \"{origin}/v1/data/gateway/permissions\""),
        )
        .table(
            "plugin.policy.http",
            &format!("allow = [{origin:?}]\ntimeout = \"1m\""),
        )
        .service("wiki", "policy")
        .service("shop", "policy")
        .service("policy-cache", "policy")
}

fn decision(permissions: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"result": permissions}))
}

async fn permissions(gateway: &Gateway, token: &str, service: &str) -> Value {
    let (status, answer) = gateway.browser().authorize(token, service).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(answer["token"].is_string(), "{answer}");
    answer["permissions"].clone()
}

/// Asserts a 503: nothing allowed and nothing signed.
async fn assert_refused(gateway: &Gateway, token: &str, why: &str) {
    let (status, answer) = gateway.browser().authorize(token, "wiki").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{why}: {answer}");
    assert_eq!(answer["permissions"], json!({}), "{why}");
    assert_eq!(answer.get("token"), None, "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_cached_and_the_hit_rate_is_shown() {
    let granted = json!({"edit": true, "quota": 100, "share": 0.5, "plan": "gold", "areas": ["a", null]});
    let opa = Peer::start(decision(&granted)).await;
    let settings = [
        ("timeout", "1m"),
        ("cache", "1h"),
        ("report", "3"),
        ("statistics-service", "policy-cache"),
    ];
    let setup = asking(&opa.origin(), &settings)
        .env("POLICY_TOKEN", "canary-policy-token")
        .table("plugin.policy.secrets", "token = { env = \"POLICY_TOKEN\" }");
    let gateway = setup.start().await;
    let (alice, bob) = (gateway.sign_in("alice").await, gateway.sign_in("bob").await);
    let (alices_id, bobs_id) = (id_of(&gateway, &alice).await, id_of(&gateway, &bob).await);

    for _ in 0..4 {
        assert_eq!(permissions(&gateway, &alice, "wiki").await, granted);
    }
    opa.answers(decision(&json!({"read": true})));
    assert_eq!(permissions(&gateway, &alice, "wiki").await, granted);
    // Another service and another user have their own cache entries.
    assert_eq!(permissions(&gateway, &alice, "shop").await, json!({"read": true}));
    assert_eq!(permissions(&gateway, &bob, "wiki").await, json!({"read": true}));

    let asked = opa.requests().await;
    let questions: Vec<_> = asked.iter().map(json_of).collect();
    let alice_in = |service: &str| {
        json!({"input": {"service": service, "user": {
            "id": alices_id, "username": null, "name": "Alice", "email": "alice@example.org",
            "email_trusted": true, "attributes": {},
        }}})
    };
    assert_eq!(questions.len(), 3, "{questions:?}");
    assert_eq!(questions[0], alice_in("wiki"));
    assert_eq!(questions[1], alice_in("shop"));
    assert_eq!(questions[2]["input"]["user"]["id"], bobs_id);
    for request in &asked {
        assert_eq!(request.method.as_str(), "POST");
        assert_eq!(request.url.path(), "/v1/data/gateway/permissions");
        assert_eq!(request.headers["authorization"], "Bearer canary-policy-token");
        assert_eq!(request.headers["content-type"], "application/json");
    }

    // The log has every third line of a kind: the third hit, and the third miss.
    let said = gateway.flushed_log().await.join("\n");
    assert!(
        said.contains("hit rate 75.0 %: 3 hits, 1 misses, 0 stale, 0 failures"),
        "{said}"
    );
    assert!(
        said.contains("hit rate 57.1 %: 4 hits, 3 misses, 0 stale, 0 failures"),
        "{said}"
    );
    assert!(!said.contains("canary"), "{said}");

    // Only the configured users may read the counts.
    assert_eq!(permissions(&gateway, &alice, "policy-cache").await, json!({}));
    setup
        .table(
            "plugin.policy.settings",
            &format!("statistics-users = {alices_id:?}"),
        )
        .write();
    gateway.reload().await;
    assert_eq!(permissions(&gateway, &bob, "policy-cache").await, json!({}));
    let counts = permissions(&gateway, &alice, "policy-cache").await;
    let rate = counts["hit-rate"].as_f64().unwrap();
    assert!((rate - 4.0 / 7.0).abs() < 1e-9, "{counts}");
    assert_eq!((&counts["hits"], &counts["misses"]), (&json!(4), &json!(3)));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_answers_are_all_counted() {
    let opa = Peer::start(decision(&json!({"read": true}))).await;
    let settings = [
        ("timeout", "1m"),
        ("cache", "1h"),
        ("statistics-service", "policy-cache"),
    ];
    let setup = asking(&opa.origin(), &settings);
    let gateway = setup.start().await;
    let token = gateway.sign_in("alice").await;
    let id = id_of(&gateway, &token).await;
    let mut calls = JoinSet::new();
    for _ in 0..40 {
        let (browser, token) = (gateway.browser(), token.clone());
        calls.spawn(async move { browser.authorize(&token, "wiki").await });
    }
    for (status, answer) in calls.join_all().await {
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer["permissions"], json!({"read": true}));
    }
    setup
        .table("plugin.policy.settings", &format!("statistics-users = {id:?}"))
        .write();
    gateway.reload().await;
    let counts = permissions(&gateway, &token, "policy-cache").await;
    let (hits, misses) = (
        counts["hits"].as_u64().unwrap(),
        counts["misses"].as_u64().unwrap(),
    );
    assert_eq!(hits + misses, 40, "{counts}");
    assert_eq!(misses, opa.requests().await.len() as u64, "{counts}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_allowed_while_the_policy_service_is_down() {
    let opa = Peer::start(decision(&json!({"read": true}))).await;
    // With `cache = "0s"`, a cached answer expires immediately.
    let setup = asking(&opa.origin(), &[("timeout", "1m"), ("cache", "0s")]);
    let gateway = setup.start().await;
    let token = gateway.sign_in("alice").await;
    assert_eq!(permissions(&gateway, &token, "wiki").await, json!({"read": true}));
    let allowed = json!({"result": {"read": true}});
    for (answer, why) in [
        (ResponseTemplate::new(503).set_body_json(&allowed), "answered 503"),
        (ResponseTemplate::new(403).set_body_json(&allowed), "answered 403"),
        (
            ResponseTemplate::new(302)
                .insert_header("location", format!("{}/elsewhere", opa.origin()))
                .set_body_json(&allowed),
            "answered 302",
        ),
        (
            ResponseTemplate::new(200).set_body_json(json!({})),
            "the policy has no result",
        ),
        (
            ResponseTemplate::new(200).set_body_json(json!({"result": true})),
            "not an object of permissions",
        ),
        (
            ResponseTemplate::new(200).set_body_string("<html>"),
            "did not answer with a JSON object",
        ),
    ] {
        opa.answers(answer);
        assert_refused(&gateway, &token, why).await;
        gateway.log.wait_for(why, |line| line.contains(why)).await;
    }
    opa.answers(decision(&json!({"read": true})));
    assert_eq!(permissions(&gateway, &token, "wiki").await, json!({"read": true}));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_hangs_or_is_gone_costs_at_most_its_timeout() {
    let hanging = decision(&json!({"read": true})).set_delay(Duration::from_secs(600));
    let opa = Peer::start(hanging).await;
    let gateway = asking(&opa.origin(), &[("timeout", "1s")]).start().await;
    let token = gateway.sign_in("alice").await;
    assert_refused(&gateway, &token, "hangs").await;
    let why = "the policy service did not answer: no answer within 1s";
    gateway.log.wait_for(why, |line| line.contains(why)).await;
    gateway.stop().await;

    let nobody = Nobody::new();
    let gateway = asking(&nobody.origin(), &[("timeout", "1m")]).start().await;
    let token = gateway.sign_in("alice").await;
    assert_refused(&gateway, &token, "is gone").await;
    let why = "the policy service did not answer: ErrorCode::ConnectionRefused";
    gateway.log.wait_for(why, |line| line.contains(why)).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_answer_is_used_if_the_settings_allow_it() {
    let opa = Peer::start(decision(&json!({"read": true}))).await;
    let setup = asking(&opa.origin(), &[("timeout", "1m"), ("cache", "0s")]);
    let lenient = setup.clone().table("plugin.policy.settings", "stale = \"1h\"");
    let gateway = lenient.start().await;
    let (alice, bob) = (gateway.sign_in("alice").await, gateway.sign_in("bob").await);
    assert_eq!(permissions(&gateway, &alice, "wiki").await, json!({"read": true}));

    opa.answers(ResponseTemplate::new(503));
    assert_eq!(permissions(&gateway, &alice, "wiki").await, json!({"read": true}));
    let why = "used a cached answer: the policy service answered 503";
    gateway.log.wait_for(why, |line| line.contains(why)).await;
    // There is no old answer for a new user, and an old answer never replaces a refusal.
    assert_refused(&gateway, &bob, "has no old answer").await;
    // Regardless of its length.
    let endless = "x".repeat(2 << 20);
    for refusal in [
        ResponseTemplate::new(403),
        ResponseTemplate::new(403).set_body_string(endless.clone()),
        ResponseTemplate::new(200).set_body_string(endless),
    ] {
        opa.answers(refusal);
        assert_refused(&gateway, &alice, "an answer, not an outage").await;
    }

    // The new settings do not use answers that were cached under the old ones.
    opa.answers(ResponseTemplate::new(503));
    setup.write();
    gateway.reload().await;
    assert_refused(&gateway, &alice, "stale answers are off").await;
    gateway.stop().await;
}
