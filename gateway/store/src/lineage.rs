//! Decides whether a write-ahead log belongs to the database file beside it.
//!
//! SQLite cannot: if a backup is copied over `gateway.db` while the `-wal` of the old file is still there, SQLite
//! applies pages of one history to the file of another. The database therefore has one row, the stamp:
//!
//! - At every start, and in every transaction, the gateway writes a new stamp: a random number, the number of the
//!   previous stamp, and the schema cookie of the file.
//! - A log continues a file if the file's stamp is the one before the log's first, or one of the log's own (part of the log
//!   may have been copied back already), and if the log knows the file's schema cookie.
//!
//! An older copy of the file has an older stamp. A copy that SQLite makes while the gateway runs (`VACUUM INTO`,
//! `.backup`) may have a stamp that is in the log, but SQLite gives every such copy another schema cookie. A copy that
//! `gateway backup` makes has its own stamp.
//!
//! If no stamp can be read from a file (for example, because it was cut short, or the page of its stamp is destroyed),
//! a log is applied to it only if one of its raw pages still holds a stamp that the log knows, or if the log holds
//! every page of the database.
//!
//! A log without a stamp was written by an older gateway, or by an operator with `sqlite3`. It belongs to another file
//! if it holds a first page of an older schema or of another program, or if it holds no first page and was begun beside
//! a file of another length: SQLite writes the length on the first page.
//!
//! Two cases cannot be detected: a log without a stamp beside another file of the same schema or length; and a plain
//! copy of the file that was made after the current log was begun, which is the file that the log continues, and
//! together with the log it is the latest state again.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::schema::{self, APPLICATION_ID};
use crate::{rows, wal};

/// The length of a stamp's number in bytes.
const NUMBER: usize = 16;
/// The length of a stamp in bytes: [`MAGIC`], its number, the previous number, the schema cookie.
const LENGTH: usize = 44;
/// The first schema with a stamp.
const SINCE: i64 = 4;
const MAGIC: &[u8; 8] = b"AuGW-log";
/// The bytes that SQLite puts before the stamp in its row: 47 bytes of payload, row 1, a header of 3 bytes, NULL (the
/// id is the row's number), a blob of 44 bytes.
const CELL: [u8; 5] = [47, 1, 3, 0, 100];
/// The first byte of a page that is a leaf of a table with row numbers.
const TABLE_LEAF: u8 = 0x0D;

type Number = [u8; NUMBER];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    number: Number,
    /// All zeros for the first stamp.
    before: Number,
    cookie: u32,
}

impl Stamp {
    fn to_bytes(self) -> Vec<u8> {
        let cookie = self.cookie.to_be_bytes();
        [MAGIC.as_slice(), &self.number, &self.before, &cookie].concat()
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

    /// Reads the stamp from a page, if it is the page of the stamp's table. No other table has a row of this form,
    /// whatever is stored in it.
    fn on_page(page: &[u8]) -> Option<Self> {
        let two = |at: usize| Some(u16::from_be_bytes([*page.get(at)?, *page.get(at + 1)?]));
        if *page.first()? != TABLE_LEAF || two(3)? != 1 {
            return None;
        }
        let row = page.get(usize::from(two(8)?)..)?.strip_prefix(&CELL)?;
        Self::from_bytes(row.get(..LENGTH)?)
    }
}

/// The contents of the file without its log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Main {
    cookie: u32,
    /// The length of the file in pages.
    length: u32,
    /// `None` if the schema is older than stamps.
    stamp: Option<Stamp>,
}

