//! An email address does not take over an account.

use reqwest::StatusCode;
use serde_json::{Value, json};

use support::browser::{encode, token_in};
use support::fake_oidc::FakeOidc;
use support::setup::EXTERNAL;
use support::{Gateway, Setup};

/// Two providers that are trusted for addresses, and one that is not.
const PROVIDERS: [(&str, bool); 3] = [("google", true), ("company", true), ("forum", false)];

struct World {
    gateway: Gateway,
    providers: Vec<(&'static str, FakeOidc)>,
}

/// The user that a sign-in found or created.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    id: String,
    email: Value,
}

impl World {
    async fn start() -> Self {
        Self::start_with("random").await
    }

    async fn start_with(user_ids: &str) -> Self {
        let mut setup = Setup::serve().table("database", &format!("user_ids = \"{user_ids}\""));
        let mut providers = Vec::new();
        for (name, is_trusted) in PROVIDERS {
            let provider = FakeOidc::start(json!({"sub": "nobody"})).await;
            setup = setup.oidc(name, &provider).table(
                &format!("providers.{name}"),
                &format!("trusted_email = {is_trusted}"),
            );
            providers.push((name, provider));
        }
        Self {
            gateway: setup.start().await,
            providers,
        }
    }

    async fn sign_in(&self, provider: &str, person: Value) -> Known {
        let (_, fake) = self.providers.iter().find(|(name, _)| *name == provider).unwrap();
        fake.set_person(person);
        let browser = self.gateway.browser();
        let response = fake
            .sign_in(
                &browser,
                &format!("/auth/login/{provider}?next={}", encode(EXTERNAL)),
            )
            .await;
        assert_eq!(
            response.status(),
            StatusCode::FOUND,
            "{}",
            self.gateway.log.text()
        );
        let profile = browser.check(&token_in(&response)).await["profile"].take();
        Known {
            id: profile["id"].as_str().unwrap().to_owned(),
            email: profile["email"].clone(),
        }
    }
}

/// Values of `email_verified`. Only the first is a proof.
fn verified() -> Vec<Option<Value>> {
    vec![Some(json!(true)), Some(json!("true")), Some(json!(false)), None]
}

fn person(subject: &str, email: &str, verified: Option<&Value>) -> Value {
    let mut person = json!({"sub": subject, "name": "Somebody", "email": email});
    if let Some(verified) = verified {
        person["email_verified"] = verified.clone();
    }
    person
}

/// Each provider and each way to vouch for an address, then all of them again for another person with the same address:
/// the first to arrive may be its owner, or an attacker who planted it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_is_one_user_only_if_two_trusted_issuers_verify_it() {
    let world = World::start().await;
    let (mut cells, mut linked) = (0, 0);
    for (first, first_trusted) in PROVIDERS {
        for (second, second_trusted) in PROVIDERS {
            for says_first in &verified() {
                for says_second in &verified() {
                    cells += 1;
                    let address = format!("person{cells}@example.org");
                    let one = person(&format!("one-{cells}"), &address, says_first.as_ref());
                    let two = person(&format!("two-{cells}"), &address, says_second.as_ref());
                    let known = world.sign_in(first, one.clone()).await;
                    let other = world.sign_in(second, two).await;
                    let is_proof = |says: &Option<Value>| *says == Some(json!(true));
                    let both = is_proof(says_first) && is_proof(says_second);
                    let cell = format!("{first} {says_first:?}, then {second} {says_second:?}");
                    // Two subjects of one issuer are two users, whatever their addresses are.
                    assert_eq!(
                        known.id == other.id,
                        both && first_trusted && second_trusted && first != second,
                        "{cell}"
                    );
                    linked += u32::from(known.id == other.id);
                    let shown = |proof| if proof { json!(address) } else { Value::Null };
                    assert_eq!(known.email, shown(is_proof(says_first)), "{cell}");
                    assert_eq!(
                        other.email,
                        shown(is_proof(says_second) || known.id == other.id),
                        "{cell}"
                    );
                    assert_eq!(
                        world.sign_in(first, one).await,
                        known,
                        "{cell}: the first is who they were"
                    );
                }
            }
        }
    }
    println!(
        "takeover: {cells} pairs of sign-ins with one address, {linked} linked, each of them by two trusted proofs"
    );
    assert_eq!(linked, 2);
    world.gateway.stop().await;
}

/// A sign-in: provider, subject, address, and the expected user.
type Step = (&'static str, &'static str, &'static str, &'static str);

