//! What can still be read of a damaged database.
//!
//! SQLite ends a query at the first page that makes no sense. So everybody is read one by one, by their id, and ids
//! are looked for wherever there are any: among the users, among the identities, and in the index of these. Each is
//! read through from both ends to where that fails, and what is left between from its middle, and so on, until that has
//! been in vain often enough. So a page that is damaged costs those who were on it, or below it in the tree. A sound
//! page is missed only where it is less than a thousandth of a damaged stretch, or where other pages are out of place
//! as well. SQLite has no checksums: a byte that was changed within a name is not noticed.
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
use crate::place::Place;
use crate::rows;

impl Store {
    /// Reads through everything and looks whether it fits together. Takes long where there is much.
    ///
    /// # Errors
    /// What does not, or that it cannot be read.
    pub async fn check(&self) -> Result<(), StoreError> {
        let problem = self.read_much(problem);
        match problem.await? {
            Some(problem) => Err(StoreError::Corrupt(problem).in_file(self.0.readers.path())),
            None => Ok(()),
        }
    }
}

/// What does not fit together in a database.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn problem(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let problem: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    let mut stray = connection.prepare("PRAGMA foreign_key_check")?;
    Ok(match problem.as_str() {
        "ok" if stray.exists([])? => Some("a row refers to one that is not there".to_owned()),
        "ok" => None,
        _ => Some(problem),
    })
}

/// Of everybody of whom there is a trace, by id, their identities by number.
type Found = BTreeMap<String, BTreeMap<i64, Identity>>;

