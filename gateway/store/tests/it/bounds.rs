//! That neither one user, nor one provider, nor a caller who is nobody fills the memory or the disk.

use std::time::Duration;

use gateway_model::{EventKind, Timestamp, UpstreamUser, UserLimits, UserStatus, Verdict};
use gateway_store::{
    DatabaseUrl, MAX_KEPT_CLAIMS, Pruned, Settled, SignInError, Store, StoreOptions, UserIds,
};
use serde_json::json;

use crate::support::{Fixture, LIFETIME, NOW, RETENTION, accepted, failed, options, person};

async fn with_limits(f: &Fixture, limits: UserLimits) -> Store {
    let options = StoreOptions {
        limits,
        ..options(&f.clock, UserIds::Random)
    };
    Store::open(&DatabaseUrl::File(f.path()), options).await.unwrap()
}

/// Somebody whose claims have about `bytes` bytes.
fn talkative(subject: &str, bytes: usize) -> UpstreamUser {
    let mut someone = person("google", subject, None);
    let groups: Vec<String> = (0..bytes / 100).map(|n| format!("{n:097}")).collect();
    let claims = json!({ "sub": subject, "groups": groups });
    someone.claims = claims.as_object().unwrap().clone().into();
    someone
}

fn big(from: usize, count: usize) -> Verdict {
    let value = "x".repeat(1000);
    let names: Vec<String> = (from..from + count).map(|n| format!("a{n}")).collect();
    let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), value.as_str())).collect();
    accepted(&pairs)
}

#[tokio::test]
async fn a1_attributes_of_a_user_are_limited_in_total() {
    let f = Fixture::new().await;
    let someone = person("google", "1", None);
    let (user, _) = f.sign_in(&someone).await;
    let limits = UserLimits::default();
    let mut refused = 0;
    // 62 new attributes of 1,000 bytes at each sign-in.
    for n in 0..20 {
        let pending = f.begin(&someone).await;
        match f.settle(&pending, None, Some(&big(62 * n, 62))).await {
            Settled::SignedIn { .. } => assert_eq!(refused, 0),
            Settled::Refused => refused += 1,
            other => panic!("{other:?}"),
        }
        let now = f.user(&user.id).await.unwrap();
        let bytes: usize = now
            .attributes
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        assert!(bytes <= limits.attribute_bytes, "{bytes}");
        assert_eq!(now.attributes.len() % 62, 0, "nothing is half applied");
    }
    assert_eq!(refused, 18);
    assert_eq!(
        f.count("SELECT count(*) FROM events WHERE verdict = 'failed'"),
        18
    );
    // The user is not shut out: a hook that does not add to it lets them in.
    f.sign_in(&someone).await;
}

#[tokio::test]
async fn a1_a_new_user_with_too_many_attributes_stays_pending() {
    let f = Fixture::new().await;
    let pending = f.begin(&person("google", "1", None)).await;
    let settled = f.settle(&pending, Some(&big(0, 200)), Some(&accepted(&[]))).await;
    assert_eq!(settled, Settled::Refused);
    f.store
        .settle_event(&pending.new_user.clone().unwrap().id, &big(0, 200))
        .await
        .unwrap();
    let user = f.user(&pending.user.id).await.unwrap();
    assert_eq!((user.status, user.attributes.len()), (UserStatus::Pending, 0));
    assert_eq!(f.pending_events().await.len(), 1);
}

#[tokio::test]
async fn a1_three_hundred_groups_and_claims_of_100_kb_are_ordinary() {
    let f = Fixture::new().await;
    let pending = f.begin(&talkative("1", 100 << 10)).await;
    let groups: Vec<(String, String)> = (0..300)
        .map(|n| {
            (
                format!("group.{n}"),
                format!("cn=team-{n},ou=groups,dc=example,dc=org"),
            )
        })
        .collect();
    let groups: Vec<(&str, &str)> = groups.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let waiting = f.pending_events().await;
    assert_eq!(
        waiting[0].0.claims, pending.login.claims,
        "delivered again as they were"
    );
    let settled = f
        .settle(&pending, Some(&accepted(&groups)), Some(&accepted(&groups)))
        .await;
    assert!(matches!(settled, Settled::SignedIn { .. }));
}

