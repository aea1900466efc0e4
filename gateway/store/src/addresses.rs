//! Which addresses issuers have given to whom, for good.
//!
//! An address says who somebody is only while it has never been two people's. What identities and users say *now* does
//! not tell: the first holder moves to another address, is deleted or unlinked, or the second one is refused. So every
//! address that counts (verified, from a provider trusted for email) leaves a row for its issuer, which is never taken
//! back. The row is contested from the moment that
//!
//! * another subject of the issuer brings the address, even if that sign-in is refused;
//! * the address is brought for another user than the one who brought it before, from this issuer or another.
//!
//! A contested address finds nobody, whichever issuer's row it is. Here addresses are compared without regard to case:
//! most mail systems deliver both spellings to one person, and here "the same" only ever means "do not link".
//!
//! The rows outlive the people, so they hold SHA-256 hashes. These hide an address from a reader, not from somebody who
//! tries addresses that they know.
//!
//! The table is bounded by what providers confirm: one row for each issuer and address, and only after a whole sign-in.
//! A provider can make as many as it can make users; each takes about 150 bytes.

use gateway_model::{Identity, UserId};
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};

use crate::rows;

type Hash = [u8; 32];

/// Notes that the issuer gives the address to the subject.
pub(crate) fn claim(connection: &Connection, who: &Identity, address: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO given_addresses (address, issuer, subject) VALUES (?1, ?2, ?3)
        ON CONFLICT (address, issuer) DO UPDATE SET contested = 1
        WHERE contested = 0 AND subject <> excluded.subject";
    let (address, subject) = (hash_address(address), hash_subject(who, address));
    rows::run(connection, sql, params![address, who.issuer, subject])?;
    Ok(())
}

/// Notes whose address it is that [`claim`] has noted.
pub(crate) fn hold(
    connection: &Connection,
    user: &UserId,
    who: &Identity,
    address: &str,
) -> rusqlite::Result<()> {
    let address = hash_address(address);
    let sql = "SELECT EXISTS (SELECT 1 FROM given_addresses WHERE address = ?1 AND user_id <> ?2)";
    let others: bool = connection
        .prepare_cached(sql)?
        .query_row(params![address, user.as_str()], |row| row.get(0))?;
    let sql = "UPDATE given_addresses SET user_id = ?3, contested = max(contested, ?4)
        WHERE address = ?1 AND issuer = ?2 AND (user_id IS NOT ?3 OR contested < ?4)";
    rows::run(
        connection,
        sql,
        params![address, who.issuer, user.as_str(), others],
    )?;
    Ok(())
}

/// Two users become one: what `from` brought, `into` has brought.
pub(crate) fn merge(connection: &Connection, from: &str, into: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE given_addresses SET user_id = ?2 WHERE user_id = ?1";
    rows::run(connection, sql, [from, into])?;
    Ok(())
}

/// Whether the address has ever been two people's, or is two users' now.
pub(crate) fn is_contested(connection: &Connection, address: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM given_addresses WHERE address = ?1 AND contested = 1 LIMIT 1";
    let contested: Option<i64> = rows::optional(connection, sql, [hash_address(address)])?;
    Ok(contested.is_some() || has_two_users(connection, address)?)
}

/// Whether two users have an identity with this address, as these last said.
pub(crate) fn has_two_users(connection: &Connection, address: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT count(DISTINCT user_id) > 1 FROM identities WHERE email = ?1";
    connection
        .prepare_cached(sql)?
        .query_row([address], |row| row.get(0))
}

/// Fills the table from what an older gateway has left: of each identity, the address it brought last.
pub(crate) fn fill(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "SELECT user_id, provider, issuer, subject, email FROM identities WHERE email IS NOT NULL ORDER BY id";
    let mut identities = connection.prepare(sql)?;
    let mut rows = identities.query([])?;
    while let Some(row) = rows.next()? {
        let user = UserId::from(row.get_ref(0)?.as_str()?);
        let who = Identity {
            provider: row.get(1)?,
            issuer: row.get(2)?,
            subject: row.get(3)?,
        };
        let address: String = row.get(4)?;
        claim(connection, &who, &address)?;
        hold(connection, &user, &who, &address)?;
    }
    Ok(())
}

fn hash_address(address: &str) -> Hash {
    hash(b"auth-gateway given address 1", &[&address.to_lowercase()])
}

/// With the address, so that the rows of one person cannot be told to be one person's.
fn hash_subject(who: &Identity, address: &str) -> Hash {
    let parts = [who.issuer.as_str(), &who.subject, &address.to_lowercase()];
    hash(b"auth-gateway given address, subject 1", &parts)
}

/// Each part with its length, so that no two lists of parts are the same bytes.
fn hash(label: &[u8], parts: &[&str]) -> Hash {
    let mut hash = Sha256::new();
    hash.update(label);
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}
