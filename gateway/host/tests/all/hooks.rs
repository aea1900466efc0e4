//! Lifecycle hooks: order, verdicts, arguments, and failures.

use gateway_model::{Event, EventKind, Identity, Timestamp, Verdict};
use gateway_sandbox::OnFailure;
use serde_json::{Map, json};
use test_guests::{COUNT, LOGIN_ONLY, REJECT, V1};

use crate::support::{Fixture, log, set, user};

fn event(kind: EventKind, id: &str) -> Event {
    let claims = json!({"sub": "s-1", "groups": ["staff"]});
    Event {
        id: id.into(),
        kind,
        user_id: "u".into(),
        at: Timestamp(1_800_000_000),
        identity: Identity {
            provider: "google".to_owned(),
            issuer: "https://accounts.google.com".to_owned(),
            subject: "s-1".to_owned(),
        },
        claims: claims.as_object().cloned().unwrap_or_else(Map::new).into(),
    }
}

fn accepted(attributes: &[(&str, &str)]) -> Verdict {
    Verdict::Accepted(
        attributes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    )
}

#[tokio::test]
async fn each_hook_runs_and_its_attributes_are_collected() {
    let files: [(&str, &[u8]); 3] = [("count", COUNT), ("reject", REJECT), ("login", LOGIN_ONLY)];
    let fixture = Fixture::new(&files, set(&[], &["count", "reject", "login"])).await;
    let person = user("u", "Alice");

    let verdict = fixture
        .host
        .run_hooks(&event(EventKind::NewUser, "hooks-e1"), &person)
        .await;
    assert_eq!(
        verdict,
        accepted(&[("seen-on-new-user", "hooks-e1"), ("reject-saw", "on-new-user")])
    );

    let Verdict::Accepted(set) = fixture
        .host
        .run_hooks(&event(EventKind::Login, "hooks-e2"), &person)
        .await
    else {
        panic!()
    };
    assert_eq!(set["seen-on-user-login"], "hooks-e2");
    assert_eq!(
        (set["login-at"].as_str(), set["login-provider"].as_str()),
        ("1800000000", "google")
    );
    assert_eq!(set["login-subject"], "s-1");
    // It ran last, and saw what those before it had set.
    assert_eq!(set["login-attributes"], "old,reject-saw,seen-on-user-login");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&set["login-claims"]).unwrap(),
        json!({"sub": "s-1", "groups": ["staff"]})
    );

    let verdict = fixture
        .host
        .run_hooks(&event(EventKind::Logout, "hooks-e3"), &person)
        .await;
    assert_eq!(verdict, accepted(&[]));
    let log = log();
    for (hook, id) in [
        ("on-new-user", "hooks-e1"),
        ("on-user-login", "hooks-e2"),
        ("on-user-logout", "hooks-e3"),
    ] {
        assert_eq!(log.matches(&format!("hook={hook} event={id}")).count(), 1);
    }
}

#[tokio::test]
async fn the_first_that_rejects_ends_it() {
    let fixture = Fixture::new(
        &[("reject", REJECT), ("count", COUNT)],
        set(&[], &["reject", "count"]),
    )
    .await;
    let verdict = fixture
        .host
        .run_hooks(&event(EventKind::Login, "hooks-never"), &user("u", "reject me"))
        .await;
    assert_eq!(
        verdict,
        Verdict::Rejected {
            hook: "reject/on-user-login".to_owned(),
            reason: "Rejected by on-user-login: reject me".to_owned()
        }
    );
    assert!(!log().contains("event=hooks-never"), "later hooks were not asked");
}

#[tokio::test]
async fn a_failed_hook_is_no_verdict_unless_it_may_be_passed_over() {
    let mut set = set(&[], &["reject", "count"]);
    set.plugins.get_mut("reject").unwrap().limits.fuel = 5_000_000;
    let fixture = Fixture::new(&[("reject", REJECT), ("count", COUNT)], set.clone()).await;
    for name in ["trap", "spin", "bad-attributes", "unavailable", "reserved"] {
        let verdict = fixture
            .host
            .run_hooks(&event(EventKind::NewUser, "e"), &user("u", name))
            .await;
        let Verdict::Failed { hook, error } = verdict else {
            panic!("{name}: {verdict:?}")
        };
        assert_eq!(hook, "reject/on-new-user");
        assert!(error.contains("reject"), "{error}");
    }
    set.plugins.get_mut("reject").unwrap().on_failure = OnFailure::Pass;
    fixture.host.reconfigure(set).await;
    let verdict = fixture
        .host
        .run_hooks(&event(EventKind::NewUser, "e9"), &user("u", "trap"))
        .await;
    assert_eq!(
        verdict,
        accepted(&[("seen-on-new-user", "e9")]),
        "the next hook ran"
    );
}

