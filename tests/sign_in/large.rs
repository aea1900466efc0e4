//! An ordinary large installation stays within all of the gateway's limits.

use reqwest::StatusCode;
use serde_json::json;

use support::Setup;
use support::browser::token_in;
use support::fake_oidc::FakeOidc;

const SERVICES: usize = 1_000;
const GROUPS: usize = 300;
const CLAIMS: usize = 100_000;
const KEYS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_ordinary_installation_stays_within_the_limits() {
    let groups: Vec<_> = (0..GROUPS).map(|n| format!("department-{n:03}/team")).collect();
    let provider = FakeOidc::start(json!({
        "sub": "ann",
        "name": "Ann",
        "groups": groups,
        "padding": "p".repeat(CLAIMS),
    }))
    .await;
    provider.set_further_keys(KEYS - 1);
    let mut setup = Setup::serve()
        .oidc("company", &provider)
        .origin("https://app.example.org")
        .plugin("count", test_guests::COUNT)
        .plugin_table("count", "grants = [\"logging\"]")
        .extension("count")
        .plugin("v1", test_guests::V1)
        .plugin("v2", test_guests::V2);
    for n in 0..SERVICES {
        setup = setup.service(&format!("service-{n}"), ["v1", "v2"][n % 2]);
    }
    let gateway = setup.start().await;
    let browser = gateway.browser();
    let login = "/auth/login/company?next=https%3A%2F%2Fapp.example.org%2F";
    let response = provider.sign_in(&browser, login).await;
    assert_eq!(response.status(), StatusCode::FOUND, "{}", gateway.log.text());
    let token = token_in(&response);
    for n in 0..SERVICES {
        let (status, answer) = browser.authorize(&token, &format!("service-{n}")).await;
        assert_eq!(status, StatusCode::OK, "service-{n}: {answer}");
        assert_eq!(
            answer["permissions"]["version"],
            n % 2 + 1,
            "service-{n}: {answer}"
        );
    }
    gateway.stop().await;
}
