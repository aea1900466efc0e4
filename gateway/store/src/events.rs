//! Events: what hooks have still to be told, and what they said.
//!
//! An event is pending from the transaction that made it until its verdict is recorded. The first
//! verdict stands; a hook that failed has given none, so for a new user and for a sign-out the event
//! stays pending, and for a sign-in, whose person is long gone, it is closed.
//!
//! What is pending is bounded, for each user and for each provider. Large claims are not kept at all: a hook
//! sees them at the sign-in itself, and the event is delivered again only with the claims that a later
//! sign-in brings, never without any.

use gateway_model::{
    Claims, Event, EventId, EventKind, Identity, Timestamp, User, UserId, UserLimits, UserStatus, Verdict,
};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use crate::Store;
use crate::error::{SignInError, StoreError};
use crate::rows::{self, select_users};
use crate::users;
use crate::versions::Touches;

/// Sign-outs in a page.
pub const PAGE: u32 = 64;
/// Largest claims that are kept with a pending event, as JSON.
pub const MAX_KEPT_CLAIMS: usize = 256 << 10;
/// Most bytes of claims that pending events of one provider keep together.
const MAX_CLAIMS_OF_PROVIDER: u64 = 64 << 20;
/// Most users of one provider whom the new-user hooks have neither accepted nor rejected yet.
const MAX_NEW_USERS: u64 = 10_000;
/// Most sign-ins of one user that wait for a verdict.
const MAX_LOGINS: u32 = 100;
/// Most sign-outs of one user that hooks have still to be told.
const MAX_SIGN_OUTS: u32 = 100;
/// Most sign-outs of one provider's people that hooks have still to be told.
const MAX_SIGN_OUTS_OF_PROVIDER: u64 = 10_000;
/// Most settled events of one user and kind that are kept.
const MAX_SETTLED: u32 = 100;
/// How many columns an event has in a query.
const EVENT_COLUMNS: usize = 8;
/// What stands for claims that are not kept.
const NOT_KEPT: &str = "null";

impl Store {
    /// The first event of a sign-in without a verdict whose place is after `after` and not after `last`, with its
    /// place and its user as they are now. Read one at a time, for each may be large. Those of disabled users wait
    /// until the user is enabled again, and those whose claims were not kept until the person signs in again.
    ///
    /// A new user's first sign-in comes after the event that tells of the new user, and its user
    /// is pending as long as that has not been settled.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn next_pending_sign_in(
        &self,
        after: i64,
        last: i64,
    ) -> Result<Option<(i64, Event, User)>, StoreError> {
        self.read_much(move |connection| next_pending_sign_in(connection, after, last))
            .await
    }

    /// Sign-outs without a verdict, the oldest first, each with its user as they are now, disabled or not: a page of
    /// [`PAGE`] that begins after the place `after` (0 for the first), and the place of each.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn pending_sign_outs(&self, after: i64) -> Result<Vec<(i64, Event, User)>, StoreError> {
        self.read_much(move |connection| pending_sign_outs(connection, after))
            .await
    }

    /// The place of the newest event, 0 where there is none.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn last_event(&self) -> Result<i64, StoreError> {
        let sql = "SELECT coalesce(max(sequence), 0) FROM events";
        self.read_much(move |connection| connection.query_row(sql, [], |row| row.get(0)))
            .await
    }

    /// Records the verdict of an event that was delivered again, or of a sign-out, and does what
    /// follows from it: a new user who is accepted becomes active, one who is rejected is deleted;
    /// attributes are applied. No session is opened.
    ///
    /// Nothing happens where the event has a verdict already. It stays pending where a hook failed on
    /// a new user or a sign-out, where the user is disabled (sign-outs aside), and where a sign-in's
    /// user is still pending.
    ///
    /// # Errors
    /// When the database cannot be written; the event then stays pending.
    pub async fn settle_event(&self, event: &EventId, verdict: &Verdict) -> Result<(), StoreError> {
        let (event, verdict, now, limits) = (event.clone(), verdict.clone(), self.now(), self.limits());
        let settled = self.write::<_, StoreError>(Touches::Found(Option::as_ref), move |connection| {
            Ok(settle(connection, &event, &verdict, now, &limits)?)
        });
        settled.await.map(drop)
    }
}

