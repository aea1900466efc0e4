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
use std::time::Duration;

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

    /// Keeps a value in place of the one before, whose bytes no longer count: for the whole seconds of
    /// `lifetime`, or until it is deleted. A lifetime of zero keeps nothing, and the one before is gone.
    ///
    /// # Errors
    /// [`ValueError::Full`], or when the database cannot be written; the value before then stays.
    pub async fn set_value(
        &self,
        plugin: &str,
        key: &str,
        value: &[u8],
        lifetime: Option<Duration>,
        cap_bytes: u64,
    ) -> Result<(), ValueError> {
        let value = value.to_owned();
        self.write_value(plugin, key, move |entry| {
            entry.put(&value, lifetime.map(|lifetime| entry.end_of(lifetime)), cap_bytes)
        })
        .await
    }

    /// Removes a value. Gives whether there was one whose lifetime was not over.
    ///
    /// # Errors
    /// When the database cannot be written; the value then stays.
    pub async fn delete_value(&self, plugin: &str, key: &str) -> Result<bool, StoreError> {
        let (plugin, key, now) = (plugin.to_owned(), key.to_owned(), self.now());
        self.write(Touches::Nobody, move |connection| {
            Ok(Entry::find(connection, &plugin, &key, now)?.remove()?)
        })
        .await
    }

    /// Adds to a whole number and gives the sum, in one step: any number of callers at the same time
    /// all count. The value is the number's decimal text as Rust writes it (no `+`, no leading zeros,
    /// no spaces); none counts as 0. A lifetime goes on as it was.
    ///
    /// # Errors
    /// [`ValueError::NotANumber`], [`ValueError::DoesNotFit`], [`ValueError::Full`] (the text may grow),
    /// or when the database cannot be written; the value then stays.
    pub async fn increment_value(
        &self,
        plugin: &str,
        key: &str,
        by: i64,
        cap_bytes: u64,
    ) -> Result<i64, ValueError> {
        self.write_value(plugin, key, move |entry| entry.add(by, cap_bytes))
            .await
    }

    /// Keeps `new`, or removes the value where that is `None`, if the value is `old` (`None`: if there
    /// is none), in one step. Gives whether it was: of any number of callers with the same `old`, one
    /// gets `true`, unless what it wrote was `old` again. What is kept has no lifetime.
    ///
    /// # Errors
    /// [`ValueError::Full`] where the value is `old`, or when the database cannot be written; the value
    /// then stays.
    pub async fn compare_and_set_value(
        &self,
        plugin: &str,
        key: &str,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
        cap_bytes: u64,
    ) -> Result<bool, ValueError> {
        let (old, new) = (old.map(<[u8]>::to_vec), new.map(<[u8]>::to_vec));
        self.write_value(plugin, key, move |entry| {
            if entry.value()?.map(|(value, _)| value) != old {
                return Ok(Ok(false));
            }
            let done = match &new {
                Some(new) => entry.put(new, None, cap_bytes)?,
                None => entry.remove().map(|_| Ok(()))?,
            };
            Ok(done.map(|()| true))
        })
        .await
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

    /// Writes a value. As long as expired values are all that is in the way it goes on from one
    /// transaction to the next, so that other writes get their turn.
    async fn write_value<T: Send + 'static>(
        &self,
        plugin: &str,
        key: &str,
        work: impl Fn(&Entry<'_>) -> rusqlite::Result<Result<T, Refusal>> + Send + Sync + 'static,
    ) -> Result<T, ValueError> {
        let work = Arc::new((plugin.to_owned(), key.to_owned(), work));
        loop {
            let (turn, now) = (Arc::clone(&work), self.now());
            let done = self.write::<_, StoreError>(Touches::Nobody, move |connection| {
                let (plugin, key, work) = &*turn;
                Ok(work(&Entry::find(connection, plugin, key, now)?)?)
            });
            return match done.await? {
                Ok(done) => Ok(done),
                Err(Refusal::Crowded) => continue,
                Err(Refusal::Full) => Err(ValueError::Full),
                Err(Refusal::NotANumber) => Err(ValueError::NotANumber),
                Err(Refusal::DoesNotFit) => Err(ValueError::DoesNotFit),
            };
        }
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
