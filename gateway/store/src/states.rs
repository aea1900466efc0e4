//! The `state` of sign-ins: each comes back once (RFC 6749 section 10.12, RFC 9700 section 4.7).
//!
//! A callback claims its state, in memory, before it does anything else, and records it in the database only
//! when the provider has confirmed who the person is. So what anybody can send for nothing, a callback that
//! cannot succeed, leaves no row; and of any number of identical callbacks one goes on to ask the provider.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use gateway_model::Timestamp;
use parking_lot::Mutex;
use rusqlite::params;

use crate::Store;
use crate::error::StoreError;
use crate::rows;
use crate::versions::Touches;

/// Most states that this process remembers to have been claimed. They are those of the latest callbacks; what is
/// older and did sign somebody in is in the database.
const MAX_SPENT: usize = 16_384;

/// Most states that the database keeps.
pub(crate) const MAX_USED: u32 = 1_000_000;

/// States that this process has claimed.
#[derive(Debug, Default)]
pub(crate) struct SpentStates(Mutex<Spent>);

#[derive(Debug, Default)]
struct Spent {
    known: HashSet<Arc<str>>,
    /// The oldest first.
    order: VecDeque<Arc<str>>,
}

impl SpentStates {
    /// `false`: it was claimed before.
    fn claim(&self, state: &str) -> bool {
        let mut spent = self.0.lock();
        if spent.known.contains(state) {
            return false;
        }
        if spent.order.len() >= MAX_SPENT
            && let Some(oldest) = spent.order.pop_front()
        {
            spent.known.remove(&oldest);
        }
        let state: Arc<str> = state.into();
        spent.order.push_back(Arc::clone(&state));
        spent.known.insert(state)
    }

    fn release(&self, state: &str) {
        let mut spent = self.0.lock();
        spent.known.remove(state);
        spent.order.retain(|known| **known != *state);
    }
}

/// A state that one callback has claimed. Whether or not it is recorded in the end, no other callback gets it from this
/// process.
#[derive(Debug)]
#[must_use = "a state that signs somebody in must be consumed"]
pub struct ClaimedState {
    store: Store,
    state: String,
    expires: Timestamp,
}

impl Store {
    /// Claims a sign-in's `state`, which is good until `expires`. Of any number of callers in this process with the same
    /// one, one gets it. `None`: it had been claimed before, was used by another process or an earlier run, or has
    /// expired. Writes nothing.
    ///
    /// # Errors
    /// When the database cannot be read; the state is then not claimed.
    pub fn claim_state(&self, state: &str, expires: Timestamp) -> Result<Option<ClaimedState>, StoreError> {
        // What has expired may have been pruned, so whether it was used before is not known.
        // defence: state-expires-where-it-is-claimed (a test fails without it: docs/defences.md)
        if expires <= self.now() {
            return Ok(None);
        }
        // defence: state-is-claimed (a test fails without it: docs/defences.md)
        if self.state_is_used(state)? || !self.0.states.claim(state) {
            return Ok(None);
        }
        Ok(Some(ClaimedState {
            store: self.clone(),
            state: state.to_owned(),
            expires,
        }))
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

    /// Claims a state and consumes it.
    ///
    /// # Errors
    /// When the database fails; the state is then not used.
    pub async fn consume_state(&self, state: &str, expires: Timestamp) -> Result<bool, StoreError> {
        match self.claim_state(state, expires)? {
            Some(claimed) => claimed.consume().await,
            None => Ok(false),
        }
    }
}

impl ClaimedState {
    /// Gives the state back: nothing was done with it, and the same callback may come again.
    pub fn release(self) {
        self.store.0.states.release(&self.state);
    }

    /// Records that the state is used, before anybody is signed in by it. Of any number of callers with the same one, in
    /// any number of processes, one gets `true`.
    ///
    /// # Errors
    /// When the database cannot be written; nobody may be signed in then.
    pub async fn consume(self) -> Result<bool, StoreError> {
        let Self {
            store,
            state,
            expires,
        } = self;
        store
            .write(Touches::Nobody, move |connection| {
                let sql = "INSERT INTO used_states (state, expires) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
                Ok(rows::run(connection, sql, params![state, rows::seconds(expires)])? > 0)
            })
            .await
    }
}
