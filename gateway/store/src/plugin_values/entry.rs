//! One key of one plugin, within the writer's transaction.

use gateway_model::value::{KeptValue, NextValue};
use gateway_model::{ChangedValue, Timestamp, ValueChange, ValueRefusal, stored_bytes};
use rusqlite::{Connection, params};

use crate::prune::AT_ONCE;
use crate::rows;

/// The reason why a write did not happen.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The change is not allowed. It is [`ValueRefusal::Full`] only if no expired value takes any space.
    Final(ValueRefusal),
    /// There is no room yet. One transaction has deleted as many expired values as it may, and deleting the rest may
    /// make room: try again in another transaction.
    Crowded,
    /// The database failed.
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

/// A key, whose value has not expired, if it has one.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    connection: &'a Connection,
    plugin: &'a str,
    key: &'a [u8],
    now: Timestamp,
}

/// Deletes a limited number of a plugin's expired values, so that other writes are not delayed.
pub(super) const EXPIRED: &str = "DELETE FROM plugin_values WHERE plugin = ?1
    AND key IN (SELECT key FROM plugin_values WHERE plugin = ?1 AND expires <= ?2 LIMIT ?3)";

impl<'a> Entry<'a> {
    /// Finds the key, and deletes its value if that has expired.
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

    pub(super) fn change(&self, change: ValueChange, cap: u64) -> Result<ChangedValue, Refusal> {
        let (before, freed) = self.value()?.unzip();
        let (next, changed) = change.apply(before.as_ref(), self.now).map_err(Refusal::Final)?;
        match next {
            NextValue::Same => {}
            NextValue::Removed => self.remove()?,
            NextValue::Kept(value) => self.put(&value, freed.unwrap_or(0), cap)?,
        }
        Ok(changed)
    }

    /// The value and its size on disk.
    fn value(&self) -> rusqlite::Result<Option<(KeptValue, i64)>> {
        let sql = "SELECT value, stored, expires FROM plugin_values WHERE plugin = ?1 AND key = ?2";
        rows::first(self.connection, sql, params![self.plugin, self.key], |row| {
            let expires: Option<i64> = row.get(2)?;
            let value = KeptValue {
                bytes: row.get(0)?,
                expires: expires.map(|_| rows::timestamp(row, 2)).transpose()?,
            };
            Ok((value, row.get(1)?))
        })
    }

    fn remove(&self) -> rusqlite::Result<()> {
        let sql = "DELETE FROM plugin_values WHERE plugin = ?1 AND key = ?2";
        rows::run(self.connection, sql, params![self.plugin, self.key]).map(drop)
    }

    /// Stores a value if there is room for it, or if it is not larger than the previous one, which has `freed` bytes.
    fn put(&self, value: &KeptValue, freed: i64, cap: u64) -> Result<(), Refusal> {
        self.make_room(value, freed, cap)?;
        // Not OR REPLACE, which would not update the total.
        let sql = "INSERT INTO plugin_values (plugin, key, expires, value) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT DO UPDATE SET expires = excluded.expires, value = excluded.value";
        let expires = value.expires.map(rows::seconds);
        let params = params![self.plugin, self.key, expires, value.bytes];
        Ok(rows::execute(self.connection, sql, params)?)
    }

    fn make_room(&self, value: &KeptValue, freed: i64, cap: u64) -> Result<(), Refusal> {
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
            return Ok(());
        }
        let now = rows::seconds(self.now);
        let gone = rows::run(self.connection, EXPIRED, params![self.plugin, now, AT_ONCE])?;
        match fits()? {
            true => Ok(()),
            false if gone < AT_ONCE as usize => Err(Refusal::Final(ValueRefusal::Full)),
            false => Err(Refusal::Crowded),
        }
    }
}
