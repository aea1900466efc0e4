//! Caches responses with signed permission tokens, and reuses them while their claims are unchanged.
//!
//! A signature costs several times as much as the rest of a response, and most callers repeat their requests. Only the
//! signature is saved: the session has been looked up and the provider called by now. If any claim other than the two
//! times differs, a new token is signed. So a user who was disabled, signed out or given other permissions gets no
//! cached response, and neither does anyone after a plugin was replaced, because its digest is a claim.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gateway_model::Timestamp;
use gateway_token::PermissionClaims;
use metrics::Counter;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::metrics::permission_tokens;

/// The capacity of the cache, in bytes.
const CAPACITY: u64 = 16 << 20;
/// The expected number of responses.
const ANSWERS: usize = 8192;
/// The size of an entry without its texts, in bytes.
const OVERHEAD: usize = 512;
/// The most that one user's entries take, in bytes.
const OF_ONE_USER: u64 = CAPACITY / 16;
/// Users whose hashes share one of these counters are counted as one.
const USERS: usize = 1024;

pub(crate) struct TokenCache {
    /// By a hash of the user and the service. Entries with the same hash replace each other.
    kept: Cache<u64, Kept, ByBytes>,
    hasher: RandomState,
    users: Arc<Users>,
    /// How many seconds after its signature a token is reused.
    reuse: u64,
    signed: Counter,
    reused: Counter,
}

#[derive(Clone)]
struct Kept {
    claims: Arc<PermissionClaims>,
    answer: Bytes,
    _counted: Arc<Counted>,
}

#[derive(Clone)]
struct ByBytes;

/// The cached bytes, by a hash of the user.
struct Users([AtomicU64; USERS]);

/// A part of a user's bytes, until it is dropped.
struct Counted {
    users: Arc<Users>,
    user: usize,
    bytes: u64,
}

