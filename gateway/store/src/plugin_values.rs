//! What plugins keep (`wit/key-value.wit`): values by key, a namespace for each plugin.
//!
//! A plugin is named as in the configuration. A key is any text, compared byte by byte; a value any
//! bytes. How long either may be is for the caller to check; how much all of it may be is checked here,
//! for only the transaction that writes knows: `cap_bytes` bounds what the values of a plugin take on disk
//! ([`gateway_model::stored_bytes`]), those whose lifetime is over left out. A write that leaves no more than there was is
//! allowed even over the cap, which may have been lowered.
//!
//! What has expired is as if it were not there. It goes when its key is written, when it is in the way
//! of a write, or when the store is pruned.

use std::sync::Arc;

use gateway_model::{ChangedValue, ValueChange};
use rusqlite::{OptionalExtension, params};

use crate::Store;
use crate::error::{StoreError, ValueError};
use crate::prune::AT_ONCE;
use crate::rows;
use crate::versions::Touches;

mod entry;

use entry::{Entry, Refusal};

/// Most keys that [`Store::value_keys`] gives at once.
pub const MAX_VALUE_KEYS: usize = 1000;

/// How much a plugin keeps, what has expired left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ValueUsage {
    /// How many values.
    pub count: u64,
    /// Bytes that they take on disk: what a cap is compared with.
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
    /// The value of a plugin's key; `None` where there is none or its lifetime is over.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn value(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let now = rows::seconds(self.now());
        self.read(|connection| rows::optional(connection, VALUE, params![plugin, key.as_bytes(), now]))
    }

    /// Changes a value, in one step: of any number of callers at the same time, each changes what the one before has left.
    /// As long as only expired values are in the way, it goes on from one transaction to the next, so that other writes
    /// get their turn.
    ///
    /// # Errors
    /// If the change is refused, or the database cannot be written; the value then stays.
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
                Ok(Entry::find(connection, plugin, key, now)?.change(change.clone(), cap_bytes)?)
            });
            match done.await? {
                Ok(changed) => return Ok(changed),
                Err(Refusal::Crowded) => {}
                Err(Refusal::Final(refusal)) => return Err(refusal.into()),
            }
        }
    }

    /// A plugin's keys that begin with `prefix` and sort after `after`, by their bytes, sorted: the
    /// first `limit` of them, [`MAX_VALUE_KEYS`] at most. Whoever asks again with the last key of this
    /// page sees every key that was there all the time.
    ///
    /// # Errors
    /// When the database cannot be read.
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
        // It may have to pass by any number of expired ones.
        self.read_much(move |connection| {
            connection
                .prepare_cached(KEYS)?
                .query_map(params![plugin, first, end, now, limit], |row| {
                    let key = String::from_utf8(row.get(0)?);
                    key.map_err(|error| rows::conversion(0, error.to_string()))
                })?
                .collect()
        })
        .await
    }

    /// Removes all that a plugin keeps, a thousand values a transaction. Gives how many there were,
    /// expired ones that had not been pruned yet included. For operators.
    ///
    /// # Errors
    /// When the database cannot be written; some may be gone already then.
    pub async fn forget_values_of(&self, plugin: &str) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        loop {
            let plugin = plugin.to_owned();
            let gone = self.write(Touches::Nobody, move |connection| {
                rows::run(connection, FORGET, params![plugin, AT_ONCE]).map_err(StoreError::from)
            });
            let gone = gone.await?;
            forgotten += u64::try_from(gone).unwrap_or(u64::MAX);
            if gone < AT_ONCE as usize {
                return Ok(forgotten);
            }
        }
    }

    /// How much a plugin keeps, as its cap counts it. For operators.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn value_usage(&self, plugin: &str) -> Result<ValueUsage, StoreError> {
        let (plugin, now) = (plugin.to_owned(), rows::seconds(self.now()));
        self.read_much(move |connection| {
            let usage = connection
                .prepare_cached(USAGE)?
                .query_row(params![plugin, now], |row| {
                    Ok(ValueUsage {
                        count: rows::unsigned(row, 0)?,
                        bytes: rows::unsigned(row, 1)?,
                    })
                })
                .optional()?;
            Ok(usage.unwrap_or_default())
        })
        .await
    }
}

/// Where the keys that begin with `prefix` and sort after `after` begin, and where they have ended.
fn key_range(prefix: &str, after: Option<&str>) -> (Vec<u8>, Vec<u8>) {
    let prefix = prefix.as_bytes().to_vec();
    let mut end = prefix.clone();
    // In UTF-8 no byte is 0xFF: every other has one that follows, and it sorts after every key itself.
    let last = end.pop().map_or(0xFF, |byte| byte.saturating_add(1));
    end.push(last);
    let first = match after {
        // Nothing sorts between a key and the same key with a zero byte.
        Some(after) => [after.as_bytes(), &[0]].concat().max(prefix),
        None => prefix,
    };
    (first, end)
}

#[cfg(test)]
mod tests;
