//! What can still be read of a damaged database.
//!
//! SQLite ends a query at the first page that makes no sense. So everybody is read one by one, by their id, and ids
//! are looked for wherever there are any: among the users, among the identities, and in the index of these. Each is
//! walked through in order; at an error the walk goes on a little further, and ever further until there is something
//! again, and from there back to the damage. A page that is damaged costs those who were on it, or below it in the
//! tree, and nobody else. SQLite has no checksums: a byte that was changed within a name is not noticed.
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
            salvage.walk(tree);
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
    ///
    /// It ends whatever the pages hold: `from` only rises, and its step doubles until there is a row that is higher
    /// than all before.
    fn walk(&mut self, tree: &Tree) {
        // All that is not above `known` is found; `from` is a step, or several, above it.
        let (mut known, mut from, mut step) = (0, 0, 1_u64);
        loop {
            let (highest, ended) = self.scan(tree, "ASC", from, u64::MAX);
            if from > known {
                // What was stepped over and is not damaged. The damage ends it, and is noted.
                let _ = self.scan(tree, "DESC", known, from);
            }
            let Err(error) = ended else { return };
            self.gaps.entry(tree.name).or_insert(error);
            if highest > from {
                (known, step) = (highest, 1);
            }
            from = match highest.checked_add(step) {
                Some(next) => next,
                None => return,
            };
            step = step.saturating_mul(2);
        }
    }

    /// Finds what is above one place and not above another, in an order, until it fails. Gives the highest place
    /// that it came to, at least the first.
    fn scan(&mut self, tree: &Tree, order: &str, above: u64, last: u64) -> (u64, rusqlite::Result<()>) {
        let mut highest = above;
        let mut scan = || -> rusqlite::Result<()> {
            let mut statement = self
                .connection
                .prepare_cached(&format!("{} {order}", tree.rows))?;
            let mut rows = statement.query([(tree.key)(above), (tree.key)(last)])?;
            while let Some(row) = rows.next()? {
                match find(tree, row, &mut self.found) {
                    Ok(place) => highest = highest.max(place),
                    // This row makes no sense; the next one may.
                    Err(error) => {
                        self.gaps.entry(tree.name).or_insert(error);
                    }
                }
            }
            Ok(())
        };
        let ended = scan();
        (highest, ended)
    }
}

/// Notes what a row tells of. Gives its place.
fn find(tree: &Tree, row: &Row<'_>, found: &mut Found) -> rusqlite::Result<u64> {
    let place = (tree.place)(row)?;
    let identities = found.entry(row.get("user_id")?).or_default();
    if tree.has_identities {
        let identity = Identity {
            provider: row.get("provider")?,
            issuer: row.get("issuer")?,
            subject: row.get("subject")?,
        };
        identities.insert(row.get("id")?, identity);
    }
    Ok(place)
}

/// Somewhere that ids are, in an order.
struct Tree {
    name: &'static str,
    /// The rows above a place and not above another, by place.
    rows: &'static str,
    has_identities: bool,
    /// Where a row is, and the key of a place.
    place: fn(&Row<'_>) -> rusqlite::Result<u64>,
    key: fn(u64) -> Value,
}

const TREES: &[Tree] = &[
    Tree {
        name: "users",
        rows: "SELECT id AS user_id FROM users
            WHERE id > CAST(?1 AS TEXT) AND id <= CAST(?2 AS TEXT) ORDER BY id",
        has_identities: false,
        place: beginning,
        key: text,
    },
    Tree {
        name: "identities",
        rows: "SELECT * FROM identities WHERE id > ?1 AND id <= ?2 ORDER BY id",
        has_identities: true,
        place: |row| rows::unsigned(row, 0),
        key: |place| Value::Integer(i64::try_from(place).unwrap_or(i64::MAX)),
    },
    Tree {
        name: "the index of identities",
        rows: "SELECT user_id FROM identities INDEXED BY identities_by_user
            WHERE user_id > CAST(?1 AS TEXT) AND user_id <= CAST(?2 AS TEXT) ORDER BY user_id",
        has_identities: false,
        place: beginning,
        key: text,
    },
];

/// An id's first eight bytes, as a number in the same order.
fn beginning(row: &Row<'_>) -> rusqlite::Result<u64> {
    let id = row.get_ref(0)?.as_bytes()?;
    let mut bytes = [0; 8];
    for (byte, of_id) in bytes.iter_mut().zip(id) {
        *byte = *of_id;
    }
    Ok(u64::from_be_bytes(bytes))
}

fn text(beginning: u64) -> Value {
    Value::Blob(beginning.to_be_bytes().to_vec())
}
