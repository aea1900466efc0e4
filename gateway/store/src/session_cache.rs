//! Sessions that were read a moment ago, with their users.
//!
//! What is kept counts while the user's number in [`Versions`] is the one it was read under, for
//! [`MAX_AGE`] at most, and until the session expires. That nobody is signed in is never kept.

use std::sync::Arc;
use std::time::Instant;

use gateway_model::{Session, SessionId, Timestamp, User, UserId};
use quick_cache::sync::Cache;

use crate::error::StoreError;
use crate::versions::{self, MAX_AGE, Versions};

/// Most sessions that are kept. A few kilobytes each.
const CAPACITY: usize = 8192;

/// The sessions that are kept.
#[derive(Debug)]
pub(crate) struct SessionCache {
    kept: Cache<SessionId, Kept>,
    versions: Arc<Versions>,
}

#[derive(Clone)]
struct Kept {
    found: Arc<(Session, User)>,
    slot: u64,
    /// What was in the slot, and what time it was, before it was read.
    number: u64,
    at: Instant,
}

impl SessionCache {
    /// Nothing is kept yet.
    pub(crate) fn new(versions: Arc<Versions>) -> Self {
        Self {
            kept: Cache::new(CAPACITY),
            versions,
        }
    }

    /// A session of `user`, kept or as `read` gives it: live, and with an active user. `now` and `at`
    /// are the time.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn lookup(
        &self,
        id: &SessionId,
        user: &UserId,
        now: Timestamp,
        at: Instant,
        read: impl FnOnce() -> Result<Option<(Session, User)>, StoreError>,
    ) -> Result<Option<Arc<(Session, User)>>, StoreError> {
        if let Some(kept) = self.kept.get(id)
            && kept.found.1.id == *user
            && kept.found.0.expires > now
            && at.saturating_duration_since(kept.at) < MAX_AGE
            && self.versions.number(kept.slot) == Some(kept.number)
        {
            return Ok(Some(kept.found));
        }
        let slot = versions::slot(user);
        // Before the read: what is committed after this is in the slot, if not in what is read.
        let number = self.versions.number_to_keep(slot);
        let Some(found) = read()?.filter(|(_, whose)| whose.id == *user) else {
            self.kept.remove(id);
            return Ok(None);
        };
        let found = Arc::new(found);
        if let Some(number) = number {
            let found = Arc::clone(&found);
            self.kept.insert(
                id.clone(),
                Kept {
                    found,
                    slot,
                    number,
                    at,
                },
            );
        }
        Ok(Some(found))
    }

    /// Forgets everything, for good.
    pub(crate) fn close(&self) {
        self.versions.close();
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests;
