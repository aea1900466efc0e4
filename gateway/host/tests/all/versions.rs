//! Components that were published for version 1.0 of the interface serve on.

use gateway_model::{Clock as _, Event, EventKind, Identity, SystemClock, Timestamp, Verdict};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use test_guests::{
    NEWER_VERSION, PUBLISHED_EXTENSION_1_0, PUBLISHED_HOOKS_1_0, PUBLISHED_PROVIDER_1_0,
    PUBLISHED_PROVIDER_AND_HOOK_1_0,
};

use crate::support::{Fixture, log, set, user};

fn event(kind: EventKind, id: &str) -> Event {
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
        claims: gateway_model::Claims::default(),
    }
}

#[test]
fn published_components_are_kept_as_they_were() {
    for (component, digest) in [
        (
            PUBLISHED_PROVIDER_1_0,
            "ddd65f2ee0e035ecaa2d6189cd9ebfcfc0843f1ab8284534834e826d01eb0e58",
        ),
        (
            PUBLISHED_EXTENSION_1_0,
            "8188a66e23e4dd5e935cb5bc9a461155bf24e6041b096007f12f4c4dbc957d1f",
        ),
        (
            PUBLISHED_PROVIDER_AND_HOOK_1_0,
            "3a438939d53ef869bca63b294e83ebf39fffc13daf13540beb3a46cfb5e6bf76",
        ),
        (
            PUBLISHED_HOOKS_1_0,
            "714779404da59050e9418894a475e843268046fc698d8e89c111e5f742a4714e",
        ),
    ] {
        assert_eq!(hex::encode(Sha256::digest(component)), digest);
    }
}

#[tokio::test]
async fn a_published_provider_answers() {
    let fixture = Fixture::new(
        &[("provider", PUBLISHED_PROVIDER_1_0)],
        set(&[("s", "provider")], &[]),
    )
    .await;
    assert_eq!(fixture.status("provider").problem, None);
    assert_eq!(
        fixture.ask("s").await.unwrap(),
        json!({"provider-token": "s-somebody"})
    );
}

#[tokio::test]
async fn a_published_extension_judges() {
    let mut set = set(&[], &["domains"]);
    set.plugins.get_mut("domains").unwrap().settings =
        [("domains".to_owned(), "example.org".to_owned())].into();
    let fixture = Fixture::new(&[("domains", PUBLISHED_EXTENSION_1_0)], set).await;
    let status = fixture.status("domains");
    assert_eq!(
        (status.problem, status.exports.join(" ")),
        (None, "on-new-user on-user-login".to_owned())
    );

    let friend = user("u", "Alice");
    let mut stranger = user("u", "Mallory");
    stranger.email.as_mut().unwrap().address = "mallory@example.net".to_owned();
    for kind in [EventKind::NewUser, EventKind::Login] {
        let verdict = fixture.host.run_hooks(&event(kind, "old-1"), &friend).await;
        let expected = [("email-domain".to_owned(), "example.org".to_owned())];
        assert_eq!(verdict, Verdict::Accepted(expected.into()));
        let verdict = fixture.host.run_hooks(&event(kind, "old-2"), &stranger).await;
        assert!(matches!(verdict, Verdict::Rejected { .. }), "{verdict:?}");
    }
    // It has no hook for that.
    let verdict = fixture
        .host
        .run_hooks(&event(EventKind::Logout, "old-3"), &friend)
        .await;
    assert_eq!(verdict, Verdict::Accepted([].into()));
}

#[tokio::test]
async fn a_published_provider_finds_what_its_hook_has_kept() {
    let mut set = set(&[("wiki", "groups")], &["groups"]);
    let settings = [
        ("providers", "google"),
        ("group.staff", "reader"),
        ("role.reader", "read"),
    ];
    set.plugins.get_mut("groups").unwrap().settings = settings
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let fixture = Fixture::new(&[("groups", PUBLISHED_PROVIDER_AND_HOOK_1_0)], set).await;
    assert_eq!(fixture.status("groups").problem, None);
    assert_eq!(fixture.ask_for("wiki", "u").await.unwrap(), json!({}));
    let mut login = event(EventKind::Login, "kept-1");
    // The values that it keeps expire.
    login.at = SystemClock.now();
    login.claims = serde_json::from_value(json!({"groups": ["staff"]})).unwrap();
    let verdict = fixture.host.run_hooks(&login, &user("u", "Alice")).await;
    assert_eq!(verdict, Verdict::Accepted([].into()));
    assert_eq!(fixture.ask_for("wiki", "u").await.unwrap(), json!({"read": true}));
}

#[tokio::test]
async fn published_hooks_are_called() {
    let fixture = Fixture::new(&[("hooks", PUBLISHED_HOOKS_1_0)], set(&[], &["hooks"])).await;
    for (kind, id) in [
        (EventKind::NewUser, "published-1"),
        (EventKind::Login, "published-2"),
        (EventKind::Logout, "published-3"),
    ] {
        let verdict = fixture
            .host
            .run_hooks(&event(kind, id), &user("u", "Alice"))
            .await;
        assert!(matches!(verdict, Verdict::Accepted(_)), "{verdict:?}");
        assert!(log().contains(&format!("event={id}")), "{id}");
    }
}

#[tokio::test]
async fn a_later_version_that_fits_is_served() {
    let fixture = Fixture::new(&[("new", NEWER_VERSION)], set(&[("s", "new")], &[])).await;
    assert_eq!(fixture.status("new").problem, None);
    assert_eq!(fixture.ask("s").await.unwrap(), json!({}));
}
