//! Operators link and unlink identities, and merge users.
//!
//! Here the operator says who is the same person; no address and no rule about issuers does. Each operation is one
//! transaction, visible to every process when it returns.

use std::collections::BTreeMap;

use gateway_model::text::is_unsafe;
use gateway_model::{Email, Identity, Timestamp, User, UserId, UserStatus};
use rusqlite::{Connection, params};

use crate::error::{StoreError, WriteError};
use crate::sign_in::{self, Owner};
use crate::versions::Touches;
use crate::{Store, addresses, events, rows, users};

/// The reason why nothing was linked, unlinked or merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum JoinError {
    /// The user does not exist.
    #[error("there is no user {0}")]
    NoUser(UserId),
    /// The identity belongs to another user.
    #[error("the identity belongs to user {0}: merge the two users, or unlink it there first")]
    Elsewhere(UserId),
    /// No sign-in can have this subject or issuer.
    #[error("the {what} must have 1 to {most} bytes and no control characters")]
    Malformed { what: &'static str, most: usize },
    /// The identity does not belong to the user.
    #[error("the user has no such identity")]
    NotTheirs,
    /// Without this identity nobody could sign in as the user.
    #[error("it is the user's only identity: link another identity first, or delete the user")]
    OnlyOne,
    /// The user would exceed the limit on identities.
    #[error("the user would have {would} identities; users.identities allows {limit}")]
    TooManyIdentities { would: usize, limit: usize },
    /// The attributes of both users together exceed the limits of one.
    #[error(transparent)]
    TooManyAttributes(#[from] gateway_model::TooManyAttributes),
    /// A user cannot be merged with themselves.
    #[error("both are the same user")]
    Same,
    /// Merging would let a disabled user in again, or lock out one who is not disabled.
    #[error("user {0} is disabled: enable them first, or leave the two apart")]
    Disabled(UserId),
    /// The on-new-user hooks have not accepted the remaining user, and an operator does not replace a hook.
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
}

/// The most bytes of a subject (OpenID Connect Core 1.0 section 2, `sub`).
const MAX_SUBJECT: usize = 255;
/// The most bytes of an issuer, which is a URL.
const MAX_ISSUER: usize = 2048;

/// A user after an identity was linked or unlinked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    /// The user now.
    pub user: User,
    /// Whether anything has changed.
    pub changed: bool,
    /// The number of sessions that ended.
    pub sessions_ended: usize,
}

/// The result of a merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The remaining user now.
    pub user: User,
    /// The number of the removed user's sessions that ended.
    pub sessions_ended: usize,
    /// The username of the removed user, if the remaining user already had one. It is free now.
    pub dropped_username: Option<String>,
    /// The address of the removed user, if the remaining user already had another.
    pub dropped_email: Option<String>,
    /// Attributes of the removed user that the remaining user has with another value.
    pub dropped_attributes: BTreeMap<String, String>,
}

impl Store {
    /// Returns the issuers under which a provider's identities are stored.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn issuers_of(&self, provider: &str) -> Result<Vec<String>, StoreError> {
        let provider = provider.to_owned();
        let sql = "SELECT DISTINCT issuer FROM identities WHERE provider = ?1 ORDER BY issuer";
        self.read_much(move |connection| rows::all(connection, sql, [provider], |row| row.get(0)))
            .await
    }

    /// Links an identity that no user has to a user.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn link_identity(&self, user: &UserId, identity: &Identity) -> Result<Linked, JoinError> {
        let (user, identity, most) = (user.clone(), identity.clone(), self.0.options.limits.identities);
        self.write(Touches::User(user.clone()), move |connection| {
            link(connection, &user, &identity, most)
        })
        .await
    }

    /// Unlinks an identity from a user and ends the sessions that began with it. Its address does not link it to that
    /// user again: its next sign-in creates another user, or is rejected under [`crate::UserIds::EmailMd5`] while the
    /// id of its address is taken.
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

    /// Merges two users. `into` keeps their id and status, and everything that both have: username, address, name,
    /// picture and attributes of the same name. It gets what only `from` has, and the identities, events and pending
    /// hooks of `from`, who is deleted with their id and sessions.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn merge_users(&self, from: &UserId, into: &UserId) -> Result<Merged, JoinError> {
        let (from, into, limits, now) = (from.clone(), into.clone(), self.0.options.limits, self.now());
        // Two users change, which `Touches::User` cannot say.
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
    match sign_in::find_identity(connection, identity)? {
        Some(owner) if owner.user == *user => {
            return Ok(Linked {
                user: before,
                changed: false,
                sessions_ended: 0,
            });
        }
        Some(owner) => return Err(JoinError::Elsewhere(owner.user)),
        None => {}
    }
    fits(before.identities.len() + 1, most)?;
    sign_in::add_identity(connection, user, identity)?;
    let sql = "DELETE FROM separated_identities WHERE subject = ?1 AND issuer = ?2 AND user_id = ?3";
    let who = [identity.subject.as_str(), identity.issuer.as_str(), user.as_str()];
    rows::run(connection, sql, who)?;
    Ok(Linked {
        user: known(connection, user)?,
        changed: true,
        sessions_ended: 0,
    })
}

