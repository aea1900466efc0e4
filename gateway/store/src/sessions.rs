//! Sessions: looked up at every request, listed, ended by their user or by an operator.

use std::time::{Duration, Instant};

use gateway_model::{
    Claims, Event, EventId, EventKind, Identity, Session, SessionId, Timestamp, User, UserId,
};
use rusqlite::{Connection, Row, params};

use crate::Store;
use crate::error::StoreError;
use crate::events;
use crate::rows::{self, USER_COLUMNS, exists, select_users};
use crate::session_cache::SignedIn;
use crate::versions::Touches;

impl Store {
    /// Returns a session of `user` and the user, if the session has not ended or expired and the user is active. This
    /// is the hot path of `check`: it uses the cache, or one query by two keys with a row for each of the user's
    /// identities.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn lookup_session(
        &self,
        id: &SessionId,
        user: &UserId,
    ) -> Result<Option<SignedIn>, StoreError> {
        self.lookup_session_at(id, user, Instant::now())
    }

    /// Whether a user whom [`Store::lookup_session`] has found is still signed in. Cheaper than another lookup as long
    /// as nothing has changed.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn is_still_signed_in(&self, signed_in: &SignedIn) -> Result<bool, StoreError> {
        self.is_still_signed_in_at(signed_in, Instant::now())
    }

    pub(crate) fn is_still_signed_in_at(
        &self,
        signed_in: &SignedIn,
        at: Instant,
    ) -> Result<bool, StoreError> {
        let SignedIn { session, user, seen } = signed_in;
        let unchanged = seen.is_some_and(|seen| self.0.sessions.is_good(seen, &user.id, at));
        if unchanged && session.expires > self.now() {
            return Ok(true);
        }
        Ok(self.lookup_session_at(&session.id, &user.id, at)?.is_some())
    }

    pub(crate) fn lookup_session_at(
        &self,
        id: &SessionId,
        user: &UserId,
        at: Instant,
    ) -> Result<Option<SignedIn>, StoreError> {
        let now = self.now();
        self.0.sessions.lookup(id, user, now, at, || {
            self.read(|connection| lookup(connection, id, rows::seconds(now)))
        })
    }

    /// Lists live sessions of one user or of all, newest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn list_sessions(&self, user: Option<&UserId>) -> Result<Vec<Session>, StoreError> {
        let now = rows::seconds(self.now());
        let user = user.cloned();
        self.read_much(move |connection| {
            const COLUMNS: &str = "SELECT s.id, s.user_id, i.provider, s.created, s.expires FROM sessions s
                JOIN identities i ON i.id = s.identity_id WHERE s.expires > ?1";
            const ORDER: &str = "ORDER BY s.created DESC, s.id";
            match user {
                Some(user) => rows::all(
                    connection,
                    &format!("{COLUMNS} AND s.user_id = ?2 {ORDER}"),
                    params![now, user.as_str()],
                    session,
                ),
                None => rows::all(connection, &format!("{COLUMNS} {ORDER}"), [now], session),
            }
        })
        .await
    }

    /// Ends a session for its user, commits the pending event of the sign-out with it, and returns the event and the
    /// user as they are now. Returns `None` if the session does not exist.
    ///
    /// # Errors
    /// If the database cannot be written; the session then continues.
    pub async fn log_out(&self, session: &SessionId) -> Result<Option<(Event, User)>, StoreError> {
        let session = session.clone();
        let event = EventId::random(self.random())?;
        let now = self.now();
        let touches: Touches<(Option<UserId>, _)> = Touches::Found(|(user, _)| user.as_ref());
        let ended = self.write::<_, StoreError>(touches, move |connection| {
            // No other process writes between reading and deleting: the writer holds a transaction.
            let signed_out = sign_out(connection, &session, event, now, now)?;
            Ok((end(connection, &session)?, signed_out))
        });
        Ok(ended.await?.1)
    }

    /// Ends a session for its user, expired or not, if its id, its user and its end are exactly those for which a token
    /// was issued. Otherwise like [`Store::log_out`]. If the session has ended already, this costs a read.
    ///
    /// # Errors
    /// If the database cannot be written; the session then continues.
    pub async fn log_out_as_issued(
        &self,
        session: &SessionId,
        user: &UserId,
        expires: Timestamp,
    ) -> Result<Option<(Event, User)>, StoreError> {
        let is_there = self.read(|connection| is_as_issued(connection, session, user, expires))?;
        if !is_there {
            return Ok(None);
        }
        let (session, user) = (session.clone(), user.clone());
        let event = EventId::random(self.random())?;
        let now = self.now();
        self.write::<_, StoreError>(Touches::User(user.clone()), move |connection| {
            if !is_as_issued(connection, &session, &user, expires)? {
                return Ok(None);
            }
            // Whether it has expired does not matter: every session ends after the epoch.
            let signed_out = sign_out(connection, &session, event, now, Timestamp(0))?;
            end(connection, &session)?;
            Ok(signed_out)
        })
        .await
    }

    /// Ends a session for an operator, without an event. Returns `false` if it does not exist.
    ///
    /// # Errors
    /// If the database cannot be written; the session then continues.
    pub async fn end_session(&self, session: &SessionId) -> Result<bool, StoreError> {
        let session = session.clone();
        let ended = self.write::<_, StoreError>(Touches::Found(Option::as_ref), move |connection| {
            Ok(end(connection, &session)?)
        });
        Ok(ended.await?.is_some())
    }

    /// Ends all sessions of a user for an operator, without events. Returns how many there were.
    ///
    /// # Errors
    /// If the database cannot be written; the sessions then continue.
    pub async fn end_sessions_of(&self, user: &UserId) -> Result<u64, StoreError> {
        let user = user.clone();
        self.write(Touches::User(user.clone()), move |connection| {
            let sql = "DELETE FROM sessions WHERE user_id = ?1";
            let ended = rows::run(connection, sql, [user.as_str()])?;
            Ok(u64::try_from(ended).unwrap_or(u64::MAX))
        })
        .await
    }
}

