//! Caches sessions that were read a moment ago, and their users: each user once, however many sessions they have.
//!
//! An entry is valid while the user's number in [`Versions`] is the one under which it was read, for at most
//! [`MAX_AGE`], and until the session expires. A missing session is never cached. Both caches are bounded by the memory
//! that they take and not by their number of entries: users differ a thousandfold in size.

use std::sync::Arc;
use std::time::Instant;

use gateway_model::{Session, SessionId, Timestamp, User, UserId};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::error::StoreError;
use crate::versions::{self, MAX_AGE, Versions};

/// The most memory for sessions, in bytes: enough for some ten thousand users.
const SESSION_BYTES: u64 = 8 << 20;
/// The most memory for users, in bytes.
const USER_BYTES: u64 = 32 << 20;
/// The number of independently locked parts of a cache. Each must hold the largest possible user several times.
const SHARDS: usize = 16;

/// A session and its user. All sessions of a user share one copy of them.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The session.
    pub session: Arc<Session>,
    /// Its user.
    pub user: Arc<User>,
    /// The version of the user that was read, if it is cached.
    pub(crate) seen: Option<Seen>,
}

/// The cached sessions and users.
#[derive(Debug)]
pub(crate) struct SessionCache {
    sessions: Cache<SessionId, Kept<Session>, Bytes>,
    users: Cache<UserId, Kept<User>, Bytes>,
    versions: Arc<Versions>,
}

#[derive(Clone, Debug)]
struct Kept<T> {
    value: Arc<T>,
    seen: Seen,
    weight: u64,
}

/// The number in the user's slot and the time, both before the read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    number: u64,
    at: Instant,
}

impl Seen {
    /// Whether what was read is valid at a time; `number` is the one in the slot now.
    fn is_good(self, number: Option<u64>, at: Instant) -> bool {
        number == Some(self.number) && at.saturating_duration_since(self.at) < MAX_AGE
    }
}

/// Weighs entries by the memory that they take.
#[derive(Clone, Debug)]
struct Bytes;

impl<K, T> Weighter<K, Kept<T>> for Bytes {
    fn weight(&self, _: &K, kept: &Kept<T>) -> u64 {
        kept.weight
    }
}

impl SessionCache {
    pub(crate) fn new(versions: Arc<Versions>) -> Self {
        Self {
            sessions: cache(SESSION_BYTES),
            users: cache(USER_BYTES),
            versions,
        }
    }

    /// Returns a live session of `user`, who is active, from the cache or as `read` returns it. `now` and `at` are the
    /// current time.
    pub(crate) fn lookup(
        &self,
        id: &SessionId,
        user: &UserId,
        now: Timestamp,
        at: Instant,
        read: impl FnOnce() -> Result<Option<(Session, User)>, StoreError>,
    ) -> Result<Option<SignedIn>, StoreError> {
        let slot = versions::slot(user);
        if let Some(session) = self.sessions.get(id)
            && session.value.user_id == *user
            // defence: session-expires-in-memory (a test fails without it: docs/defences.md)
            && session.value.expires > now
            && let Some(of) = self.users.get(user)
        {
            let number = self.versions.number(slot);
            if session.seen.is_good(number, at) && of.seen.is_good(number, at) {
                return Ok(Some(SignedIn {
                    session: session.value,
                    user: of.value,
                    // The number is the same; the older one expires first.
                    seen: [session.seen, of.seen].into_iter().min_by_key(|seen| seen.at),
                }));
            }
        }
        // Before the read: a later commit changes the number, even if the read misses it.
        // defence: version-is-read-first (a test fails without it: docs/defences.md)
        let number = self.versions.number_to_keep(slot);
        let Some((session, read_user)) = read()?.filter(|(_, whose)| whose.id == *user) else {
            self.sessions.remove(id);
            return Ok(None);
        };
        // defence: session-is-read-second (a test fails without it: docs/defences.md)
        let session = Arc::new(session);
        // If the same, unchanged user is in use elsewhere, share it.
        let read_user = match self.users.peek(user) {
            Some(kept) if *kept.value == read_user => kept.value,
            _ => Arc::new(read_user),
        };
        let seen = number.map(|number| Seen { number, at });
        if let Some(seen) = seen {
            self.sessions.insert(
                id.clone(),
                Kept {
                    weight: weight_of_session(&session),
                    value: Arc::clone(&session),
                    seen,
                },
            );
            self.users.insert(
                user.clone(),
                Kept {
                    weight: weight_of_user(&read_user),
                    value: Arc::clone(&read_user),
                    seen,
                },
            );
        }
        Ok(Some(SignedIn {
            session,
            user: read_user,
            seen,
        }))
    }

    /// Whether what was read of a user is still valid.
    pub(crate) fn is_good(&self, seen: Seen, user: &UserId, at: Instant) -> bool {
        seen.is_good(self.versions.number(versions::slot(user)), at)
    }

    /// Empties the caches permanently.
    pub(crate) fn close(&self) {
        self.versions.close();
        self.sessions.clear();
        self.users.clear();
    }
}

fn cache<K: Eq + std::hash::Hash, T: Clone>(bytes: u64) -> Cache<K, Kept<T>, Bytes> {
    /// The size of a small entry, which determines the most entries.
    const SMALL: u64 = 512;
    let items = usize::try_from(bytes / SMALL).unwrap_or(usize::MAX);
    let options = OptionsBuilder::new()
        .shards(SHARDS)
        .estimated_items_capacity(items)
        .weight_capacity(bytes)
        .build();
    match options {
        Ok(options) => Cache::with_options(
            options,
            Bytes,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        ),
        // All options are set.
        Err(_) => Cache::with_weighter(items, bytes, Bytes),
    }
}

/// Bytes that an entry of the cache takes beside its texts: itself, the key, the counts, and the allocator's overhead.
const ENTRY: usize = 256;
/// Bytes that a text takes beside its own.
const TEXT: usize = 40;

fn weight_of_session(session: &Session) -> u64 {
    let texts = session.id.as_str().len() + session.user_id.as_str().len() + session.provider.len();
    (ENTRY + 3 * TEXT + texts) as u64
}

fn weight_of_user(user: &User) -> u64 {
    let identities = user
        .identities
        .iter()
        .map(|identity| 3 * TEXT + identity.provider.len() + identity.issuer.len() + identity.subject.len());
    // A node of the map has room for eleven pairs of texts and may be half empty.
    let attributes = user
        .attributes
        .iter()
        .map(|(name, value)| 4 * TEXT + name.len() + value.len());
    let texts = user.name.len()
        + user.avatar_url.as_ref().map_or(0, String::len)
        + user.email.as_ref().map_or(0, |email| email.address.len())
        + user.id.as_str().len();
    (2 * ENTRY + 5 * TEXT + texts + identities.sum::<usize>() + attributes.sum::<usize>()) as u64
}

#[cfg(test)]
mod tests;
