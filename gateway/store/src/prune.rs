//! What is no longer needed goes: expired sessions, states and plugins' values, settled events past
//! their retention.

use std::time::Duration;

use rusqlite::params;

use crate::Store;
use crate::error::StoreError;
use crate::rows;
use crate::versions::Touches;

/// Most rows in one transaction, so that other writes get their turn.
pub(crate) const AT_ONCE: u32 = 1000;

/// How much longer than it is good a used state is kept: a clock that was ahead, and is set right again, must not make
/// one good that was used.
const STATES: Duration = Duration::from_secs(86_400);

/// Plugin by plugin, for what they keep is ordered so.
pub(crate) const PLUGIN_VALUES: &str = "DELETE FROM plugin_values WHERE (plugin, key) IN (
    SELECT v.plugin, v.key FROM plugin_value_usage u CROSS JOIN plugin_values v ON v.plugin = u.plugin
    WHERE v.expires <= ?1 LIMIT ?2)";

impl Store {
    /// Drops expired sessions and plugins' values, states that expired a day ago, settled events past retention, and
    /// sign-outs that no hook has dealt with for as long, a thousand rows a transaction. Called hourly. Pending events of
    /// sign-ins stay, however old. Gives how many sign-outs were given up.
    ///
    /// # Errors
    /// When the database cannot be written; some may be gone already then.
    pub async fn prune(&self) -> Result<usize, StoreError> {
        let now = self.now();
        let settled = rows::seconds(now.before(self.event_retention()));
        let states = rows::seconds(now.before(STATES));
        let now = rows::seconds(now);
        self.prune_table(
            Touches::Everybody,
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires <= ?1 LIMIT ?2)",
            now,
        )
        .await?;
        self.prune_table(
            Touches::Nobody,
            "DELETE FROM used_states WHERE state IN
                (SELECT state FROM used_states WHERE expires <= ?1 LIMIT ?2)",
            states,
        )
        .await?;
        self.prune_table(Touches::Nobody, PLUGIN_VALUES, now).await?;
        self.prune_table(
            Touches::Nobody,
            "DELETE FROM events WHERE sequence IN
                (SELECT sequence FROM events WHERE settled_at <= ?1 LIMIT ?2)",
            settled,
        )
        .await?;
        self.prune_table(
            Touches::Nobody,
            "DELETE FROM events WHERE sequence IN
                (SELECT sequence FROM events WHERE verdict IS NULL AND kind = 'logout' AND at <= ?1 LIMIT ?2)",
            settled,
        )
        .await
    }

    async fn prune_table(
        &self,
        touches: Touches<usize>,
        sql: &'static str,
        until: i64,
    ) -> Result<usize, StoreError> {
        let mut dropped = 0;
        loop {
            let gone = self.write(touches.clone(), move |connection| {
                rows::run(connection, sql, params![until, AT_ONCE]).map_err(StoreError::from)
            });
            let gone = gone.await?;
            dropped += gone;
            if gone < AT_ONCE as usize {
                return Ok(dropped);
            }
        }
    }
}
