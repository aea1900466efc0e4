//! What an operator joins or separates by hand: an identity and a user, or two users.
//!
//! No address decides here and no rule about issuers: the operator says who is the same person. Each is one
//! transaction, seen by every process when it returns.

use std::collections::BTreeMap;

use gateway_model::text::is_unsafe;
use gateway_model::{Email, Identity, Timestamp, User, UserId, UserStatus};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::{StoreError, WriteError};
use crate::versions::Touches;
use crate::{Store, addresses, events, rows, sign_in, users};

/// Why two cannot be joined or separated. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// There is no such user (any more).
    #[error("there is no user {0}")]
    NoUser(UserId),
    /// The identity is another user's.
    #[error("the identity belongs to user {0}: merge the two users, or unlink it there first")]
    Elsewhere(UserId),
    /// The subject or the issuer is none that a sign-in can have.
    #[error("the {what} must have 1 to {most} bytes and no control characters")]
    Malformed {
        /// Which of the two.
        what: &'static str,
        /// How many bytes it may have.
        most: usize,
    },
    /// The identity is not the user's.
    #[error("the user has no such identity")]
    NotTheirs,
    /// Without it nobody could sign in as the user.
    #[error("it is the user's only identity: link another one first, or delete the user")]
    OnlyOne,
    /// The user would have more identities than one may have.
    #[error("the user would have {would} identities; users.identities allows {limit}")]
    TooManyIdentities {
        /// How many there would be.
        would: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The attributes of both are more than one user may have.
    #[error(transparent)]
    TooManyAttributes(#[from] gateway_model::TooManyAttributes),
    /// The two are one.
    #[error("both are the same user")]
    Same,
    /// Joining would let a disabled user in again, or shut out one who is not.
    #[error("user {0} is disabled: enable them first, or leave the two apart")]
    Disabled(UserId),
    /// The on-new-user hooks have not accepted the user who is to stay; an operator does not stand in for them.
    #[error(
        "user {0} waits for the on-new-user hooks: merge in the other direction, or let them sign in first"
    )]
    Pending(UserId),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for JoinError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl WriteError for JoinError {
    fn failure(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }

    fn in_file(self, path: &std::path::Path) -> Self {
        match self {
            Self::Store(error) => Self::Store(error.in_file(path)),
            refusal => refusal,
        }
    }
}

/// Bytes of a subject (OpenID Connect Core 1.0 section 2, `sub`).
const MAX_SUBJECT: usize = 255;
/// Bytes of an issuer: it is a URL.
const MAX_ISSUER: usize = 2048;

/// A user after an identity was linked or unlinked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    /// The user as they are now.
    pub user: User,
    /// Whether anything has changed.
    pub changed: bool,
    /// How many sessions have ended.
    pub sessions_ended: usize,
}

/// What became of two users who were merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The user who stays, as they are now.
    pub user: User,
    /// How many sessions of the other one have ended.
    pub sessions_ended: usize,
    /// The username of the other one, where the user who stays had one already: nobody has it now.
    pub dropped_username: Option<String>,
    /// The address of the other one, where the user who stays had one already.
    pub dropped_email: Option<String>,
    /// Attributes of the other one that the user who stays has with another value.
    pub dropped_attributes: BTreeMap<String, String>,
}

impl Store {
    /// The issuers under which a provider's identities are in the database.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn issuers_of(&self, provider: &str) -> Result<Vec<String>, StoreError> {
        let provider = provider.to_owned();
        self.read_much(move |connection| {
            connection
                .prepare_cached("SELECT DISTINCT issuer FROM identities WHERE provider = ?1 ORDER BY issuer")?
                .query_map([provider], |row| row.get(0))?
                .collect()
        })
        .await
    }

    /// Makes an identity that nobody has one of a user's.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn link_identity(&self, user: &UserId, identity: &Identity) -> Result<Linked, JoinError> {
        let (user, identity, most) = (user.clone(), identity.clone(), self.limits().identities);
        self.write(Touches::User(user.clone()), move |connection| {
            link(connection, &user, &identity, most)
        })
        .await
    }

    /// Takes an identity from a user and ends the sessions that began with it. An address does not link it to that user
    /// again: its next sign-in is a user of its own, or is refused under [`crate::UserIds::EmailMd5`] while the id of its
    /// address is taken.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn unlink_identity(&self, user: &UserId, identity: &Identity) -> Result<Linked, JoinError> {
        let (user, identity) = (user.clone(), identity.clone());
        self.write(Touches::User(user.clone()), move |connection| {
            unlink(connection, &user, &identity)
        })
        .await
    }

    /// Makes two users one. `into` keeps their id, status, and whatever both have: username, address, name, picture and
    /// attributes of one name; what only `from` has they get. They get the identities, the events and what hooks have still to
    /// be told of `from`, who is gone with their id and sessions.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn merge_users(&self, from: &UserId, into: &UserId) -> Result<Merged, JoinError> {
        let (from, into, limits, now) = (from.clone(), into.clone(), self.limits(), self.now());
        // Two users are touched.
        self.write(Touches::Everybody, move |connection| {
            let merge = Merge {
                loser: known(connection, &from)?,
                stays: known(connection, &into)?,
                now,
            };
            if from == into {
                return Err(JoinError::Same);
            }
            for user in [&merge.loser, &merge.stays] {
                if user.status == UserStatus::Disabled {
                    return Err(JoinError::Disabled(user.id.clone()));
                }
            }
            if merge.stays.status == UserStatus::Pending {
                return Err(JoinError::Pending(into));
            }
            let would = merge.loser.identities.len() + merge.stays.identities.len();
            fits(would, limits.identities)?;
            let mut attributes = merge.stays.attributes.clone();
            gateway_model::limits::set_attributes(&mut attributes, &merge.new_attributes(), &limits)?;
            Ok(merge.run(connection, &attributes)?)
        })
        .await
    }
}

