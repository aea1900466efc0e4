//! Detects damage, as far as SQLite can: it keeps no checksums, so a changed byte within a text goes unnoticed.

use rusqlite::Connection;

use crate::Store;
use crate::error::StoreError;

impl Store {
    /// Reads the whole database and checks that it is consistent. This takes a while if the database is large.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is inconsistent, or the error that kept the check from reading it.
    pub async fn check(&self) -> Result<(), StoreError> {
        match self.read_much(problem).await? {
            Some(problem) => Err(StoreError::Corrupt(problem).in_file(&self.0.readers.path)),
            None => Ok(()),
        }
    }
}

/// Returns the first problem that SQLite finds in a database.
pub(crate) fn problem(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let problem: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    let mut stray = connection.prepare("PRAGMA foreign_key_check")?;
    Ok(match problem.as_str() {
        "ok" if stray.exists([])? => Some("a row refers to one that does not exist".to_owned()),
        "ok" => None,
        _ => Some(problem),
    })
}