/// How an event stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// It is not there: its user was deleted, or it is older than events are kept.
    Gone,
    /// Nobody has recorded a verdict.
    Pending,
    /// Every hook accepted.
    Accepted,
    /// A hook said no, in these words.
    Rejected(String),
    /// A hook failed and the event was closed.
    Failed,
    /// Its user went away before a hook had answered.
    Dropped,
}

/// Claims as they are kept with an event: as JSON, or not at all where they are large.
pub(crate) fn kept_claims(claims: &Claims) -> String {
    let text = claims.as_str();
    let kept = if text.len() > MAX_KEPT_CLAIMS {
        NOT_KEPT
    } else {
        text
    };
    kept.to_owned()
}

/// Sees to it that a provider does not fill the database with people whom hooks neither accept nor reject.
///
/// # Errors
/// [`SignInError::TooManyNewUsers`].
pub(crate) fn make_room_for_new_user(connection: &Connection, provider: &str) -> Result<(), SignInError> {
    let (waiting, _) = usage(connection, provider, EventKind::NewUser)?;
    if waiting >= MAX_NEW_USERS {
        return Err(SignInError::TooManyNewUsers(waiting));
    }
    Ok(())
}

/// Closes the oldest sign-ins of a user without a verdict, and forgets the oldest that have one, where there are many.
pub(crate) fn make_room_for_login(
    connection: &Connection,
    user: &UserId,
    now: Timestamp,
) -> rusqlite::Result<()> {
    drop_oldest_of_user(connection, user, EventKind::Login, MAX_LOGINS, now)?;
    forget_settled(connection, user, EventKind::Login)
}

/// The same for sign-outs: the oldest are given up. They are bounded for each provider too.
pub(crate) fn make_room_for_sign_out(
    connection: &Connection,
    user: &UserId,
    provider: &str,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let mut given_up = drop_oldest_of_user(connection, user, EventKind::Logout, MAX_SIGN_OUTS, now)?;
    let (waiting, _) = usage(connection, provider, EventKind::Logout)?;
    if waiting >= MAX_SIGN_OUTS_OF_PROVIDER {
        let sql = "UPDATE events SET verdict = 'dropped', settled_at = ?2, claims = '{}' WHERE sequence =
            (SELECT sequence FROM events WHERE verdict IS NULL AND kind = 'logout' AND provider = ?1
            ORDER BY sequence LIMIT 1)";
        given_up += rows::run(connection, sql, params![provider, rows::seconds(now)])?;
    }
    if given_up > 0 {
        tracing::warn!(
            %user, provider, given_up,
            "too many sign-outs wait for the on-user-logout hooks: the oldest were given up"
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
    let sql = "UPDATE events SET verdict = 'dropped', settled_at = ?4, claims = '{}' WHERE sequence IN
        (SELECT sequence FROM events WHERE user_id = ?1 AND kind = ?2 AND verdict IS NULL
        ORDER BY sequence DESC LIMIT -1 OFFSET ?3)";
    rows::run(
        connection,
        sql,
        params![user.as_str(), kind_text(kind), most - 1, rows::seconds(now)],
    )
}

fn forget_settled(connection: &Connection, user: &UserId, kind: EventKind) -> rusqlite::Result<()> {
    let sql = "DELETE FROM events WHERE verdict IS NOT NULL AND sequence IN
        (SELECT sequence FROM events WHERE user_id = ?1 AND kind = ?2 ORDER BY sequence DESC LIMIT -1 OFFSET ?3)";
    rows::run(
        connection,
        sql,
        params![user.as_str(), kind_text(kind), MAX_LOGINS + MAX_SETTLED],
    )?;
    Ok(())
}

/// How many events of a kind wait for a verdict that came by a provider, and the bytes of their claims.
fn usage(connection: &Connection, provider: &str, kind: EventKind) -> rusqlite::Result<(u64, u64)> {
    let sql = "SELECT count, bytes FROM pending_event_usage WHERE provider = ?1 AND kind = ?2";
    let usage = connection
        .prepare_cached(sql)?
        .query_row(params![provider, kind_text(kind)], |row| {
            Ok((rows::unsigned(row, 0)?, rows::unsigned(row, 1)?))
        })
        .optional()?;
    Ok(usage.unwrap_or_default())
}

/// Commits an event as pending, with `claims` where there is room for them.
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
    let Identity {
        provider,
        issuer,
        subject,
    } = &event.identity;
    let at = rows::seconds(event.at);
    let kind = kind_text(event.kind);
    let id = event.id.as_str();
    rows::run(
        connection,
        sql,
        params![
            id,
            kind,
            event.user_id.as_str(),
            at,
            provider,
            issuer,
            subject,
            claims
        ],
    )?;
    Ok(())
}

/// The event that tells of this new user and has no verdict yet, and whether its claims were kept.
pub(crate) fn pending_new_user(
    connection: &Connection,
    user: &UserId,
) -> rusqlite::Result<Option<(Event, bool)>> {
    let sql = "SELECT id, kind, user_id, at, provider, issuer, subject, claims FROM events
        WHERE user_id = ?1 AND kind = 'new-user' AND verdict IS NULL ORDER BY sequence LIMIT 1";
    connection
        .prepare_cached(sql)?
        .query_row([user.as_str()], |row| {
            Ok((event_from(row, 0)?, row.get_ref(7)?.as_str()? != NOT_KEPT))
        })
        .optional()
}

/// How an event stands.
pub(crate) fn recorded(connection: &Connection, id: &EventId) -> rusqlite::Result<Recorded> {
    let sql = "SELECT verdict, detail FROM events WHERE id = ?1";
    let row = connection
        .prepare_cached(sql)?
        .query_row([id.as_str()], |row| {
            let detail: Option<String> = row.get(1)?;
            Ok(match row.get_ref(0)?.as_str_or_null()? {
                None => Recorded::Pending,
                Some("accepted") => Recorded::Accepted,
                Some("rejected") => Recorded::Rejected(detail.unwrap_or_default()),
                Some("failed") => Recorded::Failed,
                Some("dropped") => Recorded::Dropped,
                Some(other) => return Err(rows::conversion(0, format!("no verdict: {other:?}"))),
            })
        })
        .optional()?;
    Ok(row.unwrap_or(Recorded::Gone))
}

/// Records a verdict, unless one is recorded already; a failure is none and can be overwritten. The
/// claims are not needed any more and not kept.
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
    rows::run(
        connection,
        sql,
        params![id.as_str(), name, hook, detail, rows::seconds(now)],
    )?;
    Ok(())
}

