//! More calls of a plugin than it can serve: excess calls get 503 with `Retry-After`, and calls that have begun are
//! completed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gateway_token::Algorithm;
use reqwest::{Method, StatusCode};
use tokio::task::JoinSet;

use support::{self, Setup};

const CALLERS: usize = 600;
/// The possible results of a call.
const SERVED: usize = 0;
const SHED: usize = 1;
const IN_VAIN: usize = 2;
const TIME: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(
    not(feature = "test-all"),
    ignore = "600 callers, and calls that have to fit into their time: `just test-all`"
)]
async fn a_plugin_that_is_asked_too_much_serves_as_many_as_it_can() {
    // Each call takes about forty milliseconds of one processor, and sixteen run at the same time: far below the
    // deadline, while all waiting calls together are far beyond it.
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
    let counts: Arc<[AtomicU64; 3]> = Arc::default();
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
                let kind = match status {
                    StatusCode::OK if text.contains("\"token\"") => SERVED,
                    StatusCode::SERVICE_UNAVAILABLE if text.contains("The permission provider is busy") => {
                        SHED
                    }
                    // The call began, and reached its deadline.
                    StatusCode::SERVICE_UNAVAILABLE if text.contains("The permission provider failed") => {
                        IN_VAIN
                    }
                    _ => panic!("{status}: {text}"),
                };
                assert_eq!(
                    retry.is_some(),
                    status == StatusCode::SERVICE_UNAVAILABLE,
                    "{text}"
                );
                counts[kind].fetch_add(1, Ordering::Relaxed);
                // A client that retries, as `Retry-After` asks, but sooner.
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
    let count = |kind: usize| counts[kind].load(Ordering::Relaxed);
    let (served, shed, in_vain) = (count(SERVED), count(SHED), count(IN_VAIN));
    println!(
        "{CALLERS} concurrent callers: {served} calls served, {shed} rejected, {in_vain} ended at the deadline"
    );
    assert!(shed > 0, "no call was rejected");
    // If sixteen concurrent calls are too many for the machine, one round of them is lost until there are fewer.
    assert!(in_vain < served, "{in_vain} of {served}");
    // Afterwards the gateway works as before.
    for _ in 0..20 {
        let (status, answer) = gateway.browser().authorize(&token, "ok").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    gateway.stop().await;
}
