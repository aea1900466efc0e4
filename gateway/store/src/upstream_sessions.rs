//! Sessions at upstream providers: which of ours came from them, and what happens when a provider ends one (OpenID Connect
//! Back-Channel Logout 1.0).
//!
//! A session keeps a hash of its issuer and `sid`, so a provider can only name sessions of its own, and the database holds
//! nothing that could be presented to it. The ID token, where the provider is to be shown it at a sign-out, is kept as the
//! caller has sealed it, in a row that goes with the session.
//!
//! A sign-out leaves a mark for what it named: the token, the `sid`, the subject. The first makes a token work once. The
//! others refuse a sign-in that was under way: it came from a session that the provider has ended since, and its session is
//! opened after that. A provider may use a `sid` again. A person who has proved to it since who they are is in a new
//! session of that name. Marks are kept until the caller says that neither can matter any more, and of one issuer at most [`MAX_MARKS`].

use gateway_model::{EventId, Identity, SessionId, Timestamp, UserId};
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest, Sha256};

use crate::Store;
use crate::error::StoreError;
use crate::rows;
use crate::sessions;
use crate::sign_in::PendingSignIn;
use crate::versions::Touches;

/// Most marks of one issuer. A sign-out leaves three at most.
pub(crate) const MAX_MARKS: i64 = 100_000;
/// Most sessions that end in one transaction, so that other writes get their turn.
const AT_ONCE: usize = 1000;

type Hash = [u8; 32];

/// What a sign-out of one session names beside it: those of the person of which it is not known what they came from.
const UNNAMED: &str = "sub without sid";

/// A provider's word that somebody has signed out there: what a logout token says, once it has been validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSignOut {
    /// Who says so.
    pub issuer: String,
    /// Whose sessions end, where the token names nobody's session in particular.
    pub subject: Option<String>,
    /// Which session of the provider has ended.
    pub sid: Option<String>,
    /// The token's own name (`jti`).
    pub token: String,
    /// When it was signed, by the provider's clock.
    pub issued: Timestamp,
    /// Until when it could be shown again.
    pub until: Timestamp,
}

/// What came of an [`UpstreamSignOut`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamSignedOut {
    /// So many sessions have ended.
    Ended(u64),
    /// The token has been used before. Nothing was changed.
    Replayed,
}

/// What a provider is told of a session that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignOutHint {
    /// The ID token that the session began with, sealed, where it was kept.
    pub sealed_id_token: Option<String>,
    /// The address that this provider gives the person.
    pub address: Option<String>,
}

impl Store {
    /// What is known of a session for its provider's sign-out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn sign_out_hint(&self, session: &SessionId) -> Result<Option<SignOutHint>, StoreError> {
        let sql = "SELECT h.sealed, coalesce(i.email, CASE WHEN u.email_identity = i.id THEN u.email END)
            FROM sessions s JOIN identities i ON i.id = s.identity_id JOIN users u ON u.id = s.user_id
            LEFT JOIN id_token_hints h ON h.session = s.id WHERE s.id = ?1";
        self.read(|connection| {
            let hint = |row: &rusqlite::Row<'_>| {
                Ok(SignOutHint {
                    sealed_id_token: row.get(0)?,
                    address: row.get(1)?,
                })
            };
            connection
                .prepare_cached(sql)?
                .query_row([session.as_str()], hint)
                .optional()
        })
    }

    /// Ends the sessions that a provider has ended, and commits the events that tell of it, as if each person had signed
    /// out here. Of a `sid` those that came from it; where there is a subject too, only theirs, and with them those of the
    /// subject of which it is not known what they came from. Of a subject alone, all that began with this identity.
    ///
    /// # Errors
    /// When the database cannot be written. Some sessions may have ended then; the same token works again.
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

/// What one transaction has ended.
struct Batch {
    users: Vec<UserId>,
    sessions: usize,
    is_last: bool,
}

impl UpstreamSignOut {
    /// `None`: the token has been used before.
    fn end_some(
        &self,
        connection: &Connection,
        store: &Store,
        now: Timestamp,
    ) -> Result<Option<Batch>, StoreError> {
        let token = hash("jti", &self.issuer, &self.token);
        let sql = "SELECT 1 FROM upstream_sign_outs WHERE key = ?1";
        if rows::optional::<i64>(connection, sql, [token])?.is_some() {
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
        // Until all have ended, the token may be shown again.
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
        connection
            .prepare_cached(sql)?
            .query_map(params![sid, self.subject, self.issuer, most], |row| {
                Ok(SessionId::from(row.get_ref(0)?.as_str()?))
            })?
            .collect()
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
        rows::run(connection, sql, params![self.issuer, MAX_MARKS])?;
        Ok(())
    }
}

/// Notes what a new session came from.
pub(crate) fn keep(
    connection: &Connection,
    session: &SessionId,
    issuer: &str,
    from: &Origin,
) -> rusqlite::Result<()> {
    if let Some(sid) = &from.sid {
        let sql = "UPDATE sessions SET upstream = ?2 WHERE id = ?1";
        rows::run(
            connection,
            sql,
            params![session.as_str(), hash("sid", issuer, sid)],
        )?;
    }
    if let Some(sealed) = &from.sealed_id_token {
        let sql = "INSERT INTO id_token_hints (session, sealed) VALUES (?1, ?2)";
        rows::run(connection, sql, params![session.as_str(), sealed])?;
    }
    Ok(())
}

/// Whether the provider has ended the session that the sign-in comes from: it names the session and has not authenticated
/// the person since, or names the person and signed the ID token before. Where an ID token does not say when the person was
/// authenticated, that was when it was signed.
pub(crate) fn has_ended(
    connection: &Connection,
    identity: &Identity,
    from: &Origin,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let Identity { issuer, subject, .. } = identity;
    let sid = from.sid.as_ref().map(|sid| hash("sid", issuer, sid));
    // Within one second nobody can tell which came first. That an ended session is named speaks against the sign-in.
    let sql = "SELECT 1 FROM upstream_sign_outs WHERE expires > ?5
        AND (key = ?1 AND (?4 IS NULL OR issued >= ?4) OR key IN (?2, ?6) AND issued > ?3) LIMIT 1";
    let issued = from.issued.map(rows::seconds);
    let authenticated = from.authenticated.or(from.issued).map(rows::seconds);
    let unnamed = from.sid.is_none().then(|| hash(UNNAMED, issuer, subject));
    let subject = hash("sub", issuer, subject);
    let found = rows::optional::<i64>(
        connection,
        sql,
        params![sid, subject, issued, authenticated, rows::seconds(now), unnamed],
    )?;
    Ok(found.is_some())
}

/// What a session comes from, at its provider.
#[derive(Clone)]
pub(crate) struct Origin {
    sid: Option<String>,
    issued: Option<Timestamp>,
    authenticated: Option<Timestamp>,
    sealed_id_token: Option<String>,
}

impl Origin {
    pub(crate) fn of(pending: &PendingSignIn) -> Self {
        Self {
            sid: pending.sid.clone(),
            issued: pending.issued,
            authenticated: pending.authenticated,
            sealed_id_token: pending.sealed_id_token.clone(),
        }
    }
}

/// What stands for something that an issuer has named: never the same for two issuers, or for two kinds of things.
fn hash(kind: &str, issuer: &str, name: &str) -> Hash {
    let mut hash = Sha256::new();
    for part in [kind, issuer, name] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[test]
    fn p21_what_two_issuers_name_is_never_the_same() {
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
