//! One key of one plugin, as a write finds it, within the writer's transaction.

use gateway_model::value::{KeptValue, NextValue};
use gateway_model::{ChangedValue, Timestamp, ValueChange, ValueRefusal, stored_bytes};
use rusqlite::{Connection, OptionalExtension, params};

use crate::prune::AT_ONCE;
use crate::rows;

/// Why a write did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The change is not allowed. It is [`ValueRefusal::Full`] only if nothing that has expired takes any room.
    Final(ValueRefusal),
    /// There is no room yet: as much of what has expired is gone as one transaction takes, and the rest
    /// may make enough. To be tried again in another one.
    Crowded,
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

    /// Changes the value.
    pub(super) fn change(
        &self,
        change: ValueChange,
        cap: u64,
    ) -> rusqlite::Result<Result<ChangedValue, Refusal>> {
        let (before, freed) = self.value()?.unzip();
        let (next, changed) = match change.apply(before.as_ref(), self.now) {
            Ok(applied) => applied,
            Err(refusal) => return Ok(Err(Refusal::Final(refusal))),
        };
        match next {
            NextValue::Same => {}
            NextValue::Removed => self.remove()?,
            NextValue::Kept(value) => {
                if let Err(refusal) = self.put(&value, freed.unwrap_or(0), cap)? {
                    return Ok(Err(refusal));
                }
            }
        }
        Ok(Ok(changed))
    }

    /// The value, and what it takes on disk.
    fn value(&self) -> rusqlite::Result<Option<(KeptValue, i64)>> {
        let sql = "SELECT value, stored, expires FROM plugin_values WHERE plugin = ?1 AND key = ?2";
        self.connection
            .prepare_cached(sql)?
            .query_row(params![self.plugin, self.key], |row| {
                let expires: Option<i64> = row.get(2)?;
                let value = KeptValue {
                    bytes: row.get(0)?,
                    expires: expires.map(|_| rows::timestamp(row, 2)).transpose()?,
                };
                Ok((value, row.get(1)?))
            })
            .optional()
    }

    fn remove(&self) -> rusqlite::Result<()> {
        let sql = "DELETE FROM plugin_values WHERE plugin = ?1 AND key = ?2";
        rows::run(self.connection, sql, params![self.plugin, self.key]).map(drop)
    }

    /// Keeps a value if there is room for it, or it takes no more than the one before, whose bytes are `freed`.
    fn put(&self, value: &KeptValue, freed: i64, cap: u64) -> rusqlite::Result<Result<(), Refusal>> {
        if let Err(refusal) = self.make_room(value, freed, cap)? {
            return Ok(Err(refusal));
        }
        // Not OR REPLACE, which would leave the sum as it is.
        let sql = "INSERT INTO plugin_values (plugin, key, expires, value) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT DO UPDATE SET expires = excluded.expires, value = excluded.value";
        let expires = value.expires.map(rows::seconds);
        let params = params![self.plugin, self.key, expires, value.bytes];
        rows::run(self.connection, sql, params)?;
        Ok(Ok(()))
    }

    fn make_room(&self, value: &KeptValue, freed: i64, cap: u64) -> rusqlite::Result<Result<(), Refusal>> {
        let cap = i64::try_from(cap).unwrap_or(i64::MAX);
        let expires = value.expires.is_some();
        let wanted = stored_bytes(self.plugin.len(), self.key.len(), value.bytes.len(), expires);
        let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
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
            false if gone < AT_ONCE as usize => Err(Refusal::Final(ValueRefusal::Full)),
            false => Err(Refusal::Crowded),
        })
    }
}
