//! Which entries are cached, and for how long. The time is an argument, so no test depends on how fast it runs.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_model::clock::ManualClock;
use gateway_model::{
    Identity, Session, SessionId, SystemRandom, Timestamp, UpstreamUser, User, UserId, UserLimits,
    UserStatus, Verdict,
};
use tempfile::TempDir;

use super::{SESSION_BYTES, SessionCache, USER_BYTES, weight_of_user};
use crate::error::StoreError;
use crate::versions::{MAX_AGE, Versions, slot};
use crate::{DatabaseUrl, Settled, SignedIn, Store, StoreOptions, UserIds};

const EXPIRES: Timestamp = Timestamp(2000);

/// A cache above a database of one session, which a test may change behind its back.
struct Fixture {
    cache: SessionCache,
    session: SessionId,
    user: UserId,
    now: Timestamp,
    at: Instant,
    stored: Option<(Session, User)>,
    reads: Cell<u32>,
    _directory: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("gateway.db");
        fs::write(&database, "").unwrap();
        let (session, user) = (SessionId::from("s"), UserId::from("alice"));
        Self {
            cache: SessionCache::new(Arc::new(Versions::open(&database, &SystemRandom))),
            stored: Some(signed_in(&session, &user)),
            session,
            user,
            now: Timestamp(1000),
            at: Instant::now(),
            reads: Cell::new(0),
            _directory: directory,
        }
    }

    fn lookup_as(&self, user: &UserId) -> Option<SignedIn> {
        let found = self.cache.lookup(&self.session, user, self.now, self.at, || {
            self.reads.set(self.reads.get() + 1);
            Ok(self.stored.clone())
        });
        found.unwrap()
    }

    fn lookup(&self) -> Option<SignedIn> {
        self.lookup_as(&self.user)
    }

    fn commit(&mut self, stored: Option<(Session, User)>) {
        self.stored = stored;
        self.bump(&self.user);
    }

    fn bump(&self, user: &UserId) {
        let slot = slot(user);
        self.cache.versions.bump(std::iter::once(slot..slot + 1));
    }
}

fn signed_in(session: &SessionId, user: &UserId) -> (Session, User) {
    let session = Session {
        id: session.clone(),
        user_id: user.clone(),
        provider: "google".into(),
        created: Timestamp(1000),
        expires: EXPIRES,
    };
    let user = User {
        id: user.clone(),
        username: None,
        name: "Alice".into(),
        email: None,
        avatar_url: None,
        identities: Vec::new(),
        joined: Timestamp(1000),
        status: UserStatus::Active,
        attributes: BTreeMap::new(),
    };
    (session, user)
}

#[test]
fn the_database_is_read_once_for_any_number_of_lookups() {
    let f = Fixture::new();
    let first = f.lookup().unwrap();
    let stored = f.stored.as_ref().unwrap();
    assert_eq!((&*first.session, &*first.user), (&stored.0, &stored.1));
    for _ in 0..100 {
        let again = f.lookup().unwrap();
        assert!(Arc::ptr_eq(&first.session, &again.session) && Arc::ptr_eq(&first.user, &again.user));
    }
    assert_eq!(f.reads.get(), 1);
    f.bump(&UserId::from("bob"));
    f.lookup();
    assert_eq!(f.reads.get(), 1, "another user's changes are not this one's");
}

#[test]
fn a_changed_session_is_read_again() {
    let mut f = Fixture::new();
    f.lookup();
    let mut renamed = f.stored.clone().unwrap();
    renamed.1.name = "Alicia".into();
    f.commit(Some(renamed));
    assert_eq!(f.lookup().unwrap().user.name, "Alicia");
    f.lookup();
    assert_eq!(f.reads.get(), 2, "and kept again");
    f.commit(None);
    assert!(f.lookup().is_none());
}

/// The read saw the database before the commit; the commit is made known before the read is over.
#[test]
fn what_changes_while_it_is_read_is_read_again() {
    let f = Fixture::new();
    let before = f.cache.lookup(&f.session, &f.user, f.now, f.at, || {
        let seen = f.stored.clone();
        f.bump(&f.user);
        Ok(seen)
    });
    assert!(before.unwrap().is_some());
    f.lookup();
    assert_eq!(f.reads.get(), 1);
}

#[test]
fn nothing_is_cached_for_longer_than_a_second() {
    let mut f = Fixture::new();
    f.lookup();
    f.stored = None;
    f.at += MAX_AGE - Duration::from_nanos(1);
    assert!(f.lookup().is_some());
    f.at += Duration::from_nanos(1);
    assert!(f.lookup().is_none(), "a hit does not make it younger");
    assert_eq!(MAX_AGE, Duration::from_secs(1), "as documented");
}

#[test]
fn nothing_is_cached_beyond_its_expiry() {
    let mut f = Fixture::new();
    f.lookup();
    f.stored = None;
    f.now = Timestamp(EXPIRES.0 - 1);
    assert!(f.lookup().is_some());
    f.now = EXPIRES;
    assert!(f.lookup().is_none());
}

#[test]
fn a_session_belongs_to_one_user() {
    let f = Fixture::new();
    let mallory = UserId::from("mallory");
    for _ in 0..2 {
        assert!(f.lookup_as(&mallory).is_none());
        assert!(f.lookup().is_some());
    }
}

