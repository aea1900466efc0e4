//! What is no longer needed goes: expired sessions, states and plugins' values, settled events past
//! their retention.
//!
//! Nothing is deleted because of a clock that has jumped: with the clock set right, a session whose time is not over is
//! good again. So what is deleted goes by the *confirmed time*, which the database remembers. It follows the clock at
//! once as long as that is less than a day ahead of it, or behind it. When the clock is further ahead (the gateway did
//! not run for a while, or the clock is wrong), the confirmed time advances as fast as time really passes, and follows
//! the clock after the gateway has run for a week in all. So what is kept too long is bounded by what comes in a week.

use std::time::Duration;

use gateway_model::{Timestamp, UserId};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::Store;
use crate::error::StoreError;
use crate::states::MAX_USED;
use crate::versions::Touches;
use crate::{events, rows, users};

/// Most rows in one transaction, so that other writes get their turn.
pub(crate) const AT_ONCE: u32 = 1000;

const DAY: Duration = Duration::from_secs(86_400);
/// How far the clock may be ahead of the confirmed time.
const AHEAD: Duration = DAY;
/// How long the gateway runs until a clock that is further ahead is believed.
const BELIEVED: Duration = Duration::from_secs(7 * 86_400);
/// How much longer than it is good something is kept: longer than the confirmed time can be wrong.
const GRACE: Duration = Duration::from_secs(2 * 86_400);

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
    /// expired two days ago, events that are older than they are kept, whether or not a hook has answered, and new users of
    /// that age whom the hooks have neither accepted nor rejected. Of used states and settled events only the latest are
    /// kept. Called hourly; `passed` is how much time has really passed since the last call, measured and not read from
    /// the clock.
    ///
    /// # Errors
    /// When the database cannot be written; some may be gone already then.
    pub async fn prune(&self, passed: Duration) -> Result<Pruned, StoreError> {
        let now = self.now();
        let confirmed = self.write(Touches::Nobody, move |connection| {
            confirm(connection, now, passed).map_err(StoreError::from)
        });
        let confirmed = confirmed.await?;
        let retained = rows::seconds(confirmed.before(self.event_retention()));
        let expired = rows::seconds(confirmed.before(GRACE));
        self.prune_table(
            Touches::Everybody,
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires <= ?1 LIMIT ?2)",
            expired,
        )
        .await?;
        self.prune_table(
            Touches::Nobody,
            "DELETE FROM used_states WHERE state IN
                (SELECT state FROM used_states WHERE expires <= ?1 LIMIT ?2)",
            expired,
        )
        .await?;
        self.prune_table(
            Touches::Nobody,
            "DELETE FROM used_states WHERE state IN
                (SELECT state FROM used_states ORDER BY expires DESC LIMIT ?2 OFFSET ?1)",
            i64::from(MAX_USED),
        )
        .await?;
        self.prune_table(
            Touches::Nobody,
            "DELETE FROM upstream_sign_outs WHERE key IN
                (SELECT key FROM upstream_sign_outs WHERE expires <= ?1 LIMIT ?2)",
            expired,
        )
        .await?;
        self.prune_table(Touches::Nobody, PLUGIN_VALUES, expired).await?;
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

/// Moves the confirmed time on. Gives it.
fn confirm(connection: &Connection, now: Timestamp, passed: Duration) -> rusqlite::Result<Timestamp> {
    let known = connection
        .query_row("SELECT at, ahead FROM confirmed_time", [], |row| {
            Ok((
                Timestamp(rows::unsigned(row, 0)?),
                Duration::from_secs(rows::unsigned(row, 1)?),
            ))
        })
        .optional()?;
    let (confirmed, ahead) = match known {
        Some(known) => known,
        // The first time: what happened last is at least not in the future.
        None => {
            let sql = "SELECT at FROM events ORDER BY sequence DESC LIMIT 1";
            let last = connection
                .query_row(sql, [], |row| rows::unsigned(row, 0))
                .optional()?;
            (last.map_or(now, Timestamp), Duration::ZERO)
        }
    };
    let (confirmed, ahead) = advance(confirmed, ahead, now, passed);
    let sql = "INSERT INTO confirmed_time (id, at, ahead) VALUES (1, ?1, ?2)
        ON CONFLICT DO UPDATE SET at = excluded.at, ahead = excluded.ahead";
    let ahead = i64::try_from(ahead.as_secs()).unwrap_or(i64::MAX);
    connection.execute(sql, params![rows::seconds(confirmed), ahead])?;
    Ok(confirmed)
}

/// The confirmed time, and for how long the clock has been further ahead than it may be, after `passed` more.
fn advance(confirmed: Timestamp, ahead: Duration, now: Timestamp, passed: Duration) -> (Timestamp, Duration) {
    if now <= confirmed.after(AHEAD) {
        return (now, Duration::ZERO);
    }
    let ahead = ahead.saturating_add(passed);
    if ahead >= BELIEVED {
        return (now, Duration::ZERO);
    }
    (confirmed.after(passed).min(now), ahead)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gateway_model::Timestamp;

    use super::{BELIEVED, DAY, advance};

    const HOUR: Duration = Duration::from_secs(3600);
    const START: Timestamp = Timestamp(1_790_000_000);

    #[test]
    fn o3_the_confirmed_time_follows_a_clock_that_advances_or_is_set_back() {
        for now in [
            START.after(HOUR),
            START.after(DAY),
            START,
            START.before(30 * DAY),
            Timestamp(0),
        ] {
            assert_eq!(advance(START, HOUR, now, HOUR), (now, Duration::ZERO), "{now}");
        }
    }

    #[test]
    fn o3_a_clock_that_jumps_ahead_is_not_believed_until_a_week_of_running_is_over() {
        for jump in [DAY + HOUR, 15 * DAY, 365 * 200 * DAY] {
            let (mut confirmed, mut ahead, mut real) = (START, Duration::ZERO, START);
            while ahead + HOUR < BELIEVED {
                real = real.after(HOUR);
                (confirmed, ahead) = advance(confirmed, ahead, real.after(jump), HOUR);
                assert_eq!(confirmed, real, "it is not ahead of the real time");
            }
            // Set right again, nothing has happened.
            assert_eq!(
                advance(confirmed, ahead, real.after(HOUR), HOUR),
                (real.after(HOUR), Duration::ZERO)
            );
            // Or it was right, and the gateway had not run for so long.
            let late = real.after(jump);
            assert_eq!(advance(confirmed, ahead, late, HOUR), (late, Duration::ZERO));
        }
        // However often the process restarts: the sum counts, and each start has passed nothing yet.
        let (mut confirmed, mut ahead, mut boots) = (START, Duration::ZERO, 0_u32);
        let now = |boots: u32| START.after(30 * DAY * (boots + 1));
        while confirmed != now(boots) {
            boots += 1;
            (confirmed, ahead) = advance(confirmed, ahead, now(boots), Duration::ZERO);
            (confirmed, ahead) = advance(confirmed, ahead, now(boots), DAY);
        }
        assert_eq!(boots, 7);
    }

    #[test]
    fn o3_the_confirmed_time_stays_within_what_can_be_said() {
        let last = Timestamp(u64::MAX);
        assert_eq!(
            advance(last, Duration::MAX, last, Duration::MAX),
            (last, Duration::ZERO)
        );
        assert_eq!(
            advance(START, Duration::MAX, last, Duration::MAX),
            (last, Duration::ZERO)
        );
        let (confirmed, _) = advance(Timestamp(0), Duration::ZERO, last, HOUR);
        assert_eq!(confirmed, Timestamp(3600));
    }
}
