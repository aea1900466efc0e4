//! The beginning of a sign-in: finds or adds the user, and commits the events for the hooks.
//!
//! A person is identified by (issuer, subject), with one exception: a new identity is linked to an existing user if a
//! provider that is trusted for email vouches for an address, and a trusted provider vouched for the same address, byte
//! for byte, when that user got it. It still becomes a separate user
//!
//! * if that user has an identity of the same issuer: two subjects of one issuer are two people;
//! * if the address has ever belonged to two people: it was reassigned or is shared, so it identifies neither (see
//!   `addresses`);
//! * if an operator has unlinked it from that user;
//! * if that user has as many identities as allowed.
//!
//! A user's address comes from one of their identities, the *source*:
//!
//! * if the source brings another address, it becomes the user's;
//! * if the source brings none (no longer verified, or withheld), the user has none, so that nobody is found by an address
//!   for which nobody vouches any more;
//! * another identity changes nothing, except that it becomes the source if the user has no address;
//! * if the new address is another user's trusted one, it is stored as untrusted, so that one address never finds two
//!   users. From then on it finds neither.
//!
//! An untrusted provider can therefore put any address on its own users, but the address finds nobody and does not let
//! them be found. It is not a trap either: when the owner of the address comes, they get their own user.
//!
//! If ids are made from addresses, only a verified address from a provider trusted for email makes one, and a person is
//! rejected if the address or the id already belongs to another user. Once an operator has deleted that user, the
//! address makes the id again, for the first person who brings it. All others get a random id.

use gateway_model::{
    Claims, Event, EventId, EventKind, Identity, Timestamp, UpstreamSession, UpstreamUser, User, UserId,
    UserStatus,
};
use md5::{Digest, Md5};
use rusqlite::{Connection, params};

use crate::addresses;
use crate::error::{SignInError, StoreError};
use crate::events;
use crate::rows;
use crate::versions::Touches;
use crate::{Store, UserIds};

/// A sign-in whose events are committed and whose hooks have not answered yet.
#[derive(Clone, Debug)]
pub struct PendingSignIn {
    /// The user; `Pending` if they are new.
    pub user: User,
    /// The event of a new user. It is the same one as before if an earlier sign-in of this person got no verdict.
    pub new_user: Option<Event>,
    /// The event of this sign-in.
    pub login: Event,
    /// The person's session at the provider, without its ID token.
    pub upstream: UpstreamSession,
    /// The sealed ID token to keep with the session, if the caller of [`Store::begin_sign_in`] sets it. It is deleted
    /// with the session.
    pub sealed_id_token: Option<String>,
}

impl Store {
    /// Finds or adds the user, updates what the provider says about them, and commits the events for the hooks.
    ///
    /// # Errors
    /// The reason why the person cannot sign in. Nothing has changed then, except that the address from their provider is
    /// recorded.
    pub async fn begin_sign_in(&self, person: &UpstreamUser) -> Result<PendingSignIn, SignInError> {
        let random = self.random();
        let fresh = Fresh {
            user: UserId::random(random).map_err(StoreError::from)?,
            new_user: EventId::random(random).map_err(StoreError::from)?,
            login: EventId::random(random).map_err(StoreError::from)?,
        };
        let rules = Rules {
            user_ids: self.0.options.user_ids,
            identities: self.0.options.limits.identities,
            now: self.now(),
        };
        // Providers may send large claims. The writer's queue holds a limited part of them.
        let claims = events::kept_claims(&person.claims);
        let described = UpstreamUser {
            claims: Claims::default(),
            session: UpstreamSession::default(),
            ..person.clone()
        };
        let touches: Touches<Result<Begun, SignInError>> =
            Touches::Found(|begun| begun.as_ref().ok().map(|begun| &begun.pending.user.id));
        let begun = self.write(touches, move |connection| {
            // Recorded even if the sign-in is rejected: the issuer's statement is true nevertheless.
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
        pending.upstream = UpstreamSession {
            id_token: None,
            ..person.session.clone()
        };
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
    /// The event of the new user is from this sign-in, or was stored without its claims.
    needs_claims: bool,
}

/// The configuration that a sign-in depends on, and the time.
struct Rules {
    user_ids: UserIds,
    /// The most identities of one user.
    identities: usize,
    now: Timestamp,
}

/// Ids that may be needed. They are drawn before the transaction, which has no source of randomness.
struct Fresh {
    user: UserId,
    new_user: EventId,
    login: EventId,
}

/// Undoes the changes of a rejected sign-in, and nothing that was changed before it. If the database fails, the writer
/// undoes everything.
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
    let found = match find_identity(connection, &person.identity)? {
        Some(found) => {
            warn_of_claimed_id(&found.user, person, rules.user_ids);
            found
        }
        None => match find_by_email(connection, person, rules)? {
            Some(user) => Owner {
                identity: add_identity(connection, &user, &person.identity)?,
                user,
            },
            None => add_user(connection, person, rules, fresh.user)?,
        },
    };
    refresh(connection, &found, person)?;
    // The user was just read or written, so only a damaged database lacks it.
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
            upstream: UpstreamSession::default(),
            sealed_id_token: None,
        },
        needs_claims,
    })
}