/// Closes an event that no hook will be told of: the sign-in it belongs to has ended otherwise.
pub(crate) fn drop_pending(connection: &Connection, id: &EventId, now: Timestamp) -> rusqlite::Result<()> {
    let sql = "UPDATE events SET verdict = 'dropped', settled_at = ?2, claims = '{}'
        WHERE id = ?1 AND verdict IS NULL";
    rows::run(connection, sql, params![id.as_str(), rows::seconds(now)])?;
    Ok(())
}

/// Records that the hooks rejected a new user, and deletes the user; what else was pending of them is
/// dropped.
pub(crate) fn reject_new_user(
    connection: &Connection,
    event: &EventId,
    user: &UserId,
    verdict: &Verdict,
    now: Timestamp,
) -> rusqlite::Result<()> {
    record(connection, event, verdict, now)?;
    drop_all_of(connection, user, now)?;
    users::delete(connection, user)?;
    Ok(())
}

/// Closes all events of a user that no hook will be told of any more.
pub(crate) fn drop_all_of(connection: &Connection, user: &UserId, now: Timestamp) -> rusqlite::Result<()> {
    let sql = "UPDATE events SET verdict = 'dropped', settled_at = ?2, claims = '{}'
        WHERE user_id = ?1 AND verdict IS NULL";
    rows::run(connection, sql, params![user.as_str(), rows::seconds(now)])?;
    Ok(())
}

/// Records that the hooks accepted a new user, applies what they set, and activates the user.
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
    rows::run(connection, sql, [user.as_str()])?;
    Ok(())
}

