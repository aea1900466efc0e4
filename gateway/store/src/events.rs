//! Events, pending or settled.
//!
//! An event is pending from the transaction that created it until its verdict is recorded. The first verdict counts. A
//! failed hook has given none: a new user's event and a sign-out then stay pending, and a sign-in, whose person is long
//! gone, is closed.
//!
//! Pending events are bounded for each user and for each provider. Large claims are not stored: a hook sees them at the
//! sign-in itself, and the event is delivered again only with the claims that a later sign-in brings, never without
//! any.

use gateway_model::{
    Claims, Event, EventId, EventKind, Identity, Timestamp, User, UserId, UserLimits, UserStatus, Verdict,
};
use rusqlite::{Connection, Row, ToSql, params};

use crate::Store;
use crate::error::{SignInError, StoreError};
use crate::rows::{self, select_users};
use crate::users;
use crate::versions::Touches;

/// The number of sign-outs in a page.
pub const PAGE: u32 = 64;
/// The largest claims that are stored with a pending event, in bytes of JSON.
pub const MAX_KEPT_CLAIMS: usize = 256 << 10;
/// The most bytes of claims that the pending events of one provider hold together.
const MAX_CLAIMS_OF_PROVIDER: u64 = 64 << 20;
/// The most users of one provider whom the new-user hooks have neither accepted nor rejected yet.
const MAX_NEW_USERS: u64 = 10_000;
/// The most pending sign-ins of one user.
const MAX_LOGINS: u32 = 100;
/// The most pending sign-outs of one user.
const MAX_SIGN_OUTS: u32 = 100;
/// The most pending sign-outs of one provider's users.
const MAX_SIGN_OUTS_OF_PROVIDER: u64 = 10_000;
/// The most settled events of one user and kind that are kept.
const MAX_SETTLED: u32 = 100;
/// The number of columns of an event in a query.
const EVENT_COLUMNS: usize = 8;
/// Stored instead of claims that are not kept.
const NOT_KEPT: &str = "null";

impl Store {
    /// Returns the first pending event of a sign-in whose position is after `after` and not after `last`, with its
    /// position and its user as they are now. Events may be large, so they are read one at a time. Those of disabled
    /// users wait until the user is enabled again, and those without their claims until the person signs in again.
    ///
    /// A new user's first sign-in comes after the event of the new user, and its user is pending until that is settled.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn next_pending_sign_in(
        &self,
        after: i64,
        last: i64,
    ) -> Result<Option<(i64, Event, User)>, StoreError> {
        self.read_much(move |connection| {
            // The index on pending events comes first, so that a long history costs nothing, and nothing has to be
            // sorted.
            let sql =
                "SELECT e.id, e.kind, e.user_id, e.at, e.provider, e.issuer, e.subject, e.claims, e.sequence
                FROM events e CROSS JOIN users u ON u.id = e.user_id
                WHERE e.verdict IS NULL AND e.sequence > ?1 AND e.sequence <= ?2 AND e.kind <> 'logout'
                    AND e.claims <> ?3 AND u.status <> 'disabled'
                ORDER BY e.sequence LIMIT 1";
            let found = rows::first(connection, sql, params![after, last, NOT_KEPT], |row| {
                Ok((row.get(EVENT_COLUMNS)?, event_from(row, 0)?))
            })?;
            let Some((position, event)) = found else {
                return Ok(None);
            };
            let user = rows::user_by_id(connection, &event.user_id)?;
            Ok(user.map(|user| (position, event, user)))
        })
        .await
    }

    /// Returns pending sign-outs, oldest first, each with its position and its user as they are now, disabled or not: a
    /// page of [`PAGE`] that begins after the position `after` (0 for the first page).
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn pending_sign_outs(&self, after: i64) -> Result<Vec<(i64, Event, User)>, StoreError> {
        self.read_much(move |connection| {
            let sql = select_users!(
                "(SELECT * FROM events WHERE verdict IS NULL AND kind = 'logout' AND sequence > ?1 ORDER BY sequence LIMIT ?2) e
                    CROSS JOIN users u ON u.id = e.user_id",
                "ORDER BY e.sequence, i.id",
                ", e.id, e.kind, e.user_id, e.at, e.provider, e.issuer, e.subject, e.claims, e.sequence"
            );
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query(params![after, PAGE])?;
            let mut found: Vec<(i64, Event, User)> = Vec::new();
            // A user with several identities has as many rows.
            while let Some(row) = rows.next()? {
                let position = row.get(rows::USER_COLUMNS + EVENT_COLUMNS)?;
                match found.last_mut() {
                    Some((last, _, user)) if *last == position => user.identities.push(rows::identity(row)?),
                    _ => found.push((position, event_from(row, rows::USER_COLUMNS)?, rows::user(row)?)),
                }
            }
            Ok(found)
        })
        .await
    }

    /// Returns the position of the newest event, or 0 if there is none.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn last_event(&self) -> Result<i64, StoreError> {
        let sql = "SELECT coalesce(max(sequence), 0) FROM events";
        self.read_much(move |connection| connection.query_row(sql, [], |row| row.get(0)))
            .await
    }

    /// Records the verdict of a sign-out, or of an event that was delivered again, and applies it: an accepted new user
    /// becomes active, a rejected one is deleted, and attributes are set. No session is opened.
    ///
    /// Nothing happens if the event already has a verdict. It stays pending if a hook failed on a new user or a
    /// sign-out, if the user is disabled (except for sign-outs), and if the user of a sign-in is still pending.
    ///
    /// # Errors
    /// If the database cannot be written; the event then stays pending.
    pub async fn settle_event(&self, event: &EventId, verdict: &Verdict) -> Result<(), StoreError> {
        let (event, verdict, now) = (event.clone(), verdict.clone(), self.now());
        let limits = self.0.options.limits;
        let settled = self.write::<_, StoreError>(Touches::Found(Option::as_ref), move |connection| {
            Ok(settle(connection, &event, &verdict, now, &limits)?)
        });
        settled.await.map(drop)
    }
}

