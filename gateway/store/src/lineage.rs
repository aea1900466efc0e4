//! Whether a write-ahead log belongs to the database file beside it.
//!
//! SQLite cannot tell: if somebody copies a backup over `gateway.db` while the `-wal` of the old file is still there,
//! SQLite applies pages of one history to the file of another. So the database has one row, the stamp:
//!
//! - At every start, and in every transaction, the gateway writes a new stamp: a random number, the number of the stamp
//!   before, and the schema cookie of the file.
//! - A log continues from a file if the file's stamp is the one before the log's first, or one of the log's own (a part
//!   of the log may have been copied back already), and if the log knows the file's schema cookie.
//!
//! An older copy of the file has an older stamp. A copy that SQLite makes while the gateway runs (`VACUUM INTO`,
//! `.backup`) may have a stamp that is in the log, but SQLite gives every such copy another schema cookie. A copy that
//! `gateway backup` makes has a stamp of its own.
//!
//! A file from which no stamp can be read (it was cut short, say, or its page of the stamp is destroyed) is not given a
//! log unless one of its raw pages still holds a stamp that the log knows, or the log holds every page of the database.
//!
//! A log without a stamp was written by something else: an older gateway, which knows of no stamps, or `sqlite3` in an
//! operator's hand. It belongs to another file if it holds a first page of an older schema or of another program, or if
//! it holds no first page and was begun beside a file of another length: SQLite writes the length on the first page.
//!
//! What remains is such a log beside a file of the same schema or length; and a plain copy of the file, made after the current log was begun: it is the file that the log continues
//! from, and with the log it is the latest state again.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::schema::APPLICATION_ID;
use crate::wal;

/// Bytes of a stamp's number.
const NUMBER: usize = 16;
/// Bytes of a stamp: [`MAGIC`], its number, the number before, the schema cookie.
const LENGTH: usize = 44;
/// Databases of at least this schema have a stamp.
const SINCE: i64 = 4;
const MAGIC: &[u8; 8] = b"AuGW-log";
/// What SQLite puts before the stamp in its row: 47 bytes of payload, row 1, a header of 3 bytes, NULL (the id is the
/// row's number), a blob of 44 bytes.
const CELL: [u8; 5] = [47, 1, 3, 0, 100];
/// The first byte of a page that is a leaf of a table with row numbers.
const TABLE_LEAF: u8 = 0x0D;

type Number = [u8; NUMBER];

/// The row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    number: Number,
    /// All zeros where there was none.
    before: Number,
    cookie: u32,
}

impl Stamp {
    fn to_bytes(self) -> Vec<u8> {
        [
            MAGIC.as_slice(),
            &self.number,
            &self.before,
            &self.cookie.to_be_bytes(),
        ]
        .concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.strip_prefix(MAGIC)?;
        let (number, bytes) = bytes.split_first_chunk::<NUMBER>()?;
        let (before, bytes) = bytes.split_first_chunk::<NUMBER>()?;
        Some(Self {
            number: *number,
            before: *before,
            cookie: u32::from_be_bytes(bytes.try_into().ok()?),
        })
    }

    /// The stamp that is on a page, if the page is the one that the stamp's table has. No other table has a row of this
    /// form, whatever is stored in it.
    fn on_page(page: &[u8]) -> Option<Self> {
        let two = |at: usize| Some(u16::from_be_bytes([*page.get(at)?, *page.get(at + 1)?]));
        if *page.first()? != TABLE_LEAF || two(3)? != 1 {
            return None;
        }
        let row = page.get(usize::from(two(8)?)..)?.strip_prefix(&CELL)?;
        Self::from_bytes(row.get(..LENGTH)?)
    }
}

/// What the file alone says, without its log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Main {
    cookie: u32,
    /// How many pages the file has.
    length: u32,
    /// `None`: the schema is older than stamps are.
    stamp: Option<Stamp>,
}

impl Main {
    /// Reads it. `connection` must be one that ignores the log. `None`: it cannot be told, because the file is damaged,
    /// or because part of the log has been copied back, and only the two together make sense.
    pub(crate) fn read(connection: &Connection) -> Option<Self> {
        let cookie = cookie(connection).ok()?;
        let stamp = if has_table(connection).ok()? {
            Some(read(connection).ok()??)
        } else {
            let version: i64 = connection
                .pragma_query_value(None, "user_version", |row| row.get(0))
                .ok()?;
            if version >= SINCE {
                return None;
            }
            None
        };
        let length = connection
            .pragma_query_value(None, "page_count", |row| row.get(0))
            .ok()?;
        Some(Self {
            cookie,
            length,
            stamp,
        })
    }

    /// What the raw pages say of a file that [`Main::read`] can make nothing of.
    fn scan(path: &Path, page: usize) -> Option<Self> {
        let mut file = BufReader::with_capacity(1 << 18, File::open(path).ok()?);
        let mut bytes = vec![0; page];
        let (mut cookie, mut stamp) = (None, None);
        let length = file.get_ref().metadata().ok()?.len() / u64::try_from(page).ok()?;
        while stamp.is_none() && wal::fill(&mut file, &mut bytes).ok()? {
            if cookie.is_none() {
                cookie = bytes.get(40..).and_then(|rest| rest.first_chunk()).copied();
            }
            stamp = Stamp::on_page(&bytes);
        }
        Some(Self {
            cookie: u32::from_be_bytes(cookie?),
            length: u32::try_from(length).ok()?,
            stamp: Some(stamp?),
        })
    }
}

