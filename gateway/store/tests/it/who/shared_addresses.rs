//! Two people with one address: each is their own user, and the address links nobody else to them.

use gateway_model::UserStatus;
use gateway_store::{SignInError, UserIds};

use super::email;
use crate::support::{Fixture, person};

#[tokio::test]
async fn s1_two_subjects_of_one_issuer_are_two_users() {
    let f = Fixture::new().await;
    let ann = Some("ann@example.org");
    let (a, _) = f.sign_in(&person("google", "A", ann)).await;
    let (b, _) = f.sign_in(&person("google", "B", ann)).await;
    assert_ne!(a.id, b.id);
    assert_eq!(
        (a.email, b.email),
        (email("ann@example.org", true), email("ann@example.org", false))
    );
    // Both stay who they are, whoever comes next.
    for (subject, id) in [("A", &a.id), ("B", &b.id), ("A", &a.id)] {
        let (again, _) = f.sign_in(&person("google", subject, ann)).await;
        assert_eq!(again.id, *id);
    }
}

#[tokio::test]
async fn s1_a_further_identity_of_an_issuer_is_not_linked_however_the_first_one_came() {
    // A has an identity at both, and was first seen at either.
    for (first, second) in [("google", "github"), ("github", "google")] {
        let f = Fixture::new().await;
        let ann = Some("ann@example.org");
        let (a, _) = f.sign_in(&person(first, "A", ann)).await;
        let (linked, _) = f.sign_in(&person(second, "A2", ann)).await;
        assert_eq!(a.id, linked.id);
        for (provider, subject) in [(second, "B"), (first, "B2")] {
            let (b, _) = f.sign_in(&person(provider, subject, ann)).await;
            assert_ne!(a.id, b.id, "{provider} {subject}");
        }
        // Not even when A's identity there has another address by now.
        f.sign_in(&person(second, "A2", Some("a2@example.org"))).await;
        let (c, _) = f.sign_in(&person(second, "C", ann)).await;
        assert_ne!(a.id, c.id);
        assert_eq!(f.user(&a.id).await.unwrap().identities.len(), 2);
    }
}

/// The rule about issuers does not depend on what the issuer said of the address before.
#[tokio::test]
async fn s1_two_subjects_of_one_issuer_are_two_users_whatever_addresses_they_had() {
    let f = Fixture::new().await;
    let (a, _) = f.sign_in(&person("github", "A", ANN)).await;
    f.store
        .link_identity(&a.id, &person("google", "A", None).identity)
        .await
        .unwrap();
    f.sign_in(&person("google", "A", Some("else@example.org"))).await;
    let (b, _) = f.sign_in(&person("google", "B", ANN)).await;
    assert_ne!(a.id, b.id);
}

/// An address that was given to somebody else: the issuer's word that there are two people counts everywhere.
#[tokio::test]
async fn s1_an_address_that_one_issuer_gives_to_two_people_finds_neither() {
    let f = Fixture::new().await;
    let ann = Some("ann@example.org");
    let (old, _) = f.sign_in(&person("google", "old", ann)).await;
    let (new, _) = f.sign_in(&person("google", "new", ann)).await;
    let (at_github, _) = f.sign_in(&person("github", "new", ann)).await;
    assert_ne!(at_github.id, old.id, "the address is not theirs any more");
    assert_ne!(at_github.id, new.id, "nor is it known to be the other one's");
    // Once the first has another address, it is the second one's, and still finds nobody: elsewhere it may be the
    // first one's to this day.
    f.sign_in(&person("google", "old", Some("old@example.org"))).await;
    let (new, _) = f.sign_in(&person("google", "new", ann)).await;
    assert_eq!(new.email, email("ann@example.org", true));
    let (at_gitlab, _) = f.sign_in(&person("gitlab", "new", ann)).await;
    assert_ne!(at_gitlab.id, new.id);
    assert_ne!(at_gitlab.id, old.id);
}

const ANN: Option<&str> = Some("ann@example.org");

