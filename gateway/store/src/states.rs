//! The `state` of sign-ins: each comes back once (RFC 6749 section 10.12, RFC 9700 section 4.7).

use gateway_model::Timestamp;
use rusqlite::params;

use crate::Store;
use crate::error::StoreError;
use crate::rows;
use crate::versions::Touches;

impl Store {
    /// Marks a sign-in's `state`, which is good until `expires`, as used. Of any number of callers
    /// with the same one, in any number of processes, one gets `true`. `false`: it had been used
    /// before, or has expired.
    ///
    /// # Errors
    /// When the database cannot be written; the state is then not used.
    pub async fn consume_state(&self, state: &str, expires: Timestamp) -> Result<bool, StoreError> {
        // What has expired may have been pruned, so whether it was used before is not known.
        if expires <= self.now() {
            return Ok(false);
        }
        let state = state.to_owned();
        self.write(Touches::Nobody, move |connection| {
            let sql = "INSERT INTO used_states (state, expires) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            Ok(rows::run(connection, sql, params![state, rows::seconds(expires)])? > 0)
        })
        .await
    }

    /// Whether a `state` has been used, as far as is still known: until it expires, and a little longer.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn state_is_used(&self, state: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM used_states WHERE state = ?1";
        let found = self.read(|connection| rows::optional::<i64>(connection, sql, params![state]))?;
        Ok(found.is_some())
    }
}
