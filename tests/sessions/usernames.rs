//! Usernames: which are allowed, set once, and unique in every case.

use serde_json::json;

use super::start;
use support::browser::token_in;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_username_is_set_once_and_is_unique_whatever_the_case() {
    let gateway = start().await;
    let browser = gateway.browser();
    let alice = gateway.sign_in("alice").await;
    let bob = gateway.sign_in("bob").await;
    let set = async |token: &str, name: &str| {
        browser
            .post_as(
                token,
                &format!("/auth/update?username={}", support::browser::encode(name)),
            )
            .await
    };
    for bad in [
        "",
        "ab",
        "admin",
        "ADMIN",
        "аlice",
        "ali\u{200b}ce",
        "\u{202e}ecila",
        "al ice",
        "a\0b",
        &"x".repeat(33),
    ] {
        let answer = set(&alice, bad).await;
        assert_eq!(answer["success"], false, "{bad:?}: {answer}");
        assert!(answer["error"].is_string(), "{bad:?}: {answer}");
    }
    assert_eq!(set(&alice, "Alice_L").await, json!({"success": true}));
    assert_eq!(browser.check(&alice).await["profile"]["username"], "Alice_L");
    assert_eq!(
        set(&bob, "aLICE_l").await["success"],
        false,
        "taken in another case"
    );
    assert_eq!(
        set(&alice, "Other").await,
        json!({"success": false, "error": "Cannot modify username, already set"})
    );
    assert_eq!(set(&bob, "bobby").await, json!({"success": true}));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_a_hundred_concurrent_users_gets_a_username() {
    let gateway = start().await;
    let mut signing_in = tokio::task::JoinSet::new();
    for person in 0..100 {
        let browser = gateway.browser();
        signing_in.spawn(async move { token_in(&browser.sign_in_dev(&format!("person{person}")).await) });
    }
    let tokens = signing_in.join_all().await;
    let browser = gateway.browser();
    let mut wanting = tokio::task::JoinSet::new();
    for (n, token) in tokens.into_iter().enumerate() {
        let browser = browser.clone();
        let name = if n % 2 == 0 { "Wanted" } else { "wanteD" };
        wanting.spawn(async move {
            browser
                .post_as(&token, &format!("/auth/update?username={name}"))
                .await
        });
    }
    let answers = wanting.join_all().await;
    let winners = answers.iter().filter(|answer| answer["success"] == true).count();
    assert_eq!(winners, 1, "{answers:?}");
    gateway.stop().await;
}
