//! Another process holds the database for longer than any request waits.

use std::path::Path;

use reqwest::StatusCode;

use super::ledger::Ledger;
use support::Setup;
use support::cli;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_another_process_writes_writes_fail_and_reads_continue() {
    let setup = Setup::dev()
        .plugin("v1", test_guests::V1)
        .service("example", "v1");
    let gateway = setup.start().await;
    let alice = gateway.sign_in("alice").await;
    let holder = hold(&setup.dir.database(), "BEGIN IMMEDIATE");
    let ledger = Ledger::default();
    let mut crowd = ledger.crowd(&gateway, "p", 8);
    for _ in 0..20 {
        assert!(gateway.browser().is_signed_in(&alice).await);
        let (status, answer) = gateway.browser().authorize(&alice, "example").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    crowd.have_answers(8).await;
    let [_, acknowledged, refused] = crowd.numbers();
    assert_eq!(acknowledged, 0, "the database was held all the time");
    holder.execute_batch("COMMIT").unwrap();
    // Without any help.
    crowd.have_answers(refused + 50).await;
    let [asked, acknowledged, refused] = crowd.stop().await;
    println!(
        "{asked} asked, {refused} refused while the database was held, {acknowledged} acknowledged afterwards"
    );
    assert!(acknowledged > 0);
    ledger.assert_served(&gateway).await;
    gateway.stop().await;
    ledger.assert_stored(&setup.dir, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_database_is_reported_with_the_remedy() {
    let setup = Setup::dev();
    setup.start().await.stop().await;
    let mode = "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE";
    let holder = hold(&setup.dir.database(), mode);
    let (started, listed, exported) = tokio::join!(
        cli::finish(setup.command()),
        setup.dir.cli(&["user", "list"]),
        setup.dir.cli(&["user", "export"]),
    );
    for ran in [started, listed, exported] {
        let said = ran.failed();
        for word in ["gateway.sqlite", "locked by another process", "try again"] {
            assert!(said.contains(word), "no {word:?} in {said}");
        }
    }
    drop(holder);
    setup.start().await.stop().await;
}

fn hold(database: &Path, how: &str) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(database).unwrap();
    connection.execute_batch(how).unwrap();
    connection
}
