//! Prepared instances are used once, end with their generation, and have the same limits as others.

use gateway_sandbox::CallError;
use serde_json::json;
use test_guests::{BEHAVE, IMPORTS_CONFIG, PLANT, V1, V2};

use crate::support::{Fixture, instances, set};

#[tokio::test]
async fn as_many_as_configured_are_made_and_each_is_used_once() {
    let services = [("plant", "ready-behave"), ("p", "ready-plant")];
    let mut set = set(&services, &[]);
    for config in set.plugins.values_mut() {
        config.prepared = 3;
    }
    let files = [("ready-behave", BEHAVE), ("ready-plant", PLANT)];
    let fixture = Fixture::new(&files, set).await;
    for call in 0..50 {
        fixture.ready("ready-behave", 3).await;
        fixture.ready("ready-plant", 3).await;
        let found = fixture.ask_for("plant", &format!("secret-{call}")).await.unwrap();
        assert_eq!(
            found,
            json!({"calls": 0, "found": "", "last": "", "pages": ""}),
            "call {call}"
        );
        assert_eq!(
            fixture.ask("p").await.unwrap(),
            json!({"found": 0}),
            "call {call}"
        );
    }
    assert_eq!(
        (
            instances("ready-behave", "ahead"),
            instances("ready-behave", "fresh")
        ),
        (50, 0)
    );
    assert_eq!(
        (
            instances("ready-plant", "ahead"),
            instances("ready-plant", "fresh")
        ),
        (50, 0)
    );
}

#[tokio::test]
async fn none_is_made_where_none_is_wanted() {
    let mut set = set(&[("s", "ready-none")], &[]);
    set.plugins.get_mut("ready-none").unwrap().prepared = 0;
    let fixture = Fixture::new(&[("ready-none", V1)], set).await;
    for _ in 0..3 {
        fixture.ask("s").await.unwrap();
    }
    assert_eq!(
        (instances("ready-none", "ahead"), instances("ready-none", "fresh")),
        (0, 3)
    );
}

#[tokio::test]
async fn a_swap_a_new_configuration_and_a_removal_discard_them() {
    let set = set(&[("s", "ready-swap")], &[]);
    let fixture = Fixture::new(&[("ready-swap", V1)], set.clone()).await;
    fixture.ready("ready-swap", 2).await;
    fixture.put("ready-swap", V2);
    fixture
        .wait("ready-swap", |status| {
            status.generation.as_ref().is_some_and(|(number, _)| *number == 2)
        })
        .await;
    for _ in 0..5 {
        assert_eq!(fixture.ask("s").await.unwrap()["version"], 2);
        fixture.ready("ready-swap", 2).await;
    }

    // The old ones had the old budget.
    let mut poor = set;
    poor.plugins.get_mut("ready-swap").unwrap().limits.fuel = 1;
    fixture.host.reconfigure(poor).await;
    std::fs::remove_file(fixture.path("ready-swap")).unwrap();
    fixture
        .wait("ready-swap", |status| status.generation.is_none())
        .await;
    assert_eq!(fixture.status("ready-swap").prepared, 0);
    assert!(matches!(fixture.ask("s").await, Err(CallError::NotLoaded { .. })));
}

#[tokio::test]
async fn those_of_an_old_configuration_answer_no_call() {
    let mut set = set(&[("name", "ready-config")], &[]);
    let fixture = Fixture::new(&[("ready-config", IMPORTS_CONFIG)], set.clone()).await;
    for value in ["first", "second"] {
        fixture.ready("ready-config", 2).await;
        set.plugins.get_mut("ready-config").unwrap().settings = [("name".into(), value.into())].into();
        fixture.host.reconfigure(set.clone()).await;
        assert_eq!(fixture.ask("name").await.unwrap()["name"], value);
    }
}

#[tokio::test]
async fn they_are_limited_as_others_are() {
    let services = [("spin", "ready-limits")];
    let fixture = Fixture::new(&[("ready-limits", BEHAVE)], set(&services, &[])).await;
    for _ in 0..3 {
        fixture.ready("ready-limits", 2).await;
        let error = fixture.ask("spin").await.unwrap_err();
        assert!(matches!(error, CallError::OutOfFuel { .. }), "{error}");
    }
    assert_eq!(instances("ready-limits", "fresh"), 0);
}
