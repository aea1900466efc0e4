//! The user of a sign-in: identities, addresses, ids; takeover by email (the matrix, both orders).

mod ids;
mod shared_addresses;

use std::collections::{HashMap, HashSet};

use gateway_model::{Email, UserStatus};
use gateway_store::SignInError;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use crate::support::{Fixture, person, trusted};

fn email(address: &str, trusted: bool) -> Option<Email> {
    Some(Email {
        address: address.into(),
        trusted,
    })
}

#[tokio::test]
async fn the_same_identity_is_the_same_user() {
    let f = Fixture::new().await;
    let (first, _) = f.sign_in(&person("google", "1", Some("a@example.org"))).await;
    let (second, _) = f.sign_in(&person("google", "1", Some("a@example.org"))).await;
    assert_eq!(first.id, second.id);
    assert_eq!(second.identities.len(), 1);
    assert_eq!(first.id.as_str().len(), 32);
    assert_eq!(second.username, None);
}

#[tokio::test]
async fn the_same_subject_at_two_issuers_is_two_users() {
    let f = Fixture::new().await;
    let (one, _) = f.sign_in(&person("google", "1", None)).await;
    let (other, _) = f.sign_in(&person("github", "1", None)).await;
    assert_ne!(one.id, other.id);
}

#[tokio::test]
async fn a_renamed_provider_is_the_same_issuer() {
    let f = Fixture::new().await;
    let mut someone = person("google", "1", None);
    let (before, _) = f.sign_in(&someone).await;
    someone.identity.provider = "workspace".into();
    let (after, session) = f.sign_in(&someone).await;
    assert_eq!(before.id, after.id);
    assert_eq!(after.identities[0].provider, "workspace");
    assert_eq!(session.provider, "workspace");
}

#[tokio::test]
async fn the_same_address_at_two_providers() {
    let address = Some("a@example.org");
    for (first, second, same) in [
        ("google", "github", true),
        ("github", "google", true),
        ("google", "forum", false),
        ("forum", "google", false),
    ] {
        let f = Fixture::new().await;
        let (one, _) = f.sign_in(&person(first, "1", address)).await;
        let (two, session) = f.sign_in(&person(second, "2", address)).await;
        assert_eq!(one.id == two.id, same, "{first}, then {second}");
        assert_eq!(session.provider, second);
        if same {
            let providers: Vec<_> = two.identities.iter().map(|i| i.provider.as_str()).collect();
            assert_eq!(providers, [first, second], "the oldest first");
        }
    }
}

#[tokio::test]
async fn users_of_untrusted_providers_are_never_linked() {
    let f = Fixture::new().await;
    let (one, _) = f.sign_in(&person("forum", "1", Some("a@example.org"))).await;
    let (two, _) = f.sign_in(&person("forum", "2", Some("a@example.org"))).await;
    assert_ne!(one.id, two.id);
    assert_eq!(two.email, email("a@example.org", false));
}

#[tokio::test]
async fn an_address_is_equal_byte_for_byte_or_not_at_all() {
    let f = Fixture::new().await;
    let (one, _) = f.sign_in(&person("google", "1", Some("a@example.org"))).await;
    for (n, other) in [
        "A@example.org",
        "a@example.org ",
        "a@EXAMPLE.org",
        "а@example.org",
    ]
    .iter()
    .enumerate()
    {
        let (two, _) = f.sign_in(&person("github", &n.to_string(), Some(other))).await;
        assert_ne!(one.id, two.id, "{other:?}");
    }
}

#[tokio::test]
async fn no_user_is_found_without_a_verified_address() {
    let f = Fixture::new().await;
    let (one, _) = f.sign_in(&person("google", "1", Some("a@example.org"))).await;
    let (two, _) = f.sign_in(&person("github", "2", None)).await;
    assert_ne!(one.id, two.id);
    assert_eq!(two.email, None);
    let (three, _) = f.sign_in(&person("google", "3", None)).await;
    assert_ne!(two.id, three.id, "no address is not an address");
}

#[tokio::test]
async fn an_address_planted_through_an_untrusted_issuer_is_no_trap() {
    let f = Fixture::new().await;
    let (planted, _) = f
        .sign_in(&person("forum", "mallory", Some("alice@example.org")))
        .await;
    let (alice, _) = f
        .sign_in(&person("google", "alice", Some("alice@example.org")))
        .await;
    assert_ne!(planted.id, alice.id);
    // Nor does Mallory come in afterwards, by the old identity or by a new one.
    let (again, _) = f
        .sign_in(&person("forum", "mallory", Some("alice@example.org")))
        .await;
    assert_eq!(again.id, planted.id);
    let (fresh, _) = f
        .sign_in(&person("forum", "mallory2", Some("alice@example.org")))
        .await;
    assert_ne!(fresh.id, alice.id);
    let (github, _) = f
        .sign_in(&person("github", "alice", Some("alice@example.org")))
        .await;
    assert_eq!(github.id, alice.id, "the owner's other identity finds the owner");
}

#[tokio::test]
async fn changing_to_the_address_of_another_gains_nothing() {
    for provider in ["forum", "github"] {
        let f = Fixture::new().await;
        let (alice, _) = f
            .sign_in(&person("google", "alice", Some("alice@example.org")))
            .await;
        f.sign_in(&person(provider, "mallory", Some("mallory@example.org")))
            .await;
        let (mallory, _) = f
            .sign_in(&person(provider, "mallory", Some("alice@example.org")))
            .await;
        assert_ne!(mallory.id, alice.id);
        assert_eq!(
            mallory.email,
            email("alice@example.org", false),
            "shown, but finds nobody"
        );
        // The next identity with the address never finds Mallory. It finds Alice only if nobody who is trusted says
        // that the address is Mallory's.
        let (next, _) = f
            .sign_in(&person("gitlab", "alice", Some("alice@example.org")))
            .await;
        assert_ne!(next.id, mallory.id);
        assert_eq!(next.id == alice.id, !trusted(provider), "{provider}");
    }
}