/// Stories in which an address changes hands. Every address is verified.
const STORIES: &[(&str, &[Step])] = &[
    (
        "planted through the untrusted one, then its owner comes",
        &[
            ("forum", "m", "alice", "mallory"),
            ("google", "a", "alice", "alice"),
            ("company", "a", "alice", "alice"),
            ("forum", "m", "alice", "mallory"),
            ("forum", "m2", "alice", "mallory's second"),
        ],
    ),
    (
        "its owner is there before the untrusted one",
        &[
            ("google", "a", "alice", "alice"),
            ("forum", "m", "alice", "mallory"),
            ("company", "a", "alice", "alice"),
        ],
    ),
    (
        "changed at a trusted one to the address of somebody",
        &[
            ("google", "a", "alice", "alice"),
            ("company", "m", "mallory", "mallory"),
            ("company", "m", "alice", "mallory"),
            ("company", "a", "alice", "somebody by company"),
            ("google", "a", "alice", "alice"),
        ],
    ),
    (
        "changed before its owner comes, and back",
        &[
            ("company", "m", "mallory", "mallory"),
            ("company", "m", "alice", "mallory"),
            ("company", "m", "mallory", "mallory"),
            ("google", "a", "alice", "alice"),
            ("google", "m", "mallory", "mallory"),
        ],
    ),
    (
        "given up, and given to somebody else",
        &[
            ("google", "a", "alice", "alice"),
            ("google", "a", "alice-new", "alice"),
            ("company", "b", "alice", "bob"),
            ("company", "a", "alice-new", "alice"),
            ("google", "a", "alice", "alice"),
            ("company", "b", "alice", "bob"),
        ],
    ),
    (
        "two subjects of one issuer",
        &[
            ("google", "a", "ann", "ann"),
            ("google", "b", "ann", "another ann"),
            ("google", "a", "ann", "ann"),
            ("google", "b", "ann", "another ann"),
            ("google", "c", "ann", "a third ann"),
        ],
    ),
    (
        "two subjects of the issuer that came second",
        &[
            ("google", "a", "ann", "ann"),
            ("company", "a", "ann", "ann"),
            ("company", "b", "ann", "another ann"),
            ("google", "b", "ann", "a third ann"),
            ("company", "a", "ann", "ann"),
            ("google", "a", "ann-new", "ann"),
            ("company", "b", "ann", "another ann"),
            ("company", "a", "ann", "ann"),
        ],
    ),
    (
        "given to the next person by the issuer itself, and used through a different one",
        &[
            ("google", "old", "ann", "the old ann"),
            ("google", "new", "ann", "the new ann"),
            ("company", "new", "ann", "somebody by company"),
            ("google", "old", "ann", "the old ann"),
            ("google", "new", "ann", "the new ann"),
        ],
    ),
    (
        "the same to people, another to a machine",
        &[
            ("google", "a", "alice", "alice"),
            ("company", "m1", "Alice", "one"),
            ("company", "m2", "аlice", "two"),
            ("company", "m3", "alice\u{200b}", "three"),
            ("company", "m4", "ａlice", "four"),
            // Company has given it to m1 in another spelling, and most mail systems treat both as one mailbox.
            ("company", "a", "alice", "somebody by company"),
        ],
    ),
];

/// Only an address that counts becomes an id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_an_untrusted_provider_cannot_claim_the_id_of_an_address() {
    let world = World::start_with("email-md5").await;
    let says = json!(true);
    let claim = |subject: &str| person(subject, "person@example.org", Some(&says));
    let of_address = hex::encode(<md5::Md5 as md5::Digest>::digest("person@example.org"));
    let mallory = world.sign_in("forum", claim("m")).await;
    assert_ne!(mallory.id, of_address);
    let owner = world.sign_in("google", claim("p")).await;
    assert_eq!(
        owner.id, of_address,
        "the owner is let in, under the id of the address"
    );
    assert_eq!(world.sign_in("company", claim("p")).await.id, of_address);
    assert_eq!(world.sign_in("forum", claim("m")).await.id, mallory.id);
    let unverified = world
        .sign_in("google", person("u", "person@example.org", None))
        .await;
    assert_ne!(unverified.id, of_address);

    // A second person with an address that counts: rejected, with a message and a line in the log.
    let (_, google) = &world.providers[0];
    google.set_person(claim("another"));
    let browser = world.gateway.browser();
    let login = format!("/auth/login/google?next={}", encode(EXTERNAL));
    let response = google.sign_in(&browser, &login).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let page = response.text().await.unwrap();
    assert!(page.contains("belongs to another account"), "{page}");
    let log = world.gateway.flushed_log().await.join("\n");
    assert!(
        log.contains("email-md5") && log.contains("gateway user link"),
        "{log}"
    );

    let checked = world.gateway.cli(&["config", "check"]).await;
    assert!(
        checked.stderr.contains("providers.forum") && checked.stderr.contains("random ids"),
        "{}",
        checked.stderr
    );
    assert!(!checked.stderr.contains("providers.google"), "{}", checked.stderr);
    world.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_changes_hands_gives_no_access_to_its_earlier_user() {
    let world = World::start().await;
    let mut sign_ins = 0;
    for (number, (story, steps)) in STORIES.iter().enumerate() {
        // Maps names to ids: one name has one id, and two names have two.
        let mut known: Vec<(&str, String)> = Vec::new();
        for (step, (provider, subject, address, who)) in steps.iter().enumerate() {
            let address = format!("{address}@{number}.example.org");
            let came = world
                .sign_in(
                    provider,
                    person(&format!("{subject}-{number}"), &address, Some(&json!(true))),
                )
                .await;
            sign_ins += 1;
            let is_here = |(name, id): &(&str, String)| name == who || *id == came.id;
            match known.iter().find(|pair| is_here(pair)) {
                Some((name, id)) => {
                    assert_eq!(
                        (*name, id),
                        (*who, &came.id),
                        "{story}, step {step}: {provider} {subject}"
                    );
                }
                None => known.push((who, came.id)),
            }
        }
    }
    println!(
        "takeover: {sign_ins} sign-ins in {} stories, nobody was anybody else",
        STORIES.len()
    );
    world.gateway.stop().await;
}
