//! Requests: the places of a token, and the formats of a body.

use reqwest::Method;
use serde_json::{Value, json};

use super::start;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_is_found_in_the_places_of_the_contract_in_their_order() {
    let gateway = start().await;
    let browser = gateway.browser();
    let token = gateway.sign_in("alice").await;
    let signed_in = async |request: reqwest::RequestBuilder| {
        let answer: Value = browser.send(request).await.json().await.unwrap();
        answer["authenticated"] == true
    };
    let get = |target: &str| browser.request(Method::GET, target);
    assert!(signed_in(get("/auth/check").bearer_auth(&token)).await);
    assert!(signed_in(get("/auth/check").header("authorization", format!("bearer {token}"))).await);
    assert!(signed_in(get("/auth/check").header("auth-token", &token)).await);
    assert!(signed_in(get(&format!("/auth/check?jwt={token}"))).await);
    assert!(!signed_in(get(&format!("/auth/check?jwt={token}")).header("auth-token", "bla")).await);
    assert!(!signed_in(get("/auth/check").header("auth-token", &token).bearer_auth("bla")).await);

    let form = browser
        .request(Method::POST, "/auth/update")
        .form(&[("jwt", token.as_str()), ("username", "alice")]);
    let answer: Value = browser.send(form).await.json().await.unwrap();
    assert_eq!(answer, json!({"success": true}));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_bodies_are_read_as_forms_are() {
    let gateway = start().await;
    let browser = gateway.browser();
    let alice = gateway.sign_in("alice").await;
    let post = async |target: &str, kind: &str, body: &str, token: Option<&str>| {
        let mut request = browser
            .request(Method::POST, target)
            .header("content-type", kind)
            .body(body.to_owned());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = browser.send(request).await;
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };
    let (json, token) = ("application/json", Some(alice.as_str()));
    let success = (200, json!({"success": true}));
    for (kind, body, status) in [
        (json, r#"{"username": "neo", "username": "neo"}"#, 400),
        (json, r#"{"username": ["neo"]}"#, 400),
        (json, r#"["username"]"#, 400),
        (json, "username=neo", 400),
        ("text/plain", r#"{"username": "neo"}"#, 415),
        ("text/json", r#"{"username": "neo"}"#, 415),
        (
            "application/x-www-form-urlencoded, application/json",
            r#"{"username": "neo"}"#,
            415,
        ),
    ] {
        let (found, answer) = post("/auth/update", kind, body, token).await;
        assert_eq!(found, status, "{kind} {body}: {answer}");
        assert!(answer["error"].is_string(), "{answer}");
    }
    let large = format!("{{\"other\": \"{}\"}}", "x".repeat(70_000));
    assert_eq!(post("/auth/update", json, &large, token).await.0, 413);
    assert_eq!(browser.check(&alice).await["profile"].get("username"), None);

    // The current name may be sent again, in every format. A different name may not.
    let utf8 = "application/JSON; charset=utf-8";
    assert_eq!(
        post("/auth/update", utf8, r#"{"username": "neo", "age": 7}"#, token).await,
        success
    );
    assert_eq!(
        post("/auth/update", json, r#"{"username": "neo"}"#, token).await,
        success
    );
    let form = "application/x-www-form-urlencoded";
    assert_eq!(post("/auth/update", form, "username=neo", token).await, success);
    assert_eq!(
        browser.post_as(&alice, "/auth/update?username=neo").await,
        success.1
    );
    for other in ["Neo", "trinity", ""] {
        let (_, answer) = post(
            "/auth/update",
            json,
            &json!({"username": other}).to_string(),
            token,
        )
        .await;
        assert_eq!(answer["error"], "Cannot modify username, already set", "{other}");
    }
    assert_eq!(browser.check(&alice).await["profile"]["username"], "neo");
    // Nothing to set, in every way that JSON has for it.
    for nothing in ["{}", r#"{"username": null}"#, ""] {
        assert_eq!(
            post("/auth/update", json, nothing, token).await,
            success,
            "{nothing}"
        );
    }

    let logout = json!({ "jwt": alice }).to_string();
    assert_eq!(post("/auth/logout", "text/plain", &logout, None).await.0, 415);
    assert!(browser.is_signed_in(&alice).await);
    assert_eq!(post("/auth/logout", json, &logout, None).await, success);
    assert!(!browser.is_signed_in(&alice).await);
    gateway.stop().await;
}
