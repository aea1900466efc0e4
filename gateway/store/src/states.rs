//! The `state` of sign-ins, each of which works once (RFC 6749 section 10.12, RFC 9700 section 4.7).
//!
//! A callback first claims its state, in memory, and records it in the database only after the provider has confirmed
//! who the person is. A callback that cannot succeed, which anybody can send, therefore leaves no row; and of several
//! identical callbacks only one contacts the provider.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use gateway_model::Timestamp;
use parking_lot::Mutex;
use rusqlite::params;

use crate::Store;
use crate::error::StoreError;
use crate::rows;
use crate::versions::Touches;

/// The most claimed states that this process remembers: those of the latest callbacks. Older ones that did sign
/// somebody in are in the database.
const MAX_SPENT: usize = 16_384;

/// The most states that the database keeps.
pub(crate) const MAX_USED: u32 = 1_000_000;

/// The states that this process has claimed.
#[derive(Debug, Default)]
pub(crate) struct SpentStates(Mutex<Spent>);

#[derive(Debug, Default)]
struct Spent {
    known: HashSet<Arc<str>>,
    /// Oldest first.
    order: VecDeque<Arc<str>>,
}

impl SpentStates {
    /// Returns `false` if it was claimed before.
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

/// A state that one callback has claimed. No other callback of this process gets it, unless it is released.
#[derive(Debug)]
#[must_use = "a state that signs somebody in must be consumed"]
pub struct ClaimedState {
    store: Store,
    state: String,
    expires: Timestamp,
}

impl Store {
    /// Claims a sign-in's `state`, which expires at `expires`, without writing anything. Of several callers in this
    /// process, only one gets it. Returns `None` if it was claimed before, was used by another process or an earlier
    /// run, or has expired.
    ///
    /// # Errors
    /// If the database cannot be read; the state is then not claimed.
    pub fn claim_state(&self, state: &str, expires: Timestamp) -> Result<Option<ClaimedState>, StoreError> {
        // An expired state may have been pruned, so it is not known whether it was used.
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

    /// Whether a `state` has been used. This is known until shortly after it expires.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn state_is_used(&self, state: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM used_states WHERE state = ?1";
        self.read(|connection| rows::exists(connection, sql, [state]))
    }
}

impl ClaimedState {
    /// Releases the state: nothing was done with it, and the same callback may be repeated.
    pub fn release(self) {
        self.store.0.states.release(&self.state);
    }

    /// Records that the state is used. Must be called before a user is signed in with it. Of several callers with the
    /// same state, in any number of processes, only one gets `true`.
    ///
    /// # Errors
    /// If the database cannot be written; no user may be signed in then.
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
