//! One upstream provider that grows everything a provider can: claims, the number of users, rejected sign-ins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use crate::watch::watch;
use crate::{Attack, setup};
use support::browser::Browser;
use support::fake_oidc::FakeOidc;

/// Bytes of claims: as much as an ordinary provider may send about one user.
const CLAIMS: usize = 100_000;

async fn sign_in(browser: &Browser, provider: &FakeOidc, name: &str) {
    let own = browser.without_cookies();
    let next = support::browser::encode("http://127.0.0.1:9/");
    let callback = provider
        .go(&own, &format!("/auth/login/{name}?next={next}"))
        .await;
    drop(own.get(callback.as_str()).await.bytes().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_growing_provider_stays_within_its_bounds() {
    let ordinary = Arc::new(FakeOidc::start_forgetful(json!({"sub": "ordinary", "name": "Ordinary"})).await);
    let hostile = Arc::new(FakeOidc::start_forgetful(json!({"sub": "0"})).await);
    let setup = setup()
        .oidc("ordinary", &ordinary)
        .oidc("hostile", &hostile)
        // A hook without a verdict keeps the event of every sign-in pending.
        .plugin("reject", test_guests::REJECT)
        .extension("reject")
        .table("rate_limits", "sign_in = \"off\"");
    let gateway = setup.start().await;
    let (browser, provider) = (gateway.browser(), Arc::clone(&ordinary));
    let harmless = |attack: &mut Attack| {
        attack.add(move |_| {
            let (browser, provider) = (browser.clone(), Arc::clone(&provider));
            async move { sign_in(&browser, &provider, "ordinary").await }
        });
    };
    let (browser, provider) = (gateway.browser(), Arc::clone(&hostile));
    let people = Arc::new(AtomicU64::new(0));
    let grow = |attack: &mut Attack| {
        attack.add(move |_| {
            let (browser, provider, people) = (browser.clone(), Arc::clone(&provider), Arc::clone(&people));
            async move {
                let n = people.fetch_add(1, Ordering::Relaxed);
                // Every third sign-in is of a known user, and the hook leaves every second one pending.
                let subject = if n % 3 == 0 { 0 } else { n };
                let name = if n % 2 == 0 { "unavailable" } else { "Trudy" };
                provider.set_person(json!({
                    "sub": subject.to_string(),
                    "name": name,
                    "email": format!("{n}@example.org"),
                    "email_verified": true,
                    "padding": "p".repeat(CLAIMS),
                }));
                sign_in(&browser, &provider, "hostile").await;
            }
        });
    };
    watch("one provider", &setup, gateway, harmless, grow).await;
}
