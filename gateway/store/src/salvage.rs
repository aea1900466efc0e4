//! What can still be read of a damaged database.
//!
//! SQLite ends a query at the first page that makes no sense. So everybody is read one by one, by their id, and ids
//! are looked for wherever there are any: among the users, among the identities, and in the index of these. Each is
//! read through from both ends to where that fails, and from the middle of what is left between, and from the middles
//! of what is left of that, until nothing comes of it any more. A page that is damaged costs those who were on it, or
//! below it in the tree, and nobody else. SQLite has no checksums: a byte that was changed within a name is not noticed.
//!
//! Nothing is written, not even by copying back the log.

use std::collections::BTreeMap;
use std::path::Path;

use gateway_model::{Identity, User, UserId};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::Store;
use crate::error::{OpenError, StoreError};
use crate::open;
use crate::rows;

impl Store {
    /// Reads through everything and looks whether it fits together. Takes long where there is much.
    ///
    /// # Errors
    /// What does not, or that it cannot be read.
    pub async fn check(&self) -> Result<(), StoreError> {
        let problem = self.read_much(|connection| {
            let problem: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
            let mut stray = connection.prepare("PRAGMA foreign_key_check")?;
            Ok(match problem.as_str() {
                "ok" if stray.exists([])? => Some("a row refers to one that is not there".to_owned()),
                "ok" => None,
                _ => Some(problem),
            })
        });
        match problem.await? {
            Some(problem) => Err(StoreError::Corrupt(problem).in_file(self.0.readers.path())),
            None => Ok(()),
        }
    }
}

/// Of everybody of whom there is a trace, by id, their identities by number.
type Found = BTreeMap<String, BTreeMap<i64, Identity>>;

/// A damaged database, opened to save what is left.
#[derive(Debug)]
pub struct Salvage {
    connection: Connection,
    found: Found,
    /// By the name of a tree, what was in the way first.
    gaps: BTreeMap<&'static str, rusqlite::Error>,
}

impl Salvage {
    /// Opens the file and looks for everybody who is in it. Takes a while where there are many.
    ///
    /// # Errors
    /// When the file is not ours, of a newer gateway, or cannot be read at all.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let mut salvage = Self {
            connection: open::open_damaged(path)?,
            found: BTreeMap::new(),
            gaps: BTreeMap::new(),
        };
        for tree in TREES {
            salvage.search(tree);
        }
        Ok(salvage)
    }

    /// What could not be read to the end, and why. Who was there may have been found elsewhere.
    pub fn gaps(&self) -> impl Iterator<Item = String> {
        self.gaps.iter().map(|(tree, error)| format!("{tree}: {error}"))
    }

    /// Everybody of whom there is a trace, in the order of their ids, with as many of their identities as could
    /// be read: perhaps none.
    pub fn users(&self) -> impl Iterator<Item = (UserId, Result<User, StoreError>)> {
        self.found.iter().map(|(id, identities)| {
            let user = self.user(id).map(|user| User {
                identities: identities.values().cloned().collect(),
                ..user
            });
            (UserId::from(id.as_str()), user)
        })
    }

    fn user(&self, id: &str) -> Result<User, StoreError> {
        // A row on an inner page is come to by the page before it or by the one after it, whichever is sound.
        let found = self.user_where(id, "id = ?1");
        let found = found.or_else(|_| self.user_where(id, "id <= ?1 AND id >= ?1 ORDER BY id DESC"));
        found?.ok_or_else(|| StoreError::Corrupt("the user's row is lost".into()))
    }

    fn user_where(&self, id: &str, condition: &str) -> rusqlite::Result<Option<User>> {
        let sql = format!(
            "SELECT id, username, name, email, email_trusted, avatar_url, joined, status, attributes, '', '', ''
            FROM users WHERE {condition}"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        statement.query_row([id], rows::user).optional()
    }

    /// Finds all that is in a tree and not on a damaged page.
    fn search(&mut self, tree: &Tree) {
        let (mut low, ended) = self.scan(tree, Order::Up, 0, tree.last);
        let Err(error) = ended else { return };
        self.gaps.entry(tree.name).or_insert(error);
        let (high, _) = self.scan(tree, Order::Down, low, tree.last);
        if tree.counts_up && high == tree.last {
            // Not even the last row can be read: it is near the lower end of all that could be.
            let mut width = 1;
            while low + width < high {
                self.search_between(tree, low, low + width, TRIES);
                (low, width) = (low + width, width * 2);
            }
        }
        self.search_between(tree, low, high, TRIES);
    }

    /// Finds what is sound between two places. Whatever the pages hold, it ends: what is left to search gets smaller
    /// by half.
    fn search_between(&mut self, tree: &Tree, low: u64, high: u64, tries: u32) {
        let middle = low.midpoint(high);
        if tries == 0 || middle == low {
            return;
        }
        let (down, below) = self.scan(tree, Order::Down, low, middle);
        let (up, above) = self.scan(tree, Order::Up, middle, high);
        let tries = if down < middle || up > middle {
            TRIES
        } else {
            tries - 1
        };
        if below.is_err() {
            self.search_between(tree, low, down, tries);
        }
        if above.is_err() {
            self.search_between(tree, up, high, tries);
        }
    }

    /// Finds what is above one place and not above another, in an order, until it fails. Gives the place between them
    /// that it came to.
    fn scan(&mut self, tree: &Tree, order: Order, low: u64, high: u64) -> (u64, rusqlite::Result<()>) {
        let (mut reached, order, further) = match order {
            Order::Up => (low, "ASC", u64::max as fn(u64, u64) -> u64),
            Order::Down => (high, "DESC", u64::min as fn(u64, u64) -> u64),
        };
        let mut scan = || -> rusqlite::Result<()> {
            let sql = format!("{} {order}", tree.rows);
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mut rows = statement.query([(tree.key)(low), (tree.key)(high)])?;
            while let Some(row) = rows.next()? {
                match find(tree, row, &mut self.found) {
                    // A page that is in another's place may hold anything.
                    Ok(place) => reached = further(reached, place.clamp(low, high)),
                    // This row makes no sense; the next one may.
                    Err(error) => {
                        self.gaps.entry(tree.name).or_insert(error);
                    }
                }
            }
            Ok(())
        };
        let ended = scan();
        (reached, ended)
    }
}

