//! Users: lookups, lists, usernames, disabling and deleting.

use std::borrow::Cow;
use std::collections::BTreeMap;

use gateway_model::{User, UserId, UserLimits, UserStatus, Username, Verdict, limits};
use rusqlite::{Connection, params};

use crate::Store;
use crate::error::StoreError;
use crate::rows::{self, select_users};
use crate::versions::Touches;

/// The result of setting a username.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetUsername {
    /// It is set.
    Set,
    /// The user already has one.
    AlreadySet,
    /// Another user has it, regardless of case.
    Taken,
    /// The user does not exist.
    UnknownUser,
}

/// A user whom a text names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The user.
    pub user: User,
    /// How the text names them.
    pub by: FoundBy,
}

gateway_model::named_enum! {
    /// How a text names a user. A text that begins with the name and a colon can mean only this.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum FoundBy {
        /// By id.
        Id = "id",
        /// By username, regardless of case.
        Username = "username",
        /// By email address.
        Email = "email",
        /// By one of their identities, `provider:subject`.
        Identity = "identity",
    }
}

impl Store {
    /// Returns the user with this id, whatever their status.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn lookup_user(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        self.read(|connection| rows::user_by_id(connection, id))
    }

    /// Returns the active user with this username, regardless of case.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn find_user_by_username(&self, username: &str) -> Result<Option<User>, StoreError> {
        let folded = username.to_ascii_lowercase();
        self.read(|connection| {
            let sql = select_users!(
                "users u",
                "WHERE u.username_folded = ?1 AND u.status = 'active' ORDER BY i.id"
            );
            rows::one_user(connection, sql, [folded])
        })
    }

    /// Returns the users whom an operator's text names, and how it names each, in the order of their ids.
    ///
    /// If the text is an id, only that user is returned, whatever others are called. Otherwise the text is a username
    /// (regardless of case), an email address (byte for byte), or `provider:subject`, and all users are returned whom
    /// it names in any of these ways. After `id:`, `username:`, `email:` or `identity:` it is understood only in that
    /// way. A username is found as the database has it, even if it is not shown because it has become illegal since.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn find_users(&self, text: &str) -> Result<Vec<Found>, StoreError> {
        let text = text.to_owned();
        self.read_much(move |connection| find(connection, &text)).await
    }

    /// Lists users in the order of their ids: those after `after`, at most `limit`. A caller who asks again with the
    /// last id of this page sees every user who was there all the time.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn list_users(&self, after: Option<&UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        // Every id sorts after the empty text.
        let after = after.map_or_else(String::new, |id| id.as_str().to_owned());
        self.read_much(move |connection| {
            let sql = select_users!(
                "(SELECT * FROM users WHERE id > ?1 ORDER BY id LIMIT ?2) u",
                "ORDER BY u.id, i.id"
            );
            let users = rows::users(connection, sql, params![after, limit])?;
            // SQLite assumes that a table is in order. In a damaged one the rows may lead back, and a caller who asks
            // for page after page would never finish.
            let ids = users.iter().map(|user| user.id.as_str());
            let ids = std::iter::once(after.as_str()).chain(ids);
            if ids.is_sorted_by(|one, next| one < next) {
                Ok(users)
            } else {
                let message = "users are not in the order of their ids".to_owned();
                Err(rows::conversion(0, message))
            }
        })
        .await
    }

    /// Sets a username permanently. If several users want the same name at the same time, one gets it.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn set_username(&self, user: &UserId, username: &Username) -> Result<SetUsername, StoreError> {
        let (user, username) = (user.clone(), username.clone());
        self.write(Touches::User(user.clone()), move |connection| {
            set_username(connection, &user, &username).map_err(StoreError::from)
        })
        .await
    }

    /// Disables or enables a user, and returns the user as they are then, or `None` if they do not exist.
    ///
    /// [`UserStatus::Disabled`] ends all their sessions in the same transaction, without logout events. Any other
    /// status enables them: a user whom the new-user hooks have not accepted yet is pending again and not active,
    /// because an operator does not replace a hook.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn set_status(&self, user: &UserId, status: UserStatus) -> Result<Option<User>, StoreError> {
        let user = user.clone();
        self.write(Touches::User(user.clone()), move |connection| {
            if status == UserStatus::Disabled {
                for sql in [
                    "UPDATE users SET status = 'disabled' WHERE id = ?1",
                    "DELETE FROM sessions WHERE user_id = ?1",
                ] {
                    rows::run(connection, sql, [user.as_str()])?;
                }
            } else {
                let sql = "UPDATE users SET status = CASE WHEN EXISTS (
                        SELECT 1 FROM events WHERE user_id = ?1 AND kind = 'new-user' AND verdict IS NULL
                    ) THEN 'pending' ELSE 'active' END WHERE id = ?1 AND status = 'disabled'";
                rows::run(connection, sql, [user.as_str()])?;
            }
            Ok(rows::user_by_id(connection, &user)?)
        })
        .await
    }

    /// Deletes a user with their identities, sessions and events; returns `false` if they do not exist. The next
    /// sign-in with one of those identities creates a new user.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn delete_user(&self, user: &UserId) -> Result<bool, StoreError> {
        let user = user.clone();
        self.write(Touches::User(user.clone()), move |connection| {
            rows::run(
                connection,
                "DELETE FROM events WHERE user_id = ?1",
                [user.as_str()],
            )?;
            Ok(delete(connection, &user)?)
        })
        .await
    }
}

