//! A damaged, truncated, foreign or newer database causes an error that names the file and the remedy, never a panic.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gateway_model::clock::{CountingRandom, ManualClock};
use gateway_model::{Email, Identity, UpstreamUser, UserLimits, Verdict};
use gateway_store::{DatabaseUrl, Store, StoreOptions, UserIds};
use reqwest::StatusCode;
use serde_json::Value;

use super::ledger::{Ledger, users};
use super::machine::{Dice, assert_sound};
use super::trials;
use support::Setup;
use support::cli::{self, Ran};

/// Enough for users and identities to fill several pages each.
const PEOPLE: u32 = 120;
const PAGE: usize = 4096;
const FLIPS: u32 = trials(40, 1000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn export_from_a_damaged_database_reports_the_remedy() {
    let setup = Setup::dev();
    let whole = populate(&setup).await;
    let everybody = users_by_id(&export(&setup).await.succeeded());
    assert_eq!(everybody.len(), PEOPLE as usize);
    let pages = pages(&setup.dir.database());
    assert!(pages.len() > 8, "too few pages to show anything");
    for page in pages {
        let mut bytes = whole.clone();
        bytes[(page.number - 1) * PAGE..page.number * PAGE].fill(0xFF);
        place(&setup, &bytes);
        let ran = export(&setup).await;
        assert_eq!(ran.code, Some(1), "{page:?}");
        for (id, user) in users_by_id(&ran.stdout) {
            assert_eq!(everybody[&id], user, "{page:?}");
        }
        assert_says_damage(&ran.failed(), &page.table);
        assert!(
            fs::read(setup.dir.database()).unwrap() == bytes,
            "{page:?} was changed"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn export_and_list_survive_any_flipped_bytes() {
    let setup = Setup::dev();
    let whole = populate(&setup).await;
    let everybody = users(&export(&setup).await.succeeded());
    let (mut complaints, mut dice) = (0, Dice::new());
    let mut below = |limit: usize| usize::try_from(dice.below(limit as u64)).unwrap();
    for flip in 0..FLIPS {
        let mut bytes = whole.clone();
        for _ in 0..1 + below(8) {
            let at = below(bytes.len());
            bytes[at] ^= 1 << below(8);
        }
        if flip % 4 == 0 {
            bytes.truncate(below(bytes.len()).max(1));
        }
        place(&setup, &bytes);
        let ran = export(&setup).await;
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        let printed = users_by_id(&ran.stdout);
        if ran.code == Some(0) {
            assert_eq!(
                printed.len(),
                everybody.len(),
                "some are left out without an error"
            );
        } else {
            complaints += 1;
            assert_eq!(ran.code, Some(1), "{}", ran.stderr);
            let said = ran.failed();
            assert!(said.contains("gateway.sqlite"), "{said}");
        }
        let listed = setup.dir.cli(&["user", "list"]).await;
        assert!(matches!(listed.code, Some(0 | 1)), "{listed:?}");
        assert!(!listed.stderr.contains("panicked"), "{}", listed.stderr);
    }
    println!("{FLIPS} databases with flipped bytes or cut, {complaints} complained of, no panic");
    assert!(complaints > 0, "no flip was noticed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unusable_database_is_reported_with_the_remedy() {
    let setup = Setup::dev();
    let whole = populate(&setup).await;
    let newer = {
        let mut bytes = whole.clone();
        // `user_version`, in the header.
        bytes[60..64].copy_from_slice(&1000u32.to_be_bytes());
        bytes
    };
    let garbage = |range: std::ops::Range<usize>| {
        let mut bytes = whole.clone();
        bytes[range].fill(b'x');
        bytes
    };
    for (what, bytes, words) in [
        (
            "no schema",
            garbage(100..PAGE),
            vec!["damaged", "gateway restore", ".recover"],
        ),
        (
            "no header",
            garbage(0..100),
            vec!["not a database of this gateway", "DATABASE_URL", "backup"],
        ),
        (
            "cut short",
            whole[..whole.len() - 3 * PAGE].to_vec(),
            vec!["damaged", "gateway restore", ".recover"],
        ),
        ("a newer one", newer, vec!["newer gateway", "1000"]),
        (
            "no SQLite at all",
            b"users:\n  - alice\n".to_vec(),
            vec!["not a database of this gateway", "DATABASE_URL"],
        ),
    ] {
        place(&setup, &bytes);
        let started = cli::finish(setup.command()).await;
        let listed = setup.dir.cli(&["user", "list"]).await;
        for ran in [started, listed, export(&setup).await] {
            let said = ran.failed();
            for word in words.iter().chain(&["gateway.sqlite"]) {
                assert!(said.contains(word), "{what}: no {word:?} in {said}");
            }
            assert!(!said.contains("panicked"), "{what}: {said}");
        }
        assert!(
            fs::read(setup.dir.database()).unwrap() == bytes,
            "{what} was changed"
        );
    }
}

/// A running gateway does not guess what it cannot read: it answers 503, and continues to serve other users.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_damaged_while_serving_is_an_error_that_names_the_file() {
    let setup = Setup::dev();
    let whole = populate(&setup).await;
    let root = pages(&setup.dir.database())
        .into_iter()
        .find(|page| page.table == "users" && !page.is_leaf)
        .expect("the users have more than a page");
    let mut bytes = whole.clone();
    bytes[(root.number - 1) * PAGE..root.number * PAGE].fill(0xFF);
    place(&setup, &bytes);
    let gateway = setup.start().await;
    let answer = gateway.browser().sign_in_dev("person-1").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    let check = gateway.browser().get("/auth/check").await;
    assert_eq!(check.status(), StatusCode::OK, "no token, no look-up");
    let said = gateway.cli(&["user", "list"]).await.failed();
    assert_says_damage(&said, "users");
    gateway
        .log
        .wait_for("the reason", |line| {
            line.contains("damaged") && line.contains("gateway.sqlite")
        })
        .await;
    gateway.log.assert_no_panic();
}

/// SQLite does not notice a change within a row. The gateway checks the values.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_no_gateway_writes_are_errors_or_readable() {
    let changes = [
        ("joined = 1 << 60", StatusCode::OK),
        ("joined = -1", StatusCode::SERVICE_UNAVAILABLE),
        ("attributes = '{'", StatusCode::SERVICE_UNAVAILABLE),
        ("status = 'nothing'", StatusCode::SERVICE_UNAVAILABLE),
        ("name = CAST(x'ff' AS TEXT)", StatusCode::SERVICE_UNAVAILABLE),
        ("name = 'Alice'", StatusCode::OK),
    ];
    // Tokens survive a restart only if the address stays the same.
    let setup = Setup::dev().env("EXTERNAL_ADDRESS", "http://127.0.0.1:9");
    let gateway = setup.start().await;
    let mut tokens = Vec::new();
    for person in 0..changes.len() {
        tokens.push(gateway.sign_in(&format!("person-{person}")).await);
    }
    // A running gateway keeps the rows that it has read, until a gateway or a command changes them.
    gateway.stop().await;
    let connection = rusqlite::Connection::open(setup.dir.database()).unwrap();
    connection
        .execute_batch("PRAGMA ignore_check_constraints = ON")
        .unwrap();
    for (person, (change, _)) in changes.iter().enumerate() {
        let changed = connection
            .execute(
                &format!(
                    "UPDATE users SET {change} WHERE id IN (SELECT user_id FROM identities WHERE subject = 'person-{person}')"
                ),
                [],
            )
            .unwrap();
        assert_eq!(changed, 1, "{change}");
    }
    drop(connection);
    let gateway = setup.start().await;
    for (token, (change, expected)) in tokens.iter().zip(changes) {
        let answer = gateway.browser().get_as(token, "/auth/check").await;
        let (status, body) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, expected, "{change}: {body}");
        if expected == StatusCode::OK {
            assert!(body.contains("\"authenticated\":true"), "{change}: {body}");
        }
    }
    gateway.stop().await;
}

/// SQLite's log has checksums, so a damaged frame and all frames after it are ignored. All earlier ones are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_loses_only_the_frames_after_the_damage() {
    let setup = Setup::dev().env("EXTERNAL_ADDRESS", "http://127.0.0.1:9");
    let mut gateway = setup.start().await;
    let ledger = Ledger::default();
    let mut crowd = ledger.crowd(&gateway, "p", 1);
    crowd.have_answers(20).await;
    let before = ledger.snapshot();
    let log = PathBuf::from(format!("{}-wal", setup.dir.database().display()));
    let kept = usize::try_from(fs::metadata(&log).unwrap().len()).unwrap();
    crowd.have_answers(60).await;
    gateway.kill().await;
    crowd.until_gone().await;
    let mut bytes = fs::read(&log).unwrap();
    let at = kept + (bytes.len() - kept) / 2;
    bytes[at] ^= 1;
    fs::write(&log, bytes).unwrap();

    let gateway = setup.start().await;
    before.assert_served(&gateway).await;
    before.assert_stored(&setup.dir, &[]).await;
    gateway.sign_in("somebody-new").await;
    let left = users(&gateway.cli(&["user", "export"]).await.succeeded());
    assert!(
        left.len() - 1 < ledger.people().len(),
        "the flip was in nobody's way"
    );
    gateway.stop().await;
    assert_sound(&setup.dir.database());
}

/// Makes a database of [`PEOPLE`] users, as a stopped gateway leaves it, and returns its bytes.
async fn populate(setup: &Setup) -> Vec<u8> {
    setup.write();
    let options = StoreOptions {
        // The same file in every run, so that equal dice damage the same bytes.
        clock: Arc::new(ManualClock::at(1_790_000_000)),
        random: Arc::new(CountingRandom::default()),
        user_ids: UserIds::Random,
        event_retention: Duration::from_secs(60),
        limits: UserLimits::default(),
    };
    let database = setup.dir.database();
    let store = Store::open(&DatabaseUrl::File(database.clone()), options)
        .await
        .unwrap();
    for number in 0..PEOPLE {
        let subject = format!("person-{number}");
        let person = UpstreamUser {
            identity: Identity {
                provider: "dev".to_owned(),
                issuer: "https://dev.example".to_owned(),
                subject: subject.clone(),
            },
            email: Some(Email {
                address: format!("{subject}@example.org"),
                trusted: true,
            }),
            name: format!("Person {number} {}", "with a long name ".repeat(20)),
            avatar_url: None,
            claims: gateway_model::Claims::default(),
            session: gateway_model::UpstreamSession::default(),
        };
        let pending = store.begin_sign_in(&person).await.unwrap();
        let yes = Verdict::Accepted(BTreeMap::new());
        let lifetime = Duration::from_secs(3600);
        store
            .settle_sign_in(&pending, Some(&yes), Some(&yes), lifetime)
            .await
            .unwrap();
    }
    store.close().await.unwrap();
    fs::read(database).unwrap()
}

/// Replaces the database.
fn place(setup: &Setup, bytes: &[u8]) {
    let database = setup.dir.database();
    for beside in ["-wal", "-shm", "-versions"] {
        let _ = fs::remove_file(format!("{}{beside}", database.display()));
    }
    fs::write(database, bytes).unwrap();
}

fn assert_says_damage(said: &str, what: &str) {
    for word in ["gateway.sqlite", "damaged", "gateway restore", ".recover"] {
        assert!(said.contains(word), "{what}: no {word:?} in {said}");
    }
    assert!(!said.contains("panicked"), "{what}: {said}");
}

async fn export(setup: &Setup) -> Ran {
    setup.dir.cli(&["user", "export"]).await
}

/// The output of `user export`, by id. Every line must be a complete user.
fn users_by_id(export: &str) -> BTreeMap<String, Value> {
    let lines = export
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let users: Vec<Value> = lines.collect();
    let by_id: BTreeMap<_, _> = users
        .iter()
        .map(|user| (user["id"].as_str().expect("an id").to_owned(), user.clone()))
        .collect();
    assert_eq!(by_id.len(), users.len(), "somebody was printed twice");
    by_id
}

#[derive(Debug)]
struct Page {
    number: usize,
    table: String,
    is_leaf: bool,
}

/// All pages but the first, which has the header.
fn pages(database: &Path) -> Vec<Page> {
    let connection = rusqlite::Connection::open(database).unwrap();
    let sql = "SELECT pageno, name, pagetype = 'leaf' FROM dbstat WHERE pageno > 1 ORDER BY pageno";
    let mut statement = connection.prepare(sql).unwrap();
    let pages = statement.query_map([], |row| {
        Ok(Page {
            number: row.get::<_, u32>(0)? as usize,
            table: row.get(1)?,
            is_leaf: row.get(2)?,
        })
    });
    pages.unwrap().map(Result::unwrap).collect()
}