impl Users {
    /// Adds to a user's bytes, if that stays within the limit.
    fn count(self: &Arc<Self>, user: u64, bytes: u64) -> Option<Counted> {
        let user = usize::try_from(user).unwrap_or_default() % USERS;
        let add = |kept: u64| kept.checked_add(bytes).filter(|kept| *kept <= OF_ONE_USER);
        self.0
            .get(user)?
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .ok()?;
        Some(Counted {
            users: Arc::clone(self),
            user,
            bytes,
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(kept) = self.users.0.get(self.user) {
            kept.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

impl Weighter<u64, Kept> for ByBytes {
    fn weight(&self, _: &u64, kept: &Kept) -> u64 {
        weight(&kept.answer)
    }
}

fn weight(answer: &Bytes) -> u64 {
    // The claims are about as large as the response.
    u64::try_from(OVERHEAD + 2 * answer.len()).unwrap_or(u64::MAX)
}

impl TokenCache {
    /// Tokens are reused for `reuse`; less than a second disables the cache.
    pub(crate) fn new(reuse: Duration) -> Self {
        Self {
            kept: Cache::with_weighter(ANSWERS, CAPACITY, ByBytes),
            hasher: RandomState::new(),
            users: Arc::new(Users([const { AtomicU64::new(0) }; USERS])),
            reuse: reuse.as_secs(),
            signed: permission_tokens("signed"),
            reused: permission_tokens("reused"),
        }
    }

    /// Returns a response with a token for these claims: a cached one if only the times differ and it is young enough.
    pub(crate) fn answer<E>(
        &self,
        claims: PermissionClaims,
        sign: impl FnOnce(&PermissionClaims) -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        let key = self.hasher.hash_one((&claims.sub, &claims.service));
        if let Some(kept) = self.kept.get(&key)
            && is_young(Timestamp(kept.claims.iat), Timestamp(claims.iat), self.reuse)
            && are_same(&kept.claims, &claims)
        {
            self.reused.increment(1);
            return Ok(kept.answer);
        }
        let answer = sign(&claims)?;
        self.signed.increment(1);
        if self.reuse > 0 {
            // Limited, so that a user of many services does not evict other users' entries.
            let user = self.hasher.hash_one(&claims.sub);
            match self.users.count(user, weight(&answer)) {
                Some(counted) => {
                    let kept = Kept {
                        claims: Arc::new(claims),
                        answer: answer.clone(),
                        _counted: Arc::new(counted),
                    };
                    self.kept.insert(key, kept);
                }
                // The old entry is useless now, and would take a later one's room.
                None => drop(self.kept.remove(&key)),
            }
        }
        Ok(answer)
    }
}

/// A signature in the future is not young: the clock was set back.
fn is_young(signed: Timestamp, now: Timestamp, reuse: u64) -> bool {
    now.0.checked_sub(signed.0).is_some_and(|age| age < reuse)
}

/// Whether all claims but the times are equal.
fn are_same(kept: &PermissionClaims, new: &PermissionClaims) -> bool {
    // Listed by name, so that a new claim cannot be forgotten here.
    let PermissionClaims {
        iss,
        sub,
        userid,
        service,
        permissions,
        aud,
        plugin,
        iat: _,
        exp: _,
    } = kept;
    *iss == new.iss
        && *sub == new.sub
        && *userid == new.userid
        && *service == new.service
        && *aud == new.aud
        && *plugin == new.plugin
        && *permissions == new.permissions
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use bytes::Bytes;
    use gateway_token::PermissionClaims;
    use serde_json::json;

    use super::{CAPACITY, OF_ONE_USER, Ordering, TokenCache};

    const LIFETIME: u64 = 900;

    fn claims(now: u64) -> PermissionClaims {
        PermissionClaims {
            iss: "https://auth.example.org".to_owned(),
            sub: "alice".to_owned(),
            userid: "alice".to_owned(),
            service: "wiki".to_owned(),
            permissions: [("read".to_owned(), json!(true).into())].into_iter().collect(),
            aud: None,
            plugin: "0".repeat(64),
            iat: now,
            exp: now + LIFETIME,
        }
    }

    /// When the token for these claims was signed.
    fn signed_at(cache: &TokenCache, claims: PermissionClaims) -> u64 {
        let sign = |claims: &PermissionClaims| Ok::<_, Infallible>(Bytes::from(claims.iat.to_string()));
        let answer = cache.answer(claims, sign).unwrap();
        std::str::from_utf8(&answer).unwrap().parse().unwrap()
    }

    #[test]
    fn the_same_claims_are_signed_once_while_they_are_young() {
        let cache = TokenCache::new(Duration::from_secs(LIFETIME / 2));
        assert_eq!(signed_at(&cache, claims(1000)), 1000);
        assert_eq!(signed_at(&cache, claims(1000 + LIFETIME / 2 - 1)), 1000);
        assert_eq!(
            signed_at(&cache, claims(1000 + LIFETIME / 2)),
            1000 + LIFETIME / 2
        );
        assert_eq!(
            signed_at(&cache, claims(1000)),
            1000,
            "a clock that was set back would give it a longer life"
        );
    }

    #[test]
    fn changed_claims_are_signed_again() {
        type Change = fn(&mut PermissionClaims);
        let changes: [Change; 7] = [
            |claims| claims.iss = "https://other.example.org".to_owned(),
            |claims| claims.sub = "bob".to_owned(),
            |claims| claims.userid = "bob".to_owned(),
            |claims| claims.service = "shop".to_owned(),
            |claims| claims.aud = Some("wiki".to_owned()),
            |claims| claims.plugin = "1".repeat(64),
            |claims| {
                claims.permissions.insert("read".to_owned(), json!(1).into());
            },
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let cache = TokenCache::new(Duration::from_secs(LIFETIME / 2));
            let mut changed = claims(1001);
            change(&mut changed);
            assert_eq!(signed_at(&cache, claims(1000)), 1000);
            assert_eq!(signed_at(&cache, changed), 1001, "change {number}");
        }
    }

    #[test]
    fn the_cache_can_be_off() {
        for reuse in [Duration::ZERO, Duration::from_millis(999)] {
            let cache = TokenCache::new(reuse);
            assert_eq!(signed_at(&cache, claims(1000)), 1000);
            assert_eq!(cache.kept.len(), 0);
        }
    }

    #[test]
    fn failed_signatures_are_not_cached() {
        let cache = TokenCache::new(Duration::from_secs(1));
        assert_eq!(cache.answer(claims(1000), |_| Err("no")), Err("no"));
        assert_eq!(cache.kept.len(), 0);
    }

    #[test]
    fn a5_a_user_of_many_services_does_not_evict_others() {
        let cache = TokenCache::new(Duration::from_secs(60));
        let sign =
            |size: usize| move |_: &PermissionClaims| Ok::<_, Infallible>(Bytes::from(vec![b'x'; size]));
        for number in 0..1000 {
            let mut claims = claims(1000);
            claims.service = number.to_string();
            cache.answer(claims, sign(16 << 10)).unwrap();
        }
        assert!(cache.kept.weight() <= OF_ONE_USER);
        for number in 0..100 {
            let mut claims = claims(1000);
            claims.sub = number.to_string();
            cache.answer(claims.clone(), sign(1 << 10)).unwrap();
            claims.iat += 1;
            assert_eq!(
                signed_at_all(&cache, claims),
                None,
                "user {number} is answered from here"
            );
        }
        cache.kept.clear();
        assert!(cache.users.0.iter().all(|kept| kept.load(Ordering::Relaxed) == 0));
    }

    /// Whether the claims are signed, and at which time.
    fn signed_at_all(cache: &TokenCache, claims: PermissionClaims) -> Option<u64> {
        let mut signed = None;
        let sign = |claims: &PermissionClaims| {
            signed = Some(claims.iat);
            Ok::<_, Infallible>(Bytes::new())
        };
        cache.answer(claims, sign).unwrap();
        signed
    }

    #[test]
    fn the_cache_is_bounded_in_bytes() {
        let cache = TokenCache::new(Duration::from_secs(60));
        let large = Bytes::from(vec![b'x'; 64 << 10]);
        for number in 0..1000 {
            let mut claims = claims(1000);
            claims.sub = number.to_string();
            cache
                .answer(claims, |_| Ok::<_, Infallible>(large.clone()))
                .unwrap();
        }
        assert!(cache.kept.len() > 10);
        assert!(cache.kept.weight() <= CAPACITY, "{}", cache.kept.weight());
    }
}