/// Somebody new signs in at an issuer that nobody has used yet, with Ann's address, and is nobody who is there.
async fn is_nobody_who_is_there(f: &Fixture, provider: &str) {
    let before = f.store.list_users(None, 100).await.unwrap();
    let (user, _) = f.sign_in(&person(provider, "somebody", ANN)).await;
    assert!(before.iter().all(|known| known.id != user.id), "linked: {user:?}");
    assert_eq!(user.identities.len(), 1);
}

/// The refusal is undone, not what the issuer said.
#[tokio::test]
async fn s1_an_issuer_that_gave_an_address_to_two_people_is_remembered_though_one_was_refused() {
    let f = Fixture::with_ids(UserIds::EmailMd5).await;
    let (owner, _) = f.sign_in(&person("google", "1", ANN)).await;
    for (provider, subject) in [("google", "2"), ("github", "2"), ("gitlab", "2"), ("github", "2")] {
        let refused = f.store.begin_sign_in(&person(provider, subject, ANN)).await;
        assert_eq!(refused.unwrap_err(), SignInError::EmailInUse, "{provider}");
        assert_eq!(f.user(&owner.id).await.unwrap().identities.len(), 1);
    }
    assert_eq!(f.count("SELECT count(*) FROM users"), 1);
    assert_eq!(f.count("SELECT count(*) FROM events"), 2, "the owner's");
    // The owner signs in as ever. Once they are deleted the next one is let in, and nobody is linked to that one.
    assert_eq!(f.sign_in(&person("google", "1", ANN)).await.0.id, owner.id);
    assert!(f.store.delete_user(&owner.id).await.unwrap());
    let (next, _) = f.sign_in(&person("google", "2", ANN)).await;
    assert_eq!(next.id, owner.id, "the id stands for the address");
    let refused = f.store.begin_sign_in(&person("github", "1", ANN)).await;
    assert_eq!(refused.unwrap_err(), SignInError::EmailInUse);
}

/// A disabled user's sign-in is refused; the issuer's claims are stored.
#[tokio::test]
async fn s1_an_address_is_remembered_though_its_user_is_disabled() {
    let f = Fixture::new().await;
    let (old, _) = f.sign_in(&person("google", "old", Some("old@example.org"))).await;
    f.store.set_status(&old.id, UserStatus::Disabled).await.unwrap();
    f.store
        .begin_sign_in(&person("google", "old", ANN))
        .await
        .unwrap_err();
    f.sign_in(&person("google", "new", ANN)).await;
    is_nobody_who_is_there(&f, "github").await;
}

#[tokio::test]
async fn s1_an_address_that_has_passed_to_a_new_colleague_finds_neither() {
    for ids in [UserIds::Random, UserIds::EmailMd5] {
        let f = Fixture::with_ids(ids).await;
        let (old, _) = f.sign_in(&person("google", "52", ANN)).await;
        f.sign_in(&person("google", "52", Some("ann2@example.org"))).await;
        let new = f.store.begin_sign_in(&person("google", "51", ANN)).await;
        let at_github = f.store.begin_sign_in(&person("github", "52", ANN)).await;
        match ids {
            UserIds::Random => {
                let (new, at_github) = (new.unwrap().user, at_github.unwrap().user);
                assert!(at_github.id != new.id && at_github.id != old.id);
            }
            UserIds::EmailMd5 => {
                assert_eq!(new.unwrap_err(), SignInError::EmailInUse);
                assert_eq!(at_github.unwrap_err(), SignInError::EmailInUse);
            }
        }
    }
}

/// The new colleague may come by another issuer than the one that knew the first.
#[tokio::test]
async fn s1_an_address_that_another_issuer_gives_to_a_new_colleague_finds_neither() {
    let f = Fixture::new().await;
    f.sign_in(&person("google", "52", ANN)).await;
    f.sign_in(&person("google", "52", Some("ann2@example.org"))).await;
    f.sign_in(&person("github", "51", ANN)).await;
    is_nobody_who_is_there(&f, "gitlab").await;
}

