//! Values that plugins store (`wit/key-value.wit`), by key, in a namespace for each plugin.
//!
//! A plugin has the name from the configuration. A key is any text, compared byte by byte; a value is any bytes. The
//! caller checks the lengths of both. The total is checked here, because only the transaction that writes knows it:
//! `cap_bytes` bounds the disk space of a plugin's values ([`gateway_model::stored_bytes`]), without expired ones. A
//! write that does not increase the total is allowed even above the cap, which may have been lowered.
//!
//! An expired value counts as missing. It is deleted when its key is written, when a write needs its space, or when the
//! store is pruned.

use std::sync::Arc;

use gateway_model::{ChangedValue, ValueChange};
use rusqlite::params;

use crate::Store;
use crate::error::{StoreError, ValueError};
use crate::prune::AT_ONCE;
use crate::rows;
use crate::versions::Touches;

mod entry;

use entry::{Entry, Refusal};

/// The most keys that [`Store::value_keys`] returns.
pub const MAX_VALUE_KEYS: usize = 1000;

/// How much a plugin stores, without expired values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ValueUsage {
    /// The number of values.
    pub count: u64,
    /// Their size on disk in bytes, which is compared with the cap.
    pub bytes: u64,
}

const VALUE: &str = "SELECT value FROM plugin_values
    WHERE plugin = ?1 AND key = ?2 AND (expires IS NULL OR expires > ?3)";

const KEYS: &str = "SELECT key FROM plugin_values WHERE plugin = ?1 AND key >= ?2 AND key < ?3
    AND (expires IS NULL OR expires > ?4) ORDER BY key LIMIT ?5";

const USAGE: &str = "SELECT
        u.count - (SELECT count(*) FROM plugin_values WHERE plugin = ?1 AND expires <= ?2),
        u.stored - (SELECT coalesce(sum(stored), 0) FROM plugin_values WHERE plugin = ?1 AND expires <= ?2)
    FROM plugin_value_usage u WHERE u.plugin = ?1";

const FORGET: &str = "DELETE FROM plugin_values WHERE plugin = ?1
    AND key IN (SELECT key FROM plugin_values WHERE plugin = ?1 LIMIT ?2)";

impl Store {
    /// Returns the value of a plugin's key, or `None` if it does not exist or has expired.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn value(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let now = rows::seconds(self.now());
        self.read(|connection| rows::optional(connection, VALUE, params![plugin, key.as_bytes(), now]))
    }

    /// Changes a value atomically: of several callers at the same time, each changes what the previous one has left. If
    /// expired values are in the way, it deletes them in several transactions, so that other writes are not delayed.
    ///
    /// # Errors
    /// If the change is refused, or the database cannot be written; the value is then unchanged.
    pub async fn change_value(
        &self,
        plugin: &str,
        key: &str,
        change: ValueChange,
        cap_bytes: u64,
    ) -> Result<ChangedValue, ValueError> {
        let work = Arc::new((plugin.to_owned(), key.to_owned(), change));
        loop {
            let (turn, now) = (Arc::clone(&work), self.now());
            let done = self.write::<_, StoreError>(Touches::Nobody, move |connection| {
                let (plugin, key, change) = &*turn;
                match Entry::find(connection, plugin, key, now)?.change(change.clone(), cap_bytes) {
                    Ok(changed) => Ok(Ok(changed)),
                    Err(Refusal::Failed(error)) => Err(error.into()),
                    // The deletion of expired values is committed.
                    Err(Refusal::Final(refusal)) => Ok(Err(Some(refusal))),
                    Err(Refusal::Crowded) => Ok(Err(None)),
                }
            });
            match done.await? {
                Ok(changed) => return Ok(changed),
                Err(Some(refusal)) => return Err(refusal.into()),
                Err(None) => {}
            }
        }
    }

    /// Returns a plugin's keys that begin with `prefix` and sort after `after`, in the order of their bytes: the first
    /// `limit`, and at most [`MAX_VALUE_KEYS`]. A caller who asks again with the last key of this page sees every key
    /// that was there all the time.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn value_keys(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let (first, end) = key_range(prefix, after);
        let (plugin, now) = (plugin.to_owned(), rows::seconds(self.now()));
        let limit = i64::try_from(limit.min(MAX_VALUE_KEYS)).unwrap_or(i64::MAX);
        // It may have to skip any number of expired keys.
        self.read_much(move |connection| {
            rows::all(connection, KEYS, params![plugin, first, end, now, limit], |row| {
                let key = String::from_utf8(row.get(0)?);
                key.map_err(|error| rows::conversion(0, error.to_string()))
            })
        })
        .await
    }

    /// Deletes all values of a plugin, a thousand per transaction, for operators. Returns how many there were,
    /// including expired ones.
    ///
    /// # Errors
    /// If the database cannot be written; some values may be deleted by then.
    pub async fn forget_values_of(&self, plugin: &str) -> Result<u64, StoreError> {
        let plugin = plugin.to_owned();
        let forgotten = self.write_in_turns(Touches::Nobody, move |connection| {
            rows::run(connection, FORGET, params![plugin, AT_ONCE])
        });
        Ok(u64::try_from(forgotten.await?).unwrap_or(u64::MAX))
    }

    /// Returns how much a plugin stores, as its cap counts it, for operators.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn value_usage(&self, plugin: &str) -> Result<ValueUsage, StoreError> {
        let (plugin, now) = (plugin.to_owned(), rows::seconds(self.now()));
        self.read_much(move |connection| {
            let usage = rows::first(connection, USAGE, params![plugin, now], |row| {
                Ok(ValueUsage {
                    count: rows::unsigned(row, 0)?,
                    bytes: rows::unsigned(row, 1)?,
                })
            });
            Ok(usage?.unwrap_or_default())
        })
        .await
    }
}

/// The first key that begins with `prefix` and sorts after `after`, and the end of the range, which is excluded.
fn key_range(prefix: &str, after: Option<&str>) -> (Vec<u8>, Vec<u8>) {
    let prefix = prefix.as_bytes().to_vec();
    let mut end = prefix.clone();
    // No byte of UTF-8 is 0xFF, so every byte has a successor, and 0xFF itself sorts after every key.
    let last = end.pop().map_or(0xFF, |byte| byte.saturating_add(1));
    end.push(last);
    let first = match after {
        // Nothing sorts between a key and the same key with a zero byte appended.
        Some(after) => [after.as_bytes(), &[0]].concat().max(prefix),
        None => prefix,
    };
    (first, end)
}

#[cfg(test)]
mod tests;