impl Main {
    /// Reads them through a connection that ignores the log. Returns `None` if this is not possible, because the file
    /// is damaged, or because part of the log has been copied back, and only the two together are consistent.
    pub(crate) fn read(connection: &Connection) -> Option<Self> {
        let cookie = cookie(connection).ok()?;
        let stamp = if has_table(connection).ok()? {
            Some(read(connection).ok()??)
        } else if schema::version(connection).ok()? >= SINCE {
            return None;
        } else {
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

    /// Reads the raw pages of a file that [`Main::read`] cannot read.
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

/// The contents of the log.
#[derive(Clone, Debug, Default)]
struct Story {
    stamps: Vec<Stamp>,
    cookies: BTreeSet<u32>,
    /// The `user_version` and `application_id` on its first pages.
    owners: BTreeSet<(i64, i32)>,
    /// The pages of the database that the log holds.
    pages: BTreeSet<u32>,
    /// The length of the database in pages after the last transaction, or 0 if there is none.
    length: u32,
    /// The size of a page in bytes.
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
            // The header of the database is on its first page.
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

    /// Whether the log holds every page of the database, so that nothing can be mixed.
    fn is_whole(&self) -> bool {
        let pages = self.pages.range(..=self.length).count();
        u32::try_from(pages).is_ok_and(|pages| pages == self.length)
    }

    /// Whether an operator may have written this log, which has no stamps, with `sqlite3` beside a file that has one.
    fn may_be_by_hand(&self, main: &Main) -> bool {
        if self.owners.is_empty() {
            return self.length == main.length;
        }
        let ours = |&(version, id): &(i64, i32)| version >= SINCE && id == APPLICATION_ID;
        self.owners.iter().all(ours)
    }

    /// Whether the log continues the file. If `strictly`, a log without stamps does not.
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

/// The reason why a log may not be applied to the file beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It belongs to another file.
    Foreign,
    /// The file is too damaged to tell.
    Unknown,
}

/// Returns the log of the database at `path` if it must not be applied, and why. No other process may be using the
/// database. `main` reads the file without its log. If `strictly`, the log must prove that it belongs to the file.
pub(crate) fn refused_log(
    path: &Path,
    strictly: bool,
    main: impl Fn() -> Option<Main>,
) -> Option<(PathBuf, Refusal)> {
    let log = wal::path_of(path);
    let refused = || {
        // SQLite will report an unreadable log.
        let story = Story::of(&log).ok()?;
        if story.length == 0 {
            return None;
        }
        if let Some(main) = main() {
            return (!story.continues(&main, strictly)).then_some(Refusal::Foreign);
        }
        // The file may be damaged or cut short, or part of the log has been copied back.
        let proven = match Main::scan(path, story.page) {
            Some(main) => !story.stamps.is_empty() && story.continues(&main, true),
            None => story.is_whole(),
        };
        (!proven).then_some(Refusal::Unknown)
    };
    // If `sqlite3` is in use just now, file and log may have been read at different moments: read them again.
    let refusal = refused().and_then(|_| refused())?;
    Some((log, refusal))
}

fn cookie(connection: &Connection) -> rusqlite::Result<u32> {
    let cookie: i64 = rows::value(connection, "PRAGMA schema_version", [])?;
    // SQLite returns it as a signed number.
    Ok((cookie & 0xFFFF_FFFF) as u32)
}

/// Whether the schema is new enough to have a stamp.
pub(crate) fn has_table(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare("SELECT 1 FROM sqlite_schema WHERE name = 'log_stamp'")?
        .exists([])
}

fn read(connection: &Connection) -> rusqlite::Result<Option<Stamp>> {
    let bytes: Option<Vec<u8>> = rows::optional(connection, "SELECT stamp FROM log_stamp WHERE id = 1", [])?;
    Ok(bytes.and_then(|bytes| Stamp::from_bytes(&bytes)))
}

/// Writes a new stamp in its own transaction.
pub(crate) fn stamp(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let written = write(connection).and_then(|()| connection.execute_batch("COMMIT"));
    if written.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    written
}

/// Writes a new stamp in the current transaction.
pub(crate) fn write(connection: &Connection) -> rusqlite::Result<()> {
    let stamp = Stamp {
        number: rows::value(connection, "SELECT randomblob(16)", [])?,
        before: read(connection)?.map_or([0; NUMBER], |stamp| stamp.number),
        cookie: cookie(connection)?,
    };
    let sql =
        "INSERT INTO log_stamp (id, stamp) VALUES (1, ?1) ON CONFLICT DO UPDATE SET stamp = excluded.stamp";
    rows::execute(connection, sql, [stamp.to_bytes()])
}

#[cfg(test)]
mod tests;
