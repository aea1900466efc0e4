//! Callers of one slow service leave room for others: another service's calls, and sign-ins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gateway_token::Algorithm;
use reqwest::{Method, StatusCode};
use tokio::task::JoinSet;

use crate::allow_many_sockets;
use support::{self, Setup};

const CALLERS: usize = 1200;
const ANSWERS: usize = 1000;
const SIGN_INS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_callers_of_one_slow_service_fail_nobody_else() {
    allow_many_sockets();
    let gateway = Setup::dev()
        .env("PRIVATE_KEY", &support::setup::private_key(Algorithm::ES256))
        .plugin("behave", test_guests::BEHAVE)
        // The service `sleep` sleeps for an hour, so it never answers in time.
        .plugin_table("behave", "limits = { deadline = \"500ms\" }")
        .plugin("v1", test_guests::V1)
        .plugin("hook", test_guests::LOGIN_ONLY)
        .service("sleep", "behave")
        .service("ok", "behave")
        .service("example", "v1")
        .extension("hook")
        .start()
        .await;
    let token = gateway.sign_in("alice").await;
    let (stop, slow) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (browser, token) = (gateway.browser(), token.clone());
        let (stop, slow) = (Arc::clone(&stop), Arc::clone(&slow));
        callers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let request = browser
                    .request(Method::GET, "/auth/authorize?service=sleep")
                    .bearer_auth(&token);
                let answer = request.send().await.expect("an answer");
                assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
                slow.fetch_add(1, Ordering::Relaxed);
                // A client that retries, as `Retry-After` asks, but sooner.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
    }
    // All of them have called.
    support::eventually("the slow service is asked by all", async || {
        (slow.load(Ordering::Relaxed) >= CALLERS as u64).then_some(())
    })
    .await;
    let good = async |service: &'static str, answers: usize| {
        let browser = gateway.browser();
        for answer in 0..answers {
            let (status, said) = browser.authorize(&token, service).await;
            assert_eq!(status, StatusCode::OK, "{service}, answer {answer}: {said}");
        }
    };
    let sign_ins = async {
        for number in 0..SIGN_INS {
            gateway.sign_in(&format!("user-{number}")).await;
        }
    };
    tokio::join!(good("example", ANSWERS), good("ok", ANSWERS / 5), sign_ins);
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.expect("the slow service never answers, and says so");
    }
    println!(
        "beside {} calls of {CALLERS} callers of a slow service: {ANSWERS} answers of another, {} of another of the same \
         plugin, {SIGN_INS} sign-ins; none failed",
        slow.load(Ordering::Relaxed),
        ANSWERS / 5
    );
    gateway.stop().await;
}