#[tokio::test]
async fn a1_sessions_of_a_user_are_limited_and_the_oldest_end() {
    let f = Fixture::new().await;
    let store = with_limits(
        &f,
        UserLimits {
            sessions: 3,
            ..UserLimits::default()
        },
    )
    .await;
    let (_, other) = f.sign_in(&person("google", "2", None)).await;
    let mut sessions = Vec::new();
    for _ in 0..8 {
        let pending = store.begin_sign_in(&person("google", "1", None)).await.unwrap();
        let verdict = accepted(&[]);
        let new_user = pending.new_user.as_ref().map(|_| &verdict);
        let settled = store
            .settle_sign_in(&pending, new_user, Some(&verdict), LIFETIME)
            .await;
        let Ok(Settled::SignedIn { session, .. }) = settled else {
            panic!("{settled:?}")
        };
        sessions.push(session);
        f.clock.advance(Duration::from_secs(1));
        // Both stores have looked, and keep what they have seen.
        for store in [&f.store, &store] {
            for (n, session) in sessions.iter().rev().enumerate() {
                let found = store.lookup_session(&session.id, &session.user_id).await.unwrap();
                assert_eq!(found.is_some(), n < 3, "{n}");
            }
        }
    }
    assert!(
        f.store
            .lookup_session(&other.id, &other.user_id)
            .await
            .unwrap()
            .is_some()
    );
    assert!(f.store.pending_sign_outs(0).await.unwrap().is_empty());
}

#[tokio::test]
async fn a1_identities_of_a_user_are_limited() {
    let f = Fixture::new().await;
    let store = with_limits(
        &f,
        UserLimits {
            identities: 3,
            ..UserLimits::default()
        },
    )
    .await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let someone = person(&format!("issuer{n}"), "1", Some("a@example.org"));
        ids.push(store.begin_sign_in(&someone).await.unwrap().user.id);
    }
    assert!(ids[1..3].iter().all(|id| *id == ids[0]));
    assert!(ids[3..].iter().all(|id| *id != ids[0]), "separate users");
    assert_eq!(f.user(&ids[0]).await.unwrap().identities.len(), 3);
}

#[tokio::test]
async fn a4_large_claims_reach_the_hook_and_are_not_stored() {
    let f = Fixture::new().await;
    let someone = talkative("1", 2 << 20);
    let pending = f.begin(&someone).await;
    let new_user = pending.new_user.clone().unwrap();
    assert_eq!(
        (&new_user.claims, &pending.login.claims),
        (&someone.claims, &someone.claims)
    );
    assert!(f.count("SELECT max(octet_length(claims)) FROM events") <= MAX_KEPT_CLAIMS as i64);
    // A hook is never told of them without their claims.
    assert!(f.pending_events().await.is_empty());
    f.settle(&pending, Some(&failed()), None).await;
    let again = f.begin(&someone).await;
    assert_eq!(
        again.new_user,
        Some(new_user),
        "the same event, with the claims of this sign-in"
    );
    let settled = f.settle(&again, Some(&accepted(&[])), Some(&accepted(&[]))).await;
    assert!(matches!(settled, Settled::SignedIn { .. }));
}

