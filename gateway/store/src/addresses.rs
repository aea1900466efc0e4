//! Records which addresses issuers have assigned to whom, permanently.
//!
//! An address identifies a person only if it has never belonged to two people. The current identities and users do not
//! show that: the first holder may have moved to another address, or been deleted or unlinked, or the second one was
//! rejected. Therefore every address that counts (verified, from a provider trusted for email) leaves a row for its
//! issuer, which is never deleted. The row becomes contested when
//!
//! * another subject of the issuer brings the address, even if that sign-in is rejected;
//! * the address is brought for another user than before, from this issuer or another.
//!
//! A contested address finds nobody, whichever issuer's row it is. Addresses are compared regardless of case here: most
//! mail systems deliver both spellings to one person, and equality here only ever prevents a link.
//!
//! The rows outlive the people, so they hold SHA-256 hashes. These hide an address from a reader, but not from someone
//! who tries known addresses.
//!
//! The table is bounded by what providers confirm: one row for each issuer and address, after a complete sign-in. A
//! provider can create as many rows as users; each takes about 150 bytes.

use gateway_model::{Identity, UserId};
use rusqlite::{Connection, params};

use crate::rows::{self, Hash, hash};

/// Records that the issuer assigns the address to the subject.
pub(crate) fn claim(connection: &Connection, who: &Identity, address: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO given_addresses (address, issuer, subject) VALUES (?1, ?2, ?3)
        ON CONFLICT (address, issuer) DO UPDATE SET contested = 1
        WHERE contested = 0 AND subject <> excluded.subject";
    let (address, subject) = (hash_address(address), hash_subject(who, address));
    rows::execute(connection, sql, params![address, who.issuer, subject])
}

/// Records the user of an address that [`claim`] has recorded.
pub(crate) fn hold(
    connection: &Connection,
    user: &UserId,
    who: &Identity,
    address: &str,
) -> rusqlite::Result<()> {
    let address = hash_address(address);
    let sql = "SELECT EXISTS (SELECT 1 FROM given_addresses WHERE address = ?1 AND user_id <> ?2)";
    let others: bool = rows::value(connection, sql, params![address, user.as_str()])?;
    let sql = "UPDATE given_addresses SET user_id = ?3, contested = max(contested, ?4)
        WHERE address = ?1 AND issuer = ?2 AND (user_id IS NOT ?3 OR contested < ?4)";
    rows::execute(
        connection,
        sql,
        params![address, who.issuer, user.as_str(), others],
    )
}

/// Two users become one: `into` has brought what `from` brought.
pub(crate) fn merge(connection: &Connection, from: &str, into: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE given_addresses SET user_id = ?2 WHERE user_id = ?1";
    rows::execute(connection, sql, [from, into])
}

/// Whether the address has ever belonged to two people, or belongs to two users now.
pub(crate) fn is_contested(connection: &Connection, address: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM given_addresses WHERE address = ?1 AND contested = 1 LIMIT 1";
    let contested = rows::exists(connection, sql, [hash_address(address)])?;
    Ok(contested || has_two_users(connection, address)?)
}

/// Whether the current identities of two users have this address.
pub(crate) fn has_two_users(connection: &Connection, address: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT count(DISTINCT user_id) > 1 FROM identities WHERE email = ?1";
    rows::value(connection, sql, [address])
}

/// Fills the table of a database from an older gateway with the latest address of each identity.
pub(crate) fn fill(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "SELECT user_id, provider, issuer, subject, email FROM identities WHERE email IS NOT NULL ORDER BY id";
    let mut identities = connection.prepare(sql)?;
    let mut rows = identities.query([])?;
    while let Some(row) = rows.next()? {
        let user: UserId = rows::id(row, 0)?;
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
    hash("auth-gateway given address 1", &[&address.to_lowercase()])
}

/// Includes the address, so that the rows of one person cannot be linked.
fn hash_subject(who: &Identity, address: &str) -> Hash {
    let parts = [who.issuer.as_str(), &who.subject, &address.to_lowercase()];
    hash("auth-gateway given address, subject 1", &parts)
}