#[tokio::test]
async fn the_source_of_an_address_changes_it() {
    let f = Fixture::new().await;
    f.sign_in(&person("google", "1", Some("old@example.org"))).await;
    let (user, _) = f.sign_in(&person("google", "1", Some("new@example.org"))).await;
    assert_eq!(user.email, email("new@example.org", true));
    // The new owner of the old address is a different user; the new address finds the user.
    let (stranger, _) = f.sign_in(&person("github", "2", Some("old@example.org"))).await;
    assert_ne!(stranger.id, user.id);
    let (same, _) = f.sign_in(&person("github", "3", Some("new@example.org"))).await;
    assert_eq!(same.id, user.id);
}

#[tokio::test]
async fn another_identity_does_not_change_it() {
    let f = Fixture::new().await;
    f.sign_in(&person("google", "1", Some("a@example.org"))).await;
    let (linked, _) = f.sign_in(&person("github", "1", Some("a@example.org"))).await;
    for said in [Some("b@example.org"), None] {
        let (user, _) = f.sign_in(&person("github", "1", said)).await;
        assert_eq!(user.id, linked.id);
        assert_eq!(user.email, email("a@example.org", true));
    }
    let (stranger, _) = f.sign_in(&person("gitlab", "9", Some("b@example.org"))).await;
    assert_ne!(stranger.id, linked.id);
}

#[tokio::test]
async fn an_address_that_is_no_longer_vouched_for_finds_nobody() {
    let f = Fixture::new().await;
    f.sign_in(&person("google", "1", Some("a@example.org"))).await;
    let (user, _) = f.sign_in(&person("google", "1", None)).await;
    assert_eq!(user.email, None);
    let (next_owner, _) = f.sign_in(&person("github", "2", Some("a@example.org"))).await;
    assert_ne!(next_owner.id, user.id);
    // It comes back to the first only as what it is now.
    let (user, _) = f.sign_in(&person("google", "1", Some("a@example.org"))).await;
    assert_eq!(user.email, email("a@example.org", false));
}

#[tokio::test]
async fn a_name_and_a_picture_are_refreshed_but_not_erased() {
    let f = Fixture::new().await;
    let mut someone = person("google", "1", None);
    someone.avatar_url = Some("https://pictures.example/1".into());
    f.sign_in(&someone).await;
    someone.name = "New Name".into();
    someone.avatar_url = Some("https://pictures.example/2".into());
    f.sign_in(&someone).await;
    someone.name = String::new();
    someone.avatar_url = None;
    let (user, _) = f.sign_in(&someone).await;
    assert_eq!(user.name, "New Name");
    assert_eq!(user.avatar_url.as_deref(), Some("https://pictures.example/2"));
}

#[tokio::test]
async fn a_disabled_user_does_not_sign_in_by_any_identity() {
    let f = Fixture::new().await;
    let (user, _) = f.sign_in(&person("google", "1", Some("a@example.org"))).await;
    f.store.set_status(&user.id, UserStatus::Disabled).await.unwrap();
    let events = f.count("SELECT count(*) FROM events");
    for someone in [
        person("google", "1", Some("a@example.org")),
        person("google", "1", Some("other@example.org")),
        person("github", "2", Some("a@example.org")),
    ] {
        let refused = f.store.begin_sign_in(&someone).await.unwrap_err();
        assert_eq!(refused, SignInError::Disabled(user.id.clone()));
    }
    let after = f.user(&user.id).await.unwrap();
    assert_eq!(after.identities.len(), 1, "nothing was linked");
    assert_eq!(after.email, user.email);
    assert_eq!(f.count("SELECT count(*) FROM events"), events);
}

/// After any operations in any order, an identity stays with its user, an untrusted identity is alone
/// with its user, and one trusted address is one user's.
#[test]
fn no_sequence_of_sign_ins_links_two_people() {
    let step = (
        prop_oneof![Just("google"), Just("github"), Just("forum")],
        0..3_u8,
        prop_oneof![
            Just(None),
            Just(Some("a@example.org")),
            Just(Some("b@example.org"))
        ],
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 24,
        ..Config::default()
    });
    let runs = runner.run(&proptest::collection::vec(step, 1..16).boxed(), |steps| {
        runtime.block_on(async {
            let f = Fixture::new().await;
            let mut owners = HashMap::new();
            for (provider, subject, address) in steps {
                let (user, _) = f.sign_in(&person(provider, &subject.to_string(), address)).await;
                let owner = owners
                    .entry((provider, subject))
                    .or_insert_with(|| user.id.clone());
                assert_eq!(*owner, user.id);
            }
            let users = f.store.list_users(None, 100).await.unwrap();
            let mut addresses = Vec::new();
            for user in users {
                let untrusted = user.identities.iter().any(|i| !trusted(&i.provider));
                assert!(!untrusted || user.identities.len() == 1, "{user:?}");
                let issuers: HashSet<_> = user.identities.iter().map(|i| &i.issuer).collect();
                assert_eq!(issuers.len(), user.identities.len(), "{user:?}");
                addresses.extend(user.email.filter(|e| e.trusted).map(|e| e.address));
            }
            let all = addresses.len();
            addresses.sort();
            addresses.dedup();
            assert_eq!(addresses.len(), all);
        });
        Ok(())
    });
    runs.unwrap();
}
