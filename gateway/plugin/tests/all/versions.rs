//! Version 0.1 of the interface beside 1.0: components that were published for it serve on.

use gateway_model::{Event, EventKind, Identity, Timestamp, Verdict};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use test_guests::{NEWER_VERSION, PUBLISHED_EXTENSION_0_1, PUBLISHED_PROVIDER_0_1, VERSIONS};

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
        claims: serde_json::Map::new(),
    }
}

#[test]
fn published_components_are_kept_as_they_were() {
    for (component, digest) in [
        (
            PUBLISHED_PROVIDER_0_1,
            "2936465b2d976d85f3acfc3aa609540f6474d467485713f168c233d0fdb355ff",
        ),
        (
            PUBLISHED_EXTENSION_0_1,
            "b84221e47e3d139f494debc81e0e3ceecba0d810bd2b972e9651ca6d9d846de8",
        ),
    ] {
        assert_eq!(hex::encode(Sha256::digest(component)), digest);
    }
}

#[tokio::test]
async fn a_published_provider_answers() {
    let fixture = Fixture::new(&[("old", PUBLISHED_PROVIDER_0_1)], set(&[("s", "old")], &[])).await;
    assert_eq!(fixture.status("old").problem, None);
    assert_eq!(
        fixture.ask("s").await.unwrap(),
        json!({"provider-token": "s-somebody"})
    );
}

#[tokio::test]
async fn a_published_extension_judges() {
    let mut set = set(&[], &["old"]);
    set.plugins.get_mut("old").unwrap().settings = [("domains".to_owned(), "example.org".to_owned())].into();
    let fixture = Fixture::new(&[("old", PUBLISHED_EXTENSION_0_1)], set).await;
    let status = fixture.status("old");
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
async fn a_later_version_that_fits_is_served() {
    let fixture = Fixture::new(&[("new", NEWER_VERSION)], set(&[("s", "new")], &[])).await;
    assert_eq!(fixture.status("new").problem, None);
    assert_eq!(fixture.ask("s").await.unwrap(), json!({}));
}

#[tokio::test]
async fn one_component_may_use_both_versions_under_the_same_grants() {
    let mut set = set(&[("s", "both")], &["both"]);
    let config = set.plugins.get_mut("both").unwrap();
    config.settings = [("s".to_owned(), "the setting".to_owned())].into();
    let fixture = Fixture::new(&[("both", VERSIONS)], set.clone()).await;
    assert_eq!(fixture.status("both").problem, None);
    assert_eq!(
        fixture.ask_for("s", "known-1").await.unwrap(),
        json!({"name": "Known", "setting": "the setting"})
    );
    let logout = event(EventKind::Logout, "both-1");
    let verdict = fixture.host.run_hooks(&logout, &user("u", "Alice")).await;
    assert_eq!(verdict, Verdict::Accepted([].into()));
    let log = log();
    for (level, message) in [("WARN", "old"), ("ERROR", "new"), ("INFO", "old event=both-1")] {
        assert!(
            log.lines()
                .any(|line| line.contains(&format!("\"level\":\"{level}\""))
                    && line.contains(&format!("\"message\":\"{message}\""))
                    && line.contains("\"plugin\":\"both\"")),
            "{level} {message} is not in the log"
        );
    }

    for grant in ["users", "config", "logging"] {
        let mut without = set.clone();
        let grants = &mut without.plugins.get_mut("both").unwrap().grants;
        grants.retain(|granted| granted.as_str() != grant);
        fixture.host.reconfigure(without).await;
        let problem = fixture.problem("both");
        assert!(
            problem.starts_with(&format!("it imports auth-gateway:plugin/{grant}@")),
            "{problem}"
        );
    }
}
