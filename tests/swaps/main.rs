//! A permission provider's file is replaced a thousand times under load (fewer times in `cargo test`), alternately by
//! valid and broken files. Users notice nothing but the new answers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use reqwest::StatusCode;
use serde_json::Value;
use support::{Setup, eventually};

/// Half of the swaps place a valid file.
const SWAPS: u64 = if cfg!(feature = "test-all") { 1_000 } else { 20 };
const CALLERS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_fail_no_request_and_mix_no_answers() {
    let gateway = Setup::dev()
        .env(
            "PRIVATE_KEY",
            &support::setup::private_key(gateway_token::Algorithm::ES256),
        )
        .plugin("swapped", test_guests::V1)
        .service("example", "swapped")
        .start()
        .await;
    let admin = gateway.admin().await;
    let token = gateway.sign_in("alice").await;
    let digests = [test_guests::V1, test_guests::V2].map(|component| {
        use sha2::Digest;
        hex::encode(sha2::Sha256::digest(component))
    });

    let stop = Arc::new(AtomicBool::new(false));
    let answers: Arc<[AtomicU64; 2]> = Arc::default();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (browser, token, stop, answers, digests) = (
            gateway.browser(),
            token.clone(),
            Arc::clone(&stop),
            Arc::clone(&answers),
            digests.clone(),
        );
        callers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let (status, answer) = browser.authorize(&token, "example").await;
                assert_eq!(status, StatusCode::OK, "{answer}");
                let version = version_of(&answer);
                // The digest in the signed token is that of the component that answered.
                let claims = claims(answer["token"].as_str().expect("a token"));
                assert_eq!(claims["permissions"], answer["permissions"]);
                assert_eq!(
                    claims["plugin"],
                    digests[version - 1].as_str(),
                    "version {version}"
                );
                answers[version - 1].fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    let status = async || {
        let answer = admin.plugins().await;
        let plugins = answer["plugins"].as_array().expect("a list");
        let ours = plugins.iter().find(|plugin| plugin["name"] == "swapped");
        ours.expect("it is configured").clone()
    };
    let number = |status: &Value| status["generation"][0].as_u64().expect("it serves");
    let first = number(&status().await);
    let truncated = &test_guests::V2[..test_guests::V2.len() * 2 / 3];
    let broken = [
        b"this is not a component",
        truncated,
        test_guests::NO_EXPORTS,
        test_guests::WRONG_TYPE,
        test_guests::UNKNOWN_IMPORT,
    ];
    let good = [test_guests::V2, test_guests::V1].into_iter().zip([1, 0]);
    let swaps = good.cycle().zip(broken.into_iter().cycle());
    for ((component, version), broken) in swaps.take(SWAPS as usize / 2) {
        for (file, is_good) in [(component, true), (broken, false)] {
            gateway.dir.place("swapped", file);
            let status = eventually("the file is looked at", async || {
                assert!(callers.try_join_next().is_none(), "a caller has ended");
                let status = status().await;
                let serves = status["generation"][1] == digests[version].as_str();
                (status["problem"].is_null() == is_good && (serves || !is_good)).then_some(status)
            })
            .await;
            // After a broken file, the previous generation continues to serve.
            assert_eq!(status["generation"][1], digests[version].as_str(), "{status}");
            let seen = answers[version].load(Ordering::Relaxed);
            eventually("the callers are answered by it", async || {
                (answers[version].load(Ordering::Relaxed) > seen + CALLERS as u64).then_some(())
            })
            .await;
        }
    }
    let last = number(&status().await);
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.expect("no request failed and no answer was mixed");
    }
    assert_eq!(last - first, SWAPS / 2, "a broken file is not a generation");
    let [v1, v2] = [0, 1].map(|n| answers[n].load(Ordering::Relaxed));
    println!(
        "{SWAPS} swaps, {} answers ({v1} + {v2}), none failed or mixed",
        v1 + v2
    );
    gateway.stop().await;
}

/// The version that answered. Asserts that there was only one.
fn version_of(answer: &Value) -> usize {
    let permissions = &answer["permissions"];
    let version = permissions["version"]
        .as_u64()
        .unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(permissions["also"], version, "{answer}");
    assert_eq!(permissions["digest-hint"], format!("v{version}"), "{answer}");
    usize::try_from(version).expect("1 or 2")
}

fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let claims = token.split('.').nth(1).expect("a JWT");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(claims)
        .expect("base64url");
    serde_json::from_slice(&claims).expect("JSON")
}
