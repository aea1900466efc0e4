//! A disk that is full, and then has space again.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use reqwest::StatusCode;

use super::ledger::Ledger;
use super::machine::{Mount, assert_sound, skip};
use super::trials;
use support::{Setup, eventually};

/// Size of the disk in bytes.
const DISK: u64 = 16 << 20;
const ANSWERS: u64 = trials(20, 400) as u64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing_acknowledged_and_recovery_is_automatic() {
    let setup = Setup::dev()
        .plugin("v1", test_guests::V1)
        .service("example", "v1")
        .env("EXTERNAL_ADDRESS", "http://127.0.0.1:9");
    let disk = match Mount::in_memory(DISK, setup.dir.path().join("disk")) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let database = disk.path().join("gateway.sqlite");
    let setup = setup.env("DATABASE_URL", &format!("sqlite:///{}", database.display()));
    let mut gateway = setup.start().await;
    let alice = gateway.sign_in("alice").await;
    let ledger = Ledger::default();
    let mut crowd = ledger.crowd(&gateway, "p", 3);
    crowd.have_answers(10).await;

    let filler = disk.path().join("filler");
    fill(&filler);
    let [_, before, _] = crowd.numbers();
    eventually("many are refused", async || {
        (crowd.numbers()[2] >= ANSWERS).then_some(())
    })
    .await;
    assert!(
        gateway.browser().is_signed_in(&alice).await,
        "reading needs no room"
    );
    let (status, answer) = gateway.browser().authorize(&alice, "example").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let [_, meanwhile, refused] = crowd.numbers();

    fs::remove_file(&filler).unwrap();
    crowd.have_answers(meanwhile + refused + 50).await;
    eventually("somebody is signed in again", async || {
        (crowd.numbers()[1] > meanwhile).then_some(())
    })
    .await;

    // Killed again, while the disk is full.
    fill(&filler);
    let [_, _, seen] = crowd.numbers();
    eventually("somebody is refused", async || {
        (crowd.numbers()[2] > seen).then_some(())
    })
    .await;
    gateway.kill().await;
    let [asked, acknowledged, refused] = crowd.until_gone().await;
    gateway.log.wait_for_end().await;
    gateway.log.assert_no_panic();
    // Opening may need space. It fails without a panic.
    let ran = setup.dir.cli(&["user", "list"]).await;
    assert!(
        ran.code.is_some_and(|code| code <= 1),
        "{:?}: {}",
        ran.code,
        ran.stderr
    );
    fs::remove_file(&filler).unwrap();
    let gateway = setup.start().await;
    ledger.assert_served(&gateway).await;
    gateway.stop().await;
    ledger.assert_stored(&setup.dir, &[]).await;
    assert_sound(&database);
    println!(
        "{asked} asked of a gateway whose disk was full for a while, {refused} refused, {acknowledged} acknowledged \
         ({} of them while it was full), none lost",
        meanwhile - before
    );
}

/// Fills the disk.
fn fill(filler: &Path) {
    let mut file = fs::File::create(filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
}