/// As an older gateway has left it: many, large.
#[tokio::test]
async fn a4_pending_events_are_read_one_at_a_time() {
    let f = Fixture::new().await;
    f.begin(&person("google", "1", None)).await;
    let raw = rusqlite::Connection::open(f.path()).unwrap();
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
        INSERT INTO events (id, kind, user_id, at, provider, issuer, subject, claims)
        SELECT 'event ' || i, 'login', user_id, at, provider, issuer, subject,
            json_object('blob', hex(zeroblob(1000000))) FROM events, n WHERE kind = 'login'";
    raw.execute_batch(many).unwrap();
    let (mut place, mut seen) = (0, 0);
    let last = f.store.last_event().await.unwrap();
    while let Some((found, event, _)) = f.store.next_pending_sign_in(place, last).await.unwrap() {
        assert!(found > place);
        if seen > 1 {
            assert_eq!(event.claims.get("blob").as_str().map(str::len), Some(2_000_000));
        }
        (place, seen) = (found, seen + 1);
    }
    assert_eq!(seen, 22);
    assert!(
        f.store.next_pending_sign_in(0, 0).await.unwrap().is_none(),
        "later ones are not ours"
    );
    // Nothing is sorted, which would read all of them first.
    let plan: Vec<String> = raw
        .prepare(
            "EXPLAIN QUERY PLAN SELECT e.claims FROM events e CROSS JOIN users u ON u.id = e.user_id
            WHERE e.verdict IS NULL AND e.sequence > 0 AND e.sequence <= 9 AND e.kind <> 'logout'
            AND e.claims <> 'null' AND u.status <> 'disabled' ORDER BY e.sequence LIMIT 1",
        )
        .unwrap()
        .query_map([], |row| row.get("detail"))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(plan.iter().all(|step| !step.contains("TEMP B-TREE")), "{plan:?}");
}

#[tokio::test]
async fn a4_stored_claims_of_a_provider_are_limited_in_total() {
    let f = Fixture::new().await;
    let someone = talkative("0", 200 << 10);
    for n in 0..250 {
        let mut another = someone.clone();
        another.identity.subject = n.to_string();
        f.begin(&another).await;
    }
    let bytes = f.count("SELECT sum(octet_length(claims)) FROM events");
    assert!((32 << 20..=64 << 20).contains(&bytes), "{bytes}");
    // Another provider has its own share.
    let mut other = someone;
    other.identity = person("github", "1", None).identity;
    f.begin(&other).await;
    assert_eq!(
        f.count("SELECT count(*) FROM events WHERE provider = 'github' AND octet_length(claims) > 200000"),
        2
    );
    // The sums are what they sum up.
    let usage = f.count("SELECT sum(bytes) FROM pending_event_usage");
    assert_eq!(
        usage,
        f.count("SELECT sum(octet_length(claims)) FROM events WHERE verdict IS NULL")
    );
}

#[tokio::test]
async fn a4_new_users_of_a_provider_that_wait_are_limited() {
    let f = Fixture::new().await;
    let pending = f.begin(&person("google", "first", None)).await;
    f.settle(&pending, Some(&failed()), None).await;
    let (known, _) = f.sign_in(&person("google", "known", None)).await;
    // Written by hand for speed.
    let raw = rusqlite::Connection::open(f.path()).unwrap();
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
        INSERT INTO events (id, kind, user_id, at, provider, issuer, subject, claims)
        SELECT 'event ' || i, 'new-user', 'user ' || i, at, provider, issuer, subject, claims
        FROM events, n WHERE kind = 'new-user' AND verdict IS NULL";
    raw.execute_batch(many).unwrap();
    let refused = f.store.begin_sign_in(&person("google", "second", None)).await;
    assert_eq!(refused.unwrap_err(), SignInError::TooManyNewUsers(10_000));
    assert_eq!(
        f.count("SELECT count(*) FROM users"),
        2,
        "nothing is left of them"
    );
    // Known users, users who wait already, and users of another provider are not affected.
    let (again, _) = f.sign_in(&person("google", "known", None)).await;
    assert_eq!(again.id, known.id);
    f.sign_in(&person("google", "first", None)).await;
    f.sign_in(&person("github", "1", None)).await;
    // There is room again.
    f.begin(&person("google", "second", None)).await;
}

#[tokio::test]
async fn a4_pending_sign_ins_of_a_user_are_limited() {
    let f = Fixture::new().await;
    let someone = person("google", "1", None);
    let (user, _) = f.sign_in(&someone).await;
    let first = f.begin(&someone).await;
    for _ in 0..120 {
        f.begin(&someone).await;
    }
    assert_eq!(f.count("SELECT count(*) FROM events WHERE verdict IS NULL"), 100);
    let settled = f.settle(&first, None, Some(&accepted(&[]))).await;
    assert_eq!(settled, Settled::Refused, "the oldest was given up");
    for _ in 0..250 {
        f.sign_in(&someone).await;
    }
    let events = f.count("SELECT count(*) FROM events");
    assert!(events <= 400, "{events} events of one user");
    assert!(f.user(&user.id).await.is_some());
}

