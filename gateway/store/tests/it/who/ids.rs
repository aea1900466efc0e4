//! Ids that are made from addresses.

use gateway_store::{DatabaseUrl, SignInError, Store, UserIds};

use super::email;
use crate::support::{Fixture, options, person};

#[tokio::test]
async fn ids_are_made_from_addresses() {
    let f = Fixture::with_ids(UserIds::EmailMd5).await;
    let (user, _) = f.sign_in(&person("google", "1", Some("Alice@example.org"))).await;
    // md5("Alice@example.org"), by another program.
    assert_eq!(user.id.as_str(), ALICE);
    let (linked, _) = f.sign_in(&person("github", "1", Some("Alice@example.org"))).await;
    assert_eq!(linked.id, user.id);
    // The id stays when the address changes, and is not given away.
    let (moved, _) = f.sign_in(&person("google", "1", Some("new@example.org"))).await;
    assert_eq!(moved.id, user.id);
    let next_owner = f
        .store
        .begin_sign_in(&person("gitlab", "2", Some("Alice@example.org")))
        .await
        .unwrap_err();
    assert_eq!(next_owner, SignInError::EmailInUse);
    // Later sign-ins need no address.
    let (still, _) = f.sign_in(&person("google", "1", None)).await;
    assert_eq!(still.id, user.id);
}

/// md5("Alice@example.org")
const ALICE: &str = "2c2db9578d01ea65795ee8212989d562";

#[tokio::test]
async fn s2_only_an_address_that_counts_makes_an_id() {
    let f = Fixture::with_ids(UserIds::EmailMd5).await;
    let alice = Some("Alice@example.org");
    // Planted through an untrusted provider, before and after its owner comes, and no address at all.
    let (mallory, _) = f.sign_in(&person("forum", "mallory", alice)).await;
    let (none, _) = f.sign_in(&person("google", "none", None)).await;
    let (owner, _) = f.sign_in(&person("google", "alice", alice)).await;
    let (second, _) = f.sign_in(&person("forum", "mallory2", alice)).await;
    assert_eq!(owner.id.as_str(), ALICE, "the owner is not kept out");
    for other in [&mallory, &none, &second] {
        assert_ne!(other.id.as_str(), ALICE);
        assert_eq!(other.id.as_str().len(), 32);
    }
    assert_eq!(mallory.email, email("Alice@example.org", false));
    // An address that comes later changes no id.
    let (late, _) = f
        .sign_in(&person("google", "none", Some("late@example.org")))
        .await;
    assert_eq!(late.id, none.id);
}

#[tokio::test]
async fn s2_a_second_person_with_an_address_that_counts_is_refused() {
    let f = Fixture::with_ids(UserIds::EmailMd5).await;
    let alice = Some("Alice@example.org");
    let (owner, _) = f.sign_in(&person("google", "alice", alice)).await;
    let refused = f.store.begin_sign_in(&person("google", "other", alice)).await;
    assert_eq!(refused.unwrap_err(), SignInError::EmailInUse);
    assert_eq!(f.user(&owner.id).await.unwrap().identities.len(), 1);
    assert_eq!(f.count("SELECT count(*) FROM users"), 1);
}

/// Where ids were random before, whoever has the address keeps it too.
#[tokio::test]
async fn s2_an_address_of_a_user_with_a_random_id_makes_no_other_user_an_id() {
    let random = Fixture::new().await;
    let alice = Some("Alice@example.org");
    let (owner, _) = random.sign_in(&person("google", "alice", alice)).await;
    let store = Store::open(
        &DatabaseUrl::File(random.path()),
        options(&random.clock, UserIds::EmailMd5),
    )
    .await
    .unwrap();
    let linked = store
        .begin_sign_in(&person("github", "alice", alice))
        .await
        .unwrap();
    assert_eq!(linked.user.id, owner.id);
    for provider in ["google", "github", "gitlab"] {
        let refused = store.begin_sign_in(&person(provider, "other", alice)).await;
        assert_eq!(refused.unwrap_err(), SignInError::EmailInUse);
    }
}
