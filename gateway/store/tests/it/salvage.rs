//! What is left of a damaged database, where the damage is made by hand. `tests/faults/damage.rs` damages every page,
//! and at random.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use gateway_store::{Salvage, StoreError};

use super::support::Fixture;

const PAGE: usize = 4096;

/// Beyond a damaged page may be one whose rows are lower than where the search has been: here a copy of the first.
/// Who goes on from there comes to the damaged page again, and again.
#[tokio::test]
async fn it_ends_where_pages_lead_back() {
    assert_lost(|bytes, leaves| {
        bytes.copy_within(leaves[0].place(), leaves[5].place().start);
        vec![3, 6]
    })
    .await;
}

#[tokio::test]
async fn a_sound_page_among_many_damaged_ones_is_found() {
    assert_lost(|_, _| vec![1, 2, 3, 5, 6, 7, 8]).await;
}

#[tokio::test]
async fn where_the_last_page_is_damaged_those_before_it_are_found() {
    assert_lost(|_, leaves| vec![2, leaves.len() - 1]).await;
}

/// SQL that no longer fits is damage like any other: what is in the tables can still be read.
#[tokio::test]
async fn a_schema_that_was_changed_is_damage() {
    let fixture = Fixture::new().await;
    let path = fixture.path();
    fixture.store.close().await.unwrap();
    populate(&path);
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "PRAGMA writable_schema = ON;
            UPDATE sqlite_schema SET sql = replace(sql, 'REFERENCES users (id)', 'REFERENCES users (if)')",
        )
        .unwrap();
    drop(connection);

    let store = fixture.open(path.clone()).await;
    let error = store.check().await.unwrap_err();
    store.close().await.unwrap();
    let name = path.display().to_string();
    assert!(
        matches!(&error, StoreError::Corrupt(detail) if detail.contains(&name)),
        "{error}"
    );
    let salvage = Salvage::open(&path).unwrap();
    assert_eq!(
        salvage.users().filter(|(_, user)| user.is_ok()).count(),
        PEOPLE as usize
    );
}

/// Damages pages of identities, by `change` and those that it tells: that must cost who was on a page that is not what
/// it was their identities, and nobody else.
async fn assert_lost(change: impl FnOnce(&mut [u8], &[Leaf]) -> Vec<usize>) {
    let fixture = Fixture::new().await;
    let path = fixture.path();
    fixture.store.close().await.unwrap();
    let leaves = populate(&path);
    assert!(leaves.len() > 10, "{leaves:?}");
    let whole = fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    for damaged in change(&mut bytes, &leaves) {
        bytes[leaves[damaged].place()].fill(0xFF);
    }
    fs::write(&path, &bytes).unwrap();

    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(Salvage::open(&path).unwrap()).unwrap());
    // A search without an end fails here.
    let salvage = told.recv_timeout(Duration::from_secs(60)).unwrap();
    let without: Vec<u32> = salvage
        .users()
        .map(|(_, user)| user.unwrap())
        .filter(|user| user.identities.is_empty())
        .map(|user| user.name.parse().unwrap())
        .collect();
    let changed = |leaf: &&Leaf| bytes[leaf.place()] != whole[leaf.place()];
    let expected: Vec<u32> = leaves
        .iter()
        .filter(changed)
        .flat_map(|leaf| leaf.first..=leaf.last)
        .collect();
    assert_eq!(without, expected, "{leaves:?}");
    let gaps: Vec<String> = salvage.gaps().collect();
    assert!(gaps.len() == 1 && gaps[0].starts_with("identities: "), "{gaps:?}");
}

const PEOPLE: u32 = 1200;

/// A page of identities, and which.
#[derive(Debug)]
struct Leaf {
    number: usize,
    first: u32,
    last: u32,
}

impl Leaf {
    fn place(&self) -> Range<usize> {
        (self.number - 1) * PAGE..self.number * PAGE
    }
}

/// Writes so many people that their identities have several pages, and tells which, in order. Of each their name,
/// and where they are among all, is the number of their identity.
fn populate(path: &Path) -> Vec<Leaf> {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute_batch(&format!(
            "CREATE TEMP TABLE numbers AS
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {PEOPLE}) SELECT i FROM n;
            INSERT INTO users (id, name, joined, status) SELECT format('%032d', i), i, 0, 'active' FROM numbers;
            INSERT INTO identities (id, user_id, provider, issuer, subject)
                SELECT i, format('%032d', i), 'dev', 'https://dev.example', 'person-' || i FROM numbers;
            PRAGMA wal_checkpoint(TRUNCATE);"
        ))
        .unwrap();
    let sql =
        "SELECT pageno, ncell FROM dbstat WHERE name = 'identities' AND pagetype = 'leaf' ORDER BY path";
    let mut statement = connection.prepare(sql).unwrap();
    let mut last = 0;
    let leaves = statement.query_map([], |row| {
        let first = last + 1;
        last += row.get::<_, u32>(1)?;
        let number = usize::try_from(row.get::<_, u32>(0)?).unwrap();
        Ok(Leaf { number, first, last })
    });
    let leaves = leaves.unwrap().map(Result::unwrap).collect();
    assert_eq!(last, PEOPLE);
    leaves
}