/// The user of an identity, and its `identities.id`.
pub(crate) struct Owner {
    pub(crate) user: UserId,
    pub(crate) identity: i64,
}

pub(crate) fn find_identity(connection: &Connection, who: &Identity) -> rusqlite::Result<Option<Owner>> {
    let sql = "SELECT user_id, id FROM identities WHERE subject = ?1 AND issuer = ?2";
    rows::first(connection, sql, [&who.subject, &who.issuer], |row| {
        Ok(Owner {
            user: rows::id(row, 0)?,
            identity: row.get(1)?,
        })
    })
}

/// Earlier versions let any provider claim the id of an address. The user is not locked out, because the id may rightly
/// be theirs; an operator has to decide.
fn warn_of_claimed_id(user: &UserId, person: &UpstreamUser, user_ids: UserIds) {
    if user_ids == UserIds::EmailMd5
        && let Some(email) = &person.email
        && !email.trusted
        && id_of(&email.address) == *user
    {
        tracing::warn!(
            %user, provider = person.identity.provider,
            "a user has the id of an address for which only an untrusted provider vouches: delete the user if the address \
             is not theirs, or set trusted_email if the provider verifies addresses"
        );
    }
}

/// The id of an address, from its exact bytes.
fn id_of(address: &str) -> UserId {
    UserId::from(hex::encode(Md5::digest(address.as_bytes())))
}

/// The address, if it is verified and from a provider that is trusted for email.
fn address_that_counts(person: &UpstreamUser) -> Option<&str> {
    let email = person.email.as_ref().filter(|email| email.trusted);
    email.map(|email| email.address.as_str())
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
            "an identity with a user's address was not linked to them: they already have one of this issuer, or as many as \
             a user may have, or the address belongs or belonged to two people, or an operator has unlinked it"
        );
    }
    Ok(links.then_some(owner))
}

/// The only user with this address, according to a trusted provider.
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
    let who = [user.as_str(), identity.issuer.as_str(), identity.subject.as_str()];
    Ok(!rows::exists(connection, sql, who)?)
}

fn identities_of(connection: &Connection, user: &UserId) -> rusqlite::Result<usize> {
    let sql = "SELECT count(*) FROM identities WHERE user_id = ?1";
    let count: i64 = rows::value(connection, sql, [user.as_str()])?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn add_user(
    connection: &Connection,
    person: &UpstreamUser,
    rules: &Rules,
    random: UserId,
) -> Result<Owner, SignInError> {
    let user = match (rules.user_ids, address_that_counts(person)) {
        (UserIds::EmailMd5, Some(address)) => {
            let id = id_of(address);
            // The identity is new and may not be linked. An address that belonged to two people in the past is not a
            // reason: after an operator has deleted the user, the next one is admitted.
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
    let joined = rows::seconds(rules.now);
    rows::run(connection, sql, params![user.as_str(), person.name, joined])?;
    let identity = add_identity(connection, &user, &person.identity)?;
    Ok(Owner { user, identity })
}

/// Adds an identity that nobody has, and returns its `identities.id`.
pub(crate) fn add_identity(connection: &Connection, user: &UserId, who: &Identity) -> rusqlite::Result<i64> {
    let sql = "INSERT INTO identities (user_id, provider, issuer, subject) VALUES (?1, ?2, ?3, ?4)";
    let params = params![user.as_str(), who.provider, who.issuer, who.subject];
    rows::run(connection, sql, params)?;
    Ok(connection.last_insert_rowid())
}

/// Updates what the provider says about the person. A name or picture that it does not send is kept.
fn refresh(connection: &Connection, found: &Owner, person: &UpstreamUser) -> rusqlite::Result<()> {
    let Owner { user, identity } = found;
    // The operator may have renamed the provider.
    let sql = "UPDATE identities SET provider = ?2, email = ?3
        WHERE id = ?1 AND (provider <> ?2 OR email IS NOT ?3)";
    let address = address_that_counts(person);
    let params = params![identity, person.identity.provider, address];
    rows::run(connection, sql, params)?;
    if let Some(address) = address {
        addresses::hold(connection, user, &person.identity, address)?;
    }

    let sql = "UPDATE users SET name = CASE WHEN ?2 = '' THEN name ELSE ?2 END,
        avatar_url = coalesce(?3, avatar_url) WHERE id = ?1";
    let params = params![user.as_str(), person.name, person.avatar_url];
    rows::run(connection, sql, params)?;

    let sql = "SELECT email_identity FROM users WHERE id = ?1";
    let source: Option<i64> = rows::value(connection, sql, [user.as_str()])?;
    if source.is_some_and(|source| source != *identity) {
        return Ok(());
    }
    let trusted = match address {
        Some(address) => trusted_owner(connection, address)?.is_none_or(|owner| owner == *user),
        None => false,
    };
    let address = person.email.as_ref().map(|email| &email.address);
    let sql = "UPDATE users SET email = ?2, email_trusted = ?3, email_identity = ?4 WHERE id = ?1";
    let source = address.map(|_| identity);
    rows::execute(connection, sql, params![user.as_str(), address, trusted, source])
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
