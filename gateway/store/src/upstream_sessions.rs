//! Sessions at upstream providers: which of our sessions came from them, and sign-outs by a provider (OpenID Connect
//! Back-Channel Logout 1.0).
//!
//! A session stores a hash of its issuer and `sid`. A provider can therefore only name its own sessions, and the
//! database holds nothing that could be presented to the provider. An ID token that the provider needs at a sign-out is
//! stored as the caller has sealed it, in a row that is deleted with the session.
//!
//! A sign-out leaves a mark for everything that it named: the token, the `sid`, the subject. The token's mark makes the
//! token work only once. The other marks reject a sign-in that was in progress, whose session the provider has ended
//! since. A provider may reuse a `sid`: a person who has authenticated again since is in a new session with that name.
//! Marks are kept until the time that the caller gives, and at most [`MAX_MARKS`] for each issuer.

use gateway_model::{EventId, Identity, SessionId, Timestamp, UpstreamSession, UserId};
use rusqlite::{Connection, params};

use crate::Store;
use crate::error::StoreError;
use crate::rows::{self, Hash};
use crate::sessions;
use crate::versions::Touches;

/// The most marks of one issuer. A sign-out leaves at most three.
pub(crate) const MAX_MARKS: i64 = 100_000;
/// The most sessions that end in one transaction, so that other writes are not delayed.
const AT_ONCE: usize = 1000;

/// Marks that a sign-out of one session also ends those sessions of the person whose `sid` is not known.
const UNNAMED: &str = "sub without sid";

/// A provider's statement that somebody has signed out there: the contents of a valid logout token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSignOut {
    /// The provider.
    pub issuer: String,
    /// The person whose sessions end, if the token does not name one session.
    pub subject: Option<String>,
    /// The session that has ended at the provider.
    pub sid: Option<String>,
    /// The token's id (`jti`).
    pub token: String,
    /// When the token was signed, by the provider's clock.
    pub issued: Timestamp,
    /// Until when the token could be used again.
    pub until: Timestamp,
}

/// The result of an [`UpstreamSignOut`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamSignedOut {
    /// The number of sessions that have ended.
    Ended(u64),
    /// The token was used before. Nothing was changed.
    Replayed,
}

/// The data that a provider needs for the sign-out of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignOutHint {
    /// The sealed ID token with which the session began, if it was kept.
    pub sealed_id_token: Option<String>,
    /// The address that this provider assigns to the person.
    pub address: Option<String>,
}

impl Store {
    /// Returns what a session's provider needs for a sign-out.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn sign_out_hint(&self, session: &SessionId) -> Result<Option<SignOutHint>, StoreError> {
        let sql = "SELECT h.sealed, coalesce(i.email, CASE WHEN u.email_identity = i.id THEN u.email END)
            FROM sessions s JOIN identities i ON i.id = s.identity_id JOIN users u ON u.id = s.user_id
            LEFT JOIN id_token_hints h ON h.session = s.id WHERE s.id = ?1";
        self.read(|connection| {
            rows::first(connection, sql, [session.as_str()], |row| {
                Ok(SignOutHint {
                    sealed_id_token: row.get(0)?,
                    address: row.get(1)?,
                })
            })
        })
    }

    /// Ends the sessions that a provider has ended, and commits their sign-out events, as if each person had signed out
    /// here. With a `sid`, these are the sessions that came from it; with a `sid` and a subject, only those of the
    /// subject, and also the subject's sessions whose `sid` is not known. With only a subject, these are all sessions
    /// that began with this identity.
    ///
    /// # Errors
    /// If the database cannot be written. Some sessions may have ended by then; the same token works again.
    pub async fn end_upstream_sessions(
        &self,
        sign_out: &UpstreamSignOut,
    ) -> Result<UpstreamSignedOut, StoreError> {
        let now = self.now();
        let mut ended = 0;
        loop {
            let (store, sign_out) = (self.clone(), sign_out.clone());
            let batch = self.write::<_, StoreError>(
                Touches::All(|batch: &Option<Batch>| batch.as_ref().map_or(&[], |batch| &batch.users)),
                move |connection| sign_out.end_some(connection, &store, now),
            );
            let Some(batch) = batch.await? else {
                return Ok(UpstreamSignedOut::Replayed);
            };
            ended += batch.sessions as u64;
            if batch.is_last {
                return Ok(UpstreamSignedOut::Ended(ended));
            }
        }
    }
}

/// The result of one transaction.
struct Batch {
    users: Vec<UserId>,
    sessions: usize,
    is_last: bool,
}