#[test]
fn a_missing_session_is_never_cached() {
    let mut f = Fixture::new();
    let stored = f.stored.take();
    assert!(f.lookup().is_none() && f.lookup().is_none());
    assert_eq!(f.reads.get(), 2);
    f.stored = stored;
    assert!(f.lookup().is_some());
    f.commit(None);
    f.lookup();
    assert_eq!(f.cache.sessions.len(), 0, "whoever has signed out is forgotten");
}

#[test]
fn a_read_that_fails_says_so_and_leaves_nothing() {
    let f = Fixture::new();
    let failed = f
        .cache
        .lookup(&f.session, &f.user, f.now, f.at, || Err(StoreError::Busy));
    assert!(matches!(failed, Err(StoreError::Busy)), "{failed:?}");
    assert!(f.lookup().is_some());
}

#[test]
fn a_closed_cache_returns_nothing() {
    let mut f = Fixture::new();
    f.lookup();
    f.cache.close();
    f.stored = None;
    assert!(f.lookup().is_none());
}

#[test]
fn cached_sessions_are_limited() {
    let mut f = Fixture::new();
    let many = 4 * SESSION_BYTES / 512;
    for n in 0..many {
        f.session = SessionId::from(n.to_string());
        f.stored = Some(signed_in(&f.session, &f.user));
        f.lookup();
    }
    assert!(f.cache.sessions.weight() <= SESSION_BYTES);
    assert!(f.cache.sessions.len() > 8192, "{}", f.cache.sessions.len());
    assert_eq!(f.cache.users.len(), 1, "one user");
    f.lookup();
    assert_eq!(u64::from(f.reads.get()), many, "the latest is kept");
}

/// As large as hooks may make a user.
fn large(user: &mut User, version: usize) {
    let limits = UserLimits::default();
    let value = format!("{version:0width$}", width = limits.attribute_bytes / 128 - 4);
    user.attributes = (0..128).map(|n| (format!("{n:04}"), value.clone())).collect();
}

#[test]
fn a1_the_sessions_of_a_user_share_one_copy_of_them() {
    let mut f = Fixture::new();
    let mut of_large = 0;
    for n in 0..400 {
        f.session = SessionId::from(n.to_string());
        let mut stored = signed_in(&f.session, &f.user);
        large(&mut stored.1, n);
        of_large = weight_of_user(&stored.1);
        // Each sign-in has changed the user.
        f.commit(Some(stored));
        let first = f.lookup().unwrap();
        let again = f.lookup().unwrap();
        assert!(Arc::ptr_eq(&first.user, &again.user));
    }
    assert_eq!((f.cache.users.len(), f.cache.sessions.len()), (1, 400));
    assert!(of_large > 128 << 10, "{of_large}");
    assert_eq!(f.cache.users.weight(), of_large, "older copies are not kept");
}

#[test]
fn a1_an_unchanged_user_is_not_cached_twice() {
    let mut f = Fixture::new();
    let one = f.lookup().unwrap();
    f.session = SessionId::from("another");
    f.stored = Some(signed_in(&f.session, &f.user));
    let other = f.lookup().unwrap();
    assert_eq!(f.reads.get(), 2);
    assert!(Arc::ptr_eq(&one.user, &other.user));
}

#[test]
fn a1_users_are_cached_by_bytes_and_not_by_number() {
    let mut f = Fixture::new();
    for n in 0..1000 {
        f.session = SessionId::from(n.to_string());
        f.user = UserId::from(format!("user {n}"));
        let mut stored = signed_in(&f.session, &f.user);
        large(&mut stored.1, n);
        f.stored = Some(stored);
        f.lookup();
        assert!(f.cache.users.weight() <= USER_BYTES);
    }
    let kept = f.cache.users.len();
    assert!(
        (50..250).contains(&kept),
        "{kept} of 1,000 users of 128 KiB fit into 32 MiB"
    );
    f.lookup();
    assert_eq!(f.reads.get(), 1000, "the largest user is kept as well");
}

/// A store whose hits are proved by what they miss: a deletion by hand.
#[tokio::test]
async fn a_write_that_bypasses_the_store_is_seen_after_a_second() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.db");
    let options = StoreOptions {
        clock: Arc::new(ManualClock::at(1000)),
        random: Arc::new(SystemRandom),
        user_ids: UserIds::Random,
        event_retention: Duration::ZERO,
        limits: UserLimits::default(),
    };
    let store = Store::open(&DatabaseUrl::File(path.clone()), options)
        .await
        .unwrap();
    let person = UpstreamUser {
        identity: Identity {
            provider: "google".into(),
            issuer: "https://google.example".into(),
            subject: "1".into(),
        },
        email: None,
        name: "Alice".into(),
        avatar_url: None,
        claims: gateway_model::Claims::default(),
        session: gateway_model::UpstreamSession::default(),
    };
    let pending = store.begin_sign_in(&person).await.unwrap();
    let verdict = Verdict::Accepted(BTreeMap::new());
    let settled = store
        .settle_sign_in(&pending, Some(&verdict), Some(&verdict), Duration::from_secs(60))
        .await;
    let Ok(Settled::SignedIn { user, session }) = settled else {
        panic!("{settled:?}")
    };
    let at = Instant::now();
    let lookup = |at| store.lookup_session_at(&session.id, &user.id, at).unwrap();
    assert!(lookup(at).is_some());
    let by_hand = rusqlite::Connection::open(path).unwrap();
    by_hand.execute("DELETE FROM sessions", []).unwrap();
    assert!(lookup(at + MAX_AGE - Duration::from_nanos(1)).is_some(), "kept");
    assert!(lookup(at + MAX_AGE).is_none());
}
