//! What is left of a damaged database, where the damage is made by hand. `tests/faults/damage.rs` damages every page,
//! and at random.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use gateway_store::Salvage;

use super::support::Fixture;

const PAGE: usize = 4096;

/// Beyond a damaged page may be one whose rows are lower than where the walk has been: here a copy of the first.
/// From there the walk would come to the damaged page again, and again.
#[tokio::test]
async fn a_walk_ends_where_pages_lead_back() {
    let fixture = Fixture::new().await;
    let path = fixture.path();
    fixture.store.close().await.unwrap();
    let leaves = populate(&path);
    assert!(leaves.len() > 7, "{leaves:?}");

    let mut bytes = fs::read(&path).unwrap();
    let place = |number: usize| (number - 1) * PAGE..number * PAGE;
    bytes.copy_within(place(leaves[0].number), place(leaves[5].number).start);
    for damaged in [3, 6] {
        bytes[place(leaves[damaged].number)].fill(0xFF);
    }
    fs::write(&path, bytes).unwrap();

    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(Salvage::open(&path).unwrap()).unwrap());
    let salvage = told.recv_timeout(Duration::from_secs(60)).expect("the walk ends");
    let lost: Vec<u32> = salvage
        .users()
        .map(|(_, user)| user.unwrap())
        .filter(|user| user.identities.is_empty())
        .map(|user| user.name.parse().unwrap())
        .collect();
    let gone = |number: &u32| [3, 5, 6].iter().any(|leaf| leaves[*leaf].holds(*number));
    let expected: Vec<u32> = (1..=PEOPLE).filter(gone).collect();
    assert_eq!(lost, expected, "{leaves:?}");
    let gaps: Vec<String> = salvage.gaps().collect();
    assert!(gaps.len() == 1 && gaps[0].starts_with("identities: "), "{gaps:?}");
}

const PEOPLE: u32 = 1000;

/// A page of identities, and which.
#[derive(Debug)]
struct Leaf {
    number: usize,
    first: u32,
    last: u32,
}

impl Leaf {
    fn holds(&self, identity: u32) -> bool {
        (self.first..=self.last).contains(&identity)
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