#[tokio::test]
async fn a_hook_can_say_that_it_has_no_verdict() {
    let mut set = set(&[], &["reject", "count"]);
    let fixture = Fixture::new(&[("reject", REJECT), ("count", COUNT)], set.clone()).await;
    for (kind, name) in [
        (EventKind::NewUser, "unavailable"),
        (EventKind::Login, "unavailable"),
        (EventKind::Login, "later-login"),
        (EventKind::Logout, "unavailable"),
        (EventKind::Logout, "later-logout"),
    ] {
        let id = format!("hooks-{name}-{}", kind.hook());
        let verdict = fixture.host.run_hooks(&event(kind, &id), &user("u", name)).await;
        let Verdict::Failed { hook, error } = verdict else {
            panic!("{name}: {verdict:?}")
        };
        assert_eq!(hook, format!("reject/{}", kind.hook()));
        // The hook's words come from the guest: one line of them, and not all of the 10,000 letters.
        let begins = format!("reject: {0}: unavailable: {0} has no  [31mservice x", kind.hook());
        assert!(error.starts_with(&begins), "{error}");
        assert!(!error.contains(char::is_control) && error.len() < 600, "{error}");
        // A sign-out still reaches the hooks after it, a sign-in does not.
        let told = log().contains(&format!("event={id}"));
        assert_eq!(told, kind == EventKind::Logout, "{name}");
    }
    // Each has no verdict in its own hook alone.
    for (kind, name) in [
        (EventKind::NewUser, "later-login"),
        (EventKind::Login, "later-logout"),
    ] {
        let verdict = fixture.host.run_hooks(&event(kind, "e"), &user("u", name)).await;
        assert!(matches!(verdict, Verdict::Accepted(_)), "{name}: {verdict:?}");
    }

    set.plugins.get_mut("reject").unwrap().on_failure = OnFailure::Pass;
    fixture.host.reconfigure(set).await;
    let verdict = fixture
        .host
        .run_hooks(&event(EventKind::NewUser, "e9"), &user("u", "unavailable"))
        .await;
    assert_eq!(verdict, accepted(&[("seen-on-new-user", "e9")]));
}

#[tokio::test]
async fn a_hook_cannot_set_what_is_the_gateways_own() {
    let fixture = Fixture::new(&[("reject", REJECT)], set(&[], &["reject"])).await;
    for kind in [EventKind::NewUser, EventKind::Login] {
        let verdict = fixture
            .host
            .run_hooks(&event(kind, "e"), &user("u", "reserved"))
            .await;
        let Verdict::Failed { error, .. } = verdict else {
            panic!("{verdict:?}")
        };
        let says =
            "returned an invalid answer: the attribute's name \"gateway.role\" begins with \"gateway.\"";
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_missing_or_withdrawn_extension_refuses() {
    let fixture = Fixture::new(&[("count", COUNT)], set(&[], &["gone", "count"])).await;
    for kind in [EventKind::NewUser, EventKind::Login] {
        let verdict = fixture
            .host
            .run_hooks(&event(kind, "e"), &user("u", "Alice"))
            .await;
        let Verdict::Failed { hook, error } = verdict else {
            panic!("{verdict:?}")
        };
        assert_eq!(hook, format!("gone/{}", kind.hook()));
        assert!(error.contains("gone.wasm"), "{error}");
    }
    // A sign-out reaches the hooks that are there, and counts as undelivered.
    let verdict = fixture
        .host
        .run_hooks(&event(EventKind::Logout, "hooks-out"), &user("u", "Alice"))
        .await;
    assert!(matches!(verdict, Verdict::Failed { .. }));
    assert!(log().contains("hook=on-user-logout event=hooks-out"));

    let fixture = Fixture::new(&[("count", COUNT)], set(&[], &["count"])).await;
    std::fs::remove_file(fixture.path("count")).unwrap();
    fixture.wait("count", |status| status.generation.is_none()).await;
    let verdict = fixture
        .host
        .run_hooks(&event(EventKind::Login, "e"), &user("u", "Alice"))
        .await;
    assert!(matches!(verdict, Verdict::Failed { .. }), "{verdict:?}");
}

#[tokio::test]
async fn without_extensions_everybody_is_accepted() {
    let fixture = Fixture::new(&[("v1", V1)], set(&[("s", "v1")], &[])).await;
    let verdict = fixture
        .host
        .run_hooks(&event(EventKind::NewUser, "e"), &user("u", "Alice"))
        .await;
    assert_eq!(verdict, accepted(&[]));
}
