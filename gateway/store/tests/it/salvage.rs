//! What is left of a damaged database, where the damage is made by hand. `tests/faults/damage.rs` damages every page,
//! and at random; `fuzz/fuzz_targets/database.rs` whatever comes to a fuzzer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use gateway_model::clock::CountingRandom;
use gateway_model::{User, UserId};
use gateway_store::{Salvage, StoreError};
use rusqlite::Connection;

use super::support::Fixture;

const PAGE: usize = 4096;
/// Enough for each tree to have more than a dozen pages.
const PEOPLE: u32 = 1500;

const USERS: &str = "users";
const IDENTITIES: &str = "identities";
const INDEX: &str = "identities_by_user";

/// What happens to a leaf of a tree.
#[derive(Clone, Copy, Debug)]
enum Change {
    Destroyed(&'static str, usize),
    /// Another leaf is where it was.
    Replaced(&'static str, usize, &'static str, usize),
    /// One bit of a key in its middle is another: the key is out of order.
    Flipped(&'static str, usize, u8),
}
use Change::{Destroyed, Flipped, Replaced};

#[tokio::test]
async fn a_damaged_page_costs_who_was_on_it_and_nobody_else() {
    let database = Database::new().await;
    let destroyed = |tree, leaves: &[usize]| -> Vec<Change> {
        leaves.iter().map(|&leaf| Destroyed(tree, leaf)).collect()
    };
    for tree in [USERS, IDENTITIES, INDEX] {
        let end = database.leaves[tree].len() - 1;
        assert!(end > 12, "{tree} has too few pages");
        for leaves in [
            vec![0],
            vec![end],
            vec![0, 2, end],
            vec![3, 6, end],
            vec![1, 2, 3, 5, 6, 7, 8],
            vec![1, 2, 4, 5, 6, 7, 8, 9, 10, 11],
        ] {
            database.assert_kept(&destroyed(tree, &leaves));
        }
        for others in [
            [Replaced(tree, 5, tree, 0), Destroyed(tree, 7)],
            [Replaced(tree, 5, tree, 0), Destroyed(tree, 6)],
            [Replaced(tree, 1, tree, 9), Destroyed(tree, 5)],
            [Replaced(tree, 2, tree, 9), Destroyed(tree, 8)],
            [Flipped(tree, 1, 0x40), Flipped(tree, 8, 0x40)],
            [Flipped(tree, 2, 0x02), Destroyed(tree, 12)],
            [Flipped(tree, 9, 0x02), Destroyed(tree, 12)],
        ] {
            // Behind a page that is damaged as well.
            database.assert_kept(&[&others[..], &destroyed(tree, &[3])].concat());
        }
    }
    // Many are known of by the users' own rows alone.
    let others: Vec<usize> = (2..10).collect();
    let others = [destroyed(IDENTITIES, &others), destroyed(INDEX, &others)].concat();
    for change in [
        Flipped(USERS, 1, 0x40),
        Replaced(USERS, 1, INDEX, 9),
        Replaced(USERS, 9, INDEX, 1),
        Replaced(USERS, 1, IDENTITIES, 2),
    ] {
        database.assert_kept(&[&others[..], &[change]].concat());
        database.assert_kept(&[&others[..], &[change, Destroyed(USERS, 4)]].concat());
    }
}

/// Whoever follows rows that are lower than where the search has been comes to the same damage again, and again.
#[tokio::test]
async fn it_ends_where_pages_lead_back() {
    let database = Database::new().await;
    let changes = [Destroyed(IDENTITIES, 3), Destroyed(IDENTITIES, 6)];
    for from in 0..3 {
        for to in [4, 5] {
            let back = Replaced(IDENTITIES, to, IDENTITIES, from);
            database.assert_kept(&[&changes[..], &[back]].concat());
        }
    }
}

/// SQL that no longer fits the schema is damage like any other: what is in the tables can still be read.
#[tokio::test]
async fn a_schema_that_was_changed_is_damage() {
    let database = Database::new().await;
    let path = database.fixture.path();
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "PRAGMA writable_schema = ON;
            UPDATE sqlite_schema SET sql = replace(sql, 'REFERENCES users (id)', 'REFERENCES users (if)')",
        )
        .unwrap();
    drop(connection);

    let store = database.fixture.open(path.clone()).await;
    let error = store.check().await.unwrap_err();
    store.close().await.unwrap();
    let name = path.display().to_string();
    assert!(
        matches!(&error, StoreError::Schema(detail) if detail.contains(&name)),
        "{error}"
    );
    assert_eq!(salvage(path).0, database.everybody);
}

/// A database, what is in it, and where.
struct Database {
    fixture: Fixture,
    whole: Vec<u8>,
    everybody: BTreeMap<UserId, User>,
    leaves: BTreeMap<&'static str, Vec<Leaf>>,
}

struct Leaf {
    place: Range<usize>,
    /// Whose rows are on it, in their order.
    ids: Vec<UserId>,
}

impl Database {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        let path = fixture.path();
        fixture.store.close().await.unwrap();
        let mut connection = Connection::open(&path).unwrap();
        populate(&mut connection);
        let leaves = [
            (USERS, "SELECT id FROM users ORDER BY id"),
            (IDENTITIES, "SELECT user_id FROM identities ORDER BY id"),
            (INDEX, "SELECT user_id FROM identities ORDER BY user_id"),
        ];
        let leaves = leaves
            .map(|(tree, rows)| (tree, leaves_of(&connection, tree, rows)))
            .into();
        drop(connection);
        let (everybody, gaps) = salvage(path.clone());
        assert_eq!((everybody.len(), gaps), (PEOPLE as usize, Vec::new()));
        Self {
            whole: fs::read(path).unwrap(),
            fixture,
            everybody,
            leaves,
        }
    }

