//! Sessions, sign-outs, states, pruning.

use std::sync::Arc;
use std::time::Duration;

use gateway_model::clock::ManualClock;
use gateway_model::{EventKind, SessionId, Timestamp, UserStatus};
use gateway_store::{DatabaseUrl, Pruned, Store, UserIds};

use crate::support::{
    Fixture, GRACE, LIFETIME, NOW, RETENTION, WEEK, accepted, consume_state, failed, options, person,
    rejected,
};

#[tokio::test]
async fn a_session_expires() {
    let f = Fixture::new().await;
    let (user, session) = f.sign_in(&person("google", "1", None)).await;
    assert_eq!(
        (session.created, session.expires),
        (Timestamp(NOW), Timestamp(NOW).after(LIFETIME))
    );
    f.clock.advance(LIFETIME - Duration::from_secs(1));
    assert_eq!(
        f.store
            .lookup_session(&session.id, &session.user_id)
            .await
            .unwrap()
            .map(|found| (found.session, found.user)),
        Some((Arc::new(session.clone()), Arc::new(user.clone())))
    );
    f.clock.advance(Duration::from_secs(1));
    assert!(
        f.store
            .lookup_session(&session.id, &session.user_id)
            .await
            .unwrap()
            .is_none()
    );
    assert!(f.store.list_sessions(None).await.unwrap().is_empty());
    assert!(f.store.log_out(&session.id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_session_knows_the_identity_that_it_began_with() {
    let f = Fixture::new().await;
    let (_, google) = f.sign_in(&person("google", "1", Some("a@example.org"))).await;
    let (user, github) = f.sign_in(&person("github", "2", Some("a@example.org"))).await;
    for (session, provider) in [(google, "google"), (github, "github")] {
        let found = f
            .store
            .lookup_session(&session.id, &session.user_id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((found.session.provider.as_str(), &*found.user), (provider, &user));
        let (event, _) = f.store.log_out(&session.id).await.unwrap().unwrap();
        assert_eq!(event.identity.provider, provider);
    }
}

#[tokio::test]
async fn signing_out_ends_the_session_and_commits_the_event() {
    let f = Fixture::new().await;
    let (user, session) = f.sign_in(&person("google", "1", Some("a@example.org"))).await;
    f.sign_in(&person("github", "2", Some("a@example.org"))).await;
    f.clock.advance(Duration::from_secs(60));
    let (event, whose) = f.store.log_out(&session.id).await.unwrap().unwrap();
    assert_eq!(
        (event.kind, event.at.0, &event.user_id),
        (EventKind::Logout, NOW + 60, &user.id)
    );
    assert_eq!(event.claims, gateway_model::Claims::default());
    assert_eq!(whose.identities.len(), 2, "the whole user");
    assert!(
        f.store
            .lookup_session(&session.id, &session.user_id)
            .await
            .unwrap()
            .is_none(),
        "refused immediately"
    );
    assert!(
        f.store.log_out(&session.id).await.unwrap().is_none(),
        "and only once"
    );

    // Delivered at least once: a failure keeps it, even a disabled user's.
    f.store.settle_event(&event.id, &failed()).await.unwrap();
    f.store.set_status(&user.id, UserStatus::Disabled).await.unwrap();
    let waiting = f.store.pending_sign_outs(0).await.unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].1, event);
    assert_eq!(f.store.last_event().await.unwrap(), waiting[0].0);
    assert!(f.store.pending_sign_outs(waiting[0].0).await.unwrap().is_empty());
    assert!(f.pending_events().await.is_empty());
    f.store
        .settle_event(&event.id, &rejected("a sign-out cannot be refused"))
        .await
        .unwrap();
    assert!(f.store.pending_sign_outs(0).await.unwrap().is_empty());
}

/// The clock may be ahead: whoever signs out under it is signed out when it is right again, and nobody else is.
#[tokio::test]
async fn o3_a_sign_out_ends_an_expired_session_only_if_the_token_was_issued_for_it() {
    let f = Fixture::new().await;
    let (alice, session) = f.sign_in(&person("google", "1", None)).await;
    let (bob, other) = f.sign_in(&person("google", "2", None)).await;
    f.clock.advance(2 * LIFETIME);
    let end = session.expires;
    for (session, user, expires) in [
        (&session.id, &bob.id, end),
        (&other.id, &alice.id, end),
        (&session.id, &alice.id, Timestamp(end.0 - 1)),
        (&session.id, &alice.id, Timestamp(0)),
        (&SessionId::from("another"), &alice.id, end),
    ] {
        let ended = f.store.log_out_as_issued(session, user, expires).await.unwrap();
        assert_eq!(ended, None, "{session} of {user} until {expires}");
    }
    assert_eq!(f.count("SELECT count(*) FROM sessions"), 2);
    let told = f
        .store
        .log_out_as_issued(&session.id, &alice.id, end)
        .await
        .unwrap();
    let (event, user) = told.expect("the hooks get the event");
    assert_eq!(
        (event.kind, &event.user_id, &user.id),
        (EventKind::Logout, &alice.id, &alice.id)
    );
    assert_eq!(f.count("SELECT count(*) FROM sessions"), 1);
    let again = f
        .store
        .log_out_as_issued(&session.id, &alice.id, end)
        .await
        .unwrap();
    assert_eq!(again, None, "once");
    assert_eq!(f.store.pending_sign_outs(0).await.unwrap().len(), 1);
}

#[tokio::test]
async fn sign_outs_come_in_pages_and_are_dropped_in_the_end() {
    const PAGE: usize = gateway_store::PAGE as usize;
    let f = Fixture::new().await;
    let mut events = Vec::new();
    for _ in 0..PAGE + 6 {
        let (_, session) = f.sign_in(&person("google", "1", None)).await;
        events.push(f.store.log_out(&session.id).await.unwrap().unwrap().0);
    }
    let (mut after, mut seen) = (0, Vec::new());
    for size in [PAGE, 6, 0] {
        let page = f.store.pending_sign_outs(after).await.unwrap();
        assert_eq!(page.len(), size);
        after = page.last().map_or(after, |(place, _, _)| *place);
        seen.extend(page.into_iter().map(|(_, event, _)| event));
    }
    assert_eq!(seen, events);
    assert_eq!(f.store.prune(WEEK).await.unwrap(), Pruned::default());
    f.clock.advance(RETENTION + Duration::from_secs(1));
    assert_eq!(f.store.prune(WEEK).await.unwrap().sign_outs, PAGE + 6);
    assert!(f.store.pending_sign_outs(0).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_operator_ends_one_session_or_all() {
    let f = Fixture::new().await;
    let mut sessions = Vec::new();
    let mut user = None;
    for _ in 0..3 {
        let (who, session) = f.sign_in(&person("google", "1", None)).await;
        f.clock.advance(Duration::from_secs(1));
        sessions.insert(0, session);
        user = Some(who.id);
    }
    let (_, other) = f.sign_in(&person("google", "2", None)).await;
    let user = user.unwrap();
    assert_eq!(
        f.store.list_sessions(Some(&user)).await.unwrap(),
        sessions,
        "newest first"
    );
    assert_eq!(f.store.list_sessions(None).await.unwrap().len(), 4);
    assert!(f.store.end_session(&sessions[0].id).await.unwrap());
    assert!(!f.store.end_session(&sessions[0].id).await.unwrap());
    assert!(!f.store.end_session(&SessionId::from("none")).await.unwrap());
    assert_eq!(f.store.end_sessions_of(&user).await.unwrap(), 2);
    assert_eq!(f.store.list_sessions(None).await.unwrap(), [other]);
    assert!(f.store.pending_sign_outs(0).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_endless_lifetime_is_stored() {
    let f = Fixture::new().await;
    let pending = f.begin(&person("google", "1", None)).await;
    let verdict = accepted(&[]);
    f.store
        .settle_sign_in(&pending, Some(&verdict), Some(&verdict), Duration::MAX)
        .await
        .unwrap();
    let sessions = f.store.list_sessions(None).await.unwrap();
    assert!(
        f.store
            .lookup_session(&sessions[0].id, &sessions[0].user_id)
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_fifty_callbacks_with_a_state_succeeds() {
    let f = Fixture::new().await;
    let other = f.open(f.path()).await;
    let expires = Timestamp(NOW + 600);
    let mut callbacks = tokio::task::JoinSet::new();
    for n in 0..50 {
        let store = if n % 2 == 0 {
            f.store.clone()
        } else {
            other.clone()
        };
        callbacks.spawn(async move { consume_state(&store, "s", expires).await.unwrap() });
    }
    let answers = callbacks.join_all().await;
    assert_eq!(answers.iter().filter(|first| **first).count(), 1);
    assert!(consume_state(&f.store, "t", expires).await.unwrap());
}

#[tokio::test]
async fn an_expired_state_is_never_valid_again() {
    let f = Fixture::new().await;
    let expires = Timestamp(NOW + 600);
    assert!(consume_state(&f.store, "s", expires).await.unwrap());
    f.clock.advance(Duration::from_secs(600));
    f.store.prune(WEEK).await.unwrap();
    assert_eq!(
        f.count("SELECT count(*) FROM used_states"),
        1,
        "the clock may be ahead, and set right again"
    );
    assert!(!consume_state(&f.store, "s", expires).await.unwrap());
    f.clock.advance(GRACE);
    f.store.prune(WEEK).await.unwrap();
    assert_eq!(f.count("SELECT count(*) FROM used_states"), 0);
    assert!(!consume_state(&f.store, "s", expires).await.unwrap());
}

#[tokio::test]
async fn pruning_deletes_only_what_has_expired() {
    let f = Fixture::new().await;
    let (_, old) = f.sign_in(&person("google", "1", None)).await;
    f.begin(&person("google", "2", None)).await;
    // More than one transaction's worth, written by hand for speed.
    let raw = rusqlite::Connection::open(f.path()).unwrap();
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2100)
        INSERT INTO used_states SELECT 'state ' || i, 1 FROM n";
    raw.execute_batch(many).unwrap();
    f.clock.advance(RETENTION - Duration::from_secs(1));
    let (_, new) = f.sign_in(&person("google", "3", None)).await;
    assert!(consume_state(&f.store, "s", Timestamp(u64::MAX)).await.unwrap());
    f.store.prune(WEEK).await.unwrap();
    assert_eq!(
        f.count("SELECT count(*) FROM events WHERE verdict IS NOT NULL"),
        4,
        "not yet"
    );
    f.clock.advance(Duration::from_secs(1));
    f.store.prune(WEEK).await.unwrap();
    assert_eq!(
        f.count("SELECT count(*) FROM events WHERE verdict IS NOT NULL AND verdict <> 'dropped'"),
        2
    );
    assert_eq!(
        f.count("SELECT count(*) FROM events WHERE verdict IS NULL"),
        0,
        "events that no hook has answered in all that time are dropped"
    );
    assert_eq!(f.count("SELECT count(*) FROM used_states"), 1);
    assert!(
        f.store
            .list_sessions(None)
            .await
            .unwrap()
            .iter()
            .all(|s| s.id == new.id && s.id != old.id)
    );
    assert_eq!(f.count("SELECT count(*) FROM sessions"), 1);
}

/// The clock is ahead when the gateway starts, and is set right an hour later.
#[tokio::test]
async fn o3_a_session_outlives_a_clock_that_was_ahead() {
    const HOUR: Duration = Duration::from_secs(3600);
    let f = Fixture::new().await;
    let (_, session) = f.sign_in(&person("google", "1", None)).await;
    assert!(
        consume_state(&f.store, "used", Timestamp(NOW + 600))
            .await
            .unwrap()
    );
    for days in [15, 400, 100_000] {
        let ahead = Arc::new(ManualClock::at(NOW + days * 86_400));
        let url = DatabaseUrl::File(f.path());
        let wrong = Store::open(&url, options(&ahead, UserIds::Random)).await.unwrap();
        for passed in [Duration::ZERO, HOUR, HOUR] {
            wrong.prune(passed).await.unwrap();
        }
        assert!(
            wrong
                .lookup_session(&session.id, &session.user_id)
                .await
                .unwrap()
                .is_none()
        );
        wrong.close().await.unwrap();
        f.store.prune(HOUR).await.unwrap();
        let again = f
            .store
            .lookup_session(&session.id, &session.user_id)
            .await
            .unwrap();
        assert!(again.is_some(), "{days} days ahead");
        assert!(
            !consume_state(&f.store, "used", Timestamp(NOW + 600))
                .await
                .unwrap(),
            "a state that was used is good again"
        );
    }
    // Sessions that have really ended are deleted.
    f.clock.advance(LIFETIME + GRACE);
    f.store.prune(WEEK).await.unwrap();
    assert_eq!(f.count("SELECT count(*) FROM sessions"), 0);
}
