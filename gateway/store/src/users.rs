//! Users as operators, handlers and plugins see them: look up, list, name, disable, delete.

use std::borrow::Cow;
use std::collections::BTreeMap;

use gateway_model::{User, UserId, UserLimits, UserStatus, Username, Verdict, limits};
use rusqlite::{Connection, params};

use crate::Store;
use crate::error::StoreError;
use crate::rows::{self, select_users};
use crate::versions::Touches;

/// How setting a username ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetUsername {
    /// It is set now.
    Set,
    /// The user has one already.
    AlreadySet,
    /// Another user has it, in whatever case.
    Taken,
    /// There is no such user.
    UnknownUser,
}

/// A user whom a text names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The user.
    pub user: User,
    /// How it names them.
    pub by: FoundBy,
}

/// How a text names a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FoundBy {
    /// It is their id.
    Id,
    /// It is their username, in whatever case.
    Username,
    /// It is their email address.
    Email,
    /// It is one of their identities, `provider:subject`.
    Identity,
}

impl FoundBy {
    const ALL: [Self; 4] = [Self::Id, Self::Username, Self::Email, Self::Identity];

    /// What stands before a text that is this and nothing else.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Id => "id:",
            Self::Username => "username:",
            Self::Email => "email:",
            Self::Identity => "identity:",
        }
    }
}

