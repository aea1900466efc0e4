//! How a sign-in begins: who is it, and what will the hooks be told.
//!
//! A person is who (issuer, subject) says they are, and nobody else. The one exception: an identity
//! that was never seen before becomes a further identity of an existing user where a provider that is
//! trusted for email vouches for an address, and a trusted provider vouched for the same address, byte
//! for byte, when that user got it. Even then it is a user of its own
//!
//! * where that user has an identity of the same issuer: two subjects of one issuer are two people;
//! * where the address has ever been two people's: it was given to somebody else, or is shared, so it says of
//!   nobody who they are (see `addresses`);
//! * where an operator has separated the two by hand;
//! * where the user has as many identities as one may have.
//!
//! The address on a user is what one of their identities, the *source*, last said:
//!
//! * the source says another address: the user has that one from now on;
//! * the source says none (no longer verified, or withheld): the user has none, and nobody is found by
//!   an address that nobody vouches for any more;
//! * an identity that is not the source says something: nothing changes, but where there is no address
//!   it becomes the source;
//! * the new address is another user's trusted one: it is kept, untrusted, so that one address never finds
//!   two users. From then on it finds neither.
//!
//! So an untrusted provider can put any address on a user of its own, and it finds nobody and is found
//! by nobody. An address planted there before its owner comes is not a trap: the owner gets a user of
//! their own.
//!
//! Where ids are made of addresses, only an address that counts (verified, from a provider trusted for
//! email) makes one, and the person is refused where the address or the id is another user's already. Once an
//! operator has deleted that user, the address makes the id again, for whoever brings it first.
//! Everybody else gets a random id.

use gateway_model::{
    Claims, Email, Event, EventId, EventKind, Identity, Timestamp, UpstreamUser, User, UserId, UserStatus,
};
use md5::{Digest, Md5};
use rusqlite::{Connection, OptionalExtension, params};

use crate::addresses;
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
    /// The provider's name for the session that the person has there.
    pub sid: Option<String>,
    /// When the provider signed its ID token, by its own clock.
    pub issued: Option<Timestamp>,
    /// When the person proved to the provider who they are, by its own clock.
    pub authenticated: Option<Timestamp>,
    /// The ID token, sealed, to be kept with the session: whoever begins the sign-in decides that. Deleted with it.
    pub sealed_id_token: Option<String>,
}

impl Store {
    /// Finds or adds the user, refreshes what the provider says of them, and commits the events that
    /// the hooks are to be told.
    ///
    /// # Errors
    /// Why the person cannot sign in. Nothing has been changed then, except that the address which their provider gives
    /// them is on record.
    pub async fn begin_sign_in(&self, person: &UpstreamUser) -> Result<PendingSignIn, SignInError> {
        let random = self.random();
        let fresh = Fresh {
            user: UserId::random(random).map_err(StoreError::from)?,
            new_user: EventId::random(random).map_err(StoreError::from)?,
            login: EventId::random(random).map_err(StoreError::from)?,
        };
        let rules = Rules {
            user_ids: self.user_ids(),
            identities: self.limits().identities,
            now: self.now(),
        };
        // The claims are as large as the provider likes. What the writer's queue holds of them is bounded.
        let claims = events::kept_claims(&person.claims);
        let described = UpstreamUser {
            identity: person.identity.clone(),
            email: person.email.clone(),
            name: person.name.clone(),
            avatar_url: person.avatar_url.clone(),
            claims: Claims::default(),
            session: gateway_model::UpstreamSession::default(),
        };
        let touches: Touches<Result<Begun, SignInError>> =
            Touches::Found(|begun| begun.as_ref().ok().map(|begun| &begun.pending.user.id));
        let begun = self.write(touches, move |connection| {
            // Whatever becomes of the sign-in: that it is refused makes the issuer's word no less true.
            if let Some(address) = address_that_counts(&described) {
                addresses::claim(connection, &described.identity, address)?;
            }
            unless_refused(connection, || {
                begin(connection, &described, &claims, &rules, fresh)
            })
        });
        let Begun {
            mut pending,
            needs_claims,
        } = begun.await??;
        pending.sid.clone_from(&person.session.sid);
        pending.issued = person.session.issued;
        pending.authenticated = person.session.authenticated;
        pending.login.claims.clone_from(&person.claims);
        if let Some(event) = &mut pending.new_user
            && needs_claims
        {
            event.identity.clone_from(&person.identity);
            event.claims.clone_from(&person.claims);
        }
        Ok(pending)
    }
}

