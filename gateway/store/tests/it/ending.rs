//! How sign-ins end: verdicts, races, redelivery.

use std::sync::Arc;

use gateway_model::{EventKind, UserStatus};
use gateway_store::{Settled, UserIds};

use crate::support::{Fixture, NOW, accepted, failed, no, person, rejected};

#[tokio::test]
async fn a_new_user_is_pending_until_the_hooks_accept_them() {
    let f = Fixture::new().await;
    let pending = f.begin(&person("google", "1", Some("a@example.org"))).await;
    let new_user = pending.new_user.clone().unwrap();
    assert_eq!(pending.user.status, UserStatus::Pending);
    assert_eq!(
        (new_user.kind, pending.login.kind),
        (EventKind::NewUser, EventKind::Login)
    );
    assert_eq!((new_user.at.0, pending.user.joined.0), (NOW, NOW));
    assert_eq!(new_user.claims.get("sub"), "1");
    assert_eq!(new_user.identity, pending.user.identities[0]);
    let waiting = f.pending_events().await;
    let ids: Vec<_> = waiting.iter().map(|(event, _)| event.clone()).collect();
    assert_eq!(
        ids,
        [new_user, pending.login.clone()],
        "as committed, the oldest first"
    );

    let first = accepted(&[("team", "blue"), ("old", "1")]);
    let second = accepted(&[("role", "admin"), ("old", "")]);
    let settled = f.settle(&pending, Some(&first), Some(&second)).await;
    let Settled::SignedIn { user, session } = settled else {
        panic!("{settled:?}")
    };
    assert_eq!(user.status, UserStatus::Active);
    let attributes: Vec<_> = user
        .attributes
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        attributes,
        [("role", "admin"), ("team", "blue")],
        "an empty value removes"
    );
    assert_eq!(
        f.store
            .lookup_session(&session.id, &session.user_id)
            .await
            .unwrap()
            .map(|found| (found.session, found.user)),
        Some((Arc::new(session), Arc::new(user)))
    );
    assert!(f.pending_events().await.is_empty());
    assert_eq!(
        f.count("SELECT count(*) FROM events WHERE claims <> '{}'"),
        0,
        "claims are not kept"
    );
}

