//! Looking up, listing, naming, disabling, deleting.

use gateway_model::{UserId, UserStatus, Username};
use gateway_store::{FoundBy, SetUsername};

use crate::support::{Fixture, accepted, person};

fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

#[tokio::test]
async fn a_username_is_set_once_and_unique_without_regard_to_case() {
    let f = Fixture::new().await;
    let (alice, _) = f.sign_in(&person("google", "1", None)).await;
    let (bob, _) = f.sign_in(&person("google", "2", None)).await;
    assert_eq!(
        f.store.set_username(&alice.id, &name("Alice")).await.unwrap(),
        SetUsername::Set
    );
    assert_eq!(
        f.store.set_username(&alice.id, &name("Alice")).await.unwrap(),
        SetUsername::Set,
        "the same again"
    );
    for other in ["Alice2", "alice"] {
        assert_eq!(
            f.store.set_username(&alice.id, &name(other)).await.unwrap(),
            SetUsername::AlreadySet
        );
    }
    assert_eq!(
        f.store.set_username(&bob.id, &name("aLICE")).await.unwrap(),
        SetUsername::Taken
    );
    assert_eq!(
        f.store.set_username(&bob.id, &name("bob")).await.unwrap(),
        SetUsername::Set
    );
    let nobody = f
        .store
        .set_username(&UserId::from("nobody"), &name("carol"))
        .await
        .unwrap();
    assert_eq!(nobody, SetUsername::UnknownUser);
    let found = f.store.find_user_by_username("ALICE").await.unwrap().unwrap();
    assert_eq!(
        (found.id, found.username),
        (alice.id.clone(), Some(name("Alice")))
    );
    assert!(f.store.find_user_by_username("carol").await.unwrap().is_none());
    f.store.set_status(&alice.id, UserStatus::Disabled).await.unwrap();
    assert!(f.store.find_user_by_username("alice").await.unwrap().is_none());
    assert_eq!(
        f.store.set_username(&bob.id, &name("alice")).await.unwrap(),
        SetUsername::AlreadySet
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_who_want_a_name_at_once_one_gets_it() {
    let f = Fixture::new().await;
    let other = f.open(f.path()).await;
    let mut attempts = tokio::task::JoinSet::new();
    for n in 0..100 {
        let (user, _) = f.sign_in(&person("google", &n.to_string(), None)).await;
        let store = if n % 2 == 0 {
            f.store.clone()
        } else {
            other.clone()
        };
        // Every other one in another case.
        let wanted = name(if n % 3 == 0 { "Neo" } else { "neo" });
        attempts.spawn(async move { store.set_username(&user.id, &wanted).await.unwrap() });
    }
    let answers = attempts.join_all().await;
    assert_eq!(answers.iter().filter(|a| **a == SetUsername::Set).count(), 1);
    assert_eq!(answers.iter().filter(|a| **a == SetUsername::Taken).count(), 99);
    assert_eq!(
        f.count("SELECT count(*) FROM users WHERE username IS NOT NULL"),
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_names_that_a_user_wants_at_once_they_get_one() {
    let f = Fixture::new().await;
    let (user, _) = f.sign_in(&person("google", "1", None)).await;
    let mut attempts = tokio::task::JoinSet::new();
    for n in 0..100 {
        let (store, id, wanted) = (f.store.clone(), user.id.clone(), name(&format!("name{n}")));
        attempts.spawn(async move { store.set_username(&id, &wanted).await.unwrap() });
    }
    let answers = attempts.join_all().await;
    assert_eq!(answers.iter().filter(|a| **a == SetUsername::Set).count(), 1);
    assert_eq!(
        answers.iter().filter(|a| **a == SetUsername::AlreadySet).count(),
        99
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_person_who_comes_many_times_at_once_is_one_user() {
    let f = Fixture::new().await;
    let other = f.open(f.path()).await;
    let mut attempts = tokio::task::JoinSet::new();
    for n in 0..50 {
        let store = if n % 2 == 0 {
            f.store.clone()
        } else {
            other.clone()
        };
        let provider = if n % 3 == 0 { "google" } else { "github" };
        let someone = person(provider, "1", Some("a@example.org"));
        attempts.spawn(async move { store.begin_sign_in(&someone).await.unwrap() });
    }
    let begun = attempts.join_all().await;
    assert!(
        begun
            .iter()
            .all(|p| p.user.id == begun[0].user.id && p.new_user == begun[0].new_user)
    );
    assert_eq!(f.count("SELECT count(*) FROM users"), 1);
    assert_eq!(f.count("SELECT count(*) FROM identities"), 2);
}

#[tokio::test]
async fn an_operator_finds_users_by_whatever_they_type() {
    let f = Fixture::new().await;
    let (alice, _) = f.sign_in(&person("google", "7", Some("alice@example.org"))).await;
    let (bob, _) = f.sign_in(&person("forum", "7", Some("alice@example.org"))).await;
    f.store.set_username(&bob.id, &name("Bobby")).await.unwrap();
    let (alice, bob) = (alice.id.to_string(), bob.id.to_string());
    let find = async |text: &str| {
        let found = f.store.find_users(text).await.unwrap();
        found
            .into_iter()
            .map(|found| found.user.id.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(find(&alice).await, [alice.as_str()]);
    assert_eq!(find("bOBBY").await, [bob.as_str()]);
    assert_eq!(find("google:7").await, [alice.as_str()]);
    assert_eq!(find("forum:7").await, [bob.as_str()]);
    let mut both = vec![alice, bob];
    both.sort();
    assert_eq!(find("alice@example.org").await, both);
    for nothing in ["", "7", "google:", "%", "alice@example.or_", "' OR 1=1 --"] {
        assert!(find(nothing).await.is_empty(), "{nothing:?}");
    }
}

#[tokio::test]
async fn a6_an_id_names_its_user_whatever_others_are_called() {
    let f = Fixture::new().await;
    let (victim, _) = f
        .sign_in(&person("google", "7", Some("victim@example.org")))
        .await;
    let (mallory, _) = f.sign_in(&person("forum", "8", Some("google:7"))).await;
    let (third, _) = f.sign_in(&person("id", "9", Some("bobby"))).await;
    f.store.set_username(&third.id, &name("unlucky")).await.unwrap();
    // As an older gateway let them.
    let raw = rusqlite::Connection::open(f.path()).unwrap();
    let sql = "UPDATE users SET username = ?2, username_folded = ?2 WHERE id = ?1";
    raw.execute(sql, [mallory.id.as_str(), victim.id.as_str()])
        .unwrap();

    let find = async |text: String| {
        let found = f.store.find_users(&text).await.unwrap();
        found
            .into_iter()
            .map(|found| (found.user.id, found.by))
            .collect::<Vec<_>>()
    };
    for id in [&victim.id, &mallory.id, &third.id] {
        for text in [id.to_string(), format!("id:{id}")] {
            assert_eq!(find(text.clone()).await, [(id.clone(), FoundBy::Id)], "{text}");
        }
    }
    // The user with the odd name is found by it too, if the prefix says that it is a name.
    let by_name = find(format!("username:{}", victim.id)).await;
    assert_eq!(by_name, [(mallory.id.clone(), FoundBy::Username)]);
    assert!(
        f.user(&mallory.id).await.unwrap().username.is_none(),
        "and is not shown"
    );
    // An address that looks like an identity: both, and each by what it is.
    let mut both = [
        (victim.id.clone(), FoundBy::Identity),
        (mallory.id.clone(), FoundBy::Email),
    ];
    both.sort();
    assert_eq!(find("google:7".into()).await, both);
    assert_eq!(
        find("identity:google:7".into()).await,
        [(victim.id.clone(), FoundBy::Identity)]
    );
    assert_eq!(
        find("email:google:7".into()).await,
        [(mallory.id.clone(), FoundBy::Email)]
    );
    // A provider that is called like a prefix.
    assert!(find("id:9".into()).await.is_empty());
    assert_eq!(
        find("identity:id:9".into()).await,
        [(third.id.clone(), FoundBy::Identity)]
    );
    assert_eq!(
        find("username:UNLUCKY".into()).await,
        [(third.id.clone(), FoundBy::Username)]
    );
}

#[tokio::test]
async fn paging_returns_every_user_once() {
    let f = Fixture::new().await;
    for n in 0..25 {
        f.sign_in(&person(
            "google",
            &n.to_string(),
            Some(&format!("{n}@example.org")),
        ))
        .await;
        f.sign_in(&person(
            "github",
            &n.to_string(),
            Some(&format!("{n}@example.org")),
        ))
        .await;
    }
    let mut all = Vec::new();
    loop {
        let page = f.store.list_users(all.last(), 10).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 10 && page.iter().all(|user| user.identities.len() == 2));
        all.extend(page.into_iter().map(|user| user.id));
    }
    assert_eq!(all.len(), 25);
    assert!(all.is_sorted());
    assert!(f.store.list_users(None, 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn disabling_ends_every_session_and_enabling_restores_none() {
    let f = Fixture::new().await;
    let (user, one) = f.sign_in(&person("google", "1", None)).await;
    let (_, two) = f.sign_in(&person("google", "1", None)).await;
    let (_, others) = f.sign_in(&person("google", "2", None)).await;
    let disabled = f
        .store
        .set_status(&user.id, UserStatus::Disabled)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(disabled.status, UserStatus::Disabled);
    f.store.set_status(&user.id, UserStatus::Active).await.unwrap();
    for session in [&one, &two] {
        assert!(
            f.store
                .lookup_session(&session.id, &session.user_id)
                .await
                .unwrap()
                .is_none()
        );
    }
    assert!(
        f.store
            .lookup_session(&others.id, &others.user_id)
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        f.store.pending_sign_outs(0).await.unwrap().is_empty(),
        "no logout hooks for an operator's doing"
    );
    let nobody = UserId::from("nobody");
    for status in [UserStatus::Disabled, UserStatus::Active] {
        assert!(f.store.set_status(&nobody, status).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn enabling_activates_nobody_who_is_pending() {
    let f = Fixture::new().await;
    let pending = f.begin(&person("google", "1", None)).await;
    let same = f
        .store
        .set_status(&pending.user.id, UserStatus::Active)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(same.status, UserStatus::Pending);
}

#[tokio::test]
async fn deleting_leaves_nothing() {
    let f = Fixture::new().await;
    let (user, session) = f.sign_in(&person("google", "1", Some("a@example.org"))).await;
    f.sign_in(&person("github", "1", Some("a@example.org"))).await;
    f.store.set_username(&user.id, &name("alice")).await.unwrap();
    let pending = f.begin(&person("google", "1", Some("a@example.org"))).await;
    assert!(f.store.delete_user(&user.id).await.unwrap());
    assert!(!f.store.delete_user(&user.id).await.unwrap());
    assert!(
        f.store
            .lookup_session(&session.id, &session.user_id)
            .await
            .unwrap()
            .is_none()
    );
    for table in ["users", "identities", "sessions", "events"] {
        assert_eq!(f.count(&format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
    // A verdict that comes too late revives nothing.
    f.store
        .settle_event(&pending.login.id, &accepted(&[("n", "1")]))
        .await
        .unwrap();
    let again = f.begin(&person("google", "1", Some("a@example.org"))).await;
    assert_ne!(again.user.id, user.id, "an id is never used again");
    assert!(again.new_user.is_some());
}