/// The state of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// Its user was deleted, or its retention is over.
    Gone,
    Pending,
    /// Every hook accepted.
    Accepted,
    /// A hook rejected it, with this reason.
    Rejected(String),
    /// A hook failed and the event was closed.
    Failed,
    /// It was closed before a hook had answered.
    Dropped,
}

/// Returns the claims as they are stored with an event: as JSON, or not at all if they are large.
pub(crate) fn kept_claims(claims: &Claims) -> String {
    let text = claims.as_str();
    let is_large = text.len() > MAX_KEPT_CLAIMS;
    let kept = if is_large { NOT_KEPT } else { text };
    kept.to_owned()
}

/// Prevents a provider from filling the database with users whom the hooks neither accept nor reject. Fails with
/// [`SignInError::TooManyNewUsers`].
pub(crate) fn make_room_for_new_user(connection: &Connection, provider: &str) -> Result<(), SignInError> {
    let (waiting, _) = usage(connection, provider, EventKind::NewUser)?;
    if waiting >= MAX_NEW_USERS {
        return Err(SignInError::TooManyNewUsers(waiting));
    }
    Ok(())
}

/// Closes a user's oldest pending sign-ins, and deletes the oldest settled ones, if there are too many.
pub(crate) fn make_room_for_login(
    connection: &Connection,
    user: &UserId,
    now: Timestamp,
) -> rusqlite::Result<()> {
    drop_oldest_of_user(connection, user, EventKind::Login, MAX_LOGINS, now)?;
    forget_settled(connection, user, EventKind::Login)
}

/// Does the same for sign-outs, which are also bounded for each provider.
pub(crate) fn make_room_for_sign_out(
    connection: &Connection,
    user: &UserId,
    provider: &str,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let mut given_up = drop_oldest_of_user(connection, user, EventKind::Logout, MAX_SIGN_OUTS, now)?;
    let (waiting, _) = usage(connection, provider, EventKind::Logout)?;
    if waiting >= MAX_SIGN_OUTS_OF_PROVIDER {
        let oldest = "sequence = (SELECT sequence FROM events
            WHERE verdict IS NULL AND kind = 'logout' AND provider = ?2 ORDER BY sequence LIMIT 1)";
        given_up += drop_where(connection, oldest, now, &[&provider])?;
    }
    if given_up > 0 {
        tracing::warn!(
            %user, provider, given_up,
            "too many sign-outs wait for the on-user-logout hooks: the oldest were dropped"
        );
    }
    forget_settled(connection, user, EventKind::Logout)
}

fn drop_oldest_of_user(
    connection: &Connection,
    user: &UserId,
    kind: EventKind,
    most: u32,
    now: Timestamp,
) -> rusqlite::Result<usize> {
    let oldest =
        "sequence IN (SELECT sequence FROM events WHERE user_id = ?2 AND kind = ?3 AND verdict IS NULL
        ORDER BY sequence DESC LIMIT -1 OFFSET ?4)";
    let params: [&dyn ToSql; 3] = [&user.as_str(), &kind.name(), &(most - 1)];
    drop_where(connection, oldest, now, &params)
}

