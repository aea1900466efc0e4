//! One user who grows everything a user can: sessions, unfinished sign-ins, attributes, sign-outs that no plugin
//! accepts.

use reqwest::Method;

use crate::watch::watch;
use crate::{Attack, setup};
use support::browser::{self, Browser};
use support::{Gateway, Setup};

/// Signs `user` in, in a new browser, and makes the requests of a page.
async fn come_and_go(gateway: &Browser, user: &str, sign_out: bool) {
    let own = gateway.without_cookies();
    let response = own.sign_in_dev(user).await;
    if !response.status().is_redirection() {
        return;
    }
    let token = browser::token_in(&response);
    for path in ["/auth/check", "/auth/authorize?service=example"] {
        drop(own.get_as(&token, path).await.bytes().await);
    }
    if sign_out {
        own.post_as(&token, "/auth/logout").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_growing_user_stays_within_their_bounds() {
    // Without rate limits by address, as they are not what this test is about.
    let setup: Setup = setup()
        .plugin("grow", test_guests::GROW)
        .plugin_table(
            "grow",
            "grants = [\"key-value\", \"logging\"]\non_failure = \"pass\"",
        )
        .extension("grow")
        .table("rate_limits", "sign_in = \"off\"\nupdate = \"off\"");
    let gateway: Gateway = setup.start().await;
    let everybody = gateway.browser();
    let one = gateway.browser();
    let harmless = |attack: &mut Attack| {
        attack.add(move |n| {
            let browser = everybody.clone();
            async move { come_and_go(&browser, &format!("person{n}"), false).await }
        });
    };
    let grow = |attack: &mut Attack| {
        attack.add(move |n| {
            let browser = one.clone();
            async move {
                match n % 4 {
                    0 | 1 => come_and_go(&browser, "trudy", false).await,
                    2 => come_and_go(&browser, "trudy", true).await,
                    _ => {
                        let own = browser.without_cookies();
                        let denied = "/auth/oauth_callback/dev?error=access_denied&state=";
                        drop(own.get(&format!("{denied}{n:064x}")).await.bytes().await);
                        let update = format!("/auth/update?username={}", "u".repeat(1_000));
                        let request = own.request(Method::POST, &update);
                        drop(
                            own.send(request.bearer_auth("x".repeat(8_000)))
                                .await
                                .bytes()
                                .await,
                        );
                    }
                }
            }
        });
    };
    watch("one user", &setup, gateway, harmless, grow).await;
}
