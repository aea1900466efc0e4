//! Deletes what is no longer needed: expired sessions, states and plugins' values, and settled events after their
//! retention.
//!
//! A clock that has jumped must delete nothing: once it is set right, a session that has not expired is valid again.
//! Deletion therefore follows the *confirmed time*, which is in the database. It follows the clock immediately if the
//! clock is behind it, or less than a day ahead. If the clock is further ahead (the gateway was not running for a
//! while, or the clock is wrong), the confirmed time advances only as fast as time really passes, and follows the clock
//! after the gateway has run for a week in total. The rows that are kept too long are thus at most those of a week.

use std::time::Duration;

use gateway_model::{Timestamp, UserId};
use rusqlite::{Connection, params};

use crate::Store;
use crate::error::StoreError;
use crate::states::MAX_USED;
use crate::versions::Touches;
use crate::{events, rows, users};

/// The most rows in one transaction, so that other writes are not delayed.
pub(crate) const AT_ONCE: u32 = 1000;

const DAY: Duration = Duration::from_secs(86_400);
/// How far the clock may be ahead of the confirmed time.
const AHEAD: Duration = DAY;
/// How long the gateway must run before it believes a clock that is further ahead.
const BELIEVED: Duration = Duration::from_secs(7 * 86_400);
/// How long something is kept after it has expired: longer than the confirmed time can be wrong.
const GRACE: Duration = Duration::from_secs(2 * 86_400);

/// Ordered by plugin, as the table is.
pub(crate) const PLUGIN_VALUES: &str = "DELETE FROM plugin_values WHERE (plugin, key) IN (
    SELECT v.plugin, v.key FROM plugin_value_usage u CROSS JOIN plugin_values v ON v.plugin = u.plugin
    WHERE v.expires <= ?1 LIMIT ?2)";

/// The most settled events of all users together.
const MAX_SETTLED: u32 = 1_000_000;

/// Rows that were deleted before they were settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Sign-outs that no hook has handled.
    pub sign_outs: usize,
    /// New users whom no hook has accepted or rejected.
    pub new_users: usize,
}

