//! Queries, and the conversion of rows to model types and back, for all the SQL of this crate.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway_model::{Email, Identity, Timestamp, User, UserId, Username};
use rusqlite::types::{FromSql, Type};
use rusqlite::{Connection, Error, OptionalExtension, Params, Row};
use serde::de::value::{Error as NameError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};
use sha2::{Digest, Sha256};

/// A SHA-256.
pub(crate) type Hash = [u8; 32];

/// A `SELECT` of users with their identities, with a row for each identity. `$from` must name the users `u`, and
/// `$rest` must order by user and then by `i.id`; `$more` are further columns, from [`USER_COLUMNS`] on.
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

/// The number of columns of [`select_users`] before the further ones.
pub(crate) const USER_COLUMNS: usize = 12;

/// Returns the users of a [`select_users`] query.
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

pub(crate) fn user_by_id(connection: &Connection, id: &UserId) -> rusqlite::Result<Option<User>> {
    let sql = select_users!("users u", "WHERE u.id = ?1 ORDER BY i.id");
    one_user(connection, sql, [id.as_str()])
}

/// Returns the user of a [`select_users`] query for at most one.
pub(crate) fn one_user(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> rusqlite::Result<Option<User>> {
    Ok(users(connection, sql, params)?.pop())
}

/// Reads a user, with the identity of that row.
pub(crate) fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    let username: Option<String> = row.get(1)?;
    let email: Option<String> = row.get(3)?;
    let trusted = row.get(4)?;
    Ok(User {
        id: id(row, 0)?,
        // A name that has become reserved since is not shown, but kept in the row.
        username: username.and_then(|name| Username::existing(&name).ok()),
        name: row.get(2)?,
        email: email.map(|address| Email { address, trusted }),
        avatar_url: row.get(5)?,
        identities: vec![identity(row)?],
        joined: timestamp(row, 6)?,
        status: named(row, 7)?,
        attributes: attributes(row, 8)?,
    })
}

pub(crate) fn identity(row: &Row<'_>) -> rusqlite::Result<Identity> {
    Ok(Identity {
        provider: row.get(9)?,
        issuer: row.get(10)?,
        subject: row.get(11)?,
    })
}

/// Reads an id.
pub(crate) fn id<T: for<'a> From<&'a str>>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    Ok(T::from(row.get_ref(column)?.as_str()?))
}

/// Reads a value of an enum by the name that serde gives it.
pub(crate) fn named<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let name: StrDeserializer<'_, NameError> = row.get_ref(column)?.as_str()?.into_deserializer();
    T::deserialize(name).map_err(|error| conversion(column, error.to_string()))
}

pub(crate) fn timestamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    unsigned(row, column).map(Timestamp)
}

pub(crate) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| Error::IntegralValueOutOfRange(column, number))
}

/// A [`Timestamp`] for a column, at most the latest that SQLite can store.
pub(crate) fn seconds(at: Timestamp) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

/// `at` plus `lifetime`, at most the latest that [`seconds`] can store.
pub(crate) fn end_of(at: Timestamp, lifetime: Duration) -> Timestamp {
    Timestamp(at.after(lifetime).0.min(i64::MAX.unsigned_abs()))
}

pub(crate) fn json_text(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| Error::ToSqlConversionFailure(error.into()))
}

pub(crate) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?)
        .map_err(|error| conversion(column, error.to_string()))
}

/// The error for a column whose contents this crate never writes.
pub(crate) fn conversion(column: usize, message: String) -> Error {
    Error::FromSqlConversionFailure(column, Type::Text, message.into())
}

/// Returns the only column of the only row of a query.
pub(crate) fn value<T: FromSql>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> rusqlite::Result<T> {
    connection
        .prepare_cached(sql)?
        .query_row(params, |row| row.get(0))
}

/// Returns the only column of the first row, if there is one.
pub(crate) fn optional<T: FromSql>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> rusqlite::Result<Option<T>> {
    value(connection, sql, params).optional()
}

/// Reads the first row of a query, if there is one.
pub(crate) fn first<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    connection.prepare_cached(sql)?.query_row(params, read).optional()
}

/// Reads all rows of a query.
pub(crate) fn all<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map(params, read)?.collect()
}

/// Whether a query has a row.
pub(crate) fn exists(connection: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<bool> {
    connection.prepare_cached(sql)?.exists(params)
}

/// Runs a statement; returns how many rows it changed.
pub(crate) fn run(connection: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
    connection.prepare_cached(sql)?.execute(params)
}

/// Runs a statement, whether it changes anything or not.
pub(crate) fn execute(connection: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<()> {
    run(connection, sql, params).map(drop)
}

/// A SHA-256 of texts. The length of each is included, so that no two lists of texts are the same bytes.
pub(crate) fn hash(label: &str, texts: &[&str]) -> Hash {
    let mut hash = Sha256::new();
    hash.update(label);
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}

fn attributes(row: &Row<'_>, column: usize) -> rusqlite::Result<BTreeMap<String, String>> {
    // Most users have none, which needs no parser.
    if row.get_ref(column)?.as_str()? == "{}" {
        Ok(BTreeMap::new())
    } else {
        json(row, column)
    }
}