/// Closes the pending events for which `condition` holds, whose parameters begin at `?2`. No hook is called for them
/// any more. Returns how many there were.
pub(crate) fn drop_where(
    connection: &Connection,
    condition: &str,
    now: Timestamp,
    params: &[&dyn ToSql],
) -> rusqlite::Result<usize> {
    let sql = format!(
        "UPDATE events SET verdict = 'dropped', settled_at = ?1, claims = '{{}}' WHERE verdict IS NULL AND {condition}"
    );
    let now = rows::seconds(now);
    rows::run(connection, &sql, &*[&[&now as &dyn ToSql], params].concat())
}

fn forget_settled(connection: &Connection, user: &UserId, kind: EventKind) -> rusqlite::Result<()> {
    let sql = "DELETE FROM events WHERE verdict IS NOT NULL AND sequence IN
        (SELECT sequence FROM events WHERE user_id = ?1 AND kind = ?2 ORDER BY sequence DESC LIMIT -1 OFFSET ?3)";
    let params = params![user.as_str(), kind.name(), MAX_LOGINS + MAX_SETTLED];
    rows::execute(connection, sql, params)
}

/// The number of pending events of a kind from a provider, and the bytes of their claims.
fn usage(connection: &Connection, provider: &str, kind: EventKind) -> rusqlite::Result<(u64, u64)> {
    let sql = "SELECT count, bytes FROM pending_event_usage WHERE provider = ?1 AND kind = ?2";
    let usage = rows::first(connection, sql, params![provider, kind.name()], |row| {
        Ok((rows::unsigned(row, 0)?, rows::unsigned(row, 1)?))
    });
    Ok(usage?.unwrap_or_default())
}

/// Commits an event as pending, with `claims` if there is room for them.
pub(crate) fn add(connection: &Connection, event: &Event, claims: &str) -> rusqlite::Result<()> {
    let bytes = [EventKind::NewUser, EventKind::Login]
        .into_iter()
        .map(|kind| Ok(usage(connection, &event.identity.provider, kind)?.1))
        .sum::<rusqlite::Result<u64>>()?;
    let claims = if bytes.saturating_add(claims.len() as u64) > MAX_CLAIMS_OF_PROVIDER {
        NOT_KEPT
    } else {
        claims
    };
    let sql = "INSERT INTO events (id, kind, user_id, at, provider, issuer, subject, claims)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let Event {
        id,
        kind,
        user_id,
        at,
        identity: who,
        ..
    } = event;
    let (kind, at) = (kind.name(), rows::seconds(*at));
    let (id, user) = (id.as_str(), user_id.as_str());
    let params = params![id, kind, user, at, who.provider, who.issuer, who.subject, claims];
    rows::execute(connection, sql, params)
}

/// Returns the pending event of this new user, and whether its claims were stored.
pub(crate) fn pending_new_user(
    connection: &Connection,
    user: &UserId,
) -> rusqlite::Result<Option<(Event, bool)>> {
    let sql = "SELECT id, kind, user_id, at, provider, issuer, subject, claims FROM events
        WHERE user_id = ?1 AND kind = 'new-user' AND verdict IS NULL ORDER BY sequence LIMIT 1";
    rows::first(connection, sql, [user.as_str()], |row| {
        Ok((event_from(row, 0)?, row.get_ref(7)?.as_str()? != NOT_KEPT))
    })
}

/// Returns the state of an event.
pub(crate) fn recorded(connection: &Connection, id: &EventId) -> rusqlite::Result<Recorded> {
    let sql = "SELECT verdict, detail FROM events WHERE id = ?1";
    let row = rows::first(connection, sql, [id.as_str()], |row| {
        let detail: Option<String> = row.get(1)?;
        Ok(match row.get_ref(0)?.as_str_or_null()? {
            None => Recorded::Pending,
            Some("accepted") => Recorded::Accepted,
            Some("rejected") => Recorded::Rejected(detail.unwrap_or_default()),
            Some("failed") => Recorded::Failed,
            Some("dropped") => Recorded::Dropped,
            Some(other) => return Err(rows::conversion(0, format!("not a verdict: {other:?}"))),
        })
    })?;
    Ok(row.unwrap_or(Recorded::Gone))
}