/// Gives whose event it is, where it had no verdict before.
fn settle(
    connection: &Connection,
    id: &EventId,
    verdict: &Verdict,
    now: Timestamp,
    limits: &UserLimits,
) -> rusqlite::Result<Option<UserId>> {
    // Not the claims: they may be large, and nothing here depends on them.
    let sql = "SELECT kind, user_id FROM events WHERE id = ?1 AND verdict IS NULL";
    let event = connection
        .prepare_cached(sql)?
        .query_row([id.as_str()], |row| {
            Ok((kind(row, 0)?, UserId::from(row.get_ref(1)?.as_str()?)))
        })
        .optional()?;
    let Some((kind, user_id)) = event else {
        return Ok(None);
    };
    let verdict = users::within_limits(connection, &user_id, verdict, limits)?;
    let verdict = verdict.as_ref();
    let status = rows::user_by_id(connection, &user_id)?.map(|user| user.status);
    match (kind, verdict, status) {
        (EventKind::Logout, Verdict::Failed { .. }, _) => Ok(()),
        // The session has ended already: a hook that says no has been told all the same.
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

fn next_pending_sign_in(
    connection: &Connection,
    after: i64,
    last: i64,
) -> rusqlite::Result<Option<(i64, Event, User)>> {
    // The index on pending events leads, so that a long history costs nothing; and there is nothing to sort.
    let sql = "SELECT e.id, e.kind, e.user_id, e.at, e.provider, e.issuer, e.subject, e.claims, e.sequence
        FROM events e CROSS JOIN users u ON u.id = e.user_id
        WHERE e.verdict IS NULL AND e.sequence > ?1 AND e.sequence <= ?2 AND e.kind <> 'logout'
            AND e.claims <> ?3 AND u.status <> 'disabled'
        ORDER BY e.sequence LIMIT 1";
    let found = connection
        .prepare_cached(sql)?
        .query_row(params![after, last, NOT_KEPT], |row| {
            Ok((row.get(EVENT_COLUMNS)?, event_from(row, 0)?))
        })
        .optional()?;
    let Some((place, event)) = found else {
        return Ok(None);
    };
    let user = rows::user_by_id(connection, &event.user_id)?;
    Ok(user.map(|user| (place, event, user)))
}

fn pending_sign_outs(connection: &Connection, after: i64) -> rusqlite::Result<Vec<(i64, Event, User)>> {
    let sql = select_users!(
        "(SELECT * FROM events WHERE verdict IS NULL AND kind = 'logout' AND sequence > ?1 ORDER BY sequence LIMIT ?2) e
            CROSS JOIN users u ON u.id = e.user_id",
        "ORDER BY e.sequence, i.id",
        ", e.id, e.kind, e.user_id, e.at, e.provider, e.issuer, e.subject, e.claims, e.sequence"
    );
    with_users(connection, sql, params![after, PAGE])
}

/// Events, each with its user and its place. A user of several identities comes in as many rows.
fn with_users(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> rusqlite::Result<Vec<(i64, Event, User)>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found: Vec<(i64, Event, User)> = Vec::new();
    while let Some(row) = rows.next()? {
        let place = row.get(rows::USER_COLUMNS + EVENT_COLUMNS)?;
        match found.last_mut() {
            Some((last, _, user)) if *last == place => user.identities.push(rows::identity(row)?),
            _ => found.push((place, event_from(row, rows::USER_COLUMNS)?, rows::user(row)?)),
        }
    }
    Ok(found)
}

fn kind(row: &Row<'_>, column: usize) -> rusqlite::Result<EventKind> {
    match row.get_ref(column)?.as_str()? {
        "new-user" => Ok(EventKind::NewUser),
        "login" => Ok(EventKind::Login),
        "logout" => Ok(EventKind::Logout),
        other => Err(rows::conversion(
            column,
            format!("not a kind of event: {other:?}"),
        )),
    }
}

fn event_from(row: &Row<'_>, first: usize) -> rusqlite::Result<Event> {
    let kind = kind(row, first + 1)?;
    let claims = match row.get_ref(first + 7)?.as_str()? {
        "{}" | NOT_KEPT => Claims::default(),
        _ => rows::json(row, first + 7)?,
    };
    Ok(Event {
        id: EventId::from(row.get_ref(first)?.as_str()?),
        kind,
        user_id: UserId::from(row.get_ref(first + 2)?.as_str()?),
        at: rows::timestamp(row, first + 3)?,
        identity: Identity {
            provider: row.get(first + 4)?,
            issuer: row.get(first + 5)?,
            subject: row.get(first + 6)?,
        },
        claims,
    })
}

const fn kind_text(kind: EventKind) -> &'static str {
    match kind {
        EventKind::NewUser => "new-user",
        EventKind::Login => "login",
        EventKind::Logout => "logout",
    }
}