/// Opens a session for a user who has just signed in with one of their identities, or returns `None` if the identity is
/// not theirs. If they would have more than `most`, their oldest sessions end.
pub(crate) fn add(
    connection: &Connection,
    id: SessionId,
    user: &UserId,
    identity: &Identity,
    now: Timestamp,
    lifetime: Duration,
    most: usize,
) -> rusqlite::Result<Option<Session>> {
    let expires = rows::end_of(now, lifetime);
    let sql = "INSERT INTO sessions (id, user_id, identity_id, created, expires)
        SELECT ?1, user_id, id, ?5, ?6 FROM identities WHERE subject = ?3 AND issuer = ?4 AND user_id = ?2";
    let (created, ends) = (rows::seconds(now), rows::seconds(expires));
    let params = params![
        id.as_str(),
        user.as_str(),
        identity.subject,
        identity.issuer,
        created,
        ends
    ];
    let added = rows::run(connection, sql, params)?;
    if added > 0 {
        end_oldest(connection, &id, user, now, most)?;
    }
    let provider = identity.provider.clone();
    Ok((added > 0).then(|| Session {
        id,
        user_id: user.clone(),
        provider,
        created: now,
        expires,
    }))
}

/// Ends a user's expired sessions, and the oldest others if there are more than `most` with the new one.
fn end_oldest(
    connection: &Connection,
    new: &SessionId,
    user: &UserId,
    now: Timestamp,
    most: usize,
) -> rusqlite::Result<()> {
    let sql = "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE user_id = ?1 AND id <> ?2
        ORDER BY expires > ?3 DESC, created DESC, id LIMIT -1 OFFSET ?4)";
    let others = i64::try_from(most.saturating_sub(1)).unwrap_or(i64::MAX);
    let params = params![user.as_str(), new.as_str(), rows::seconds(now), others];
    let ended = rows::run(connection, sql, params)?;
    if ended > 0 {
        tracing::info!(%user, ended, "a user has more sessions than users.sessions allows: the oldest ended");
    }
    Ok(())
}

const LOOKUP: &str = select_users!(
    "sessions s JOIN users u ON u.id = s.user_id",
    // defence: session-expires-in-the-database (a test fails without it: docs/defences.md)
    "WHERE s.id = ?1 AND s.expires > ?2 AND u.status = 'active' ORDER BY i.id",
    ", i.id = s.identity_id, s.created, s.expires"
);

