//! Identities that an operator links, unlinks and merges by hand.

use gateway_model::{Email, Identity, UserLimits, UserStatus, Username};
use gateway_store::{DatabaseUrl, JoinError, Settled, Store, StoreOptions, UserIds};

use crate::support::{Fixture, accepted, failed, options, person};

fn identity(provider: &str, subject: &str) -> Identity {
    person(provider, subject, None).identity
}

#[tokio::test]
async fn s1_an_operator_links_an_identity_and_unlinks_it() {
    let f = Fixture::new().await;
    let other = f.open(f.path()).await;
    let ann = Some("ann@example.org");
    let (user, session) = f.sign_in(&person("google", "A", ann)).await;
    let second = identity("google", "B");
    // Two subjects of one issuer: the operator says that they are one person.
    let linked = other.link_identity(&user.id, &second).await.unwrap();
    assert!(linked.changed && linked.user.identities.contains(&second));
    assert!(!other.link_identity(&user.id, &second).await.unwrap().changed);
    let (same, second_session) = f.sign_in(&person("google", "B", Some("b@example.org"))).await;
    assert_eq!(same.id, user.id);
    let found = f
        .store
        .lookup_session(&session.id, &user.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.user.identities.len(), 2, "seen immediately");

    let unlinked = other.unlink_identity(&user.id, &second).await.unwrap();
    assert_eq!((unlinked.sessions_ended, unlinked.user.identities.len()), (1, 1));
    assert!(
        f.store
            .lookup_session(&second_session.id, &user.id)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        f.store
            .lookup_session(&session.id, &user.id)
            .await
            .unwrap()
            .is_some()
    );
    let (apart, _) = f.sign_in(&person("google", "B", ann)).await;
    assert_ne!(apart.id, user.id);
    assert_eq!(
        f.store.link_identity(&user.id, &second).await.unwrap_err(),
        JoinError::Elsewhere(apart.id)
    );
}

#[tokio::test]
async fn s1_an_address_does_not_undo_an_unlinking() {
    let f = Fixture::new().await;
    let ann = Some("ann@example.org");
    let (user, _) = f.sign_in(&person("google", "A", ann)).await;
    f.sign_in(&person("github", "A", ann)).await;
    let at_github = identity("github", "A");
    f.store.unlink_identity(&user.id, &at_github).await.unwrap();
    let (apart, _) = f.sign_in(&person("github", "A", ann)).await;
    assert_ne!(apart.id, user.id);
    // Once the operator has changed their mind, it is one person again.
    f.store.merge_users(&apart.id, &user.id).await.unwrap();
    f.store
        .unlink_identity(&user.id, &identity("google", "A"))
        .await
        .unwrap();
    let kept = f.user(&user.id).await.unwrap();
    assert_eq!(kept.identities, std::slice::from_ref(&at_github));
    assert_eq!(kept.email, None, "nobody vouches for it");
    for (who, error) in [
        (&at_github, JoinError::OnlyOne),
        (&identity("google", "A"), JoinError::NotTheirs),
        (&identity("google", "none"), JoinError::NotTheirs),
    ] {
        assert_eq!(f.store.unlink_identity(&user.id, who).await.unwrap_err(), error);
    }
}

#[tokio::test]
async fn a1_an_operator_links_as_many_as_a_user_may_have() {
    let f = Fixture::new().await;
    let options = StoreOptions {
        limits: UserLimits {
            identities: 2,
            ..UserLimits::default()
        },
        ..options(&f.clock, UserIds::Random)
    };
    let store = Store::open(&DatabaseUrl::File(f.path()), options).await.unwrap();
    let (user, _) = f.sign_in(&person("google", "1", None)).await;
    let (other, _) = f.sign_in(&person("google", "2", None)).await;
    store
        .link_identity(&user.id, &identity("github", "1"))
        .await
        .unwrap();
    let error = JoinError::TooManyIdentities { would: 3, limit: 2 };
    let linked = store.link_identity(&user.id, &identity("gitlab", "1")).await;
    assert_eq!(linked.unwrap_err(), error);
    assert_eq!(store.merge_users(&other.id, &user.id).await.unwrap_err(), error);
    assert!(f.user(&other.id).await.is_some());
}

