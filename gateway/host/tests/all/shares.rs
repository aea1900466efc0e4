//! Too many calls of one plugin or one service leave all others their share.

use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use gateway_model::{Event, EventKind, Identity, Timestamp, UserId, Verdict};
use gateway_sandbox::CallError;
use test_guests::{BEHAVE, LOGIN_ONLY, V1};

use crate::support::{Fixture, set, user};

const CALLERS: usize = 1200;

/// `sleep` and `ok` are asked of one plugin, `good` of another; sign-ins have an extension. A call may sleep for ten
/// minutes.
async fn fixture() -> Fixture {
    let services = [("sleep", "behave"), ("ok", "behave"), ("good", "v1")];
    let mut set = set(&services, &["shares-hook"]);
    set.plugins.get_mut("behave").unwrap().limits.deadline = Duration::from_secs(600);
    let files = [("behave", BEHAVE), ("v1", V1), ("shares-hook", LOGIN_ONLY)];
    Fixture::new(&files, set).await
}

/// Does `work` beside many callers of a slow service.
async fn beside_callers(fixture: &Fixture, work: impl Future<Output = ()>) {
    let user = UserId::from("somebody");
    let asleep = join_all((0..CALLERS).map(|_| fixture.host.get_permissions("sleep", &user)));
    tokio::select! {
        biased;
        woken = asleep => panic!("{} have woken", woken.len()),
        () = work => {}
    }
}

#[tokio::test]
async fn a5_callers_of_a_slow_service_leave_another_plugin_its_answers() {
    let fixture = fixture().await;
    let work = async {
        for answer in 0..100 {
            let answered = fixture.ask("good").await;
            assert!(answered.is_ok(), "{answer}: {answered:?}");
        }
    };
    beside_callers(&fixture, work).await;
}

#[tokio::test]
async fn a5_callers_of_a_slow_service_leave_another_service_of_the_same_plugin_its_answers() {
    let fixture = fixture().await;
    let work = async {
        for answer in 0..100 {
            let answered = fixture.ask("ok").await;
            assert!(answered.is_ok(), "{answer}: {answered:?}");
        }
    };
    beside_callers(&fixture, work).await;
}

#[tokio::test]
async fn a5_callers_of_a_slow_service_keep_nobody_from_signing_in() {
    let fixture = fixture().await;
    let person = user("u", "Known");
    let work = async {
        for number in 0..50 {
            let event = Event {
                id: format!("event-{number}").as_str().into(),
                kind: EventKind::Login,
                user_id: person.id.clone(),
                at: Timestamp(1_800_000_000),
                identity: Identity {
                    provider: "google".to_owned(),
                    issuer: "https://accounts.google.com".to_owned(),
                    subject: "s-u".to_owned(),
                },
                claims: gateway_model::Claims::default(),
            };
            let verdict = fixture.host.run_hooks(&event, &person).await;
            assert!(matches!(verdict, Verdict::Accepted(_)), "{number}: {verdict:?}");
        }
    };
    beside_callers(&fixture, work).await;
}

#[tokio::test]
async fn a5_a_plugin_that_grows_has_its_share_of_the_memory_and_no_more() {
    let mut set = set(&[("bomb", "shares-bomb"), ("good", "v1")], &[]);
    // A quarter of it is one call's.
    set.total_memory = Some(64 << 20);
    let limits = &mut set.plugins.get_mut("shares-bomb").unwrap().limits;
    (limits.memory, limits.fuel) = (16 << 20, u64::MAX);
    limits.deadline = Duration::from_secs(300);
    let fixture = Fixture::new(&[("shares-bomb", BEHAVE), ("v1", V1)], set).await;
    let grow = async || {
        let user = UserId::from("somebody");
        join_all((0..8).map(|_| fixture.host.get_permissions("bomb", &user))).await
    };
    // The host learns from the first calls how much memory they take: until then some may be refused.
    for answer in grow().await {
        assert!(
            matches!(answer, Ok(_) | Err(CallError::Crowded { .. })),
            "{answer:?}"
        );
    }
    // From now on they wait for each other, and each has what it may have.
    for answer in grow().await {
        let pages: u64 = answer.unwrap().permissions["pages"].as_str().parse().unwrap();
        assert!((128..=256).contains(&pages), "{pages} pages of 64 KiB");
    }
    assert_eq!(fixture.ask("good").await.unwrap()["version"], 1);
}
