//! `stored-roles`: the groups of an upstream provider become permissions, and change with each sign-in.

use guest_examples::STORED_ROLES;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::setup;
use support::browser::{encode, token_in};
use support::fake_oidc::FakeOidc;
use support::{Gateway, Setup};

fn ann(groups: &Value) -> Value {
    json!({"sub": "1", "name": "Ann", "groups": groups})
}

/// The plugin as an extension and as the provider of `wiki` and `shop`.
fn with_groups(providers: &str) -> Setup {
    let settings = [
        ("providers", providers),
        ("role.reader", "read"),
        ("role.editor", "wiki:edit, publish"),
        ("group.staff", "reader"),
        ("group./wiki/editors", "editor"),
    ];
    setup(STORED_ROLES, &settings)
        .extension("stored-roles")
        .service("wiki", "stored-roles")
        .service("shop", "stored-roles")
}

async fn sign_in(gateway: &Gateway, name: &str, provider: &FakeOidc) -> String {
    let browser = gateway.browser();
    let login = format!("/auth/login/{name}?next={}", encode(gateway.external.as_str()));
    token_in(&provider.sign_in(&browser, &login).await)
}

async fn permissions(gateway: &Gateway, token: &str, service: &str) -> Value {
    let (status, answer) = gateway.browser().authorize(token, service).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(answer["token"].is_string(), "{answer}");
    answer["permissions"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permissions_follow_the_groups_of_the_last_sign_in() {
    let company = FakeOidc::start(ann(&json!(["staff", "/wiki/editors", "unknown"]))).await;
    // Sessions belong to one external address, regardless of the port that the gateway listens on.
    let setup = with_groups("company")
        .oidc("company", &company)
        .env("EXTERNAL_ADDRESS", "http://127.0.0.1/");
    let gateway = setup.start().await;
    let token = sign_in(&gateway, "company", &company).await;
    assert_eq!(
        permissions(&gateway, &token, "wiki").await,
        json!({"edit": true, "publish": true, "read": true})
    );
    assert_eq!(
        permissions(&gateway, &token, "shop").await,
        json!({"publish": true, "read": true})
    );

    // A user who leaves a group loses its permissions at the next sign-in, also in earlier sessions.
    company.set_person(ann(&json!("staff")));
    assert_eq!(permissions(&gateway, &token, "shop").await["publish"], true);
    let again = sign_in(&gateway, "company", &company).await;
    for token in [&token, &again] {
        assert_eq!(permissions(&gateway, token, "wiki").await, json!({"read": true}));
    }
    gateway.stop().await;

    // The stored groups survive a restart.
    let gateway = setup.start().await;
    assert_eq!(permissions(&gateway, &again, "wiki").await, json!({"read": true}));
    company.set_person(ann(&Value::Null));
    sign_in(&gateway, "company", &company).await;
    assert_eq!(permissions(&gateway, &again, "wiki").await, json!({}));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_groups_of_named_providers_count() {
    let company = FakeOidc::start(ann(&json!(["staff"]))).await;
    let anybody =
        FakeOidc::start(json!({"sub": "2", "name": "Eve", "groups": ["staff", "/wiki/editors"]})).await;
    let providers = |names| {
        with_groups(names)
            .oidc("company", &company)
            .oidc("anybody", &anybody)
    };
    let setup = providers("company");
    let gateway = setup.start().await;
    let eve = sign_in(&gateway, "anybody", &anybody).await;
    assert_eq!(permissions(&gateway, &eve, "wiki").await, json!({}));
    let dev = gateway.sign_in("trinity").await;
    assert_eq!(permissions(&gateway, &dev, "wiki").await, json!({}));
    let ann = sign_in(&gateway, "company", &company).await;
    assert_eq!(permissions(&gateway, &ann, "wiki").await, json!({"read": true}));

    // A provider that is removed from the list no longer counts, even without a new sign-in.
    let text = std::fs::read_to_string(setup.dir.config_file()).unwrap();
    let other = text.replace("\"providers\" = \"company\"", "\"providers\" = \"anybody\"");
    assert_ne!(text, other);
    std::fs::write(setup.dir.config_file(), other).unwrap();
    gateway.reload().await;
    assert_eq!(permissions(&gateway, &ann, "wiki").await, json!({}));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_claims_reject_the_sign_in() {
    let company = FakeOidc::start(ann(&json!({"staff": true}))).await;
    let gateway = with_groups("company").oidc("company", &company).start().await;
    let login = format!("/auth/login/company?next={}", encode(gateway.external.as_str()));
    let refused = company.sign_in(&gateway.browser(), &login).await;
    assert_ne!(refused.status(), StatusCode::FOUND);
    let why = "the claim `groups` is neither a text nor a list of texts";
    gateway.log.wait_for(why, |line| line.contains(why)).await;
    company.set_person(ann(&json!(["staff"])));
    let token = sign_in(&gateway, "company", &company).await;
    assert_eq!(permissions(&gateway, &token, "wiki").await, json!({"read": true}));
    gateway.stop().await;
}
