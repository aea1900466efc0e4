//! What is no longer needed goes: expired sessions, states and plugins' values, events past their
//! retention.

use std::time::Duration;

use gateway_model::UserId;
use rusqlite::params;

use crate::Store;
use crate::error::StoreError;
use crate::states::MAX_USED;
use crate::versions::Touches;
use crate::{events, rows, users};

/// Most rows in one transaction, so that other writes get their turn.
pub(crate) const AT_ONCE: u32 = 1000;

/// How much longer than it is good a used state is kept: a clock that was ahead, and is set right again, must not make
/// one good that was used.
const STATES: Duration = Duration::from_secs(86_400);

/// Plugin by plugin, for what they keep is ordered so.
pub(crate) const PLUGIN_VALUES: &str = "DELETE FROM plugin_values WHERE (plugin, key) IN (
    SELECT v.plugin, v.key FROM plugin_value_usage u CROSS JOIN plugin_values v ON v.plugin = u.plugin
    WHERE v.expires <= ?1 LIMIT ?2)";

/// Most settled events that are kept, of all users together.
const MAX_SETTLED: u32 = 1_000_000;

/// What was given up, beside what simply had its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Sign-outs that no hook has dealt with.
    pub sign_outs: usize,
    /// New users whom no hook has accepted or rejected.
    pub new_users: usize,
}

impl Store {
    /// Deletes what is no longer needed, a thousand rows a transaction: expired sessions and plugins' values, states that
    /// expired a day ago, events that are older than they are kept, whether or not a hook has answered, and new users of
    /// that age whom the hooks have neither accepted nor rejected. Of used states and settled events only the latest are
    /// kept. Called hourly.
    ///
    /// # Errors
    /// When the database cannot be written; some may be gone already then.
    pub async fn prune(&self) -> Result<Pruned, StoreError> {
        let now = self.now();
        let retained = rows::seconds(now.before(self.event_retention()));
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
        self.prune_table(
            Touches::Nobody,
            "DELETE FROM used_states WHERE state IN
                (SELECT state FROM used_states ORDER BY expires DESC LIMIT ?2 OFFSET ?1)",
            i64::from(MAX_USED),
        )
        .await?;
        self.prune_table(Touches::Nobody, PLUGIN_VALUES, now).await?;
        self.prune_table(
            Touches::Nobody,
            "DELETE FROM events WHERE sequence IN
                (SELECT sequence FROM events WHERE settled_at <= ?1 LIMIT ?2)",
            retained,
        )
        .await?;
        self.prune_table(
            Touches::Nobody,
            "DELETE FROM events WHERE sequence IN (SELECT sequence FROM events
                WHERE settled_at IS NOT NULL ORDER BY settled_at DESC LIMIT ?2 OFFSET ?1)",
            i64::from(MAX_SETTLED),
        )
        .await?;
        let new_users = self.prune_new_users(retained).await?;
        self.prune_table(
            Touches::Nobody,
            "DELETE FROM events WHERE sequence IN
                (SELECT sequence FROM events WHERE verdict IS NULL AND kind = 'login' AND at <= ?1 LIMIT ?2)",
            retained,
        )
        .await?;
        let sign_outs = self
            .prune_table(
                Touches::Nobody,
                "DELETE FROM events WHERE sequence IN
                    (SELECT sequence FROM events WHERE verdict IS NULL AND kind = 'logout' AND at <= ?1 LIMIT ?2)",
                retained,
            )
            .await?;
        Ok(Pruned { sign_outs, new_users })
    }

    /// Deletes users whose on-new-user hooks have not answered for as long as events are kept. The person has never been
    /// let in; if they come again they are new again. A disabled user stays, or they would come back as somebody whom no
    /// operator has disabled.
    async fn prune_new_users(&self, until: i64) -> Result<usize, StoreError> {
        let now = self.now();
        let mut deleted = 0;
        loop {
            let gone = self.write::<_, StoreError>(Touches::Nobody, move |connection| {
                let sql = "SELECT u.id FROM events e CROSS JOIN users u ON u.id = e.user_id
                    WHERE e.verdict IS NULL AND e.kind = 'new-user' AND e.at <= ?1 AND u.status = 'pending' LIMIT ?2";
                let mut statement = connection.prepare_cached(sql)?;
                let ids = statement.query_map(params![until, AT_ONCE], |row| {
                    Ok(UserId::from(row.get_ref(0)?.as_str()?))
                })?;
                let ids = ids.collect::<rusqlite::Result<Vec<_>>>()?;
                for id in &ids {
                    events::drop_all_of(connection, id, now)?;
                    users::delete(connection, id)?;
                }
                Ok(ids.len())
            });
            let gone = gone.await?;
            deleted += gone;
            if gone < AT_ONCE as usize {
                return Ok(deleted);
            }
        }
    }

    async fn prune_table(
        &self,
        touches: Touches<usize>,
        sql: &'static str,
        bound: i64,
    ) -> Result<usize, StoreError> {
        let mut dropped = 0;
        loop {
            let gone = self.write(touches.clone(), move |connection| {
                rows::run(connection, sql, params![bound, AT_ONCE]).map_err(StoreError::from)
            });
            let gone = gone.await?;
            dropped += gone;
            if gone < AT_ONCE as usize {
                return Ok(dropped);
            }
        }
    }
}