fn known(connection: &Connection, user: &UserId) -> Result<User, JoinError> {
    rows::user_by_id(connection, user)?.ok_or_else(|| JoinError::NoUser(user.clone()))
}

const fn fits(would: usize, limit: usize) -> Result<(), JoinError> {
    if would > limit {
        return Err(JoinError::TooManyIdentities { would, limit });
    }
    Ok(())
}

/// Whose an identity is, and its `identities.id`.
fn owner(connection: &Connection, identity: &Identity) -> rusqlite::Result<Option<(UserId, i64)>> {
    connection
        .prepare_cached("SELECT user_id, id FROM identities WHERE subject = ?1 AND issuer = ?2")?
        .query_row([&identity.subject, &identity.issuer], |row| {
            Ok((UserId::from(row.get_ref(0)?.as_str()?), row.get(1)?))
        })
        .optional()
}

fn link(
    connection: &Connection,
    user: &UserId,
    identity: &Identity,
    most: usize,
) -> Result<Linked, JoinError> {
    let before = known(connection, user)?;
    for (what, text, most) in [
        ("subject", &identity.subject, MAX_SUBJECT),
        ("issuer", &identity.issuer, MAX_ISSUER),
    ] {
        if !(1..=most).contains(&text.len()) || text.contains(is_unsafe) {
            return Err(JoinError::Malformed { what, most });
        }
    }
    match owner(connection, identity)? {
        Some((owner, _)) if owner == *user => {
            return Ok(Linked {
                user: before,
                changed: false,
                sessions_ended: 0,
            });
        }
        Some((owner, _)) => return Err(JoinError::Elsewhere(owner)),
        None => {}
    }
    fits(before.identities.len() + 1, most)?;
    sign_in::add_identity(connection, user, identity)?;
    let sql = "DELETE FROM separated_identities WHERE subject = ?1 AND issuer = ?2 AND user_id = ?3";
    rows::run(
        connection,
        sql,
        [identity.subject.as_str(), identity.issuer.as_str(), user.as_str()],
    )?;
    Ok(Linked {
        user: known(connection, user)?,
        changed: true,
        sessions_ended: 0,
    })
}

fn unlink(connection: &Connection, user: &UserId, identity: &Identity) -> Result<Linked, JoinError> {
    let before = known(connection, user)?;
    let id = match owner(connection, identity)? {
        Some((owner, id)) if owner == *user => id,
        _ => return Err(JoinError::NotTheirs),
    };
    if before.identities.len() < 2 {
        return Err(JoinError::OnlyOne);
    }
    let sql = "DELETE FROM sessions WHERE user_id = ?1 AND identity_id = ?2";
    let sessions_ended = rows::run(connection, sql, params![user.as_str(), id])?;
    // Nobody vouches for the address any more; the next identity to sign in does.
    let sql = "UPDATE users SET email = NULL, email_trusted = 0, email_identity = NULL
        WHERE id = ?1 AND email_identity = ?2";
    rows::run(connection, sql, params![user.as_str(), id])?;
    rows::run(connection, "DELETE FROM identities WHERE id = ?1", [id])?;
    let sql = "INSERT INTO separated_identities (subject, issuer, user_id) VALUES (?1, ?2, ?3)
        ON CONFLICT DO NOTHING";
    rows::run(
        connection,
        sql,
        [identity.subject.as_str(), identity.issuer.as_str(), user.as_str()],
    )?;
    Ok(Linked {
        user: known(connection, user)?,
        changed: true,
        sessions_ended,
    })
}

struct Merge {
    loser: User,
    stays: User,
    now: Timestamp,
}

