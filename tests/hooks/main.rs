//! Lifecycle hooks: the data that they see, the changes that they may make, and the result of a sign-in when they fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

use reqwest::StatusCode;
use serde_json::{Value, json};
use support::browser::token_in;
use support::fake_oidc::FakeOidc;
use support::{Gateway, Setup, eventually};

/// The extension `count`, which logs every event, with its grants. No other extension yet.
fn counted() -> Setup {
    Setup::dev()
        .env(
            "PRIVATE_KEY",
            &support::setup::private_key(gateway_token::Algorithm::ES256),
        )
        .plugin("count", test_guests::COUNT)
        .plugin_table("count", "grants = [\"logging\"]")
        .extension("count")
}

/// The ids of the events that `count` has logged for a hook, in order.
async fn seen(gateway: &Gateway, hook: &str) -> Vec<String> {
    let mark = format!("hook={hook} event=");
    gateway
        .flushed_log()
        .await
        .iter()
        .filter_map(|line| line.split_once(&mark))
        .map(|(_, rest)| rest.chars().take_while(char::is_ascii_hexdigit).collect())
        .collect()
}

/// The user with this identity, from `gateway user export`.
async fn user(gateway: &Gateway, subject: &str) -> Option<Value> {
    let export = gateway.cli(&["user", "export"]).await.succeeded();
    let users: Vec<Value> = export
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    users
        .into_iter()
        .find(|user| user["identities"][0]["subject"] == subject)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_are_called_in_order_and_their_attributes_are_set() {
    let setup = counted()
        .plugin("login-only", test_guests::LOGIN_ONLY)
        .extension("login-only")
        .plugin("users", test_guests::IMPORTS_USERS)
        .plugin_table("users", "grants = [\"users\"]")
        .service("who", "users");
    let gateway = setup.start().await;
    let token = gateway.sign_in("alice").await;
    let (new, logins) = (
        seen(&gateway, "on-new-user").await,
        seen(&gateway, "on-user-login").await,
    );
    assert_eq!((new.len(), logins.len()), (1, 1));
    let alice = user(&gateway, "alice").await.unwrap();
    assert_eq!(alice["status"], "active");
    let attributes = &alice["attributes"];
    assert_eq!(attributes["seen-on-new-user"], new[0].as_str());
    assert_eq!(attributes["seen-on-user-login"], logins[0].as_str());
    assert_eq!(attributes["login-provider"], "dev");
    assert_eq!(attributes["login-subject"], "alice");
    assert_eq!(
        attributes["login-attributes"], "seen-on-new-user,seen-on-user-login",
        "a hook sees what those before it have set"
    );

    // A provider with the grant sees them too.
    let (status, answer) = gateway.browser().authorize(&token, "who").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let permissions = &answer["permissions"];
    assert_eq!(permissions["email"], "alice@example.org");
    let shown = permissions["attributes"].as_str().unwrap();
    assert!(shown.contains(&format!("seen-on-new-user={}", new[0])), "{shown}");

    // A later sign-in does not make a new user. The hook also gets the sign-out, after the session has ended.
    let again = gateway.sign_in("alice").await;
    assert_eq!(seen(&gateway, "on-new-user").await.len(), 1);
    assert_eq!(seen(&gateway, "on-user-login").await.len(), 2);
    gateway.browser().post_as(&again, "/auth/logout").await;
    eventually("the sign-out is delivered", async || {
        (seen(&gateway, "on-user-logout").await.len() == 1).then_some(())
    })
    .await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_person_sees_the_message_and_is_not_a_user() {
    let gateway = counted()
        .plugin("reject", test_guests::REJECT)
        .extension("reject")
        .start()
        .await;
    let browser = gateway.browser();
    for _ in 0..2 {
        let response = browser.sign_in_dev("reject-me").await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(response.headers().get("location"), None);
        let page = response.text().await.unwrap();
        assert!(page.contains("Rejected by on-new-user:"), "{page}");
        assert_eq!(
            user(&gateway, "reject-me").await,
            None,
            "the pending user is gone"
        );
    }
    let events = seen(&gateway, "on-new-user").await;
    assert_eq!(events.len(), 2);
    assert_ne!(
        events[0], events[1],
        "a verdict was given: the next sign-in is another event"
    );
    assert_eq!(
        seen(&gateway, "on-user-login").await.len(),
        0,
        "no login hook for who is not let in"
    );
    // Other users can still sign in.
    gateway.sign_in("alice").await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_login_creates_no_session_and_keeps_the_user() {
    let gateway = counted()
        .plugin("reject", test_guests::REJECT)
        .extension("reject")
        .start()
        .await;
    let response = gateway.browser().sign_in_dev("refuse-login").await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(
        response
            .text()
            .await
            .unwrap()
            .contains("Rejected by on-user-login:")
    );
    let refused = user(&gateway, "refuse-login")
        .await
        .expect("was accepted as a new user");
    assert_eq!(refused["status"], "active");
    assert_eq!(
        gateway
            .cli(&["session", "list", "--json"])
            .await
            .succeeded()
            .trim(),
        "[]"
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_hook_rejects_the_sign_in_and_the_event_is_retried() {
    for person in ["trap", "spin", "bad-attributes"] {
        let setup = counted()
            .plugin("reject", test_guests::REJECT)
            .extension("reject");
        let gateway = setup.start().await;
        for _ in 0..2 {
            let response = gateway.browser().sign_in_dev(person).await;
            assert!(
                [StatusCode::FORBIDDEN, StatusCode::SERVICE_UNAVAILABLE].contains(&response.status()),
                "{person}: {}",
                response.status()
            );
            let page = response.text().await.unwrap();
            assert!(!page.contains("wasm") && !page.contains("trap"), "{page}");
        }
        let events = seen(&gateway, "on-new-user").await;
        assert_eq!(events.len(), 2, "{person}");
        assert_eq!(
            events[0], events[1],
            "{person}: without a verdict it is the same event"
        );
        assert_eq!(
            user(&gateway, person).await.unwrap()["status"],
            "pending",
            "{person}"
        );
        gateway
            .log
            .wait_for("the reason", |line| {
                line.contains("a hook failed") && line.contains("reject/on-new-user")
            })
            .await;

        // The next start delivers the same id again. A plugin that accepts it then lets the user in.
        gateway.stop().await;
        setup.dir.place("reject", test_guests::LOGIN_ONLY);
        let gateway = setup.start().await;
        eventually("the pending event is delivered again", async || {
            (seen(&gateway, "on-new-user").await == [events[0].clone()]).then_some(())
        })
        .await;
        eventually("the user is activated", async || {
            (user(&gateway, person).await?["status"] == "active").then_some(())
        })
        .await;
        gateway.sign_in(person).await;
        assert_eq!(
            seen(&gateway, "on-new-user").await.len(),
            1,
            "settled: it does not come a third time"
        );
        gateway.stop().await;
    }
}

/// Signs in, expects the page that asks to try again, and returns it.
async fn refused_for_now(gateway: &Gateway, person: &str) -> String {
    let response = gateway.browser().sign_in_dev(person).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{person}");
    assert_eq!(response.headers().get("location"), None);
    let page = response.text().await.unwrap();
    assert!(page.contains("Please try again in a moment."), "{page}");
    page
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_without_a_verdict_rejects_the_sign_in_and_gets_the_event_again() {
    let setup = counted()
        .plugin("reject", test_guests::REJECT)
        .extension("reject");
    let gateway = setup.start().await;
    for _ in 0..2 {
        let page = refused_for_now(&gateway, "unavailable").await;
        assert!(!page.contains("service") && !page.contains("reject"), "{page}");
    }
    let events = seen(&gateway, "on-new-user").await;
    assert_eq!(events.len(), 2);
    assert_eq!(events[0], events[1], "without a verdict it is the same event");
    assert!(seen(&gateway, "on-user-login").await.is_empty());
    assert_eq!(user(&gateway, "unavailable").await.unwrap()["status"], "pending");
    gateway
        .log
        .wait_for("what the hook said", |line| {
            line.contains("a hook failed")
                && line.contains("reject: on-new-user: unavailable: on-new-user has no  [31mservice")
        })
        .await;

    // Another component, with a verdict: the next sign-in delivers the same event a last time.
    gateway.dir.place("reject", test_guests::LOGIN_ONLY);
    eventually("they are let in", async || {
        let response = gateway.browser().sign_in_dev("unavailable").await;
        (response.status() == StatusCode::FOUND).then_some(())
    })
    .await;
    let events = seen(&gateway, "on-new-user").await;
    assert!(events.iter().all(|event| *event == events[0]), "{events:?}");
    gateway.sign_in("unavailable").await;
    assert_eq!(seen(&gateway, "on-new-user").await, events);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_without_a_verdict_keeps_the_user_and_is_not_retried() {
    let setup = counted()
        .plugin("reject", test_guests::REJECT)
        .extension("reject");
    let gateway = setup.start().await;
    for _ in 0..2 {
        refused_for_now(&gateway, "later-login").await;
    }
    assert_eq!(seen(&gateway, "on-new-user").await.len(), 1);
    assert_eq!(user(&gateway, "later-login").await.unwrap()["status"], "active");
    let logins = seen(&gateway, "on-user-login").await;
    assert_eq!(logins.len(), 2);
    assert_ne!(logins[0], logins[1], "the next sign-in is another event");
    let sessions = gateway.cli(&["session", "list", "--json"]).await.succeeded();
    assert_eq!(sessions.trim(), "[]");

    // Nothing is left to deliver. A sign-out is delivered after older events, so the test waits for it.
    gateway.stop().await;
    let gateway = setup.start().await;
    let alice = gateway.sign_in("alice").await;
    gateway.browser().post_as(&alice, "/auth/logout").await;
    eventually("the sign-out is delivered", async || {
        (!seen(&gateway, "on-user-logout").await.is_empty()).then_some(())
    })
    .await;
    let told = seen(&gateway, "on-user-login").await;
    assert!(told.iter().all(|event| !logins.contains(event)), "{told:?}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_out_without_a_verdict_is_delivered_again() {
    let setup = counted()
        .plugin("reject", test_guests::REJECT)
        .extension("reject");
    let gateway = setup.start().await;
    let token = gateway.sign_in("later-logout").await;
    assert_eq!(
        gateway.browser().post_as(&token, "/auth/logout").await,
        json!({"success": true})
    );
    assert!(!gateway.browser().is_signed_in(&token).await);
    let told = eventually("the sign-out is delivered again", async || {
        let told = seen(&gateway, "on-user-logout").await;
        (told.len() > 1).then_some(told)
    })
    .await;
    assert!(told.iter().all(|event| *event == told[0]), "{told:?}");

    // The next start delivers it again, no hook rejects it, and the next event follows.
    gateway.stop().await;
    setup.dir.place("reject", test_guests::LOGIN_ONLY);
    let gateway = setup.start().await;
    let alice = gateway.sign_in("alice").await;
    gateway.browser().post_as(&alice, "/auth/logout").await;
    let heard = eventually("both sign-outs are delivered", async || {
        let heard = seen(&gateway, "on-user-logout").await;
        (heard.len() > 1).then_some(heard)
    })
    .await;
    assert_eq!(heard[0], told[0]);
    assert_ne!(heard[1], told[0]);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_hook_rejects_sign_ins_unless_it_may_be_skipped() {
    let setup = counted()
        .plugin("login-only", test_guests::LOGIN_ONLY)
        .extension("login-only");
    let gateway = setup.start().await;
    let alice = gateway.sign_in("alice").await;
    gateway.dir.remove("login-only");
    eventually("sign-ins are refused", async || {
        (gateway.browser().sign_in_dev("alice").await.status() != StatusCode::FOUND).then_some(())
    })
    .await;
    assert_ne!(
        gateway.browser().sign_in_dev("bob").await.status(),
        StatusCode::FOUND
    );
    assert!(
        gateway.browser().is_signed_in(&alice).await,
        "an existing session continues"
    );
    // Signing out succeeds regardless of the hooks.
    assert_eq!(
        gateway.browser().post_as(&alice, "/auth/logout").await,
        json!({"success": true})
    );
    assert!(!gateway.browser().is_signed_in(&alice).await);

    setup
        .clone()
        .plugin_table("login-only", "on_failure = \"pass\"")
        .write();
    gateway.reload().await;
    gateway.sign_in("alice").await;
    gateway.sign_in("bob").await;
    setup.without_plugin_table("login-only").write();
    gateway.reload().await;
    assert_ne!(
        gateway.browser().sign_in_dev("carol").await.status(),
        StatusCode::FOUND
    );
    gateway.dir.place("login-only", test_guests::LOGIN_ONLY);
    eventually("the file is back", async || {
        (gateway.browser().sign_in_dev("carol").await.status() == StatusCode::FOUND).then_some(())
    })
    .await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trapping_hook_is_skipped_if_its_configuration_allows_it() {
    let setup = counted()
        .plugin("reject", test_guests::REJECT)
        .extension("reject")
        .plugin_table("reject", "on_failure = \"pass\"");
    let gateway = setup.start().await;
    assert!(!token_in(&gateway.browser().sign_in_dev("trap").await).is_empty());
    // A rejection is a verdict, not a failure.
    assert_eq!(
        gateway.browser().sign_in_dev("reject-me").await.status(),
        StatusCode::FORBIDDEN
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undelivered_sign_out_is_delivered_again() {
    let setup = counted()
        .plugin("reject", test_guests::REJECT)
        .extension("reject");
    let gateway = setup.start().await;
    let alice = gateway.sign_in("alice").await;
    gateway.dir.remove("reject");
    eventually("the hook is gone", async || {
        (gateway.browser().sign_in_dev("bob").await.status() != StatusCode::FOUND).then_some(())
    })
    .await;
    assert_eq!(
        gateway.browser().post_as(&alice, "/auth/logout").await,
        json!({"success": true})
    );
    gateway.stop().await;
    setup.dir.place("reject", test_guests::REJECT);
    let gateway = setup.start().await;
    eventually("the sign-out is delivered", async || {
        (!seen(&gateway, "on-user-logout").await.is_empty()).then_some(())
    })
    .await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_a_hook_sees_numbers_in_claims_with_all_digits() {
    const WIDE: &str = r#""n":12345678901234567890123,"f":0.1000000000000000055511151231257827,"e":1E400"#;
    let provider = FakeOidc::start(json!({"sub": "1234", "name": "Alice"})).await;
    provider.set_more(&format!("{WIDE}, "));
    let gateway = Setup::serve()
        .oidc("google", &provider)
        .origin("https://app.example.org")
        .plugin("login-only", test_guests::LOGIN_ONLY)
        .extension("login-only")
        .start()
        .await;
    let login = "/auth/login/google?next=https%3A%2F%2Fapp.example.org";
    token_in(&provider.sign_in(&gateway.browser(), login).await);
    let alice = user(&gateway, "1234").await.unwrap();
    let seen = alice["attributes"]["login-claims"].as_str().unwrap();
    for member in WIDE.split(',') {
        assert!(seen.contains(member), "{member} in {seen}");
    }
    gateway.stop().await;
}
