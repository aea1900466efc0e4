//! kill -9 at random points of sign-ins, then a restore: the database has exactly the users of the backup, and nothing
//! of the old log.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::ledger::Ledger;
use super::machine::{Dice, assert_sound};
use super::trials;
use support::setup::{SetupDir, private_key};
use support::{Setup, cli};

const RESTORES: u32 = trials(4, 50);
const CALLERS: u32 = 3;

/// The output of `user export`: a line for each user.
async fn users(dir: &SetupDir, database: &[&str]) -> BTreeSet<String> {
    let printed = dir
        .cli(&[&["user", "export"], database].concat())
        .await
        .succeeded();
    printed.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_a_restore_after_a_kill_has_exactly_the_users_of_the_backup() {
    let setup = Setup::dev()
        .env("PRIVATE_KEY", &private_key(gateway_token::Algorithm::ES256))
        .env("EXTERNAL_ADDRESS", "http://127.0.0.1:9");
    let ledger = Ledger::default();
    let mut dice = Dice::new();
    let (mut refused, mut lost, mut empty) = (0, 0, 0);
    for trial in 0..RESTORES {
        let file = setup.dir.path().join(format!("backup-{trial}.db"));
        let backup = file.to_str().expect("UTF-8").to_owned();
        let mut gateway = setup.start().await;
        let mut crowd = ledger.crowd(&gateway, &format!("p{trial}"), CALLERS);
        crowd.have_answers(dice.below(20)).await;
        let by_sqlite = trial % 2 == 1;
        if by_sqlite {
            let source = rusqlite::Connection::open(setup.dir.database()).expect("it opens");
            source.execute("VACUUM INTO ?1", [&backup]).expect("a copy");
        } else {
            gateway.cli(&["backup", &backup]).await.succeeded();
        }
        // The kill comes at a random time.
        tokio::time::sleep(Duration::from_micros(dice.below(200_000))).await;
        gateway.kill().await;
        gateway.log.wait_for_end().await;
        crowd.until_gone().await;

        // As an operator does it who does not know about the log.
        let database = setup.dir.database();
        let aside = tempfile::tempdir().expect("a directory");
        let log = setup.dir.path().join("gateway.sqlite-wal");
        if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            fs::copy(&database, aside.path().join("old")).expect("a copy");
            fs::copy(&file, &database).expect("a copy");
            let before = (
                fs::read(&database).expect("a file"),
                fs::read(&log).expect("a file"),
            );
            let said = cli::finish(setup.command()).await.failed();
            assert!(
                said.contains("gateway.sqlite-wal is not the log of") && said.contains("gateway restore"),
                "{said}"
            );
            let after = (
                fs::read(&database).expect("a file"),
                fs::read(&log).expect("a file"),
            );
            assert!(before == after, "a file was changed");
            fs::copy(aside.path().join("old"), &database).expect("a copy");
            refused += 1;
        }

        let url = format!("sqlite:///{backup}");
        let expected = users(&setup.dir, &["--database", &url]).await;
        empty += u32::from(expected.is_empty());
        let said = setup.dir.cli(&["restore", &backup]).await.succeeded();
        assert!(
            said.contains(&format!("restored {} users", expected.len())),
            "{said}"
        );
        assert_sound(&database);
        assert_eq!(users(&setup.dir, &[]).await, expected, "trial {trial}");
        let kept = said
            .lines()
            .find_map(|line| line.strip_prefix("kept "))
            .expect("the old files");
        let old = users(&setup.dir, &["--database", &format!("sqlite:///{kept}")]).await;
        assert!(old.len() >= expected.len());
        lost += old.len() - expected.len();
        let told = ledger.people();
        let there: BTreeSet<String> = old
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|user| Some(user["identities"][0]["subject"].as_str()?.to_owned()))
            .collect();
        for person in told
            .keys()
            .filter(|person| person.starts_with(&format!("p{trial}-")))
        {
            assert!(
                there.contains(person),
                "{person} was acknowledged and is not in what was kept"
            );
        }
    }
    let gateway = setup.start().await;
    gateway.sign_in("after").await;
    gateway.stop().await;
    println!(
        "{RESTORES} restores after a kill, each with exactly the users of its backup ({empty} had none); {lost} users that \
         came later are in what was kept; {refused} starts with a copied backup and the old log were refused"
    );
    assert!(lost > 0, "no restore undid anything");
    assert!(refused > 0, "no log was ever left behind");
}
