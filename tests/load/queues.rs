//! More calls of a plugin than can be done: those that cannot be served are told at once, and none that has been begun
//! runs out of time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gateway_token::Algorithm;
use reqwest::{Method, StatusCode};
use tokio::task::JoinSet;

use crate::support::{self, Setup};

const CALLERS: usize = 600;
const TIME: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_is_asked_too_much_serves_as_many_as_it_can() {
    // Some forty milliseconds of one processor each, of which sixteen run at once: far from the deadline, and all that wait
    // together far beyond.
    let gateway = Setup::dev()
        .env("PRIVATE_KEY", &support::setup::private_key(Algorithm::ES256))
        .plugin("behave", test_guests::BEHAVE)
        .plugin_table(
            "behave",
            "limits = { fuel = 1_000_000_000_000, deadline = \"10s\" }",
        )
        .service("burn-200000000", "behave")
        .service("ok", "behave")
        .start()
        .await;
    let token = gateway.sign_in("alice").await;
    let stop = Arc::new(AtomicBool::new(false));
    let counts: Arc<[AtomicU64; 2]> = Arc::default();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (browser, token, stop, counts) = (
            gateway.browser(),
            token.clone(),
            Arc::clone(&stop),
            Arc::clone(&counts),
        );
        callers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let request = browser
                    .request(Method::GET, "/auth/authorize?service=burn-200000000")
                    .bearer_auth(&token);
                let response = request.send().await.expect("an answer");
                let (status, retry) = (response.status(), response.headers().get("retry-after").cloned());
                let text = response.text().await.expect("text");
                match status {
                    StatusCode::OK => assert!(text.contains("\"token\""), "{text}"),
                    // Not "failed": that would be one that was begun and did not end.
                    StatusCode::SERVICE_UNAVAILABLE => {
                        assert!(text.contains("The permission provider is busy"), "{text}");
                        assert_eq!(retry.expect("when to come again"), "1");
                    }
                    _ => panic!("{status}: {text}"),
                }
                counts[usize::from(status != StatusCode::OK)].fetch_add(1, Ordering::Relaxed);
                // A client that heeds `Retry-After`, at a quicker pace.
                if status != StatusCode::OK {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
    }
    tokio::time::sleep(TIME).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.expect("every answer was one of the two");
    }
    let [served, shed] = [&counts[0], &counts[1]].map(|count| count.load(Ordering::Relaxed));
    println!(
        "{CALLERS} callers at once: {served} calls served, {shed} told to come again, none begun in vain"
    );
    assert!(served > 0 && shed > 0, "{served} served, {shed} shed");
    // And then all is as before.
    for _ in 0..20 {
        let (status, answer) = gateway.browser().authorize(&token, "ok").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    gateway.stop().await;
}
