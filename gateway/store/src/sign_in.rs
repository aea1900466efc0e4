//! How a sign-in begins: who is it, and what will the hooks be told.
//!
//! A person is who (issuer, subject) says they are, and nobody else. The one exception: an identity
//! that was never seen before becomes a further identity of an existing user where a provider that is
//! trusted for email vouches for an address, and a trusted provider vouched for the same address, byte
//! for byte, when that user got it.
//!
//! The address on a user is what one of their identities, the *source*, last said:
//!
//! * the source says another address: the user has that one from now on;
//! * the source says none (no longer verified, or withheld): the user has none, and nobody is found by
//!   an address that nobody vouches for any more;
//! * an identity that is not the source says something: nothing changes, but where there is no address
//!   it becomes the source;
//! * the new address is another user's trusted one: it is kept, untrusted, so that it goes on finding
//!   the user who had it first, and one address never finds two users.
//!
//! So an untrusted provider can put any address on a user of its own, and it finds nobody and is found
//! by nobody. An address planted there before its owner comes is no trap: the owner gets a user of
//! their own (or, where ids are made of addresses, is refused).

use gateway_model::{Email, Event, EventId, EventKind, Timestamp, UpstreamUser, User, UserId, UserStatus};
use md5::{Digest, Md5};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::{SignInError, StoreError};
use crate::events;
use crate::rows;
use crate::versions::Touches;
use crate::{Store, UserIds};

/// A sign-in whose events are committed and whose hooks have not answered yet.
#[derive(Clone, Debug)]
pub struct PendingSignIn {
    /// Who signs in; `Pending` where they are new.
    pub user: User,
    /// The event that tells of a new user. The same one as before where an earlier sign-in of this
    /// person got no verdict.
    pub new_user: Option<Event>,
    /// The event that tells of this sign-in.
    pub login: Event,
}

impl Store {
    /// Finds or adds the user, refreshes what the provider says of them, and commits the events that
    /// the hooks are to be told.
    ///
    /// # Errors
    /// Why the person cannot sign in; nothing has been changed then.
    pub async fn begin_sign_in(&self, person: &UpstreamUser) -> Result<PendingSignIn, SignInError> {
        let random = self.random();
        let fresh = Fresh {
            user: UserId::random(random).map_err(StoreError::from)?,
            new_user: EventId::random(random).map_err(StoreError::from)?,
            login: EventId::random(random).map_err(StoreError::from)?,
        };
        let (person, user_ids, now) = (person.clone(), self.user_ids(), self.now());
        let touches: Touches<PendingSignIn> = Touches::Found(|pending| Some(&pending.user.id));
        self.write(touches, move |connection| {
            begin(connection, &person, user_ids, fresh, now)
        })
        .await
    }
}

/// Ids that may be needed: there is no randomness inside the transaction.
struct Fresh {
    user: UserId,
    new_user: EventId,
    login: EventId,
}

fn begin(
    connection: &Connection,
    person: &UpstreamUser,
    user_ids: UserIds,
    fresh: Fresh,
    now: Timestamp,
) -> Result<PendingSignIn, SignInError> {
    let found = match find_by_identity(connection, person)? {
        Some(found) => found,
        None => match find_by_email(connection, person)? {
            Some(user) => Found {
                identity: add_identity(connection, &user, person)?,
                user,
            },
            None => add_user(connection, person, user_ids, fresh.user, now)?,
        },
    };
    refresh(connection, &found, person)?;
    // There is one: it has just been read or written. A damaged database may say otherwise.
    let user = rows::user_by_id(connection, &found.user)?
        .ok_or_else(|| StoreError::Corrupt("an identity without its user".into()))?;

    let new_user = match user.status {
        UserStatus::Disabled => return Err(SignInError::Disabled(user.id)),
        UserStatus::Active => None,
        UserStatus::Pending => Some(match events::pending_new_user(connection, &user.id)? {
            Some(event) => event,
            None => {
                let event = event(fresh.new_user, EventKind::NewUser, &user, person, now);
                events::add(connection, &event)?;
                event
            }
        }),
    };
    let login = event(fresh.login, EventKind::Login, &user, person, now);
    events::add(connection, &login)?;
    Ok(PendingSignIn {
        user,
        new_user,
        login,
    })
}

/// Whose sign-in it is, and which of their identities it is (`identities.id`).
struct Found {
    user: UserId,
    identity: i64,
}

