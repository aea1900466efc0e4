//! Rows to model types and back, for all the SQL of this crate.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway_model::{Email, Identity, Timestamp, User, UserId, UserStatus, Username};
use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Params, Row, Rows};

/// `SELECT` of users with their identities, a row for each identity. `$from` names the users `u`,
/// `$rest` must order by user and then by `i.id`; `$more` are further columns, from [`USER_COLUMNS`]
/// on.
macro_rules! select_users {
    ($from:literal, $rest:literal) => {
        select_users!($from, $rest, "")
    };
    ($from:literal, $rest:literal, $more:literal) => {
        concat!(
            "SELECT u.id, u.username, u.name, u.email, u.email_trusted, u.avatar_url, u.joined, u.status, ",
            "u.attributes, i.provider, i.issuer, i.subject",
            $more,
            " FROM ",
            $from,
            " JOIN identities i ON i.user_id = u.id ",
            $rest
        )
    };
}
pub(crate) use select_users;

/// How many columns [`select_users`] gives before the further ones.
pub(crate) const USER_COLUMNS: usize = 12;

/// The users of a [`select_users`] query.
pub(crate) fn users(connection: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<Vec<User>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut users: Vec<User> = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get_ref(0)?.as_str()?;
        match users.last_mut() {
            Some(user) if user.id.as_str() == id => user.identities.push(identity(row)?),
            _ => users.push(user(row)?),
        }
    }
    Ok(users)
}

/// The user with this id.
pub(crate) fn user_by_id(connection: &Connection, id: &UserId) -> rusqlite::Result<Option<User>> {
    one_user(
        connection,
        select_users!("users u", "WHERE u.id = ?1 ORDER BY i.id"),
        [id.as_str()],
    )
}

/// The user of a [`select_users`] query that gives one at most.
pub(crate) fn one_user(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> rusqlite::Result<Option<User>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut found = user(row)?;
    more_identities(&mut found, &mut rows)?;
    Ok(Some(found))
}

/// Takes the rest of a [`select_users`] query as further identities of `user`.
pub(crate) fn more_identities(user: &mut User, rows: &mut Rows<'_>) -> rusqlite::Result<()> {
    while let Some(row) = rows.next()? {
        user.identities.push(identity(row)?);
    }
    Ok(())
}

/// The user of a row, with the one identity of that row.
pub(crate) fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    let username: Option<String> = row.get(1)?;
    let email: Option<String> = row.get(3)?;
    let trusted = row.get(4)?;
    Ok(User {
        id: UserId::from(row.get_ref(0)?.as_str()?),
        // A name that has become reserved since is no longer shown; the row keeps it.
        username: username.and_then(|name| Username::existing(&name).ok()),
        name: row.get(2)?,
        email: email.map(|address| Email { address, trusted }),
        avatar_url: row.get(5)?,
        identities: vec![identity(row)?],
        joined: timestamp(row, 6)?,
        status: status(row, 7)?,
        attributes: attributes(row, 8)?,
    })
}

/// The identity of a row.
pub(crate) fn identity(row: &Row<'_>) -> rusqlite::Result<Identity> {
    Ok(Identity {
        provider: row.get(9)?,
        issuer: row.get(10)?,
        subject: row.get(11)?,
    })
}

/// A [`UserStatus`] in a column.
pub(crate) fn status(row: &Row<'_>, column: usize) -> rusqlite::Result<UserStatus> {
    match row.get_ref(column)?.as_str()? {
        "pending" => Ok(UserStatus::Pending),
        "active" => Ok(UserStatus::Active),
        "disabled" => Ok(UserStatus::Disabled),
        other => Err(conversion(column, format!("no user status: {other:?}"))),
    }
}

/// A [`Timestamp`] in a column.
pub(crate) fn timestamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    unsigned(row, column).map(Timestamp)
}

/// A number in a column, zero or more.
pub(crate) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| Error::IntegralValueOutOfRange(column, number))
}

/// A [`Timestamp`] for a column: moments beyond what SQLite counts become the last one it does.
pub(crate) fn seconds(at: Timestamp) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

/// `at` and `lifetime` more, still a moment that [`seconds`] can keep.
pub(crate) fn end_of(at: Timestamp, lifetime: Duration) -> Timestamp {
    Timestamp(at.after(lifetime).0.min(i64::MAX.unsigned_abs()))
}

/// A value as JSON text.
pub(crate) fn json_text(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| Error::ToSqlConversionFailure(error.into()))
}

/// A value from the JSON text in a column.
pub(crate) fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?)
        .map_err(|error| conversion(column, error.to_string()))
}

/// What a column holds is nothing that this crate writes.
pub(crate) fn conversion(column: usize, message: String) -> Error {
    Error::FromSqlConversionFailure(column, Type::Text, message.into())
}

/// The one value of a query that gives a row or none.
pub(crate) fn optional<T: rusqlite::types::FromSql>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> rusqlite::Result<Option<T>> {
    connection
        .prepare_cached(sql)?
        .query_row(params, |row| row.get(0))
        .optional()
}

/// Runs a statement; gives how many rows it changed.
pub(crate) fn run(connection: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
    connection.prepare_cached(sql)?.execute(params)
}

fn attributes(row: &Row<'_>, column: usize) -> rusqlite::Result<BTreeMap<String, String>> {
    // Most users have none: the parser is not asked.
    if row.get_ref(column)?.as_str()? == "{}" {
        Ok(BTreeMap::new())
    } else {
        json(row, column)
    }
}