    /// Changes it and sees to it that all rows on leaves that are as they were are found.
    fn assert_kept(&self, changes: &[Change]) {
        let mut bytes = self.whole.clone();
        for &change in changes {
            match change {
                Destroyed(tree, leaf) => bytes[self.place(tree, leaf)].fill(0xFF),
                Replaced(tree, leaf, other, by) => {
                    bytes.copy_within(self.place(other, by), self.place(tree, leaf).start);
                }
                Flipped(tree, leaf, bit) => bytes[self.key(tree, leaf)] ^= bit,
            }
        }
        let kept = |tree: &str| -> BTreeSet<&UserId> {
            let leaves = self.leaves[tree].iter();
            let sound = leaves.filter(|leaf| bytes[leaf.place.clone()] == self.whole[leaf.place.clone()]);
            sound.flat_map(|leaf| &leaf.ids).collect()
        };
        let path = self.fixture.path();
        fs::write(&path, &bytes).unwrap();
        let (found, gaps) = salvage(path);
        let sound = kept(USERS);
        let lost: Vec<_> = sound.iter().filter(|id| !found.contains_key(id)).collect();
        assert!(lost.is_empty(), "{changes:?}: lost {lost:?}, {gaps:?}");
        for id in kept(IDENTITIES).intersection(&sound) {
            assert_eq!(found[*id], self.everybody[*id], "{changes:?}: {gaps:?}");
        }
    }

    fn place(&self, tree: &str, leaf: usize) -> Range<usize> {
        self.leaves[tree][leaf].place.clone()
    }

    /// Where the first byte of a key is, in the middle of a leaf.
    fn key(&self, tree: &str, leaf: usize) -> usize {
        let Leaf { place, ids } = &self.leaves[tree][leaf];
        let middle = ids.len() / 2;
        if tree == IDENTITIES {
            // A cell begins with its length, here of one byte, and the key: SQLite's file format, section 1.6.
            let pointer = place.start + 8 + 2 * middle;
            let cell = u16::from_be_bytes([self.whole[pointer], self.whole[pointer + 1]]);
            assert!(self.whole[place.start + usize::from(cell)] < 0x80);
            place.start + usize::from(cell) + 1
        } else {
            let id = ids[middle].as_str().as_bytes();
            let mut texts = self.whole[place.clone()].windows(id.len());
            place.start + texts.position(|text| text == id).unwrap()
        }
    }
}

/// What is found, as far as it can be read, and what was in the way. A search without an end fails here.
fn salvage(path: PathBuf) -> (BTreeMap<UserId, User>, Vec<String>) {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(Salvage::open(&path).unwrap()).unwrap());
    let salvage = told.recv_timeout(Duration::from_secs(60)).unwrap();
    let users = salvage.users().filter_map(|(id, user)| Some((id, user.ok()?)));
    (users.collect(), salvage.gaps().collect())
}

fn populate(connection: &mut Connection) {
    let random = CountingRandom::default();
    let transaction = connection.transaction().unwrap();
    for number in 1..=PEOPLE {
        let id = UserId::random(&random).unwrap();
        transaction
            .execute(
                "INSERT INTO users (id, name, joined, status) VALUES (?1, ?2, 0, 'active')",
                (id.as_str(), number.to_string()),
            )
            .unwrap();
        transaction
            .execute(
                "INSERT INTO identities (user_id, provider, issuer, subject)
                VALUES (?1, 'dev', 'https://dev.example', 'person-' || ?2)",
                (id.as_str(), number),
            )
            .unwrap();
    }
    transaction.commit().unwrap();
    connection
        .execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
}

/// The leaves of a tree, in order, by whose rows are in it.
fn leaves_of(connection: &Connection, tree: &str, rows: &str) -> Vec<Leaf> {
    let mut statement = connection.prepare(rows).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let mut rows = rows.map(|id| UserId::from(id.unwrap()));
    let sql = "SELECT pageno, ncell FROM dbstat WHERE name = ?1 AND pagetype = 'leaf' ORDER BY path";
    let mut statement = connection.prepare(sql).unwrap();
    let leaves = statement.query_map([tree], |row| {
        let end = row.get::<_, u32>(0)? as usize * PAGE;
        let count = row.get::<_, u32>(1)? as usize;
        let ids = rows.by_ref().take(count).collect();
        if tree != IDENTITIES {
            // The tree of an index has rows on its inner pages too, one between two leaves.
            rows.next();
        }
        Ok(Leaf {
            place: end - PAGE..end,
            ids,
        })
    });
    let leaves: Vec<Leaf> = leaves.unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.count(), 0);
    leaves
}