fn unlink(connection: &Connection, user: &UserId, identity: &Identity) -> Result<Linked, JoinError> {
    let before = known(connection, user)?;
    let id = match sign_in::find_identity(connection, identity)? {
        Some(Owner {
            user: owner,
            identity,
        }) if owner == *user => identity,
        _ => return Err(JoinError::NotTheirs),
    };
    if before.identities.len() < 2 {
        return Err(JoinError::OnlyOne);
    }
    let sql = "DELETE FROM sessions WHERE user_id = ?1 AND identity_id = ?2";
    let sessions_ended = rows::run(connection, sql, params![user.as_str(), id])?;
    // Nobody vouches for the address any more, until the next identity signs in.
    let sql = "UPDATE users SET email = NULL, email_trusted = 0, email_identity = NULL
        WHERE id = ?1 AND email_identity = ?2";
    rows::run(connection, sql, params![user.as_str(), id])?;
    rows::run(connection, "DELETE FROM identities WHERE id = ?1", [id])?;
    let sql = "INSERT INTO separated_identities (subject, issuer, user_id) VALUES (?1, ?2, ?3)
        ON CONFLICT DO NOTHING";
    let who = [identity.subject.as_str(), identity.issuer.as_str(), user.as_str()];
    rows::run(connection, sql, who)?;
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
    /// The attributes that only the removed user has.
    fn new_attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = self.loser.attributes.clone();
        attributes.retain(|name, _| !self.stays.attributes.contains_key(name));
        attributes
    }

    fn run(self, connection: &Connection, attributes: &BTreeMap<String, String>) -> rusqlite::Result<Merged> {
        let (from, into) = (self.loser.id.as_str(), self.stays.id.as_str());
        let sessions_ended = rows::run(connection, "DELETE FROM sessions WHERE user_id = ?1", [from])?;
        // The removed user is no longer new, whatever the hooks would have said.
        events::drop_where(
            connection,
            "user_id = ?2 AND kind = 'new-user'",
            self.now,
            &[&from],
        )?;
        for sql in [
            "UPDATE events SET user_id = ?2 WHERE user_id = ?1",
            "UPDATE identities SET user_id = ?2 WHERE user_id = ?1",
        ] {
            rows::run(connection, sql, [from, into])?;
        }
        let dropped_username = self.take_username(connection)?;
        self.take_email(connection)?;
        let sql =
            "UPDATE users SET joined = min(joined, ?2), name = CASE WHEN name = '' THEN ?3 ELSE name END,
            avatar_url = coalesce(avatar_url, ?4) WHERE id = ?1";
        let Self { loser, .. } = &self;
        let joined = rows::seconds(loser.joined);
        rows::run(
            connection,
            sql,
            params![into, joined, loser.name, loser.avatar_url],
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

    /// Moves the username to the remaining user if they have none; otherwise returns it. The stored name counts, not
    /// the one that is shown: a name that has become illegal since is kept.
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

    /// Does the same for the address, with the identity that vouches for it.
    fn take_email(&self, connection: &Connection) -> rusqlite::Result<()> {
        let (from, into) = (self.loser.id.as_str(), self.stays.id.as_str());
        let sql = "SELECT email, email_trusted, email_identity FROM users WHERE id = ?1";
        let (email, trusted, identity): (Option<String>, bool, Option<i64>) = connection
            .prepare_cached(sql)?
            .query_row([from], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        // First remove it from the other user: a trusted address belongs to one user.
        let sql = "UPDATE users SET email = NULL, email_trusted = 0, email_identity = NULL WHERE id = ?1";
        rows::run(connection, sql, [from])?;
        let sql = "UPDATE users SET email = ?2, email_trusted = ?3, email_identity = ?4 WHERE id = ?1
            AND ?2 IS NOT NULL AND (email IS NULL OR (email = ?2 AND email_trusted < ?3))";
        rows::execute(connection, sql, params![into, email, trusted, identity])
    }

    /// Keeps identities apart that the operator has unlinked from the removed user, except those of the merged user.
    fn take_separations(&self, connection: &Connection) -> rusqlite::Result<()> {
        let (from, into) = (self.loser.id.as_str(), self.stays.id.as_str());
        let sql = "UPDATE OR IGNORE separated_identities SET user_id = ?2 WHERE user_id = ?1";
        rows::run(connection, sql, [from, into])?;
        let sql = "DELETE FROM separated_identities WHERE user_id = ?1 AND EXISTS (SELECT 1 FROM identities i
            WHERE i.subject = separated_identities.subject AND i.issuer = separated_identities.issuer AND i.user_id = ?1)";
        rows::execute(connection, sql, [into])
    }
}
