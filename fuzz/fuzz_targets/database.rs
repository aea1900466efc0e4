//! Databases with bytes changed, pages overwritten or the end cut off, against what saves people out of them. It ends.
//! Everybody is known of where one of the trees that tell of them is as it was; and who is known of, and is on a page to
//! which the way is as it was, is told, with their identities where these are.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arbitrary::Arbitrary;
use gateway_model::clock::{CountingRandom, ManualClock};
use gateway_model::{Email, Identity, UpstreamUser, User, UserId, UserLimits, Verdict};
use gateway_store::{DatabaseUrl, OpenError, Salvage, Store, StoreOptions, UserIds};
use libfuzzer_sys::fuzz_target;
use rusqlite::Connection;
use tempfile::TempDir;

/// The smallest there is: few people make trees of several levels.
const PAGE: usize = 512;
const PEOPLE: usize = 60;

#[derive(Arbitrary, Debug)]
enum Change {
    Byte { page: u8, at: u16, to: u8 },
    Bit { page: u8, at: u16, bit: u8 },
    Fill { page: u8, with: u8 },
    Copy { from: u8, to: u8 },
    Cut { page: u8, at: u16 },
}

struct Fixture {
    whole: Vec<u8>,
    everybody: BTreeMap<UserId, User>,
    /// Of each page, from the first on, the table or index that it is of.
    trees: Vec<String>,
    /// The users on each leaf, and its page and those that lead there, by their indices.
    leaves: Vec<(Vec<UserId>, Vec<usize>)>,
    file: PathBuf,
    _directory: TempDir,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("gateway.db");
    let connection = Connection::open(&file).expect("it opens");
    connection
        .execute_batch(&format!(
            "PRAGMA page_size = {PAGE}; PRAGMA application_id = 0x41754757"
        ))
        .expect("it is ours");
    drop(connection);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let everybody = runtime.block_on(populate(&file));
    let connection = Connection::open(&file).expect("it opens");
    let mut statement = connection
        .prepare("SELECT name FROM dbstat ORDER BY pageno")
        .expect("dbstat");
    let trees: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .expect("dbstat")
        .collect::<Result<_, _>>()
        .expect("dbstat");
    let leaves = leaves(&connection, everybody.keys());
    let whole = fs::read(&file).expect("it can be read");
    assert_eq!(whole.len(), trees.len() * PAGE, "a page is of no tree");
    Fixture {
        whole,
        everybody,
        trees,
        leaves,
        file,
        _directory: directory,
    }
});

fn leaves<'a>(
    connection: &Connection,
    mut ids: impl Iterator<Item = &'a UserId>,
) -> Vec<(Vec<UserId>, Vec<usize>)> {
    let sql =
        "SELECT path, pageno - 1, pagetype = 'leaf', ncell FROM dbstat WHERE name = 'users' ORDER BY path";
    let mut statement = connection.prepare(sql).expect("dbstat");
    let pages: Vec<(String, u32, bool, u32)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .expect("dbstat")
        .collect::<Result<_, _>>()
        .expect("dbstat");
    let mut leaves = Vec::new();
    for (path, _, _, cells) in pages.iter().filter(|(_, _, is_leaf, _)| *is_leaf) {
        let on_it = ids.by_ref().take(*cells as usize).cloned().collect();
        // Between two leaves is a row on an inner page.
        ids.next();
        let way = pages.iter().filter(|(above, ..)| path.starts_with(above));
        leaves.push((on_it, way.map(|(_, page, ..)| *page as usize).collect()));
    }
    assert!(ids.next().is_none() && leaves.len() > 5, "the leaves have all");
    leaves
}

