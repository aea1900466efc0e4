//! That a session kept in memory is as good as the one in the database.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gateway_model::clock::ManualClock;
use gateway_model::{Session, Timestamp, UserStatus, Username};
use gateway_store::{DatabaseUrl, PendingSignIn, Settled, SignedIn, Store, UserIds};

use crate::support::{Fixture, GRACE, LIFETIME, NOW, WEEK, accepted, consume_state, options, person};

/// Looks a session up until what it gets is kept: the same piece of memory twice.
async fn warm(store: &Store, session: &Session) {
    let mut last = lookup(store, session).await.unwrap();
    for _ in 0..100 {
        let next = lookup(store, session).await.unwrap();
        if Arc::ptr_eq(&last.session, &next.session) {
            return;
        }
        last = next;
    }
    panic!("nothing is kept");
}

async fn lookup(store: &Store, session: &Session) -> Option<SignedIn> {
    store.lookup_session(&session.id, &session.user_id).await.unwrap()
}

fn versions(f: &Fixture) -> PathBuf {
    f.directory.path().join("gateway.db-versions")
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    LogOut,
    EndSession,
    EndSessionsOf,
    Disable,
    DisableAndEnable,
    Delete,
    // The session goes on after these.
    SetUsername,
    SignInRenamed,
    SignInByAnotherProvider,
    SettleSignIn,
    SettleEvent,
}

impl Change {
    const ALL: [Self; 11] = [
        Self::LogOut,
        Self::EndSession,
        Self::EndSessionsOf,
        Self::Disable,
        Self::DisableAndEnable,
        Self::Delete,
        Self::SetUsername,
        Self::SignInRenamed,
        Self::SignInByAnotherProvider,
        Self::SettleSignIn,
        Self::SettleEvent,
    ];

    fn ends_the_session(self) -> bool {
        Self::ALL.iter().position(|change| *change == self) < Some(6)
    }