impl Store {
    /// Deletes what is no longer needed, a thousand rows per transaction: expired sessions and plugins' values, states
    /// that expired two days ago, events after their retention, whether or not a hook has answered, and new users of
    /// that age whom the hooks have neither accepted nor rejected. Of used states and settled events, only the latest
    /// are kept. Must be called hourly; `passed` is the time since the last call, measured and not read from the clock.
    ///
    /// # Errors
    /// If the database cannot be written; some rows may be deleted by then.
    pub async fn prune(&self, passed: Duration) -> Result<Pruned, StoreError> {
        let now = self.now();
        let confirmed = self.write(Touches::Nobody, move |connection| {
            confirm(connection, now, passed).map_err(StoreError::from)
        });
        let confirmed = confirmed.await?;
        let retained = rows::seconds(confirmed.before(self.0.options.event_retention));
        let expired = rows::seconds(confirmed.before(GRACE));
        for (touches, bound, sql) in [
            (
                Touches::Everybody,
                expired,
                "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires <= ?1 LIMIT ?2)",
            ),
            (
                Touches::Nobody,
                expired,
                "DELETE FROM used_states WHERE state IN
                    (SELECT state FROM used_states WHERE expires <= ?1 LIMIT ?2)",
            ),
            (
                Touches::Nobody,
                i64::from(MAX_USED),
                "DELETE FROM used_states WHERE state IN
                    (SELECT state FROM used_states ORDER BY expires DESC LIMIT ?2 OFFSET ?1)",
            ),
            (
                Touches::Nobody,
                expired,
                "DELETE FROM upstream_sign_outs WHERE key IN
                    (SELECT key FROM upstream_sign_outs WHERE expires <= ?1 LIMIT ?2)",
            ),
            (Touches::Nobody, expired, PLUGIN_VALUES),
            (
                Touches::Nobody,
                retained,
                "DELETE FROM events WHERE sequence IN
                    (SELECT sequence FROM events WHERE settled_at <= ?1 LIMIT ?2)",
            ),
            (
                Touches::Nobody,
                i64::from(MAX_SETTLED),
                "DELETE FROM events WHERE sequence IN (SELECT sequence FROM events
                    WHERE settled_at IS NOT NULL ORDER BY settled_at DESC LIMIT ?2 OFFSET ?1)",
            ),
        ] {
            self.prune_table(touches, sql, bound).await?;
        }
        // These persons were never let in, and are new again if they come back. Disabled users stay, or they would come
        // back as new users whom no operator has disabled.
        let new_users = self.write_in_turns(Touches::Nobody, move |connection| {
            let sql = "SELECT u.id FROM events e CROSS JOIN users u ON u.id = e.user_id
                WHERE e.verdict IS NULL AND e.kind = 'new-user' AND e.at <= ?1 AND u.status = 'pending' LIMIT ?2";
            let ids: Vec<UserId> =
                rows::all(connection, sql, params![retained, AT_ONCE], |row| rows::id(row, 0))?;
            for id in &ids {
                events::drop_all_of(connection, id, now)?;
                users::delete(connection, id)?;
            }
            Ok(ids.len())
        });
        let new_users = new_users.await?;
        let logins = "DELETE FROM events WHERE sequence IN
            (SELECT sequence FROM events WHERE verdict IS NULL AND kind = 'login' AND at <= ?1 LIMIT ?2)";
        self.prune_table(Touches::Nobody, logins, retained).await?;
        let sign_outs = "DELETE FROM events WHERE sequence IN
            (SELECT sequence FROM events WHERE verdict IS NULL AND kind = 'logout' AND at <= ?1 LIMIT ?2)";
        let sign_outs = self.prune_table(Touches::Nobody, sign_outs, retained).await?;
        Ok(Pruned { sign_outs, new_users })
    }

    async fn prune_table(
        &self,
        touches: Touches<usize>,
        sql: &'static str,
        bound: i64,
    ) -> Result<usize, StoreError> {
        self.write_in_turns(touches, move |connection| {
            rows::run(connection, sql, params![bound, AT_ONCE])
        })
        .await
    }

    /// Repeats a write of at most [`AT_ONCE`] rows until it finds fewer, and returns how many there were in total.
    pub(crate) async fn write_in_turns(
        &self,
        touches: Touches<usize>,
        work: impl Fn(&Connection) -> rusqlite::Result<usize> + Clone + Send + 'static,
    ) -> Result<usize, StoreError> {
        let mut total = 0;
        loop {
            let turn = work.clone();
            let done = self.write(touches.clone(), move |connection| {
                turn(connection).map_err(StoreError::from)
            });
            let done = done.await?;
            total += done;
            if done < AT_ONCE as usize {
                return Ok(total);
            }
        }
    }
}

/// Advances the confirmed time and returns it.
fn confirm(connection: &Connection, now: Timestamp, passed: Duration) -> rusqlite::Result<Timestamp> {
    let known = rows::first(connection, "SELECT at, ahead FROM confirmed_time", [], |row| {
        let ahead = Duration::from_secs(rows::unsigned(row, 1)?);
        Ok((rows::timestamp(row, 0)?, ahead))
    })?;
    let (confirmed, ahead) = match known {
        Some(known) => known,
        // The first time: the latest event is at least not in the future.
        None => {
            let sql = "SELECT at FROM events ORDER BY sequence DESC LIMIT 1";
            let last = rows::first(connection, sql, [], |row| rows::timestamp(row, 0))?;
            (last.unwrap_or(now), Duration::ZERO)
        }
    };
    let (confirmed, ahead) = advance(confirmed, ahead, now, passed);
    let sql = "INSERT INTO confirmed_time (id, at, ahead) VALUES (1, ?1, ?2)
        ON CONFLICT DO UPDATE SET at = excluded.at, ahead = excluded.ahead";
    let ahead = i64::try_from(ahead.as_secs()).unwrap_or(i64::MAX);
    connection.execute(sql, params![rows::seconds(confirmed), ahead])?;
    Ok(confirmed)
}

/// The confirmed time after `passed` more, and how long the clock has been too far ahead of it.
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
