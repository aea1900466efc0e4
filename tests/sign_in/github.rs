//! GitHub: complete sign-ins against a faithful fake.

use reqwest::StatusCode;
use serde_json::{Value, json};

use support::browser::{location, token_in};
use support::fake_github::FakeGitHub;
use support::{Gateway, Setup};

const LOGIN: &str = "/auth/login/github";

async fn start() -> (Gateway, FakeGitHub) {
    let github = FakeGitHub::start().await;
    let setup = Setup::serve().table(
        "providers.github",
        &format!("{}\ntrusted_email = true", github.table()),
    );
    (setup.start().await, github)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_twice_and_stays_the_same() {
    let (gateway, github) = start().await;
    let browser = gateway.browser();
    let first = token_in(&github.sign_in(&browser, LOGIN).await);
    let profile = browser.check(&first).await["profile"].clone();
    assert_eq!(profile["name"], "The Octocat");
    assert_eq!(profile["email"], "octocat@example.org");
    assert_eq!(profile["avatar_url"], "https://avatars.example.org/u/583231?v=4");
    assert_eq!(profile["provider_id"], "github:583231");

    // A login can be changed, and belong to another user afterwards.
    let emails = json!([{"email": "new@example.org", "verified": true, "primary": true, "visibility": null}]);
    github.set_user(
        json!({"login": "renamed", "id": 583_231, "name": null}),
        emails.clone(),
    );
    let again = token_in(&github.sign_in(&gateway.browser(), LOGIN).await);
    let renamed = browser.check(&again).await["profile"].clone();
    assert_eq!(
        (&renamed["id"], &renamed["name"]),
        (&profile["id"], &json!("renamed"))
    );
    assert_eq!(renamed["email"], "new@example.org");
    github.set_user(json!({"login": "octocat", "id": 7, "name": null}), json!([]));
    let other = token_in(&github.sign_in(&gateway.browser(), LOGIN).await);
    assert_ne!(browser.check(&other).await["profile"]["id"], profile["id"]);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_primary_and_verified_address_counts() {
    let (gateway, github) = start().await;
    let address = |email: &str, primary: bool, verified: bool| json!({"email": email, "primary": primary, "verified": verified, "visibility": null});
    let mut id = 100;
    let mut email = async |emails: Value| {
        id += 1;
        github.set_user(json!({"login": "somebody", "id": id, "name": "Somebody"}), emails);
        let browser = gateway.browser();
        let token = token_in(&github.sign_in(&browser, LOGIN).await);
        browser.check(&token).await["profile"]["email"].clone()
    };
    assert_eq!(
        email(json!([
            address("p@example.org", true, false),
            address("v@example.org", false, true)
        ]))
        .await,
        Value::Null
    );
    assert_eq!(
        email(json!([
            address("v@example.org", false, true),
            address("p@example.org", true, true)
        ]))
        .await,
        "p@example.org"
    );
    assert_eq!(email(json!([])).await, Value::Null);
    // The user has revoked the scope.
    github.set_scopes("read:user");
    assert_eq!(
        email(json!([address("q@example.org", true, true)])).await,
        Value::Null
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_of_another_sign_in_is_rejected() {
    let (gateway, github) = start().await;
    // An attacker's code in the victim's browser: the verifier does not match the challenge.
    let attacker = gateway.browser();
    let stolen = github.consent(&location(&attacker.get(LOGIN).await));
    let (_, code) = stolen.query_pairs().find(|(name, _)| name == "code").unwrap();
    let victim = gateway.browser();
    let mut callback = github.consent(&location(&victim.get(LOGIN).await));
    let (_, state) = callback.query_pairs().find(|(name, _)| name == "state").unwrap();
    let query = format!("code={code}&state={state}");
    callback.set_query(Some(&query));
    let response = victim.get(callback.as_str()).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(github.token_requests(), 1);
    let line = gateway
        .log
        .wait_for("the reason", |line| line.contains("bad_verification_code"))
        .await;
    assert!(!line.contains("canary"), "{line}");
    gateway.stop().await;
}