impl UpstreamSignOut {
    /// Returns `None` if the token was used before.
    fn end_some(
        &self,
        connection: &Connection,
        store: &Store,
        now: Timestamp,
    ) -> Result<Option<Batch>, StoreError> {
        let token = hash("jti", &self.issuer, &self.token);
        let sql = "SELECT 1 FROM upstream_sign_outs WHERE key = ?1";
        if rows::exists(connection, sql, [token])? {
            return Ok(None);
        }
        let sid = self.sid.as_ref().map(|sid| hash("sid", &self.issuer, sid));
        if let Some(sid) = sid {
            self.mark(connection, sid)?;
        }
        if let Some(subject) = &self.subject {
            let kind = if sid.is_some() { UNNAMED } else { "sub" };
            self.mark(connection, hash(kind, &self.issuer, subject))?;
        }
        let found = self.sessions(connection, sid)?;
        let mut users: Vec<UserId> = Vec::new();
        for session in &found {
            let event = EventId::random(store.random())?;
            sessions::sign_out(connection, session, event, now, now)?;
            if let Some(user) = sessions::end(connection, session)?
                && !users.contains(&user)
            {
                users.push(user);
            }
        }
        let is_last = found.len() < AT_ONCE;
        // Until all sessions have ended, the token may be used again.
        if is_last {
            self.mark(connection, token)?;
        }
        Ok(Some(Batch {
            users,
            sessions: found.len(),
            is_last,
        }))
    }

    fn sessions(&self, connection: &Connection, sid: Option<Hash>) -> rusqlite::Result<Vec<SessionId>> {
        let sql = "SELECT s.id FROM sessions s JOIN identities i ON i.id = s.identity_id
            WHERE s.upstream = ?1 AND (?2 IS NULL OR i.subject = ?2)
            UNION ALL
            SELECT s.id FROM identities i JOIN sessions s ON s.user_id = i.user_id AND s.identity_id = i.id
            WHERE i.subject = ?2 AND i.issuer = ?3 AND (?1 IS NULL OR s.upstream IS NULL) LIMIT ?4";
        let most = i64::try_from(AT_ONCE).unwrap_or(i64::MAX);
        let params = params![sid, self.subject, self.issuer, most];
        rows::all(connection, sql, params, |row| rows::id(row, 0))
    }

    fn mark(&self, connection: &Connection, key: Hash) -> rusqlite::Result<()> {
        let sql = "INSERT INTO upstream_sign_outs (key, issuer, number, issued, expires)
            SELECT ?1, ?2, 1 + coalesce(max(number), 0), ?3, ?4 FROM upstream_sign_outs WHERE issuer = ?2
            ON CONFLICT (key) DO UPDATE SET number = excluded.number, issued = max(issued, excluded.issued),
                expires = max(expires, excluded.expires)";
        let (issued, until) = (rows::seconds(self.issued), rows::seconds(self.until));
        rows::run(connection, sql, params![key, self.issuer, issued, until])?;
        let sql = "DELETE FROM upstream_sign_outs WHERE issuer = ?1 AND number <=
            (SELECT max(number) - ?2 FROM upstream_sign_outs WHERE issuer = ?1)";
        rows::execute(connection, sql, params![self.issuer, MAX_MARKS])
    }
}

/// Records from which session at the provider a new session came.
pub(crate) fn keep(
    connection: &Connection,
    session: &SessionId,
    issuer: &str,
    sid: Option<String>,
    sealed_id_token: Option<String>,
) -> rusqlite::Result<()> {
    if let Some(sid) = sid {
        let sql = "UPDATE sessions SET upstream = ?2 WHERE id = ?1";
        rows::run(
            connection,
            sql,
            params![session.as_str(), hash("sid", issuer, &sid)],
        )?;
    }
    if let Some(sealed) = sealed_id_token {
        let sql = "INSERT INTO id_token_hints (session, sealed) VALUES (?1, ?2)";
        rows::run(connection, sql, params![session.as_str(), sealed])?;
    }
    Ok(())
}

/// Whether the provider has ended the session from which a sign-in comes: the sign-out names the session, and the
/// person has not authenticated since; or it names the person, and the ID token was signed before. If an ID token does
/// not say when the person authenticated, that was when it was signed.
pub(crate) fn has_ended(
    connection: &Connection,
    identity: &Identity,
    from: &UpstreamSession,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let Identity { issuer, subject, .. } = identity;
    let sid = from.sid.as_ref().map(|sid| hash("sid", issuer, sid));
    // Within one second the order is unknown. If the ended session is named, the sign-in is rejected.
    let sql = "SELECT 1 FROM upstream_sign_outs WHERE expires > ?5
        AND (key = ?1 AND (?4 IS NULL OR issued >= ?4) OR key IN (?2, ?6) AND issued > ?3) LIMIT 1";
    let issued = from.issued.map(rows::seconds);
    let authenticated = from.authenticated.or(from.issued).map(rows::seconds);
    let unnamed = from.sid.is_none().then(|| hash(UNNAMED, issuer, subject));
    let subject = hash("sub", issuer, subject);
    let now = rows::seconds(now);
    rows::exists(
        connection,
        sql,
        params![sid, subject, issued, authenticated, now, unnamed],
    )
}

/// Identifies something that an issuer has named: never the same for two issuers, or for two kinds of things.
fn hash(kind: &str, issuer: &str, name: &str) -> Hash {
    rows::hash("", &[kind, issuer, name])
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[test]
    fn p21_names_of_two_issuers_never_collide() {
        let names = [
            hash("sid", "https://a.example", "1"),
            hash("sid", "https://b.example", "1"),
            hash("sub", "https://a.example", "1"),
            hash("jti", "https://a.example", "1"),
            hash("sid", "https://a.example1", ""),
            hash("sid", "https://a.exampl", "e1"),
        ];
        for (n, name) in names.iter().enumerate() {
            assert!(!names[n + 1..].contains(name), "{n}");
        }
    }
}