/// What the log says.
#[derive(Clone, Debug, Default)]
struct Story {
    stamps: Vec<Stamp>,
    cookies: BTreeSet<u32>,
    /// What its first pages say: the schema's version and whose database it is (`user_version`, `application_id`).
    owners: BTreeSet<(i64, i32)>,
    /// Which pages of the database the log holds.
    pages: BTreeSet<u32>,
    /// How many pages the database has after the last transaction; 0: there is none.
    length: u32,
    /// Bytes of a page.
    page: usize,
}

impl Story {
    fn of(log: &Path) -> io::Result<Self> {
        let (mut committed, mut story) = (Self::default(), Self::default());
        wal::read(log, |frame| {
            story.pages.insert(frame.number);
            if let Some(stamp) = Stamp::on_page(frame.page) {
                story.stamps.push(stamp);
                story.cookies.insert(stamp.cookie);
            }
            // In the header of the database, which is on its first page.
            let header = |at: usize| Some(*frame.page.get(at..)?.first_chunk()?);
            if frame.number == 1
                && let (Some(cookie), Some(version), Some(id)) = (header(40), header(60), header(68))
            {
                story.cookies.insert(u32::from_be_bytes(cookie));
                story
                    .owners
                    .insert((i64::from(i32::from_be_bytes(version)), i32::from_be_bytes(id)));
            }
            if let Some(length) = frame.commits {
                committed.length = length;
                committed.page = frame.page.len();
                committed.pages.append(&mut story.pages);
                committed.stamps.append(&mut story.stamps);
                committed.cookies.append(&mut story.cookies);
                committed.owners.append(&mut story.owners);
            }
        })?;
        Ok(committed)
    }

    /// Whether the log needs nothing of the file: then there is nothing to be mixed.
    fn is_whole(&self) -> bool {
        let pages = self.pages.range(..=self.length).count();
        u32::try_from(pages).is_ok_and(|pages| pages == self.length)
    }

    /// Whether somebody who uses SQLite by hand may have written a log without stamps beside a file that has one.
    fn may_be_by_hand(&self, main: &Main) -> bool {
        if self.owners.is_empty() {
            return self.length == main.length;
        }
        let ours = |&(version, id): &(i64, i32)| version >= SINCE && id == APPLICATION_ID;
        self.owners.iter().all(ours)
    }

    /// `strictly`: a log that has no stamps proves nothing.
    fn continues(&self, main: &Main, strictly: bool) -> bool {
        let Some(first) = self.stamps.first() else {
            return !strictly && (main.stamp.is_none() || self.may_be_by_hand(main));
        };
        match main.stamp {
            None => first.before == [0; NUMBER],
            Some(stamp) => {
                let known = stamp.number == first.before
                    || self.stamps.iter().any(|other| other.number == stamp.number);
                known && self.cookies.contains(&main.cookie)
            }
        }
    }
}

/// Why a log may not be applied to the file beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It belongs to another file.
    Foreign,
    /// The file does not say whether the log is its own.
    Unknown,
}

/// Whether the log of the database at `path`, if it is there, may not be applied. Nobody else may be using the
/// database. `main` reads the file alone; `strictly`: the log must prove that it belongs to the file.
pub(crate) fn refused_log(
    path: &Path,
    strictly: bool,
    main: impl Fn() -> Option<Main>,
) -> Option<(PathBuf, Refusal)> {
    let log = wal::path_of(path);
    let refused = || {
        // What cannot be read is for SQLite to complain of.
        let story = Story::of(&log).ok()?;
        if story.length == 0 {
            return None;
        }
        if let Some(main) = main() {
            return (!story.continues(&main, strictly)).then_some(Refusal::Foreign);
        }
        // It may have been cut short or damaged, or part of the log has been copied back.
        let proven = match Main::scan(path, story.page) {
            Some(main) => !story.stamps.is_empty() && story.continues(&main, true),
            None => story.is_whole(),
        };
        (!proven).then_some(Refusal::Unknown)
    };
    // Somebody may use `sqlite3` at this moment: then the two were not of one moment.
    let refusal = refused().and_then(|_| refused())?;
    Some((log, refusal))
}

fn cookie(connection: &Connection) -> rusqlite::Result<u32> {
    let cookie: i64 = connection
        .prepare_cached("PRAGMA schema_version")?
        .query_row([], |row| row.get(0))?;
    // SQLite shows it with a sign.
    Ok((cookie & 0xFFFF_FFFF) as u32)
}

/// Whether the schema is new enough.
pub(crate) fn has_table(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare("SELECT 1 FROM sqlite_schema WHERE name = 'log_stamp'")?
        .exists([])
}

fn read(connection: &Connection) -> rusqlite::Result<Option<Stamp>> {
    let bytes: Option<Vec<u8>> = connection
        .prepare_cached("SELECT stamp FROM log_stamp WHERE id = 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(bytes.and_then(|bytes| Stamp::from_bytes(&bytes)))
}

/// Writes a new stamp, in a transaction of its own.
///
/// # Errors
/// SQLite's. Nothing has changed then.
pub(crate) fn stamp(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let written = write(connection).and_then(|()| connection.execute_batch("COMMIT"));
    if written.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    written
}

/// Writes a new stamp, in the transaction that there is.
///
/// # Errors
/// SQLite's.
pub(crate) fn write(connection: &Connection) -> rusqlite::Result<()> {
    let stamp = Stamp {
        number: connection
            .prepare_cached("SELECT randomblob(16)")?
            .query_row([], |row| row.get(0))?,
        before: read(connection)?.map_or([0; NUMBER], |stamp| stamp.number),
        cookie: cookie(connection)?,
    };
    let sql =
        "INSERT INTO log_stamp (id, stamp) VALUES (1, ?1) ON CONFLICT DO UPDATE SET stamp = excluded.stamp";
    connection
        .prepare_cached(sql)?
        .execute(params![stamp.to_bytes()])?;
    Ok(())
}

#[cfg(test)]
mod tests;