fn find_by_identity(connection: &Connection, person: &UpstreamUser) -> rusqlite::Result<Option<Found>> {
    let sql = "SELECT user_id, id FROM identities WHERE subject = ?1 AND issuer = ?2";
    connection
        .prepare_cached(sql)?
        .query_row([&person.identity.subject, &person.identity.issuer], |row| {
            Ok(Found {
                user: UserId::from(row.get_ref(0)?.as_str()?),
                identity: row.get(1)?,
            })
        })
        .optional()
}

fn find_by_email(connection: &Connection, person: &UpstreamUser) -> rusqlite::Result<Option<UserId>> {
    match &person.email {
        Some(Email {
            address,
            trusted: true,
        }) => trusted_owner(connection, address),
        Some(Email { trusted: false, .. }) | None => Ok(None),
    }
}

/// The one user whose own address this is, as a trusted provider says.
fn trusted_owner(connection: &Connection, address: &str) -> rusqlite::Result<Option<UserId>> {
    let sql = "SELECT id FROM users WHERE email = ?1 AND email_trusted = 1";
    let id: Option<String> = rows::optional(connection, sql, [address])?;
    Ok(id.map(UserId::from))
}

fn add_user(
    connection: &Connection,
    person: &UpstreamUser,
    user_ids: UserIds,
    random: UserId,
    now: Timestamp,
) -> Result<Found, SignInError> {
    let user = match user_ids {
        UserIds::Random => random,
        UserIds::EmailMd5 => {
            let email = person.email.as_ref().ok_or(SignInError::EmailRequired)?;
            let id = UserId::from(hex::encode(Md5::digest(email.address.as_bytes())));
            // The user who has this id could not be found by this identity or this address.
            if rows::user_by_id(connection, &id)?.is_some() {
                return Err(SignInError::EmailInUse);
            }
            id
        }
    };
    let sql = "INSERT INTO users (id, name, joined, status) VALUES (?1, ?2, ?3, 'pending')";
    rows::run(
        connection,
        sql,
        params![user.as_str(), person.name, rows::seconds(now)],
    )?;
    let identity = add_identity(connection, &user, person)?;
    Ok(Found { user, identity })
}

fn add_identity(connection: &Connection, user: &UserId, person: &UpstreamUser) -> rusqlite::Result<i64> {
    let sql = "INSERT INTO identities (user_id, provider, issuer, subject) VALUES (?1, ?2, ?3, ?4)";
    let who = &person.identity;
    rows::run(
        connection,
        sql,
        params![user.as_str(), who.provider, who.issuer, who.subject],
    )?;
    Ok(connection.last_insert_rowid())
}

/// Brings up to date what the provider says of the person. A name or picture that it does not give
/// is kept.
fn refresh(connection: &Connection, found: &Found, person: &UpstreamUser) -> rusqlite::Result<()> {
    let Found { user, identity } = found;
    // The operator may have renamed the provider.
    let sql = "UPDATE identities SET provider = ?2 WHERE id = ?1 AND provider <> ?2";
    rows::run(connection, sql, params![identity, person.identity.provider])?;

    let sql = "UPDATE users SET name = CASE WHEN ?2 = '' THEN name ELSE ?2 END,
        avatar_url = coalesce(?3, avatar_url) WHERE id = ?1";
    rows::run(
        connection,
        sql,
        params![user.as_str(), person.name, person.avatar_url],
    )?;

    let sql = "SELECT email_identity FROM users WHERE id = ?1";
    let source: Option<i64> = connection
        .prepare_cached(sql)?
        .query_row([user.as_str()], |row| row.get(0))?;
    if source.is_some_and(|source| source != *identity) {
        return Ok(());
    }
    let (address, trusted) = match &person.email {
        None => (None, false),
        Some(Email { address, trusted }) => {
            let owner = if *trusted {
                trusted_owner(connection, address)?
            } else {
                None
            };
            (
                Some(address),
                *trusted && owner.is_none_or(|owner| owner == *user),
            )
        }
    };
    let sql = "UPDATE users SET email = ?2, email_trusted = ?3, email_identity = ?4 WHERE id = ?1";
    let source = address.map(|_| identity);
    rows::run(connection, sql, params![user.as_str(), address, trusted, source])?;
    Ok(())
}

fn event(id: EventId, kind: EventKind, user: &User, person: &UpstreamUser, now: Timestamp) -> Event {
    Event {
        id,
        kind,
        user_id: user.id.clone(),
        at: now,
        identity: person.identity.clone(),
        claims: person.claims.clone(),
    }
}