impl Store {
    /// The user with this id, whatever their status.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn lookup_user(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        self.read(|connection| rows::user_by_id(connection, id))
    }

    /// By username, without regard to case. Only users who are active.
    ///
    /// # Errors
    /// When the database cannot be read.
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

    /// By whatever an operator types, each user with how the text names them, in the order of their ids.
    ///
    /// An id names its user and nobody else, whatever somebody else is called. Otherwise the text is a username (without
    /// regard to case), an email address (byte for byte), or `provider:subject`: all whom it names in any of these ways.
    /// After `id:`, `username:`, `email:` or `identity:` it is only that. A username is found as the database has it, even
    /// where it is not shown because it has become illegal since.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn find_users(&self, text: &str) -> Result<Vec<Found>, StoreError> {
        let text = text.to_owned();
        self.read_much(move |connection| find(connection, &text)).await
    }

    /// Users in the order of their ids, those after `after`, `limit` at most. Whoever asks for the
    /// next page with the last id of this one sees every user who was there all the time.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list_users(&self, after: Option<&UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        // Every id sorts after the empty text.
        let after = after.map_or_else(String::new, |id| id.as_str().to_owned());
        self.read_much(move |connection| {
            let sql = select_users!(
                "(SELECT * FROM users WHERE id > ?1 ORDER BY id LIMIT ?2) u",
                "ORDER BY u.id, i.id"
            );
            let users = rows::users(connection, sql, params![after, limit])?;
            // SQLite takes the order of a table for granted. In a damaged one the rows may lead back, and a caller who
            // asks for page after page would never come to the end.
            let ids = users.iter().map(|user| user.id.as_str());
            if std::iter::once(after.as_str())
                .chain(ids)
                .is_sorted_by(|one, next| one < next)
            {
                Ok(users)
            } else {
                Err(rows::conversion(
                    0,
                    "users are not in the order of their ids".to_owned(),
                ))
            }
        })
        .await
    }

    /// Sets a username, once and for all. Of several who want the same name at once, one gets it.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn set_username(&self, user: &UserId, username: &Username) -> Result<SetUsername, StoreError> {
        let (user, username) = (user.clone(), username.clone());
        self.write(Touches::User(user.clone()), move |connection| {
            set_username(connection, &user, &username).map_err(StoreError::from)
        })
        .await
    }

    /// Disables or enables a user; gives the user as they are then, `None` where there is none.
    ///
    /// [`UserStatus::Disabled`] ends all their sessions in the same transaction, without logout
    /// events. Anything else means "no longer disabled": a user whom the new-user hooks have not
    /// accepted yet is pending again and not active, for an operator does not stand in for a hook.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn set_status(&self, user: &UserId, status: UserStatus) -> Result<Option<User>, StoreError> {
        let user = user.clone();
        self.write(Touches::User(user.clone()), move |connection| {
            if status == UserStatus::Disabled {
                rows::run(
                    connection,
                    "UPDATE users SET status = 'disabled' WHERE id = ?1",
                    [user.as_str()],
                )?;
                rows::run(
                    connection,
                    "DELETE FROM sessions WHERE user_id = ?1",
                    [user.as_str()],
                )?;
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

    /// Deletes a user with their identities, sessions and events; `false` where there is none. The
    /// next sign-in with one of those identities is a new user.
    ///
    /// # Errors
    /// When the database cannot be written.
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
        if let Some(rest) = text.strip_prefix(by.prefix()) {
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
    let users = match by {
        FoundBy::Id => rows::users(
            connection,
            select_users!("users u", "WHERE u.id = ?1 ORDER BY u.id, i.id"),
            [text],
        )?,
        FoundBy::Username => rows::users(
            connection,
            select_users!("users u", "WHERE u.username_folded = ?1 ORDER BY u.id, i.id"),
            [text.to_ascii_lowercase()],
        )?,
        FoundBy::Email => rows::users(
            connection,
            select_users!("users u", "WHERE u.email = ?1 ORDER BY u.id, i.id"),
            [text],
        )?,
        FoundBy::Identity => {
            let Some((provider, subject)) = text.split_once(':') else {
                return Ok(Vec::new());
            };
            rows::users(
                connection,
                select_users!(
                    "users u",
                    "WHERE u.id IN (SELECT user_id FROM identities WHERE subject = ?2 AND provider = ?1)
                    ORDER BY u.id, i.id"
                ),
                [provider, subject],
            )?
        }
    };
    Ok(users.into_iter().map(|user| Found { user, by }).collect())
}

/// Deletes a user with their identities and sessions; their events stay.
pub(crate) fn delete(connection: &Connection, user: &UserId) -> rusqlite::Result<bool> {
    Ok(rows::run(connection, "DELETE FROM users WHERE id = ?1", [user.as_str()])? > 0)
}

/// The verdict as it counts: an acceptance whose attributes would exceed a bound of the user is a failed answer.
pub(crate) fn within_limits<'a>(
    connection: &Connection,
    user: &UserId,
    verdict: &'a Verdict,
    limits: &UserLimits,
) -> rusqlite::Result<Cow<'a, Verdict>> {
    let Verdict::Accepted(changes) = verdict else {
        return Ok(Cow::Borrowed(verdict));
    };
    if changes.is_empty() {
        return Ok(Cow::Borrowed(verdict));
    }
    let Some(mut known) = rows::user_by_id(connection, user)? else {
        return Ok(Cow::Borrowed(verdict));
    };
    let Err(bound) = limits::set_attributes(&mut known.attributes, changes, limits) else {
        return Ok(Cow::Borrowed(verdict));
    };
    // Each hook's answer has been held against the bounds already: another sign-in was faster.
    tracing::error!(%user, error = %bound, "the hooks' attributes are not applied");
    Ok(Cow::Owned(Verdict::Failed {
        hook: "the hooks together".to_owned(),
        error: bound.to_string(),
    }))
}

/// Sets what hooks have answered on a user, which [`within_limits`] has held against the bounds.
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
    let text = rows::json_text(attributes)?;
    rows::run(
        connection,
        "UPDATE users SET attributes = ?2 WHERE id = ?1",
        params![user.as_str(), text],
    )?;
    Ok(())
}

fn set_username(
    connection: &Connection,
    user: &UserId,
    username: &Username,
) -> rusqlite::Result<SetUsername> {
    // The condition makes it once, the unique index makes it one.
    // defence: username-is-set-once (a test fails without it: docs/defences.md)
    let sql = "UPDATE users SET username = ?2, username_folded = ?3 WHERE id = ?1 AND username IS NULL";
    match rows::run(
        connection,
        sql,
        params![user.as_str(), username.as_str(), username.folded()],
    ) {
        Ok(0) => {
            let current: Option<Option<String>> = rows::optional(
                connection,
                "SELECT username FROM users WHERE id = ?1",
                [user.as_str()],
            )?;
            Ok(match current {
                // The same request again, or another one for the same name that came first.
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