/// Records a verdict, unless one is recorded already; a failure can be overwritten. The claims are no longer needed and
/// are deleted.
pub(crate) fn record(
    connection: &Connection,
    id: &EventId,
    verdict: &Verdict,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let (name, hook, detail) = match verdict {
        Verdict::Accepted(_) => ("accepted", None, None),
        Verdict::Rejected { hook, reason } => ("rejected", Some(hook), Some(reason)),
        Verdict::Failed { hook, error } => ("failed", Some(hook), Some(error)),
    };
    let sql = "UPDATE events SET verdict = ?2, hook = ?3, detail = ?4, settled_at = ?5, claims = '{}'
        WHERE id = ?1 AND (verdict IS NULL OR verdict = 'failed')";
    let params = params![id.as_str(), name, hook, detail, rows::seconds(now)];
    rows::execute(connection, sql, params)
}

/// Records that the hooks rejected a new user, deletes the user, and closes their other pending events.
pub(crate) fn reject_new_user(
    connection: &Connection,
    event: &EventId,
    user: &UserId,
    verdict: &Verdict,
    now: Timestamp,
) -> rusqlite::Result<()> {
    record(connection, event, verdict, now)?;
    drop_all_of(connection, user, now)?;
    users::delete(connection, user).map(drop)
}

/// Closes all pending events of a user.
pub(crate) fn drop_all_of(connection: &Connection, user: &UserId, now: Timestamp) -> rusqlite::Result<()> {
    drop_where(connection, "user_id = ?2", now, &[&user.as_str()]).map(drop)
}

/// Records that the hooks accepted a new user, sets their attributes, and activates the user.
pub(crate) fn accept_new_user(
    connection: &Connection,
    event: &EventId,
    user: &UserId,
    verdict: &Verdict,
    now: Timestamp,
) -> rusqlite::Result<()> {
    record(connection, event, verdict, now)?;
    if let Verdict::Accepted(attributes) = verdict {
        users::set_attributes(connection, user, attributes)?;
    }
    let sql = "UPDATE users SET status = 'active' WHERE id = ?1 AND status = 'pending'";
    rows::execute(connection, sql, [user.as_str()])
}

/// Returns the user of the event if it had no verdict before.
fn settle(
    connection: &Connection,
    id: &EventId,
    verdict: &Verdict,
    now: Timestamp,
    limits: &UserLimits,
) -> rusqlite::Result<Option<UserId>> {
    // Leaves out the claims: they may be large, and nothing here depends on them.
    let sql = "SELECT kind, user_id FROM events WHERE id = ?1 AND verdict IS NULL";
    let event = rows::first(connection, sql, [id.as_str()], |row| {
        Ok((rows::named(row, 0)?, rows::id(row, 1)?))
    })?;
    let Some((kind, user_id)) = event else {
        return Ok(None);
    };
    let verdict = users::within_limits(connection, &user_id, verdict, limits)?;
    let verdict = verdict.as_ref();
    let status = rows::user_by_id(connection, &user_id)?.map(|user| user.status);
    match (kind, verdict, status) {
        (EventKind::Logout, Verdict::Failed { .. }, _) => Ok(()),
        // The session has ended already, so a rejection has no effect.
        (EventKind::Logout, _, _) => record(connection, id, &Verdict::Accepted(Default::default()), now),
        (_, _, Some(UserStatus::Disabled)) | (EventKind::Login, _, Some(UserStatus::Pending)) => Ok(()),
        (EventKind::NewUser, Verdict::Failed { .. }, _) => Ok(()),
        (EventKind::NewUser, Verdict::Rejected { .. }, Some(UserStatus::Pending)) => {
            reject_new_user(connection, id, &user_id, verdict, now)
        }
        (EventKind::NewUser, _, _) => accept_new_user(connection, id, &user_id, verdict, now),
        (EventKind::Login, Verdict::Accepted(attributes), Some(UserStatus::Active)) => {
            users::set_attributes(connection, &user_id, attributes)?;
            record(connection, id, verdict, now)
        }
        (EventKind::Login, _, _) => record(connection, id, verdict, now),
    }?;
    Ok(Some(user_id))
}

fn event_from(row: &Row<'_>, first: usize) -> rusqlite::Result<Event> {
    let claims = match row.get_ref(first + 7)?.as_str()? {
        "{}" | NOT_KEPT => Claims::default(),
        _ => rows::json(row, first + 7)?,
    };
    Ok(Event {
        id: rows::id(row, first)?,
        kind: rows::named(row, first + 1)?,
        user_id: rows::id(row, first + 2)?,
        at: rows::timestamp(row, first + 3)?,
        identity: Identity {
            provider: row.get(first + 4)?,
            issuer: row.get(first + 5)?,
            subject: row.get(first + 6)?,
        },
        claims,
    })
}
