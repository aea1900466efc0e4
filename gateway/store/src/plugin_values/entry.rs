//! One key of one plugin, as a write finds it, within the writer's transaction.

use std::time::Duration;

use gateway_model::{Timestamp, stored_bytes};
use rusqlite::{Connection, OptionalExtension, params};

use crate::prune::AT_ONCE;
use crate::rows;

/// Why a write did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no room, and nothing that has expired takes any.
    Full,
    /// There is no room yet: as much of what has expired is gone as one transaction takes, and the rest
    /// may make enough. To be tried again in another one.
    Crowded,
    /// The value is not the decimal text of a whole number.
    NotANumber,
    /// The sum does not fit.
    DoesNotFit,
}

/// A key and, where there is one, its value. One that had expired is gone.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    connection: &'a Connection,
    plugin: &'a str,
    key: &'a [u8],
    now: Timestamp,
}

/// What has expired of a plugin, so much of it that other writes get their turn.
pub(super) const EXPIRED: &str = "DELETE FROM plugin_values WHERE plugin = ?1
    AND key IN (SELECT key FROM plugin_values WHERE plugin = ?1 AND expires <= ?2 LIMIT ?3)";

impl<'a> Entry<'a> {
    /// Finds the key.
    pub(super) fn find(
        connection: &'a Connection,
        plugin: &'a str,
        key: &'a str,
        now: Timestamp,
    ) -> rusqlite::Result<Self> {
        let key = key.as_bytes();
        let sql = "DELETE FROM plugin_values WHERE plugin = ?1 AND key = ?2 AND expires <= ?3";
        rows::run(connection, sql, params![plugin, key, rows::seconds(now)])?;
        Ok(Self {
            connection,
            plugin,
            key,
            now,
        })
    }

    /// When a value that is written now will have expired, as its column has it.
    pub(super) fn end_of(&self, lifetime: Duration) -> i64 {
        rows::seconds(rows::end_of(self.now, lifetime))
    }

    /// The value, and when it will have expired (`None`: never).
    pub(super) fn value(&self) -> rusqlite::Result<Option<(Vec<u8>, Option<i64>)>> {
        let sql = "SELECT value, expires FROM plugin_values WHERE plugin = ?1 AND key = ?2";
        self.connection
            .prepare_cached(sql)?
            .query_row(params![self.plugin, self.key], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()
    }

    /// Removes the value; gives whether there was one.
    pub(super) fn remove(&self) -> rusqlite::Result<bool> {
        let sql = "DELETE FROM plugin_values WHERE plugin = ?1 AND key = ?2";
        Ok(rows::run(self.connection, sql, params![self.plugin, self.key])? > 0)
    }

    /// Keeps a value until `expires` (`None`: for ever), if there is room for it or it takes no more
    /// than the one before.
    pub(super) fn put(
        &self,
        value: &[u8],
        expires: Option<i64>,
        cap: u64,
    ) -> rusqlite::Result<Result<(), Refusal>> {
        if expires.is_some_and(|expires| expires <= rows::seconds(self.now)) {
            return self.remove().map(|_| Ok(()));
        }
        if let Err(refusal) = self.make_room(value.len(), expires.is_some(), cap)? {
            return Ok(Err(refusal));
        }
        // Not OR REPLACE, which would leave the sum as it is.
        let sql = "INSERT INTO plugin_values (plugin, key, expires, value) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT DO UPDATE SET expires = excluded.expires, value = excluded.value";
        rows::run(
            self.connection,
            sql,
            params![self.plugin, self.key, expires, value],
        )?;
        Ok(Ok(()))
    }

    /// Adds to the value, a number; gives the sum.
    pub(super) fn add(&self, by: i64, cap: u64) -> rusqlite::Result<Result<i64, Refusal>> {
        let (number, expires) = match self.value()? {
            Some((value, expires)) => (number(&value), expires),
            None => (Some(0), None),
        };
        let Some(number) = number else {
            return Ok(Err(Refusal::NotANumber));
        };
        let Some(sum) = number.checked_add(by) else {
            return Ok(Err(Refusal::DoesNotFit));
        };
        let put = self.put(sum.to_string().as_bytes(), expires, cap)?;
        Ok(put.map(|()| sum))
    }

    fn make_room(
        &self,
        value_bytes: usize,
        expires: bool,
        cap: u64,
    ) -> rusqlite::Result<Result<(), Refusal>> {
        let cap = i64::try_from(cap).unwrap_or(i64::MAX);
        let wanted = stored_bytes(self.plugin.len(), self.key.len(), value_bytes, expires);
        let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
        let sql = "SELECT stored FROM plugin_values WHERE plugin = ?1 AND key = ?2";
        let freed = rows::optional(self.connection, sql, params![self.plugin, self.key])?.unwrap_or(0);
        let fits = || -> rusqlite::Result<bool> {
            let sql = "SELECT stored FROM plugin_value_usage WHERE plugin = ?1";
            let kept: i64 = rows::optional(self.connection, sql, [self.plugin])?.unwrap_or(0);
            Ok((kept - freed).saturating_add(wanted) <= cap)
        };
        if wanted <= freed || fits()? {
            return Ok(Ok(()));
        }
        let now = rows::seconds(self.now);
        let gone = rows::run(self.connection, EXPIRED, params![self.plugin, now, AT_ONCE])?;
        Ok(match fits()? {
            true => Ok(()),
            false if gone < AT_ONCE as usize => Err(Refusal::Full),
            false => Err(Refusal::Crowded),
        })
    }
}

/// The number that a value is the text of, as [`ToString`] would write it: what an increment accepts
/// is what an increment writes.
fn number(value: &[u8]) -> Option<i64> {
    let text = str::from_utf8(value).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}
