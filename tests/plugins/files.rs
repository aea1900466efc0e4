//! Files that are broken, incomplete, removed, or new.

use std::fs;
use std::io::Write as _;

use reqwest::StatusCode;

use super::{assert_refused, versions};
use support::browser::Browser;
use support::eventually;

/// The version that answers, [`test_guests::V1`] or [`test_guests::V2`], or 0 for 503.
async fn version(browser: &Browser, token: &str) -> u64 {
    match browser.authorize(token, "example").await {
        (StatusCode::OK, answer) => answer["permissions"]["version"].as_u64().unwrap(),
        refused => {
            assert_refused("version", refused);
            0
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_keeps_the_old_generation_serving_and_is_reported() {
    let gateway = versions().start().await;
    let token = gateway.sign_in("alice").await;
    let browser = gateway.browser();
    let admin = gateway.admin().await;
    let problem = async || {
        admin
            .metric("gateway_plugin_problem", &["plugin=\"example\""])
            .await
            > 0.0
    };
    assert_eq!(version(&browser, &token).await, 1);
    assert!(!problem().await);

    let truncated = &test_guests::V2[..test_guests::V2.len() * 2 / 3];
    let mut garbled = test_guests::V2.to_vec();
    let middle = garbled.len() / 2;
    garbled[middle..middle + 64].fill(0xff);
    for (what, bytes) in [
        ("garbage", b"this is not a component".as_slice()),
        ("nothing", b""),
        ("truncated", truncated),
        ("garbled", &garbled),
        ("a core module", test_guests::CORE_MODULE),
        ("no exports", test_guests::NO_EXPORTS),
        ("wrong types", test_guests::WRONG_TYPE),
        ("an unknown import", test_guests::UNKNOWN_IMPORT),
        ("an endless start function", test_guests::START_LOOP),
    ] {
        let lines = gateway.flushed_log().await.len();
        gateway.dir.place("example", bytes);
        eventually(what, async || problem().await.then_some(())).await;
        assert_eq!(
            version(&browser, &token).await,
            1,
            "{what}: the old generation has to go on"
        );
        let said = eventually("the log says why", async || {
            let lines = gateway.log.lines()[lines..].to_vec();
            lines
                .into_iter()
                .find(|line| line.contains("example") && line.contains("WARN") || line.contains("ERROR"))
        })
        .await;
        println!("{what}: {said}");
        let status = admin.plugins().await.to_string();
        assert!(status.contains("\"problem\":\""), "{what}: {status}");
        // Replacing the file clears the problem, even with the bytes that serve already.
        gateway.dir.place("example", test_guests::V1);
        eventually("it is mended", async || (!problem().await).then_some(())).await;
    }
    gateway.dir.place("example", test_guests::V2);
    eventually("the next version serves", async || {
        (version(&browser, &token).await == 2).then_some(())
    })
    .await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_being_written_changes_nothing_until_it_is_complete() {
    let gateway = versions().start().await;
    let token = gateway.sign_in("alice").await;
    let browser = gateway.browser();
    assert_eq!(version(&browser, &token).await, 1);
    // In place, not by rename, as `cp` does.
    let mut file = fs::File::create(gateway.dir.plugin_file("example")).unwrap();
    for part in test_guests::V2.chunks(test_guests::V2.len() / 20 + 1) {
        assert_eq!(version(&browser, &token).await, 1, "half a file serves nobody");
        file.write_all(part).unwrap();
        file.flush().unwrap();
    }
    drop(file);
    eventually("the whole file serves", async || {
        (version(&browser, &token).await == 2).then_some(())
    })
    .await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removal_answers_503_and_a_new_file_serves_again() {
    let gateway = versions().start().await;
    let token = gateway.sign_in("alice").await;
    let browser = gateway.browser();
    assert_eq!(version(&browser, &token).await, 1);
    gateway.dir.remove("example");
    eventually("it is withdrawn", async || {
        (version(&browser, &token).await == 0).then_some(())
    })
    .await;
    gateway.dir.place("example", test_guests::V2);
    eventually("it serves again", async || {
        (version(&browser, &token).await == 2).then_some(())
    })
    .await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_added_after_the_start_serves() {
    let setup = versions();
    setup.dir.remove("example");
    let gateway = setup.start().await;
    let token = gateway.sign_in("alice").await;
    let browser = gateway.browser();
    assert_eq!(version(&browser, &token).await, 0);
    gateway.dir.place("example", test_guests::V1);
    eventually("it serves", async || {
        (version(&browser, &token).await == 1).then_some(())
    })
    .await;
    gateway.stop().await;
}