/// A sign-in as the transaction leaves it: its events have no claims yet.
struct Begun {
    pending: PendingSignIn,
    /// The event that tells of the new user is this sign-in's, or was kept without its claims.
    needs_claims: bool,
}

/// What a sign-in goes by, beside what the provider said.
struct Rules {
    user_ids: UserIds,
    /// Most identities of one user.
    identities: usize,
    now: Timestamp,
}

/// Ids that may be needed: there is no randomness inside the transaction.
struct Fresh {
    user: UserId,
    new_user: EventId,
    login: EventId,
}

/// Undoes what a sign-in that is refused has changed, and nothing that was changed before it. Where the database fails
/// the writer undoes everything.
fn unless_refused<T>(
    connection: &Connection,
    begin: impl FnOnce() -> Result<T, SignInError>,
) -> Result<Result<T, SignInError>, SignInError> {
    rows::run(connection, "SAVEPOINT sign_in", [])?;
    let begun = match begin() {
        Err(SignInError::Store(error)) => return Err(error.into()),
        begun => begun,
    };
    if begun.is_err() {
        rows::run(connection, "ROLLBACK TO sign_in", [])?;
    }
    rows::run(connection, "RELEASE sign_in", [])?;
    Ok(begun)
}

fn begin(
    connection: &Connection,
    person: &UpstreamUser,
    claims: &str,
    rules: &Rules,
    fresh: Fresh,
) -> Result<Begun, SignInError> {
    let now = rules.now;
    let found = match find_by_identity(connection, person)? {
        Some(found) => {
            warn_of_claimed_id(&found.user, person, rules.user_ids);
            found
        }
        None => match find_by_email(connection, person, rules)? {
            Some(user) => Found {
                identity: add_identity(connection, &user, &person.identity)?,
                user,
            },
            None => add_user(connection, person, rules, fresh.user)?,
        },
    };
    refresh(connection, &found, person)?;
    // There is one: it has just been read or written. A damaged database may say otherwise.
    let user = rows::user_by_id(connection, &found.user)?
        .ok_or_else(|| StoreError::Corrupt("an identity without its user".into()))?;

    let (new_user, needs_claims) = match user.status {
        UserStatus::Disabled => return Err(SignInError::Disabled(user.id)),
        UserStatus::Active => (None, false),
        UserStatus::Pending => match events::pending_new_user(connection, &user.id)? {
            Some((event, has_claims)) => (Some(event), !has_claims),
            None => {
                let event = event(fresh.new_user, EventKind::NewUser, &user, person, now);
                events::make_room_for_new_user(connection, &person.identity.provider)?;
                events::add(connection, &event, claims)?;
                (Some(event), true)
            }
        },
    };
    let login = event(fresh.login, EventKind::Login, &user, person, now);
    events::make_room_for_login(connection, &user.id, now)?;
    events::add(connection, &login, claims)?;
    Ok(Begun {
        pending: PendingSignIn {
            user,
            new_user,
            login,
            sid: None,
            issued: None,
            authenticated: None,
            sealed_id_token: None,
        },
        needs_claims,
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

/// Earlier versions let any provider claim the id that stands for an address. Such a user is not locked out, for the id may
/// be rightly theirs; an operator has to decide.
fn warn_of_claimed_id(user: &UserId, person: &UpstreamUser, user_ids: UserIds) {
    if let (
        UserIds::EmailMd5,
        Some(Email {
            address,
            trusted: false,
        }),
    ) = (user_ids, &person.email)
        && id_of(address) == *user
    {
        tracing::warn!(
            %user, provider = person.identity.provider,
            "a user has the id that stands for an address, by the word of a provider that is not trusted for addresses: \
             delete the user if the address is not theirs, or set trusted_email if the provider verifies addresses"
        );
    }
}

/// The id that stands for an address, by its exact bytes.
fn id_of(address: &str) -> UserId {
    UserId::from(hex::encode(Md5::digest(address.as_bytes())))
}

/// The address that counts: verified, from a provider that is trusted for email.
fn address_that_counts(person: &UpstreamUser) -> Option<&str> {
    match &person.email {
        Some(Email {
            address,
            trusted: true,
        }) => Some(address),
        Some(Email { trusted: false, .. }) | None => None,
    }
}

fn find_by_email(
    connection: &Connection,
    person: &UpstreamUser,
    rules: &Rules,
) -> rusqlite::Result<Option<UserId>> {
    let Some(address) = address_that_counts(person) else {
        return Ok(None);
    };
    let Some(owner) = trusted_owner(connection, address)? else {
        return Ok(None);
    };
    let links = !addresses::is_contested(connection, address)?
        && may_be_linked(connection, &owner, &person.identity)?
        && identities_of(connection, &owner)? < rules.identities;
    if !links {
        tracing::info!(
            provider = person.identity.provider, user = %owner,
            "an identity brings a user's address and may not be linked to them: they have one of this issuer already, \
             or as many as a user may have, or the address is or was two people's, or an operator has separated them"
        );
    }
    Ok(links.then_some(owner))
}

/// The one user whose own address this is, as a trusted provider says.
fn trusted_owner(connection: &Connection, address: &str) -> rusqlite::Result<Option<UserId>> {
    // defence: only-trusted-addresses-find-users (a test fails without it: docs/defences.md)
    let sql = "SELECT id FROM users WHERE email = ?1 AND email_trusted = 1";
    let id: Option<String> = rows::optional(connection, sql, [address])?;
    Ok(id.map(UserId::from))
}

/// Whether an address may make this identity one of the user's.
fn may_be_linked(connection: &Connection, user: &UserId, identity: &Identity) -> rusqlite::Result<bool> {
    // defence: subjects-of-one-issuer-stay-apart (a test fails without it: docs/defences.md)
    let sql = "SELECT 1 WHERE EXISTS (SELECT 1 FROM identities WHERE user_id = ?1 AND issuer = ?2)
        OR EXISTS (SELECT 1 FROM separated_identities WHERE subject = ?3 AND issuer = ?2 AND user_id = ?1)";
    let parted: Option<i64> = rows::optional(
        connection,
        sql,
        [user.as_str(), identity.issuer.as_str(), identity.subject.as_str()],
    )?;
    Ok(parted.is_none())
}

/// How many identities a user has.
pub(crate) fn identities_of(connection: &Connection, user: &UserId) -> rusqlite::Result<usize> {
    let sql = "SELECT count(*) FROM identities WHERE user_id = ?1";
    let count: i64 = connection
        .prepare_cached(sql)?
        .query_row([user.as_str()], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn add_user(
    connection: &Connection,
    person: &UpstreamUser,
    rules: &Rules,
    random: UserId,
) -> Result<Found, SignInError> {
    let user = match (rules.user_ids, address_that_counts(person)) {
        (UserIds::EmailMd5, Some(address)) => {
            let id = id_of(address);
            // Whose the address or the id is could not be found by this identity, and it may not be linked. That the
            // address once was two people's is no reason: an operator who deletes the user lets the next one in.
            if rows::user_by_id(connection, &id)?.is_some()
                || trusted_owner(connection, address)?.is_some()
                || addresses::has_two_users(connection, address)?
            {
                return Err(SignInError::EmailInUse);
            }
            id
        }
        (UserIds::EmailMd5, None) | (UserIds::Random, _) => random,
    };
    let sql = "INSERT INTO users (id, name, joined, status) VALUES (?1, ?2, ?3, 'pending')";
    rows::run(
        connection,
        sql,
        params![user.as_str(), person.name, rows::seconds(rules.now)],
    )?;
    let identity = add_identity(connection, &user, &person.identity)?;
    Ok(Found { user, identity })
}

/// Adds an identity that nobody has; gives its `identities.id`.
pub(crate) fn add_identity(connection: &Connection, user: &UserId, who: &Identity) -> rusqlite::Result<i64> {
    let sql = "INSERT INTO identities (user_id, provider, issuer, subject) VALUES (?1, ?2, ?3, ?4)";
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
    let sql = "UPDATE identities SET provider = ?2, email = ?3
        WHERE id = ?1 AND (provider <> ?2 OR email IS NOT ?3)";
    rows::run(
        connection,
        sql,
        params![identity, person.identity.provider, address_that_counts(person)],
    )?;
    if let Some(address) = address_that_counts(person) {
        addresses::hold(connection, user, &person.identity, address)?;
    }

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
        claims: Claims::default(),
    }
}
