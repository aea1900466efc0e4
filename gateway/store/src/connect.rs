//! Connections to a database file.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::error::{At as _, OpenError};

/// In WAL mode, readers wait only briefly, while another process recovers or closes the database.
const READER_PATIENCE: Duration = Duration::from_millis(250);

/// The settings of every connection that writes. `FULL` syncs the log at every commit, so acknowledged writes survive a
/// power cut (`NORMAL` could lose the latest commits). `fullfsync` does the same on macOS. The log is copied back every
/// 4,000 pages (16 MiB) and then truncated.
const DURABLE: &str = "
    -- defence: commits-are-synced (a test fails without it: docs/defences.md)
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA checkpoint_fullfsync = ON;
    PRAGMA foreign_keys = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA wal_autocheckpoint = 4000;
    PRAGMA journal_size_limit = 67108864;
";

pub(crate) fn connect(path: &Path, patience: Duration) -> rusqlite::Result<Connection> {
    // No CREATE: a missing file must not be replaced silently by an empty one.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(patience)?;
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

pub(crate) fn configure(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .at(path)?;
    if mode != "wal" {
        let hint = "its file system cannot do shared memory, which WAL mode needs: use a local disk".into();
        return Err(OpenError::Unwritable {
            path: path.to_owned(),
            hint,
        });
    }
    connection.execute_batch(DURABLE).at(path)
}

/// Opens a file for writing again, after [`crate::open::open`] has checked it.
pub(crate) fn reopen(path: &Path, patience: Duration) -> rusqlite::Result<Connection> {
    let connection = connect(path, patience)?;
    connection.execute_batch(DURABLE)?;
    Ok(connection)
}

/// Opens a file for reading, after [`crate::open::open`] has checked it.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(READER_PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Opens for reading a file that no process changes.
pub(crate) fn open_unchanging(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(immutable_uri(path), flags)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// The same, and lets SQLite read a header whose length does not fit the file.
pub(crate) fn open_immutable(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open_unchanging(path)?;
    connection.pragma_update(None, "writable_schema", true)?;
    Ok(connection)
}

/// Reads the schema, so that a damaged one is found and SQLite takes its lock.
pub(crate) fn touch(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

fn immutable_uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri.push_str("?mode=ro&immutable=1");
    uri
}