#[tokio::test]
async fn a4_sign_outs_whose_hook_fails_are_dropped_after_the_retention() {
    let f = Fixture::new().await;
    let someone = person("google", "1", None);
    for _ in 0..130 {
        let (_, session) = f.sign_in(&someone).await;
        let (event, _) = f.store.log_out(&session.id).await.unwrap().unwrap();
        f.store.settle_event(&event.id, &failed()).await.unwrap();
    }
    let waiting = "SELECT count(*) FROM events WHERE kind = 'logout' AND verdict IS NULL";
    assert_eq!(f.count(waiting), 100);
    f.clock.advance(RETENTION);
    assert_eq!(
        f.store.prune(crate::support::WEEK).await.unwrap(),
        Pruned {
            sign_outs: 100,
            new_users: 0
        }
    );
    assert_eq!(f.count(waiting), 0);
    assert_eq!(f.count("SELECT count(*) FROM pending_event_usage"), 0);
}

#[tokio::test]
async fn a4_new_users_without_a_verdict_are_deleted_after_the_retention() {
    let f = Fixture::new().await;
    let mut ids = Vec::new();
    for n in 0..3 {
        let pending = f.begin(&person("google", &n.to_string(), None)).await;
        f.settle(&pending, Some(&failed()), None).await;
        ids.push(pending.user.id);
    }
    f.store.set_status(&ids[0], UserStatus::Disabled).await.unwrap();
    let (active, _) = f.sign_in(&person("google", "1", None)).await;
    f.clock.advance(RETENTION);
    assert_eq!(
        f.store.prune(crate::support::WEEK).await.unwrap(),
        Pruned {
            sign_outs: 0,
            new_users: 1
        }
    );
    assert!(f.user(&ids[0]).await.is_some(), "an operator has disabled them");
    assert!(f.user(&active.id).await.is_some());
    assert!(f.user(&ids[2]).await.is_none());
    let again = f.begin(&person("google", "2", None)).await;
    assert_eq!(again.new_user.unwrap().kind, EventKind::NewUser);
}

#[tokio::test]
async fn a12_a_state_that_is_claimed_and_not_consumed_leaves_nothing() {
    let f = Fixture::new().await;
    let expires = Timestamp(NOW + 600);
    for n in 0..100 {
        let state = format!("state {n}");
        let claimed = f.store.claim_state(&state, expires).unwrap();
        assert!(claimed.is_some());
        // The provider does not confirm it. Nobody gets a second try.
        drop(claimed);
        assert!(f.store.claim_state(&state, expires).unwrap().is_none());
    }
    assert_eq!(f.count("SELECT count(*) FROM used_states"), 0);
    // One that has signed somebody in is known to every process.
    let other = f.open(f.path()).await;
    let (here, there) = (
        f.store.claim_state("good", expires).unwrap().unwrap(),
        other.claim_state("good", expires).unwrap().unwrap(),
    );
    assert!(here.consume().await.unwrap());
    assert!(
        !there.consume().await.unwrap(),
        "of two concurrent requests one succeeds"
    );
    let later = f.open(f.path()).await;
    assert!(later.claim_state("good", expires).unwrap().is_none());
}

#[tokio::test]
async fn a12_used_states_are_bounded_in_memory() {
    let f = Fixture::new().await;
    let expires = Timestamp(NOW + 600);
    // More than are remembered: the oldest are forgotten, and nothing was written.
    for n in 0..20_000 {
        assert!(f.store.claim_state(&n.to_string(), expires).unwrap().is_some());
    }
    assert!(f.store.claim_state("19999", expires).unwrap().is_none());
    assert!(f.store.claim_state("0", expires).unwrap().is_some());
    assert_eq!(f.count("SELECT count(*) FROM used_states"), 0);
}
