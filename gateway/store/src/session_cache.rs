//! Sessions that were read a moment ago, and their users: each user once, however many sessions they have.
//!
//! What is kept counts while the user's number in [`Versions`] is the one it was read under, for
//! [`MAX_AGE`] at most, and until the session expires. That nobody is signed in is never kept. Both are
//! bounded by the memory that they take, and not by their number: users differ a thousandfold in size.

use std::sync::Arc;
use std::time::Instant;

use gateway_model::{Session, SessionId, Timestamp, User, UserId};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::error::StoreError;
use crate::versions::{self, MAX_AGE, Versions};

/// Most memory for sessions, in bytes: those of some ten thousand people.
const SESSION_BYTES: u64 = 8 << 20;
/// Most memory for users, in bytes.
const USER_BYTES: u64 = 32 << 20;
/// Parts of a cache that are locked apart. Each must hold the largest user there may be, several times.
const SHARDS: usize = 16;

/// A session and its user. All sessions of a user share one copy of them.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The session.
    pub session: Arc<Session>,
    /// Whose it is.
    pub user: Arc<User>,
    /// Until when it can be told without another look at either that nothing has changed.
    pub(crate) seen: Option<Seen>,
}

/// The sessions and users that are kept.
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

/// What was in the user's slot, and what time it was, before something was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    number: u64,
    at: Instant,
}

impl Seen {
    /// Whether what was read is good at a time; `number` is what is in the slot.
    fn is_good(self, number: Option<u64>, at: Instant) -> bool {
        number == Some(self.number) && at.saturating_duration_since(self.at) < MAX_AGE
    }
}

/// Weighs what is kept by the memory it takes.
#[derive(Clone, Debug)]
struct Bytes;

impl<K, T> Weighter<K, Kept<T>> for Bytes {
    fn weight(&self, _: &K, kept: &Kept<T>) -> u64 {
        kept.weight
    }
}

impl SessionCache {
    /// Nothing is kept yet.
    pub(crate) fn new(versions: Arc<Versions>) -> Self {
        Self {
            sessions: cache(SESSION_BYTES),
            users: cache(USER_BYTES),
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
                    // The number is the same; the older one is the first that is too old.
                    seen: Some(if session.seen.at < of.seen.at {
                        session.seen
                    } else {
                        of.seen
                    }),
                }));
            }
        }
        // Before the read: what is committed after this is in the slot, if not in what is read.
        // defence: version-is-read-first (a test fails without it: docs/defences.md)
        let number = self.versions.number_to_keep(slot);
        let Some((session, read_user)) = read()?.filter(|(_, whose)| whose.id == *user) else {
            self.sessions.remove(id);
            return Ok(None);
        };
        // defence: session-is-read-second (a test fails without it: docs/defences.md)
        let session = Arc::new(session);
        // Whoever is held elsewhere already, unchanged, is not held twice.
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

    /// Whether what was read of a user is good at a time.
    pub(crate) fn is_good(&self, seen: Seen, user: &UserId, at: Instant) -> bool {
        seen.is_good(self.versions.number(versions::slot(user)), at)
    }

    /// Forgets everything, for good.
    pub(crate) fn close(&self) {
        self.versions.close();
        self.sessions.clear();
        self.users.clear();
    }
}

fn cache<K: Eq + std::hash::Hash, T: Clone>(bytes: u64) -> Cache<K, Kept<T>, Bytes> {
    /// How large a small entry is: so many fit at most.
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
        // It has all that it asks for.
        Err(_) => Cache::with_weighter(items, bytes, Bytes),
    }
}

/// What an entry of the cache takes beside its texts: itself, the key, the counts, and what the allocator adds.
const ENTRY: usize = 256;
/// The same for a text.
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