/// A damaged database, opened to save what is left.
#[derive(Debug)]
pub struct Salvage {
    connection: Connection,
    /// Given up after the connection.
    _place: Option<Place>,
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
        let (connection, place) = open::open_damaged(path)?;
        let mut salvage = Self {
            connection,
            _place: place,
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

    /// Finds what is in a tree and not on a damaged page.
    fn search(&mut self, tree: &Tree) {
        let (mut low, ended) = self.scan(tree, Order::Up, None, None);
        let Err(error) = ended else { return };
        self.gaps.entry(tree.name).or_insert(error);
        let (high, ended) = self.scan(tree, Order::Down, None, None);
        if let Err(rusqlite::Error::SqlInputError { .. }) = ended {
            // There is no such tree.
            return;
        }
        if low >= high {
            // A page that is out of place led past the damage.
            low = 0;
        }
        if tree.key == Key::Number && high == LAST_NUMBER {
            // Not even the last row can be read: it is near the lower end of all that could be.
            let mut width = 1;
            while low + width < high {
                self.search_between(tree, low, low + width, TRIES_FAR_OFF);
                (low, width) = (low + width, width * 2);
            }
        }
        self.search_between(tree, low, high, TRIES);
    }

    /// Finds what is sound between two places. It ends: what is left to search gets smaller by half.
    fn search_between(&mut self, tree: &Tree, low: u64, high: u64, tries: u32) {
        let middle = low.midpoint(high);
        if tries == 0 || middle == low {
            return;
        }
        // That one of them came to its end says nothing: a page that is out of place ends a scan as well.
        let (down, _) = self.scan(tree, Order::Down, Some(low), Some(middle));
        let (up, _) = self.scan(tree, Order::Up, Some(middle), Some(high));
        let tries = if down < middle || up > middle {
            TRIES
        } else {
            tries - 1
        };
        self.search_between(tree, low, down, tries);
        self.search_between(tree, up, high, tries);
    }

    /// Finds what is above one place and not above another, in an order, until it fails. Gives the place between them
    /// that it came to.
    fn scan(
        &mut self,
        tree: &Tree,
        order: Order,
        low: Option<u64>,
        high: Option<u64>,
    ) -> (u64, rusqlite::Result<()>) {
        let (first, last) = (low.unwrap_or(0), high.unwrap_or(tree.key.last()));
        let (mut reached, order) = match order {
            Order::Up => (first, "ASC"),
            Order::Down => (last, "DESC"),
        };
        let mut scan = || -> rusqlite::Result<()> {
            let sql = format!("{} {order}", tree.rows);
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mut rows = statement.query([tree.key.above(low), tree.key.not_above(high)])?;
            while let Some(row) = rows.next()? {
                match find(tree, row, &mut self.found) {
                    // The last one counts, not the furthest: there may be one that is out of place among them.
                    Ok(place) => reached = place.clamp(first, last),
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

/// How often in a row what is left between two places is halved in vain: what is damaged in one stretch is tried at a
/// thousand places.
const TRIES: u32 = 10;
/// The same where perhaps nothing ever was.
const TRIES_FAR_OFF: u32 = 6;

/// More identities than anybody has, and still few enough to be looked for.
const LAST_NUMBER: u64 = 1 << 40;

#[derive(Clone, Copy)]
enum Order {
    Up,
    Down,
}

/// Notes what a row tells of. Gives its place.
fn find(tree: &Tree, row: &Row<'_>, found: &mut Found) -> rusqlite::Result<u64> {
    let identities = found.entry(row.get("user_id")?).or_default();
    if tree.key == Key::Number {
        let identity = Identity {
            provider: row.get("provider")?,
            issuer: row.get("issuer")?,
            subject: row.get("subject")?,
        };
        identities.insert(row.get("id")?, identity);
    }
    tree.key.place(row)
}

/// Somewhere that ids are, in an order.
struct Tree {
    name: &'static str,
    /// The rows above a place and not above another, in the order of their key, the first column.
    rows: &'static str,
    key: Key,
}

const TREES: &[Tree] = &[
    Tree {
        name: "users",
        rows: "SELECT id AS user_id FROM users WHERE id > ?1 AND id <= ?2 ORDER BY id",
        key: Key::UserId,
    },
    Tree {
        name: "identities",
        rows: "SELECT * FROM identities WHERE id > ?1 AND id <= ?2 ORDER BY id",
        key: Key::Number,
    },
    Tree {
        name: "the index of identities",
        rows: "SELECT user_id FROM identities INDEXED BY identities_by_user
            WHERE user_id > ?1 AND user_id <= ?2 ORDER BY user_id",
        key: Key::UserId,
    },
];

/// What a tree is in the order of, and how that is a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    /// A user's id: the number that its first sixteen digits are, half of it. They are spread over all there are.
    UserId,
    /// An identity's number: they count up from 1.
    Number,
}

impl Key {
    const fn last(self) -> u64 {
        match self {
            Self::UserId => u64::MAX,
            Self::Number => LAST_NUMBER,
        }
    }

    fn place(self, row: &Row<'_>) -> rusqlite::Result<u64> {
        match self {
            Self::UserId => {
                let id = row.get_ref(0)?.as_str()?;
                id.get(..16)
                    .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                    .ok_or_else(|| rows::conversion(0, format!("no user's id: {id:?}")))
            }
            Self::Number => rows::unsigned(row, 0),
        }
    }

    /// What all rows above a place are above; `None`: all rows there are.
    fn above(self, place: Option<u64>) -> Value {
        match (self, place) {
            (Self::UserId, Some(place)) => Value::Text(format!("{place:016x}")),
            (Self::UserId, None) => Value::Text(String::new()),
            (Self::Number, Some(place)) => number(place),
            (Self::Number, None) => Value::Integer(i64::MIN),
        }
    }

    /// What no row of a place or below is above.
    fn not_above(self, place: Option<u64>) -> Value {
        match (self, place) {
            // No digit is above `g`, and in SQLite no text above a blob.
            (Self::UserId, Some(place)) => Value::Text(format!("{place:016x}g")),
            (Self::UserId, None) => Value::Blob(vec![0xFF; 16]),
            (Self::Number, Some(place)) => number(place),
            (Self::Number, None) => Value::Integer(i64::MAX),
        }
    }
}

fn number(place: u64) -> Value {
    Value::Integer(i64::try_from(place).unwrap_or(i64::MAX))
}