#[tokio::test]
async fn s1_an_address_of_two_people_finds_nobody_when_either_is_deleted() {
    for deleted in 0..2 {
        let f = Fixture::new().await;
        let (one, _) = f.sign_in(&person("google", "1", ANN)).await;
        let (two, _) = f.sign_in(&person("google", "2", ANN)).await;
        let ids = [one.id, two.id];
        assert!(f.store.delete_user(&ids[deleted]).await.unwrap());
        // The other one signs in again, and the address is theirs.
        let other = ["2", "1"][deleted];
        let (left, _) = f.sign_in(&person("google", other, ANN)).await;
        assert_eq!(left.email, email("ann@example.org", true));
        is_nobody_who_is_there(&f, "github").await;
        // No personal data is left of whoever is deleted.
        let sql =
            "SELECT count(*) FROM given_addresses WHERE instr(address, 'ann') + instr(subject, 'ann') > 0";
        assert_eq!(f.count(sql), 0);
    }
    // The first is gone before the second comes.
    let f = Fixture::new().await;
    let (one, _) = f.sign_in(&person("google", "1", ANN)).await;
    assert!(f.store.delete_user(&one.id).await.unwrap());
    assert_eq!(
        f.count("SELECT count(*) FROM given_addresses WHERE user_id IS NOT NULL"),
        0
    );
    f.sign_in(&person("google", "2", ANN)).await;
    is_nobody_who_is_there(&f, "github").await;
}

/// A deleted person who signs in again is the same person to their issuers.
#[tokio::test]
async fn s1_somebody_who_comes_again_after_a_deletion_is_linked_as_before() {
    let f = Fixture::new().await;
    let (user, _) = f.sign_in(&person("google", "1", ANN)).await;
    f.sign_in(&person("github", "1", ANN)).await;
    assert!(f.store.delete_user(&user.id).await.unwrap());
    let (again, _) = f.sign_in(&person("google", "1", ANN)).await;
    let (linked, _) = f.sign_in(&person("github", "1", ANN)).await;
    assert_eq!(linked.id, again.id);
}

#[tokio::test]
async fn s1_an_address_of_an_unlinked_identity_finds_nobody() {
    for then in ["stays", "moves", "is deleted"] {
        let f = Fixture::new().await;
        let (user, _) = f.sign_in(&person("google", "1", ANN)).await;
        f.sign_in(&person("github", "1", ANN)).await;
        let unlinked = person("github", "1", ANN);
        f.store
            .unlink_identity(&user.id, &unlinked.identity)
            .await
            .unwrap();
        let (apart, _) = f.sign_in(&unlinked).await;
        assert_ne!(apart.id, user.id);
        match then {
            "moves" => {
                f.sign_in(&person("github", "1", Some("else@example.org"))).await;
            }
            "is deleted" => {
                f.store.delete_user(&apart.id).await.unwrap();
            }
            _ => {}
        }
        is_nobody_who_is_there(&f, "gitlab").await;
    }
}

#[tokio::test]
async fn s1_an_address_that_another_issuer_gives_to_another_user_finds_nobody() {
    for then in ["stays", "moves", "is deleted"] {
        let f = Fixture::new().await;
        let (user, _) = f.sign_in(&person("google", "1", ANN)).await;
        // Somebody else, who gets the address later.
        f.sign_in(&person("github", "2", Some("else@example.org"))).await;
        let (other, _) = f.sign_in(&person("github", "2", ANN)).await;
        assert_ne!(other.id, user.id);
        match then {
            "moves" => {
                f.sign_in(&person("github", "2", Some("else@example.org"))).await;
            }
            "is deleted" => {
                f.store.delete_user(&other.id).await.unwrap();
            }
            _ => {}
        }
        is_nobody_who_is_there(&f, "gitlab").await;
    }
}

/// Most mail systems know one mailbox by both spellings.
#[tokio::test]
async fn s1_an_address_that_was_somebody_elses_in_another_spelling_finds_nobody() {
    let f = Fixture::new().await;
    f.sign_in(&person("google", "1", Some("Ann@Example.org"))).await;
    f.sign_in(&person("google", "2", ANN)).await;
    is_nobody_who_is_there(&f, "github").await;
}

