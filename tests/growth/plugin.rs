//! One plugin that grows everything a plugin can: its log, its values, its answers, its memory.

use crate::watch::watch;
use crate::{Attack, setup};
use support::browser::Browser;

const SERVICES: [&str; 4] = ["log", "store", "answer", "memory"];

async fn authorize(browser: &Browser, token: &str, service: &str) {
    let path = format!("/auth/authorize?service={service}");
    drop(browser.get_as(token, &path).await.bytes().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_growing_plugin_stays_within_its_bounds() {
    let mut setup = setup()
        .plugin("grow", test_guests::GROW)
        .plugin_table("grow", "grants = [\"key-value\", \"logging\"]")
        .plugin("v2", test_guests::V2)
        .service("harmless", "v2");
    for service in SERVICES {
        setup = setup.service(service, "grow");
    }
    let gateway = setup.start().await;
    let token = gateway.sign_in("trudy").await;
    let (browser, asked) = (gateway.browser(), token.clone());
    let harmless = |attack: &mut Attack| {
        attack.add(move |_| {
            let (browser, token) = (browser.clone(), asked.clone());
            async move { authorize(&browser, &token, "harmless").await }
        });
    };
    let browser = gateway.browser();
    let grow = |attack: &mut Attack| {
        attack.add(move |n| {
            let (browser, token) = (browser.clone(), token.clone());
            async move { authorize(&browser, &token, SERVICES[n as usize % SERVICES.len()]).await }
        });
    };
    watch("one plugin", &setup, gateway, harmless, grow).await;
}