#[tokio::test]
async fn a_second_sign_in_is_not_a_new_user() {
    let f = Fixture::new().await;
    let (user, first) = f.sign_in(&person("google", "1", None)).await;
    let pending = f.begin(&person("google", "1", None)).await;
    assert!(pending.new_user.is_none());
    let settled = f.settle(&pending, None, Some(&accepted(&[]))).await;
    let Settled::SignedIn { session, .. } = settled else {
        panic!("{settled:?}")
    };
    assert_ne!(session.id, first.id, "a session id is new at each sign-in");
    assert_eq!(f.store.list_sessions(Some(&user.id)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_rejected_new_user_is_gone_and_their_event_keeps_the_verdict() {
    let f = Fixture::new().await;
    let someone = person("google", "1", Some("a@evil.example"));
    let pending = f.begin(&someone).await;
    let settled = f.settle(&pending, Some(&rejected("Members only")), None).await;
    assert_eq!(settled, no("Members only"));
    assert!(f.user(&pending.user.id).await.is_none());
    assert!(f.pending_events().await.is_empty());
    let kept = "SELECT count(*) FROM events WHERE verdict = 'rejected' AND hook = 'domains'
        AND detail = 'Members only'";
    assert_eq!(f.count(kept), 1);
    // They may try again, as somebody new.
    let again = f.begin(&someone).await;
    assert_ne!(again.user.id, pending.user.id);
    assert_ne!(again.new_user.unwrap().id, pending.new_user.unwrap().id);
}

#[tokio::test]
async fn a_hook_that_fails_keeps_a_new_user_pending_under_the_same_event() {
    let f = Fixture::new().await;
    let someone = person("google", "1", Some("a@example.org"));
    let first = f.begin(&someone).await;
    assert_eq!(f.settle(&first, Some(&failed()), None).await, Settled::Refused);
    let waiting = f.pending_events().await;
    assert_eq!(waiting.len(), 1, "the sign-in itself is closed");
    assert_eq!(waiting[0].0, first.new_user.clone().unwrap());

    let second = f.begin(&someone).await;
    assert_eq!(second.user.id, first.user.id);
    assert_eq!(second.new_user, first.new_user, "the same event, delivered again");
    assert_ne!(second.login.id, first.login.id);
    let settled = f
        .settle(&second, Some(&accepted(&[])), Some(&accepted(&[])))
        .await;
    assert!(matches!(settled, Settled::SignedIn { .. }));
}

#[tokio::test]
async fn the_login_hooks_decide_on_the_session_only() {
    for (verdict, expected) in [
        (Some(rejected("Not today")), no("Not today")),
        (Some(failed()), Settled::Refused),
        (None, Settled::Refused),
    ] {
        let f = Fixture::new().await;
        let pending = f.begin(&person("google", "1", None)).await;
        let settled = f
            .settle(&pending, Some(&accepted(&[("team", "blue")])), verdict.as_ref())
            .await;
        assert_eq!(settled, expected);
        let user = f.user(&pending.user.id).await.unwrap();
        assert_eq!(
            user.status,
            UserStatus::Active,
            "the new-user hooks have accepted"
        );
        assert_eq!(user.attributes["team"], "blue");
        assert!(f.store.list_sessions(None).await.unwrap().is_empty());
        assert!(f.pending_events().await.is_empty());
    }
}

#[tokio::test]
async fn an_acceptance_of_the_login_alone_activates_nobody() {
    let f = Fixture::new().await;
    let pending = f.begin(&person("google", "1", None)).await;
    for new_user in [None, Some(failed())] {
        let settled = f.settle(&pending, new_user.as_ref(), Some(&accepted(&[]))).await;
        assert_eq!(settled, Settled::Refused);
    }
    assert_eq!(
        f.user(&pending.user.id).await.unwrap().status,
        UserStatus::Pending
    );
    assert_eq!(f.count("SELECT count(*) FROM sessions"), 0);
}

#[tokio::test]
async fn the_first_verdict_of_two_deliveries_counts() {
    let f = Fixture::new().await;
    let someone = person("google", "1", None);
    // Two tabs at the same time: one event, two sign-ins.
    let one = f.begin(&someone).await;
    let two = f.begin(&someone).await;
    assert_eq!(one.new_user, two.new_user);
    let settled = f
        .settle(&one, Some(&accepted(&[("n", "1")])), Some(&accepted(&[])))
        .await;
    assert!(matches!(settled, Settled::SignedIn { .. }));
    let settled = f
        .settle(&two, Some(&rejected("too late")), Some(&accepted(&[])))
        .await;
    let Settled::SignedIn { user, .. } = settled else {
        panic!("{settled:?}")
    };
    assert_eq!(user.attributes["n"], "1");

    let f = Fixture::new().await;
    let one = f.begin(&someone).await;
    let two = f.begin(&someone).await;
    assert_eq!(f.settle(&one, Some(&rejected("No")), None).await, no("No"));
    let settled = f.settle(&two, Some(&accepted(&[])), Some(&accepted(&[]))).await;
    assert_eq!(settled, no("No"));
    assert!(f.user(&two.user.id).await.is_none());
    assert!(f.pending_events().await.is_empty());
}

#[tokio::test]
async fn a_background_delivery_does_not_disturb_a_sign_in() {
    let f = Fixture::new().await;
    let pending = f.begin(&person("google", "1", None)).await;
    let new_user = pending.new_user.clone().unwrap();
    f.store
        .settle_event(&new_user.id, &accepted(&[("n", "background")]))
        .await
        .unwrap();
    f.store.settle_event(&pending.login.id, &failed()).await.unwrap();
    let settled = f
        .settle(&pending, Some(&accepted(&[("n", "own")])), Some(&accepted(&[])))
        .await;
    let Settled::SignedIn { user, .. } = settled else {
        panic!("{settled:?}")
    };
    assert_eq!(user.attributes["n"], "background");
}

#[tokio::test]
async fn a_user_who_was_disabled_meanwhile_is_refused() {
    for (new_user, login) in [
        (accepted(&[]), Some(accepted(&[]))),
        (rejected("No"), None),
        (failed(), None),
    ] {
        let f = Fixture::new().await;
        let someone = person("google", "1", None);
        let pending = f.begin(&someone).await;
        f.store
            .set_status(&pending.user.id, UserStatus::Disabled)
            .await
            .unwrap()
            .unwrap();
        let settled = f.settle(&pending, Some(&new_user), login.as_ref()).await;
        assert_eq!(settled, Settled::Refused);
        let user = f.user(&pending.user.id).await.unwrap();
        assert_eq!(
            user.status,
            UserStatus::Disabled,
            "not deleted: they would come back as somebody new"
        );
        assert_eq!(f.count("SELECT count(*) FROM sessions"), 0);
        assert!(
            f.pending_events().await.is_empty(),
            "waits until the user is enabled"
        );
        f.store
            .settle_event(&pending.new_user.clone().unwrap().id, &accepted(&[]))
            .await
            .unwrap();

        // Enabling does not stand in for the hook.
        let enabled = f
            .store
            .set_status(&pending.user.id, UserStatus::Active)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(enabled.status, UserStatus::Pending);
        let again = f.begin(&someone).await;
        assert_eq!(again.new_user, pending.new_user);
    }
}

#[tokio::test]
async fn an_active_user_who_was_disabled_meanwhile_is_refused() {
    let f = Fixture::new().await;
    let (user, _) = f.sign_in(&person("google", "1", None)).await;
    let pending = f.begin(&person("google", "1", None)).await;
    f.store.set_status(&user.id, UserStatus::Disabled).await.unwrap();
    let settled = f.settle(&pending, None, Some(&accepted(&[("n", "1")]))).await;
    assert_eq!(settled, Settled::Refused);
    // Nor does a redelivery slip in once the user is enabled again: the event is closed.
    let enabled = f
        .store
        .set_status(&user.id, UserStatus::Active)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(enabled.status, UserStatus::Active);
    assert!(enabled.attributes.is_empty());
    assert_eq!(
        f.settle(&pending, None, Some(&accepted(&[]))).await,
        Settled::Refused
    );
}

#[tokio::test]
async fn a_user_who_was_deleted_meanwhile_is_refused_even_when_the_id_is_given_again() {
    let f = Fixture::with_ids(UserIds::EmailMd5).await;
    let pending = f.begin(&person("google", "mallory", Some("a@example.org"))).await;
    assert!(f.store.delete_user(&pending.user.id).await.unwrap());
    let (alice, _) = f.sign_in(&person("github", "alice", Some("a@example.org"))).await;
    assert_eq!(alice.id, pending.user.id);
    let settled = f
        .settle(&pending, Some(&accepted(&[("n", "1")])), Some(&accepted(&[])))
        .await;
    assert_eq!(settled, Settled::Refused);
    assert!(f.user(&alice.id).await.unwrap().attributes.is_empty());
    assert_eq!(f.count("SELECT count(*) FROM sessions"), 1);
}

#[tokio::test]
async fn events_pending_at_a_crash_are_settled_without_a_session() {
    let f = Fixture::new().await;
    let pending = f.begin(&person("google", "1", None)).await;
    let new_user = pending.new_user.clone().unwrap();
    // A sign-in's event waits for the event that tells of its new user.
    f.store
        .settle_event(&pending.login.id, &accepted(&[("order", "wrong")]))
        .await
        .unwrap();
    f.store.settle_event(&new_user.id, &failed()).await.unwrap();
    assert_eq!(f.pending_events().await.len(), 2);

    f.store
        .settle_event(&new_user.id, &accepted(&[("team", "blue")]))
        .await
        .unwrap();
    f.store
        .settle_event(&pending.login.id, &accepted(&[("seen", "yes")]))
        .await
        .unwrap();
    let user = f.user(&pending.user.id).await.unwrap();
    assert_eq!(user.status, UserStatus::Active);
    assert_eq!(user.attributes.len(), 2);
    assert!(f.store.list_sessions(None).await.unwrap().is_empty());
    assert!(f.pending_events().await.is_empty());
    // The first verdict remains.
    f.store.settle_event(&new_user.id, &rejected("No")).await.unwrap();
    assert!(f.user(&pending.user.id).await.is_some());
}

#[tokio::test]
async fn a_new_user_rejected_at_start_up_is_deleted() {
    let f = Fixture::new().await;
    let pending = f.begin(&person("google", "1", None)).await;
    f.store
        .settle_event(&pending.new_user.clone().unwrap().id, &rejected("No"))
        .await
        .unwrap();
    assert!(f.user(&pending.user.id).await.is_none());
    assert!(f.pending_events().await.is_empty());
    assert_eq!(
        f.settle(&pending, Some(&accepted(&[])), Some(&accepted(&[])))
            .await,
        no("No")
    );
}
