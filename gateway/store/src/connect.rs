//! Connections to a database file, for writing and for reading.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::error::OpenError;

/// Readers wait for nobody in WAL mode, but for a moment while another process recovers or closes.
const READER_PATIENCE: Duration = Duration::from_millis(250);

/// What holds for every connection that writes. `FULL` syncs the log at every commit: what was
/// acknowledged survives a power cut (`NORMAL` would lose the latest commits). `fullfsync` makes that
/// true on macOS as well. The log is copied back every 4,000 pages (16 MiB) and then cut to size.
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
    // No CREATE: a file that has gone is not quietly replaced by an empty one.
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
        .map_err(|error| OpenError::sqlite(path, &error))?;
    if mode != "wal" {
        let hint = "its file system cannot do shared memory, which WAL mode needs: use a local disk".into();
        return Err(OpenError::Unwritable {
            path: path.to_owned(),
            hint,
        });
    }
    connection
        .execute_batch(DURABLE)
        .map_err(|error| OpenError::sqlite(path, &error))
}

/// Opens the file, which [`open`] has found in order before, for writing once more.
///
/// # Errors
/// SQLite's.
pub(crate) fn reopen(path: &Path, patience: Duration) -> rusqlite::Result<Connection> {
    let connection = connect(path, patience)?;
    connection.execute_batch(DURABLE)?;
    Ok(connection)
}

/// Opens the file, which [`open`] has found in order before, for reading.
///
/// # Errors
/// SQLite's.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(READER_PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Opens a file that nobody changes, for reading.
///
/// # Errors
/// SQLite's.
pub(crate) fn open_unchanging(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(immutable_uri(path), flags)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

pub(crate) fn open_immutable(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open_unchanging(path)?;
    connection.pragma_update(None, "writable_schema", true)?;
    Ok(connection)
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