    /// `begun`: a second sign-in of the same person.
    async fn make(self, store: &Store, session: &Session, begun: &PendingSignIn) {
        let (id, user) = (&session.id, &session.user_id);
        match self {
            Self::LogOut => assert!(store.log_out(id).await.unwrap().is_some()),
            Self::EndSession => assert!(store.end_session(id).await.unwrap()),
            Self::EndSessionsOf => assert_eq!(store.end_sessions_of(user).await.unwrap(), 1),
            Self::Disable => drop(store.set_status(user, UserStatus::Disabled).await.unwrap()),
            Self::DisableAndEnable => {
                store.set_status(user, UserStatus::Disabled).await.unwrap();
                store.set_status(user, UserStatus::Active).await.unwrap();
            }
            Self::Delete => assert!(store.delete_user(user).await.unwrap()),
            Self::SetUsername => {
                let name = Username::parse("alice_l").unwrap();
                store.set_username(user, &name).await.unwrap();
            }
            Self::SignInRenamed => {
                let mut someone = person("google", "1", Some("a@example.org"));
                someone.name = "Alicia".into();
                store.begin_sign_in(&someone).await.unwrap();
            }
            Self::SignInByAnotherProvider => {
                let someone = person("github", "1", Some("a@example.org"));
                store.begin_sign_in(&someone).await.unwrap();
            }
            Self::SettleSignIn => {
                let verdict = accepted(&[("team", "blue")]);
                let settled = store.settle_sign_in(begun, None, Some(&verdict), LIFETIME).await;
                assert!(matches!(settled, Ok(Settled::SignedIn { .. })), "{settled:?}");
            }
            Self::SettleEvent => {
                let verdict = accepted(&[("team", "red")]);
                store.settle_event(&begun.login.id, &verdict).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn every_change_is_seen_immediately_by_all_processes() {
    for change in Change::ALL {
        for by_another_process in [false, true] {
            let f = Fixture::new().await;
            let other = f.open(f.path()).await;
            let by = if by_another_process { &other } else { &f.store };
            let alice = person("google", "1", Some("a@example.org"));
            let (before, session) = f.sign_in(&alice).await;
            let begun = f.begin(&alice).await;
            warm(&f.store, &session).await;
            warm(&other, &session).await;
            let first_look = lookup(&f.store, &session).await.unwrap();
            assert!(f.store.is_still_signed_in(&first_look).await.unwrap());
            change.make(by, &session, &begun).await;
            let still = f.store.is_still_signed_in(&first_look).await.unwrap();
            assert_eq!(
                still,
                !change.ends_the_session(),
                "{change:?}, by another process: {by_another_process}"
            );
            for store in [&f.store, &other] {
                let seen = lookup(store, &session).await;
                let context = format!("{change:?}, by another process: {by_another_process}: {seen:?}");
                if change.ends_the_session() {
                    assert!(seen.is_none(), "{context}");
                } else {
                    let now = f.user(&before.id).await.unwrap();
                    assert_ne!(now, before, "{context}");
                    assert_eq!(*seen.unwrap().user, now, "{context}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_cached_session_expires() {
    let f = Fixture::new().await;
    let (_, session) = f.sign_in(&person("google", "1", None)).await;
    f.clock.advance(LIFETIME - Duration::from_secs(1));
    warm(&f.store, &session).await;
    let first_look = lookup(&f.store, &session).await.unwrap();
    f.clock.advance(Duration::from_secs(1));
    assert!(lookup(&f.store, &session).await.is_none());
    assert!(!f.store.is_still_signed_in(&first_look).await.unwrap());
}

/// Another process whose clock is ahead.
#[tokio::test]
async fn a_session_that_was_pruned_is_gone_whatever_the_time() {
    let f = Fixture::new().await;
    let (_, session) = f.sign_in(&person("google", "1", None)).await;
    warm(&f.store, &session).await;
    let ahead = Arc::new(ManualClock::at(NOW + (LIFETIME + GRACE).as_secs()));
    let url = DatabaseUrl::File(f.path());
    let other = Store::open(&url, options(&ahead, UserIds::Random)).await.unwrap();
    other.prune(WEEK).await.unwrap();
    assert!(lookup(&f.store, &session).await.is_none());
}

#[tokio::test]
async fn writes_that_touch_nobody_leave_the_cache() {
    let f = Fixture::new().await;
    let (_, session) = f.sign_in(&person("google", "1", None)).await;
    for n in 0..100 {
        warm(&f.store, &session).await;
        let kept = lookup(&f.store, &session).await.unwrap();
        f.store.ping().await.unwrap();
        consume_state(&f.store, &n.to_string(), Timestamp(NOW + 60))
            .await
            .unwrap();
        if Arc::ptr_eq(&kept.session, &lookup(&f.store, &session).await.unwrap().session) {
            return;
        }
    }
    panic!("it was read again each time");
}

#[tokio::test]
async fn changes_through_a_symbolic_link_are_seen() {
    let f = Fixture::new().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link.db");
    symlink(f.path(), &link).unwrap();
    let other = f.open(link).await;
    let (_, session) = f.sign_in(&person("google", "1", None)).await;
    warm(&f.store, &session).await;
    assert!(other.end_session(&session.id).await.unwrap());
    assert!(lookup(&f.store, &session).await.is_none());
}

#[tokio::test]
async fn the_file_of_versions_is_private() {
    let f = Fixture::new().await;
    let file = fs::metadata(versions(&f)).unwrap();
    assert_eq!(
        (file.len(), file.permissions().mode() & 0o777),
        // After the slots comes which files are open.
        (32 * 1024 + 32, 0o600)
    );
}

/// Deleted, cut, or never opened: an acknowledged change is seen all the same, and so is a second.
#[tokio::test]
async fn a_broken_file_of_versions_lets_nobody_in() {
    let delete = |f: &Fixture| fs::remove_file(versions(f)).unwrap();
    let cut = |f: &Fixture| fs::write(versions(f), "").unwrap();
    let zeros = |f: &Fixture| fs::write(versions(f), vec![0; 32 * 1024]).unwrap();
    let block = |f: &Fixture| {
        fs::remove_file(versions(f)).unwrap();
        fs::create_dir(versions(f)).unwrap();
    };
    type Spoil<'a> = &'a (dyn Fn(&Fixture) + Sync);
    let ways: [(&str, Spoil<'_>); 4] = [
        ("delete", &delete),
        ("cut", &cut),
        ("zeros", &zeros),
        ("block", &block),
    ];
    let mut tries = tokio::task::JoinSet::new();
    for by_another_process in [false, true] {
        for (way, spoil) in ways {
            let f = Fixture::new().await;
            let other = f.open(f.path()).await;
            let mut people = Vec::new();
            for n in 0..3 {
                let (user, session) = f.sign_in(&person("google", &n.to_string(), None)).await;
                warm(&f.store, &session).await;
                people.push((user, session));
            }
            spoil(&f);
            tries.spawn(async move {
                let by = if by_another_process { &other } else { &f.store };
                for (user, session) in &people {
                    by.set_status(&user.id, UserStatus::Disabled).await.unwrap();
                    let seen = lookup(&f.store, session).await;
                    assert!(seen.is_none(), "{way}, by another process: {by_another_process}");
                }
                let (_, session) = f.sign_in(&person("google", "3", None)).await;
                assert!(lookup(&f.store, &session).await.is_some(), "{way}");
            });
        }
    }
    tries.join_all().await;
}

/// A process that opens a new file where the old one was deleted is heard as soon as anything is read.
#[tokio::test]
async fn a_deleted_file_is_noticed_when_something_is_read() {
    let f = Fixture::new().await;
    let (_, one) = f.sign_in(&person("google", "1", None)).await;
    let (_, two) = f.sign_in(&person("google", "2", None)).await;
    warm(&f.store, &one).await;
    fs::remove_file(versions(&f)).unwrap();
    let other = f.open(f.path()).await;
    assert!(lookup(&f.store, &two).await.is_some());
    assert!(other.end_session(&one.id).await.unwrap());
    assert!(lookup(&f.store, &one).await.is_none());
}

/// Sign-ins and endings by two processes, while four threads look up what is signed in: whoever begins
/// to look after an ending was acknowledged finds nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_stale_session_is_returned_after_an_acknowledgement() {
    const ROUNDS: usize = 60;
    let f = Fixture::new().await;
    let other = f.open(f.path()).await;
    let stores = [f.store.clone(), other];
    let mut sessions = Vec::new();
    for n in 0..ROUNDS {
        let (_, session) = f.sign_in(&person("google", &n.to_string(), None)).await;
        sessions.push(session);
    }
    // How many of them have been ended, in order.
    let ended = Arc::new(AtomicUsize::new(0));
    let sessions: Arc<[Session]> = sessions.into();
    let mut looking = tokio::task::JoinSet::new();
    for thread in 0..4 {
        let (stores, sessions, ended) = (stores.clone(), Arc::clone(&sessions), Arc::clone(&ended));
        looking.spawn(async move {
            let store = &stores[thread % 2];
            let mut found = 0;
            loop {
                let gone = ended.load(Ordering::SeqCst);
                if let Some(session) = sessions.get(gone) {
                    found += usize::from(lookup(store, session).await.is_some());
                }
                if gone > 0 {
                    let seen = lookup(store, &sessions[gone - 1]).await;
                    assert!(seen.is_none(), "{gone} were ended: {seen:?}");
                }
                if gone == ROUNDS {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        });
    }
    for (n, session) in sessions.iter().enumerate() {
        let store = &stores[n / 2 % 2];
        let user = &session.user_id;
        // Reads race the writes: each of these makes everybody read the user again.
        for name in ["A", "B"] {
            let mut someone = person("google", &n.to_string(), None);
            someone.name = name.into();
            store.begin_sign_in(&someone).await.unwrap();
        }
        if n % 2 == 0 {
            store.set_status(user, UserStatus::Disabled).await.unwrap();
        } else {
            store.log_out(&session.id).await.unwrap();
        }
        ended.store(n + 1, Ordering::SeqCst);
        if n % 2 == 0 {
            store.set_status(user, UserStatus::Active).await.unwrap();
        }
    }
    let found = looking.join_all().await;
    assert!(found.iter().sum::<usize>() > ROUNDS, "{found:?}");
}