fn find(connection: &Connection, text: &str) -> rusqlite::Result<Vec<Found>> {
    let exact = find_by(connection, FoundBy::Id, text)?;
    if !exact.is_empty() {
        return Ok(exact);
    }
    for by in FoundBy::ALL {
        if let Some((name, rest)) = text.split_once(':')
            && name == by.name()
        {
            return find_by(connection, by, rest);
        }
    }
    let mut found: Vec<Found> = Vec::new();
    for by in FoundBy::ALL {
        found.extend(find_by(connection, by, text)?);
    }
    found.sort_by(|one, other| (&one.user.id, one.by).cmp(&(&other.user.id, other.by)));
    found.dedup_by(|later, first| later.user.id == first.user.id);
    Ok(found)
}

fn find_by(connection: &Connection, by: FoundBy, text: &str) -> rusqlite::Result<Vec<Found>> {
    let (sql, text) = match by {
        FoundBy::Id => (
            select_users!("users u", "WHERE u.id = ?1 ORDER BY u.id, i.id"),
            text.to_owned(),
        ),
        FoundBy::Username => (
            select_users!("users u", "WHERE u.username_folded = ?1 ORDER BY u.id, i.id"),
            text.to_ascii_lowercase(),
        ),
        FoundBy::Email => (
            select_users!("users u", "WHERE u.email = ?1 ORDER BY u.id, i.id"),
            text.to_owned(),
        ),
        FoundBy::Identity => {
            let Some((provider, subject)) = text.split_once(':') else {
                return Ok(Vec::new());
            };
            let sql = select_users!(
                "users u",
                "WHERE u.id IN (SELECT user_id FROM identities WHERE subject = ?2 AND provider = ?1)
                ORDER BY u.id, i.id"
            );
            let users = rows::users(connection, sql, [provider, subject])?;
            return Ok(users.into_iter().map(|user| Found { user, by }).collect());
        }
    };
    let users = rows::users(connection, sql, [text])?;
    Ok(users.into_iter().map(|user| Found { user, by }).collect())
}

/// Deletes a user with their identities and sessions, but not their events.
pub(crate) fn delete(connection: &Connection, user: &UserId) -> rusqlite::Result<bool> {
    Ok(rows::run(connection, "DELETE FROM users WHERE id = ?1", [user.as_str()])? > 0)
}

/// Returns the verdict that counts: an acceptance whose attributes would exceed a limit of the user becomes a failure.
pub(crate) fn within_limits<'a>(
    connection: &Connection,
    user: &UserId,
    verdict: &'a Verdict,
    limits: &UserLimits,
) -> rusqlite::Result<Cow<'a, Verdict>> {
    if let Verdict::Accepted(changes) = verdict
        && !changes.is_empty()
        && let Some(mut known) = rows::user_by_id(connection, user)?
        && let Err(bound) = limits::set_attributes(&mut known.attributes, changes, limits)
    {
        // Each hook's answer was checked against the limits before, so another sign-in was faster.
        tracing::error!(%user, error = %bound, "the hooks' attributes are not applied");
        return Ok(Cow::Owned(Verdict::Failed {
            hook: "the hooks together".to_owned(),
            error: bound.to_string(),
        }));
    }
    Ok(Cow::Borrowed(verdict))
}

/// Sets the attributes from the hooks, which [`within_limits`] has checked.
pub(crate) fn set_attributes(
    connection: &Connection,
    user: &UserId,
    changes: &BTreeMap<String, String>,
) -> rusqlite::Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let Some(mut known) = rows::user_by_id(connection, user)? else {
        return Ok(());
    };
    let before = known.attributes.clone();
    limits::change(&mut known.attributes, changes);
    if known.attributes != before {
        write_attributes(connection, user, &known.attributes)?;
    }
    Ok(())
}

/// Replaces a user's attributes.
pub(crate) fn write_attributes(
    connection: &Connection,
    user: &UserId,
    attributes: &BTreeMap<String, String>,
) -> rusqlite::Result<()> {
    let sql = "UPDATE users SET attributes = ?2 WHERE id = ?1";
    rows::execute(
        connection,
        sql,
        params![user.as_str(), rows::json_text(attributes)?],
    )
}

fn set_username(
    connection: &Connection,
    user: &UserId,
    username: &Username,
) -> rusqlite::Result<SetUsername> {
    // The condition allows it only once, and the unique index allows each name only once.
    // defence: username-is-set-once (a test fails without it: docs/defences.md)
    let sql = "UPDATE users SET username = ?2, username_folded = ?3 WHERE id = ?1 AND username IS NULL";
    let params = params![user.as_str(), username.as_str(), username.folded()];
    match rows::run(connection, sql, params) {
        Ok(0) => {
            let sql = "SELECT username FROM users WHERE id = ?1";
            let current: Option<Option<String>> = rows::optional(connection, sql, [user.as_str()])?;
            Ok(match current {
                // The same request was repeated, or a different one for the same name came first.
                Some(Some(current)) if current == username.as_str() => SetUsername::Set,
                Some(_) => SetUsername::AlreadySet,
                None => SetUsername::UnknownUser,
            })
        }
        Ok(_) => Ok(SetUsername::Set),
        Err(error) if error.sqlite_extended_error_code() == Some(rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE) => {
            Ok(SetUsername::Taken)
        }
        Err(error) => Err(error),
    }
}