#[tokio::test]
async fn s1_two_users_are_merged_into_one() {
    let f = Fixture::new().await;
    let other = f.open(f.path()).await;
    let (from, from_session) = f.sign_in(&person("google", "A", Some("a@example.org"))).await;
    let (into, into_session) = f.sign_in(&person("google", "B", Some("b@example.org"))).await;
    for (user, verdict) in [
        (&from, accepted(&[("team", "blue"), ("only", "from")])),
        (&into, accepted(&[("team", "red"), ("same", "1")])),
    ] {
        let subject = &user.identities[0].subject;
        let pending = f
            .begin(&person(
                "google",
                subject,
                Some(&user.email.as_ref().unwrap().address),
            ))
            .await;
        assert!(matches!(
            f.settle(&pending, None, Some(&verdict)).await,
            Settled::SignedIn { .. }
        ));
    }
    for (user, name) in [(&from, "ann_old"), (&into, "ann")] {
        f.store
            .set_username(&user.id, &Username::parse(name).unwrap())
            .await
            .unwrap();
    }
    // Pending events of the merged user are delivered for the other.
    let (_, ended) = f.sign_in(&person("google", "A", Some("a@example.org"))).await;
    let (sign_out, _) = f.store.log_out(&ended.id).await.unwrap().unwrap();
    f.store.settle_event(&sign_out.id, &failed()).await.unwrap();
    let under_way = f.begin(&person("google", "A", Some("a@example.org"))).await;

    let merged = other.merge_users(&from.id, &into.id).await.unwrap();
    assert_eq!(merged.user.id, into.id);
    assert_eq!(merged.sessions_ended, 2);
    assert_eq!(merged.dropped_username.as_deref(), Some("ann_old"));
    assert_eq!(merged.dropped_email.as_deref(), Some("a@example.org"));
    let dropped: Vec<_> = merged
        .dropped_attributes
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    assert_eq!(dropped, [("team", "blue")]);
    let user = f.user(&into.id).await.unwrap();
    assert_eq!(user, merged.user);
    assert_eq!(user.identities.len(), 2);
    assert_eq!(user.username.as_ref().map(Username::as_str), Some("ann"));
    let attributes: Vec<_> = user
        .attributes
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    assert_eq!(attributes, [("only", "from"), ("same", "1"), ("team", "red")]);

    assert!(f.user(&from.id).await.is_none());
    assert!(
        f.store
            .lookup_session(&from_session.id, &from.id)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        f.store
            .lookup_session(&into_session.id, &into.id)
            .await
            .unwrap()
            .is_some()
    );
    let waiting = f.store.pending_sign_outs(0).await.unwrap();
    assert_eq!((&waiting[0].1.id, &waiting[0].2.id), (&sign_out.id, &into.id));
    assert_eq!(f.pending_events().await[0].1.id, into.id);
    // A sign-in that was under way gets no session of a user who is gone.
    assert_eq!(
        f.settle(&under_way, None, Some(&accepted(&[]))).await,
        Settled::Refused
    );
    for (subject, address) in [("A", "a@example.org"), ("B", "b@example.org")] {
        let (again, _) = f.sign_in(&person("google", subject, Some(address))).await;
        assert_eq!(again.id, into.id);
    }
    // Nobody has the name that was dropped.
    let (third, _) = f.sign_in(&person("google", "C", None)).await;
    let name = Username::parse("ann_old").unwrap();
    assert_eq!(
        f.store.set_username(&third.id, &name).await.unwrap(),
        gateway_store::SetUsername::Set
    );
}

#[tokio::test]
async fn s1_the_remaining_user_gets_what_only_the_other_has() {
    let f = Fixture::new().await;
    let (from, _) = f.sign_in(&person("google", "A", Some("a@example.org"))).await;
    let (into, _) = f.sign_in(&person("github", "B", None)).await;
    f.store
        .set_username(&from.id, &Username::parse("ann").unwrap())
        .await
        .unwrap();
    let merged = f.store.merge_users(&from.id, &into.id).await.unwrap();
    assert_eq!(merged.user.username.as_ref().map(Username::as_str), Some("ann"));
    assert_eq!(
        merged.user.email,
        Some(Email {
            address: "a@example.org".into(),
            trusted: true
        })
    );
    assert_eq!((merged.dropped_username, merged.dropped_email), (None, None));
    // The address finds them, and what vouched for it still does.
    let (found, _) = f.sign_in(&person("gitlab", "1", Some("a@example.org"))).await;
    assert_eq!(found.id, into.id);
    let (moved, _) = f.sign_in(&person("google", "A", Some("new@example.org"))).await;
    assert_eq!(moved.email.unwrap().address, "new@example.org");
}

#[tokio::test]
async fn s1_a_merge_neither_admits_nor_locks_out_anybody() {
    let f = Fixture::new().await;
    let (one, _) = f.sign_in(&person("google", "1", None)).await;
    let (two, _) = f.sign_in(&person("google", "2", None)).await;
    let new = f.begin(&person("google", "3", None)).await;
    f.settle(&new, Some(&failed()), None).await;
    let refused = async |from, into| f.store.merge_users(from, into).await.unwrap_err();
    assert_eq!(refused(&one.id, &one.id).await, JoinError::Same);
    assert_eq!(
        refused(&one.id, &new.user.id).await,
        JoinError::Pending(new.user.id.clone())
    );
    f.store.set_status(&two.id, UserStatus::Disabled).await.unwrap();
    for (from, into) in [(&one.id, &two.id), (&two.id, &one.id)] {
        assert_eq!(refused(from, into).await, JoinError::Disabled(two.id.clone()));
    }
    f.store.delete_user(&two.id).await.unwrap();
    assert_eq!(refused(&two.id, &one.id).await, JoinError::NoUser(two.id.clone()));
    // A new user is not new any more: no hook hears of them.
    let merged = f.store.merge_users(&new.user.id, &one.id).await.unwrap();
    assert_eq!(merged.user.status, UserStatus::Active);
    assert!(f.pending_events().await.is_empty());
    assert_eq!(f.count("SELECT count(*) FROM events WHERE user_id = ''"), 0);
}