async fn populate(file: &PathBuf) -> BTreeMap<UserId, User> {
    let options = StoreOptions {
        // The same file at every run: an input means the same.
        clock: Arc::new(ManualClock::at(1_790_000_000)),
        random: Arc::new(CountingRandom::default()),
        user_ids: UserIds::Random,
        event_retention: Duration::from_secs(60),
        limits: UserLimits::default(),
    };
    let store = Store::open(&DatabaseUrl::File(file.clone()), options)
        .await
        .expect("a store");
    for number in 0..PEOPLE {
        let person = UpstreamUser {
            identity: Identity {
                provider: "dev".into(),
                issuer: "https://dev.example".into(),
                subject: format!("person-{number}"),
            },
            email: Some(Email {
                address: format!("person-{number}@example.org"),
                trusted: true,
            }),
            name: format!("Person {number}"),
            avatar_url: None,
            claims: gateway_model::Claims::default(),
            session: gateway_model::UpstreamSession::default(),
        };
        let pending = store.begin_sign_in(&person).await.expect("it begins");
        let accepted = Verdict::Accepted(BTreeMap::new());
        let lifetime = Duration::from_secs(3600);
        store
            .settle_sign_in(&pending, Some(&accepted), Some(&accepted), lifetime)
            .await
            .expect("it is settled");
    }
    store.close().await.expect("it closes");
    let salvage = Salvage::open(file).expect("it opens");
    let everybody: BTreeMap<_, _> = salvage
        .users()
        .map(|(id, user)| (id, user.expect("sound")))
        .collect();
    assert_eq!(everybody.len(), PEOPLE);
    everybody
}

fuzz_target!(|changes: Vec<Change>| {
    let fixture = &*FIXTURE;
    let mut bytes = fixture.whole.clone();
    for change in &changes {
        change.make(&mut bytes);
    }
    for beside in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{beside}", fixture.file.display()));
    }
    fs::write(&fixture.file, &bytes).expect("written");
    let is_changed = |page: usize| {
        let place = page * PAGE..(page + 1) * PAGE;
        bytes.get(place.clone()) != fixture.whole.get(place)
    };
    let changed: BTreeSet<&str> = (0..fixture.trees.len())
        .filter(|&page| is_changed(page))
        .map(|page| fixture.trees[page].as_str())
        .collect();
    let is_sound = |tree: &str| !changed.contains(tree);

    let salvage = match Salvage::open(&fixture.file) {
        Ok(salvage) => salvage,
        Err(OpenError::TooNew { .. } | OpenError::NotOurs { .. } | OpenError::Corrupt { .. }) => {
            assert!(is_changed(0), "the first page is sound, and nothing is read");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let said: BTreeMap<UserId, _> = salvage.users().collect();
    if !is_sound("sqlite_schema") {
        return;
    }
    if is_sound("users") || is_sound("identities") || is_sound("identities_by_user") {
        for id in fixture.everybody.keys() {
            assert!(said.contains_key(id), "nothing is said of {id}");
        }
    }
    for (ids, way) in &fixture.leaves {
        if way.iter().any(|&page| is_changed(page)) {
            continue;
        }
        for (id, found) in ids.iter().filter_map(|id| said.get_key_value(id)) {
            let (found, user) = (found.as_ref().expect("the way is sound"), &fixture.everybody[id]);
            if is_sound("identities") {
                assert_eq!(found, user);
            } else {
                assert_eq!(
                    (&found.id, &found.name, &found.email),
                    (&user.id, &user.name, &user.email)
                );
            }
        }
    }
});

impl Change {
    fn make(&self, bytes: &mut Vec<u8>) {
        let pages = bytes.len() / PAGE;
        if pages == 0 {
            return;
        }
        let start = |page: u8| usize::from(page) % pages * PAGE;
        let place = |page: u8, at: u16| start(page) + usize::from(at) % PAGE;
        match *self {
            Self::Byte { page, at, to } => bytes[place(page, at)] = to,
            Self::Bit { page, at, bit } => bytes[place(page, at)] ^= 1 << (bit % 8),
            Self::Fill { page, with } => bytes[start(page)..][..PAGE].fill(with),
            Self::Copy { from, to } => bytes.copy_within(start(from)..start(from) + PAGE, start(to)),
            Self::Cut { page, at } => bytes.truncate(place(page, at)),
        }
    }
}
