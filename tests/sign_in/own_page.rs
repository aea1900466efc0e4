//! The gateway's own page accepts a token only from a sign-in of this browser. `tests/page/main.rs` checks in a real
//! browser that it must also be one of this tab.

use std::collections::BTreeMap;

use reqwest::StatusCode;

use super::{APP, login, start};
use support::browser::{encode, location, token_in};
use support::setup::EXTERNAL;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_the_own_page_rejects_a_token_of_another_browser() {
    let (gateway, google, _other) = start().await;
    let next = format!("{EXTERNAL}?sign_in=0123");
    let (attacker, victim) = (gateway.browser(), gateway.browser());
    let arrived = location(&google.sign_in(&attacker, &login("google", &next)).await);
    let link = format!("/?{}", arrived.query().unwrap());
    assert!(link.starts_with("/?sign_in=0123&jwt="), "{link}");
    assert_eq!(attacker.get(&link).await.status(), StatusCode::OK);

    // The victim has just signed in too, in another tab.
    let theirs = location(&google.sign_in(&victim, &login("google", &next)).await);
    for foreign in [link.as_str(), "/?jwt=", "/?jwt=made-up", "/?jwt=a&jwt=b"] {
        let ignored = victim.get(foreign).await;
        assert_eq!(
            location(&ignored).as_str(),
            format!("{EXTERNAL}#ignored"),
            "{foreign}"
        );
    }
    let own = victim.get(&format!("/?{}", theirs.query().unwrap())).await;
    assert_eq!(own.status(), StatusCode::OK);
    // The page does not accept a token that an application got.
    let app = gateway.browser();
    let token = token_in(&google.sign_in(&app, &login("google", APP)).await);
    assert_eq!(app.cookies(), BTreeMap::new());
    assert_eq!(
        app.get(&format!("/?jwt={token}")).await.status(),
        StatusCode::FOUND
    );
    assert_eq!(
        app.get(&format!("/?next={}", encode(APP))).await.status(),
        StatusCode::OK
    );
    gateway.stop().await;
}
