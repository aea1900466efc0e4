//! Events: what hooks have still to be told, and what they said.
//!
//! An event is pending from the transaction that made it until its verdict is recorded. The first
//! verdict stands; a hook that failed has given none, so for a new user and for a sign-out the event
//! stays pending, and for a sign-in, whose person is long gone, it is closed.

use gateway_model::{Event, EventId, EventKind, Identity, Timestamp, User, UserId, UserStatus, Verdict};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use serde_json::Map;

use crate::Store;
use crate::error::StoreError;
use crate::rows::{self, select_users};
use crate::users;
use crate::versions::Touches;

/// Sign-outs in a page.
pub const PAGE: u32 = 64;
/// How many columns an event has in a query.
const EVENT_COLUMNS: usize = 8;

impl Store {
    /// Events of sign-ins without a verdict, the oldest first, each with its user as they are now. Those of
    /// disabled users wait until the user is enabled again.
    ///
    /// A new user's first sign-in is listed after the event that tells of the new user, and its user
    /// is pending as long as that has not been settled.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn pending_events(&self) -> Result<Vec<(Event, User)>, StoreError> {
        self.read_much(pending).await
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
        let (event, verdict, now) = (event.clone(), verdict.clone(), self.now());
        let settled = self.write::<_, StoreError>(Touches::Found(Option::as_ref), move |connection| {
            Ok(settle(connection, &event, &verdict, now)?)
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

/// Commits an event as pending.
pub(crate) fn add(connection: &Connection, event: &Event) -> rusqlite::Result<()> {
    let sql = "INSERT INTO events (id, kind, user_id, at, provider, issuer, subject, claims)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let Identity {
        provider,
        issuer,
        subject,
    } = &event.identity;
    let claims = rows::json_text(&event.claims)?;
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

/// The event that tells of this new user and has no verdict yet.
pub(crate) fn pending_new_user(connection: &Connection, user: &UserId) -> rusqlite::Result<Option<Event>> {
    let sql = "SELECT id, kind, user_id, at, provider, issuer, subject, claims FROM events
        WHERE user_id = ?1 AND kind = 'new-user' AND verdict IS NULL ORDER BY sequence LIMIT 1";
    connection
        .prepare_cached(sql)?
        .query_row([user.as_str()], event)
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
    let sql = "UPDATE events SET verdict = 'dropped', settled_at = ?2, claims = '{}'
        WHERE user_id = ?1 AND verdict IS NULL";
    rows::run(connection, sql, params![user.as_str(), rows::seconds(now)])?;
    users::delete(connection, user)?;
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
) -> rusqlite::Result<Option<UserId>> {
    let sql = "SELECT id, kind, user_id, at, provider, issuer, subject, claims FROM events
        WHERE id = ?1 AND verdict IS NULL";
    let event = connection
        .prepare_cached(sql)?
        .query_row([id.as_str()], event)
        .optional()?;
    let Some(Event { kind, user_id, .. }) = event else {
        return Ok(None);
    };
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

fn pending(connection: &Connection) -> rusqlite::Result<Vec<(Event, User)>> {
    // The index on pending events leads, so that a long history costs nothing.
    let sql = select_users!(
        "events e CROSS JOIN users u ON u.id = e.user_id",
        "WHERE e.verdict IS NULL AND e.kind <> 'logout' AND u.status <> 'disabled' ORDER BY e.sequence, i.id",
        ", e.id, e.kind, e.user_id, e.at, e.provider, e.issuer, e.subject, e.claims, e.sequence"
    );
    let found = with_users(connection, sql, [])?;
    Ok(found.into_iter().map(|(_, event, user)| (event, user)).collect())
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

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    event_from(row, 0)
}

fn event_from(row: &Row<'_>, first: usize) -> rusqlite::Result<Event> {
    let kind = match row.get_ref(first + 1)?.as_str()? {
        "new-user" => EventKind::NewUser,
        "login" => EventKind::Login,
        "logout" => EventKind::Logout,
        other => {
            return Err(rows::conversion(
                first + 1,
                format!("no kind of event: {other:?}"),
            ));
        }
    };
    let claims = match row.get_ref(first + 7)?.as_str()? {
        "{}" => Map::new(),
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