/// How often in a row what is left between two places is halved in vain: what is damaged in one stretch is tried at
/// some sixty places.
const TRIES: u32 = 6;

#[derive(Clone, Copy)]
enum Order {
    Up,
    Down,
}

/// Notes what a row tells of. Gives its place.
fn find(tree: &Tree, row: &Row<'_>, found: &mut Found) -> rusqlite::Result<u64> {
    let identities = found.entry(row.get("user_id")?).or_default();
    if tree.has_identities {
        let identity = Identity {
            provider: row.get("provider")?,
            issuer: row.get("issuer")?,
            subject: row.get("subject")?,
        };
        identities.insert(row.get("id")?, identity);
    }
    (tree.place)(row)
}

/// Somewhere that ids are, in an order.
struct Tree {
    name: &'static str,
    /// The rows above a place and not above another, by place.
    rows: &'static str,
    has_identities: bool,
    /// Whether places count up from 1. Otherwise they are spread over all there are.
    counts_up: bool,
    /// The last place there can be.
    last: u64,
    /// Where a row is, and the key of a place.
    place: fn(&Row<'_>) -> rusqlite::Result<u64>,
    key: fn(u64) -> Value,
}

// An id that begins with a place's digits is above it, and below it and a `g`.
const TREES: &[Tree] = &[
    Tree {
        name: "users",
        rows: "SELECT id AS user_id FROM users WHERE id > ?1 AND id < ?2 || 'g' ORDER BY id",
        has_identities: false,
        counts_up: false,
        last: u64::MAX,
        place: digits,
        key: |place| Value::Text(format!("{place:016x}")),
    },
    Tree {
        name: "identities",
        rows: "SELECT * FROM identities WHERE id > ?1 AND id <= ?2 ORDER BY id",
        has_identities: true,
        counts_up: true,
        // More than anybody has, and still few enough to be looked through.
        last: 1 << 40,
        place: |row| rows::unsigned(row, 0),
        key: |place| Value::Integer(i64::try_from(place).unwrap_or(i64::MAX)),
    },
    Tree {
        name: "the index of identities",
        rows: "SELECT user_id FROM identities INDEXED BY identities_by_user
            WHERE user_id > ?1 AND user_id < ?2 || 'g' ORDER BY user_id",
        has_identities: false,
        counts_up: false,
        last: u64::MAX,
        place: digits,
        key: |place| Value::Text(format!("{place:016x}")),
    },
];

/// The number that the first sixteen digits of an id are: half of it.
fn digits(row: &Row<'_>) -> rusqlite::Result<u64> {
    let id = row.get_ref(0)?.as_str()?;
    id.get(..16)
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| rows::conversion(0, format!("no user's id: {id:?}")))
}