fn lookup(connection: &Connection, id: &SessionId, now: i64) -> rusqlite::Result<Option<(Session, User)>> {
    let mut statement = connection.prepare_cached(LOOKUP)?;
    let mut found = statement.query(params![id.as_str(), now])?;
    let Some(row) = found.next()? else { return Ok(None) };
    let mut user = rows::user(row)?;
    let mut session = Session {
        id: id.clone(),
        user_id: user.id.clone(),
        provider: String::new(),
        created: rows::timestamp(row, USER_COLUMNS + 1)?,
        expires: rows::timestamp(row, USER_COLUMNS + 2)?,
    };
    if row.get(USER_COLUMNS)? {
        session.provider = row.get(9)?;
    }
    while let Some(row) = found.next()? {
        let identity = rows::identity(row)?;
        if row.get(USER_COLUMNS)? {
            session.provider.clone_from(&identity.provider);
        }
        user.identities.push(identity);
    }
    Ok(Some((session, user)))
}

fn session(row: &Row<'_>) -> rusqlite::Result<Session> {
    Ok(Session {
        id: rows::id(row, 0)?,
        user_id: rows::id(row, 1)?,
        provider: row.get(2)?,
        created: rows::timestamp(row, 3)?,
        expires: rows::timestamp(row, 4)?,
    })
}

/// Ends a session, expired or not; returns its user.
pub(crate) fn end(connection: &Connection, session: &SessionId) -> rusqlite::Result<Option<UserId>> {
    let sql = "DELETE FROM sessions WHERE id = ?1 RETURNING user_id";
    let user: Option<String> = rows::optional(connection, sql, [session.as_str()])?;
    Ok(user.map(UserId::from))
}

/// Whether a session exists with this id, user and end.
fn is_as_issued(
    connection: &Connection,
    session: &SessionId,
    user: &UserId,
    expires: Timestamp,
) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM sessions WHERE id = ?1 AND user_id = ?2 AND expires = ?3";
    exists(
        connection,
        sql,
        params![session.as_str(), user.as_str(), rows::seconds(expires)],
    )
}

/// Adds the event of a sign-out, or returns `None` if no session exists that expires after `live_at`.
pub(crate) fn sign_out(
    connection: &Connection,
    session: &SessionId,
    event: EventId,
    now: Timestamp,
    live_at: Timestamp,
) -> rusqlite::Result<Option<(Event, User)>> {
    let sql = select_users!(
        "sessions s JOIN users u ON u.id = s.user_id",
        "AND i.id = s.identity_id WHERE s.id = ?1 AND s.expires > ?2"
    );
    let began = rows::one_user(connection, sql, params![session.as_str(), rows::seconds(live_at)])?;
    let Some(identity) = began.and_then(|began| Some((began.identities.into_iter().next()?, began.id)))
    else {
        return Ok(None);
    };
    let (identity, user) = identity;
    let Some(user) = rows::user_by_id(connection, &user)? else {
        return Ok(None);
    };
    let event = Event {
        id: event,
        kind: EventKind::Logout,
        user_id: user.id.clone(),
        at: now,
        identity,
        claims: Claims::default(),
    };
    events::make_room_for_sign_out(connection, &user.id, &event.identity.provider, now)?;
    events::add(connection, &event, "{}")?;
    Ok(Some((event, user)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gateway_model::SystemRandom;

    use super::LOOKUP;
    use crate::open;

    /// The price of every `check`: three searches by key, nothing read through, nothing sorted.
    #[test]
    fn the_hot_path_searches_by_keys_alone() {
        let directory = tempfile::tempdir().unwrap();
        let open::Opened { connection, .. } =
            open::open(&directory.path().join("test.db"), Duration::ZERO, &SystemRandom).unwrap();
        let mut statement = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {LOOKUP}"))
            .unwrap();
        let steps = statement
            .query_map(["s", "0"], |row| row.get::<_, String>("detail"))
            .unwrap();
        let plan: Vec<_> = steps.map(Result::unwrap).collect();
        assert_eq!(plan.len(), 3, "{plan:?}");
        assert!(plan.iter().all(|step| step.starts_with("SEARCH ")), "{plan:?}");
    }
}