impl Merge {
    /// What only the loser has.
    fn new_attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = self.loser.attributes.clone();
        attributes.retain(|name, _| !self.stays.attributes.contains_key(name));
        attributes
    }

    fn run(self, connection: &Connection, attributes: &BTreeMap<String, String>) -> rusqlite::Result<Merged> {
        let (from, into) = (self.loser.id.as_str(), self.stays.id.as_str());
        let sessions_ended = rows::run(connection, "DELETE FROM sessions WHERE user_id = ?1", [from])?;
        // The loser is not a new user any more, whatever hooks would have said.
        let sql = "UPDATE events SET verdict = 'dropped', settled_at = ?2, claims = '{}'
            WHERE user_id = ?1 AND kind = 'new-user' AND verdict IS NULL";
        rows::run(connection, sql, params![from, rows::seconds(self.now)])?;
        rows::run(
            connection,
            "UPDATE events SET user_id = ?2 WHERE user_id = ?1",
            [from, into],
        )?;
        rows::run(
            connection,
            "UPDATE identities SET user_id = ?2 WHERE user_id = ?1",
            [from, into],
        )?;
        let dropped_username = self.take_username(connection)?;
        self.take_email(connection)?;
        let sql =
            "UPDATE users SET joined = min(joined, ?2), name = CASE WHEN name = '' THEN ?3 ELSE name END,
            avatar_url = coalesce(avatar_url, ?4) WHERE id = ?1";
        rows::run(
            connection,
            sql,
            params![
                into,
                rows::seconds(self.loser.joined),
                self.loser.name,
                self.loser.avatar_url
            ],
        )?;
        users::write_attributes(connection, &self.stays.id, attributes)?;
        self.take_separations(connection)?;
        addresses::merge(connection, from, into)?;
        users::delete(connection, &self.loser.id)?;
        events::make_room_for_login(connection, &self.stays.id, self.now)?;
        let user =
            rows::user_by_id(connection, &self.stays.id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let keeps = |email: &Email| {
            user.email
                .as_ref()
                .is_some_and(|kept| kept.address == email.address)
        };
        let dropped_email = self.loser.email.filter(|email| !keeps(email));
        let mut dropped_attributes = self.loser.attributes;
        dropped_attributes.retain(|name, value| attributes.get(name) != Some(value));
        Ok(Merged {
            sessions_ended,
            dropped_username,
            dropped_email: dropped_email.map(|email| email.address),
            dropped_attributes,
            user,
        })
    }

    /// The one who stays gets the loser's username where they have none; gives it where it is dropped. The row counts, and
    /// not what is shown: a name that has become illegal since is kept.
    fn take_username(&self, connection: &Connection) -> rusqlite::Result<Option<String>> {
        let (from, into) = (self.loser.id.as_str(), self.stays.id.as_str());
        let sql = "SELECT username, username_folded FROM users WHERE id = ?1";
        let (username, folded): (Option<String>, Option<String>) = connection
            .prepare_cached(sql)?
            .query_row([from], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let sql = "UPDATE users SET username = NULL, username_folded = NULL WHERE id = ?1";
        rows::run(connection, sql, [from])?;
        let sql = "UPDATE users SET username = ?2, username_folded = ?3 WHERE id = ?1 AND username IS NULL";
        let taken = rows::run(connection, sql, params![into, username, folded])? > 0;
        Ok(username.filter(|_| !taken))
    }

    /// The same for the address, with the identity that vouches for it.
    fn take_email(&self, connection: &Connection) -> rusqlite::Result<()> {
        let (from, into) = (self.loser.id.as_str(), self.stays.id.as_str());
        let sql = "SELECT email, email_trusted, email_identity FROM users WHERE id = ?1";
        let (email, trusted, identity): (Option<String>, bool, Option<i64>) = connection
            .prepare_cached(sql)?
            .query_row([from], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        // First the loser's: a trusted address is one user's.
        let sql = "UPDATE users SET email = NULL, email_trusted = 0, email_identity = NULL WHERE id = ?1";
        rows::run(connection, sql, [from])?;
        let sql = "UPDATE users SET email = ?2, email_trusted = ?3, email_identity = ?4 WHERE id = ?1
            AND ?2 IS NOT NULL AND (email IS NULL OR (email = ?2 AND email_trusted < ?3))";
        rows::run(connection, sql, params![into, email, trusted, identity])?;
        Ok(())
    }

    /// What the operator has separated from the loser stays separated, unless it is one of the two now.
    fn take_separations(&self, connection: &Connection) -> rusqlite::Result<()> {
        let (from, into) = (self.loser.id.as_str(), self.stays.id.as_str());
        let sql = "UPDATE OR IGNORE separated_identities SET user_id = ?2 WHERE user_id = ?1";
        rows::run(connection, sql, [from, into])?;
        let sql = "DELETE FROM separated_identities WHERE user_id = ?1 AND EXISTS (SELECT 1 FROM identities i
            WHERE i.subject = separated_identities.subject AND i.issuer = separated_identities.issuer AND i.user_id = ?1)";
        rows::run(connection, sql, [into])?;
        Ok(())
    }
}