/// An older gateway's rows show whose an address was.
#[tokio::test]
async fn s1_an_older_database_tells_which_addresses_are_two_peoples() {
    let f = Fixture::new().await;
    let path = f.directory.path().join("older.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    for migration in [
        include_str!("../../../../../migrations/0001_users_sessions_events.sql"),
        include_str!("../../../../../migrations/0002_plugin_values.sql"),
        include_str!("../../../../../migrations/0003_bounds_and_separations.sql"),
        include_str!("../../../../../migrations/0004_log_stamp_and_clock.sql"),
        include_str!("../../../../../migrations/0005_plugin_value_storage.sql"),
    ] {
        connection.execute_batch(migration).unwrap();
    }
    // "AuGW" says that the file is a gateway's. Two people have each address but the first; the one who keeps it is u.
    let old = "PRAGMA application_id = 1098205015; PRAGMA user_version = 5;
        INSERT INTO users (id, name, joined, status) VALUES ('v', 'Bea', 1, 'active');
        INSERT INTO users (id, name, email, email_trusted, email_identity, joined, status) VALUES
            ('u1', 'Ann', 'one@example.org', 1, 1, 1, 'active'),
            ('u2', 'Ann', 'subjects@example.org', 1, 3, 1, 'active'),
            ('u3', 'Ann', 'users@example.org', 1, 5, 1, 'active');
        INSERT INTO identities (id, user_id, provider, issuer, subject, email) VALUES
            (1, 'u1', 'google', 'https://google.example', '1', 'one@example.org'),
            (2, 'u1', 'github', 'https://github.example', '1', 'one@example.org'),
            (3, 'u2', 'google', 'https://google.example', '2', 'subjects@example.org'),
            (4, 'v', 'google', 'https://google.example', '3', 'Subjects@example.org'),
            (5, 'u3', 'google', 'https://google.example', '4', 'users@example.org'),
            (6, 'v', 'github', 'https://github.example', '5', 'users@example.org');";
    connection.execute_batch(old).unwrap();
    drop(connection);
    let store = f.open(path).await;
    // Regardless of the second person.
    assert!(store.delete_user(&"v".into()).await.unwrap());
    for (address, owner, linked) in [
        ("one@example.org", "u1", true),
        ("subjects@example.org", "u2", false),
        ("users@example.org", "u3", false),
    ] {
        let new = person("gitlab", address, Some(address));
        let user = store.begin_sign_in(&new).await.unwrap().user;
        assert_eq!(user.id.as_str() == owner, linked, "{address}");
    }
}

/// Users that an operator joins are one person; a merge does not assign an address to two people.
#[tokio::test]
async fn s1_an_address_finds_a_user_after_a_merge_and_a_link() {
    let f = Fixture::new().await;
    let (into, _) = f.sign_in(&person("google", "1", Some("else@example.org"))).await;
    let (from, _) = f.sign_in(&person("github", "1", ANN)).await;
    f.sign_in(&person("google", "1", None)).await;
    let merged = f.store.merge_users(&from.id, &into.id).await.unwrap();
    assert_eq!(merged.user.email, email("ann@example.org", true));
    f.store
        .link_identity(&into.id, &person("corp", "1", None).identity)
        .await
        .unwrap();
    for provider in ["github", "corp", "gitlab"] {
        let (same, _) = f.sign_in(&person(provider, "1", ANN)).await;
        assert_eq!(same.id, into.id, "{provider}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s1_people_of_one_issuer_who_come_at_once_are_as_many_users() {
    let f = Fixture::new().await;
    let other = f.open(f.path()).await;
    let mut attempts = tokio::task::JoinSet::new();
    for n in 0..40 {
        let store = if n % 2 == 0 {
            f.store.clone()
        } else {
            other.clone()
        };
        let provider = if n % 4 < 2 { "google" } else { "github" };
        let someone = person(provider, &n.to_string(), Some("ann@example.org"));
        attempts.spawn(async move { store.begin_sign_in(&someone).await.unwrap() });
    }
    attempts.join_all().await;
    for user in f.store.list_users(None, 100).await.unwrap() {
        let mut issuers: Vec<_> = user.identities.iter().map(|i| i.issuer.clone()).collect();
        issuers.dedup();
        assert_eq!(issuers.len(), user.identities.len(), "{user:?}");
    }
    assert!(f.count("SELECT count(*) FROM users") >= 39);
    assert_eq!(f.count("SELECT count(*) FROM users WHERE email_trusted = 1"), 1);
}
