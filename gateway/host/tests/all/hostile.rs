//! Attacks by plugins: each ends in an error that names the plugin, and the host keeps running.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use gateway_host::PluginSet;
use gateway_sandbox::{CallError, Limits};
use serde_json::json;
use test_guests::{
    BAD_ANSWER_POINTER, BAD_LENGTH, BAD_POINTER, BAD_REALLOC, BAD_UTF8, BAD_VARIANT, BEHAVE, BULK_FILL,
    MANY_MEMORIES, MULTI_MEMORY, PLAIN, POST_RETURN_LOOP, REALLOC_LOOP, SAME_BYTES, START_LOOP, START_TRAP,
    TABLE_BOMB, V1,
};

use crate::support::{Fixture, log, metrics, set};

/// Every service of BEHAVE that is named, and one that answers beside it.
fn behave(services: &[&str], limits: Limits) -> PluginSet {
    let pairs: Vec<_> = services
        .iter()
        .map(|service| (*service, "behave"))
        .chain([("good", "v1")])
        .collect();
    let mut set = set(&pairs, &[]);
    set.plugins.get_mut("behave").unwrap().limits = limits;
    set
}

/// Debug builds on busy machines: only tests of the deadline want a short one.
fn patient(mut limits: Limits) -> Limits {
    limits.deadline = Duration::from_secs(120);
    limits
}

#[tokio::test]
async fn an_endless_loop_runs_out_of_fuel() {
    let set = behave(&["spin"], patient(Limits::default()));
    let fixture = Fixture::new(&[("behave", BEHAVE), ("v1", V1)], set).await;
    let error = fixture.ask("spin").await.unwrap_err();
    assert_eq!(
        error,
        CallError::OutOfFuel {
            plugin: "behave".to_owned(),
            function: "get-permissions",
            fuel: 100_000_000
        }
    );
    let log = log();
    let line = log
        .lines()
        .find(|line| line.contains(&error.to_string()))
        .expect("it is logged");
    assert!(
        line.contains("\"stack\"") && line.contains("behave.wasm!"),
        "the guest's stack is in {line}"
    );
}

#[tokio::test]
async fn an_endless_loop_with_endless_fuel_ends_at_its_deadline_and_others_go_on() {
    let limits = Limits {
        fuel: u64::MAX,
        deadline: Duration::from_secs(1),
        ..Limits::default()
    };
    let set = behave(&["spin"], limits);
    let fixture = Fixture::new(&[("behave", BEHAVE), ("v1", V1)], set).await;
    let spinning = futures_util::future::join_all((0..20).map(|_| fixture.ask("spin")));
    let others = async {
        for _ in 0..20 {
            fixture.ask("good").await.unwrap();
        }
    };
    let (spun, ()) = tokio::join!(spinning, others);
    for result in spun {
        assert!(
            matches!(
                result,
                Err(CallError::DeadlineExceeded { .. } | CallError::Overloaded { .. })
            ),
            "{result:?}"
        );
    }
}

#[tokio::test]
async fn a_sleeper_is_woken_by_its_deadline() {
    let limits = Limits {
        deadline: Duration::from_secs(1),
        ..Limits::default()
    };
    let fixture = Fixture::new(&[("behave", BEHAVE), ("v1", V1)], behave(&["sleep"], limits)).await;
    assert!(matches!(
        fixture.ask("sleep").await,
        Err(CallError::DeadlineExceeded { .. })
    ));
    fixture.ask("good").await.unwrap();
}

#[tokio::test]
async fn traps_say_what_happened() {
    let set = behave(&["trap", "recurse"], patient(Limits::default()));
    let fixture = Fixture::new(&[("behave", BEHAVE), ("v1", V1)], set).await;
    for (service, says) in [("trap", "unreachable"), ("recurse", "call stack exhausted")] {
        let Err(CallError::Trap {
            plugin,
            function,
            reason,
        }) = fixture.ask(service).await
        else {
            panic!("{service}")
        };
        assert_eq!((plugin.as_str(), function), ("behave", "get-permissions"));
        assert!(reason.contains(says), "{reason}");
    }
    // The log says where, in the guest's own names, and what it had to say.
    let log = log();
    let line = |says: &str| {
        let mut lines = log.lines();
        lines
            .find(|line| line.contains("behave: get-permissions trapped") && line.contains(says))
            .is_some()
    };
    assert!(line("exhausted; in `behave::resources::deep` ("), "{log}");
    assert!(
        line("; it wrote to stderr: ") && line("this guest was asked to trap\""),
        "{log}"
    );
    assert!(!line("called by `std::") && !line("called by `core::"), "{log}");
}

#[tokio::test]
async fn memory_is_capped_over_all_memories_and_tables() {
    let services = [
        ("bomb", "behave"),
        ("bomb-trap", "behave"),
        ("many", "many"),
        ("multi", "multi"),
        ("table", "table"),
    ];
    let mut set = set(&services, &[]);
    for config in set.plugins.values_mut() {
        config.limits.memory = 16 << 20;
        config.limits.fuel = u64::MAX;
    }
    // Less than its tables could have otherwise.
    set.plugins.get_mut("table").unwrap().limits.memory = 4 << 20;
    let files: [(&str, &[u8]); 4] = [
        ("behave", BEHAVE),
        ("many", MANY_MEMORIES),
        ("multi", MULTI_MEMORY),
        ("table", TABLE_BOMB),
    ];
    let fixture = Fixture::new(&files, set).await;
    for service in ["bomb", "many"] {
        let answer = fixture.ask(service).await.unwrap();
        let pages = answer["pages"]
            .as_u64()
            .unwrap_or_else(|| panic!("{service}: {answer}"));
        assert!(
            (128..=256).contains(&pages),
            "{service} had {pages} pages of 64 KiB, 256 in all are allowed"
        );
    }
    fixture.ask("multi").await.unwrap();
    let metrics = metrics().render();
    let used = metrics.lines().find_map(|line| {
        line.strip_prefix("gateway_plugin_memory_bytes_sum{plugin=\"multi\",function=\"get-permissions\"} ")
    });
    let used: usize = used.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap();
    assert!(
        (8 << 20..=16 << 20).contains(&used),
        "two memories of one module had {used} bytes"
    );
    let elements = fixture.ask("table").await.unwrap()["elements"].as_u64().unwrap();
    assert!(elements * 16 <= 4 << 20, "{elements} elements");
    assert!(matches!(
        fixture.ask("bomb-trap").await,
        Err(CallError::OutOfMemory {
            memory: 16_777_216,
            ..
        })
    ));
}

#[tokio::test]
async fn huge_answers_are_not_copied() {
    let services = ["huge-list", "huge-text", "huge-name"];
    let limits = patient(Limits {
        fuel: u64::MAX,
        memory: 1 << 30,
        ..Limits::default()
    });
    let mut set = behave(&services, limits);
    set.services.insert("same".to_owned(), "same".to_owned());
    let fixture = Fixture::new(&[("behave", BEHAVE), ("v1", V1), ("same", SAME_BYTES)], set).await;
    for service in services {
        let error = fixture.ask(service).await.unwrap_err();
        assert!(
            matches!(error, CallError::InvalidAnswer { .. }),
            "{service}: {error}"
        );
    }
    // Its trial has found out already.
    assert!(
        fixture.problem("same").contains("passed the gateway more than"),
        "{}",
        fixture.problem("same")
    );
}

#[tokio::test]
async fn answers_that_break_the_rules_are_refused() {
    let services = [
        "nan",
        "infinity",
        "bad-json",
        "two-jsons",
        "deep-json",
        "control-name",
        "escape-name",
        "bidi-name",
        "empty-name",
        "duplicate",
    ];
    let fixture = Fixture::new(
        &[("behave", BEHAVE), ("v1", V1)],
        behave(&services, patient(Limits::default())),
    )
    .await;
    for service in services {
        let error = fixture.ask(service).await.unwrap_err();
        assert!(
            matches!(error, CallError::InvalidAnswer { .. }),
            "{service}: {error}"
        );
        assert!(
            !error.to_string().contains(char::is_control),
            "{service}: {error:?}"
        );
    }
}

#[tokio::test]
async fn lies_to_the_host_end_in_the_trial() {
    let guests: [(&str, &[u8]); 9] = [
        ("start-loop", START_LOOP),
        ("start-trap", START_TRAP),
        ("realloc-loop", REALLOC_LOOP),
        ("bad-realloc", BAD_REALLOC),
        ("bad-answer", BAD_ANSWER_POINTER),
        ("bad-pointer", BAD_POINTER),
        ("bad-length", BAD_LENGTH),
        ("bad-utf8", BAD_UTF8),
        ("bad-variant", BAD_VARIANT),
    ];
    let services: Vec<_> = guests.iter().map(|(name, _)| (*name, *name)).collect();
    let fixture = Fixture::new(&guests, set(&services, &[])).await;
    for (name, _) in guests {
        let problem = fixture.problem(name);
        assert!(problem.starts_with("its trial call failed"), "{name}: {problem}");
        assert!(
            matches!(fixture.ask(name).await, Err(CallError::NotLoaded { .. })),
            "{name}"
        );
    }
    assert!(fixture.problem("start-loop").contains("ran out of fuel"));
}

#[tokio::test]
async fn a_start_function_has_a_deadline() {
    let mut set = set(&[("s", "start-loop")], &[]);
    let limits = &mut set.plugins.get_mut("start-loop").unwrap().limits;
    (limits.fuel, limits.deadline) = (u64::MAX, Duration::from_millis(300));
    let fixture = Fixture::new(&[("start-loop", START_LOOP)], set).await;
    let problem = fixture.problem("start-loop");
    assert!(problem.contains("deadline"), "{problem}");
}

#[tokio::test]
async fn loops_after_the_answer_and_in_one_instruction_end_too() {
    let guests: [(&str, &[u8]); 3] = [("post", POST_RETURN_LOOP), ("bulk", BULK_FILL), ("plain", PLAIN)];
    let services: Vec<_> = guests.iter().map(|(name, _)| (*name, *name)).collect();
    let mut set = set(&services, &[]);
    for name in ["post", "bulk"] {
        set.plugins.get_mut(name).unwrap().limits.deadline = Duration::from_millis(500);
    }
    let fixture = Fixture::new(&guests, set).await;
    for name in ["post", "bulk"] {
        let problem = fixture.problem(name);
        assert!(
            problem.contains("ran out of fuel") || problem.contains("deadline"),
            "{name}: {problem}"
        );
    }
    assert_eq!(fixture.ask("plain").await.unwrap(), json!({}));
}

#[tokio::test]
async fn callers_may_go_away_in_mid_call() {
    let limits = Limits {
        fuel: u64::MAX,
        deadline: Duration::from_secs(600),
        ..Limits::default()
    };
    let fixture = Fixture::new(
        &[("behave", BEHAVE), ("v1", V1)],
        behave(&["spin", "sleep", "ok"], limits),
    )
    .await;
    // More of them than there are slots: each must give its own back.
    for call in 0..100_u64 {
        let service = if call < 50 { "spin" } else { "sleep" };
        let user = "u".into();
        let asked = fixture.host.get_permissions(service, &user);
        let gone = tokio::time::timeout(Duration::from_millis(call % 7), asked).await;
        assert!(gone.is_err(), "{gone:?}");
    }
    fixture.ask("ok").await.unwrap();
    fixture.host.shutdown().await;
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let limits = Limits {
        deadline: Duration::from_secs(600),
        ..Limits::default()
    };
    let set = behave(&["sleep"], limits);
    let fixture = Fixture::new(&[("behave", BEHAVE), ("v1", V1)], set).await;
    let asked: FuturesUnordered<_> = (0..1100).map(|_| fixture.ask("sleep")).collect();
    // Those that there is room for sleep for ten minutes: the first to come back are those that were
    // refused.
    let first: Vec<_> = asked.take(1100 - 1024).collect().await;
    assert!(
        first
            .iter()
            .all(|answer| matches!(answer, Err(CallError::Overloaded { .. }))),
        "{first:?}"
    );
    fixture.ask("good").await.unwrap();
}

#[tokio::test]
async fn a_plugin_whose_calls_all_wait_leaves_slots_to_the_others() {
    let limits = Limits {
        deadline: Duration::from_secs(600),
        ..Limits::default()
    };
    let set = behave(&["sleep"], limits);
    let fixture = Fixture::new(&[("behave", BEHAVE), ("v1", V1)], set).await;
    // More than there are slots over all plugins. They are polled first, and take what they can get.
    let asleep = futures_util::future::join_all((0..100).map(|_| fixture.ask("sleep")));
    tokio::select! {
        biased;
        woken = asleep => panic!("{woken:?}"),
        answer = fixture.ask("good") => assert_eq!(answer.unwrap()["version"], 1),
    }
}

#[tokio::test]
async fn nothing_is_called_after_shutdown() {
    let fixture = Fixture::new(&[("v1", V1)], set(&[("s", "v1")], &[])).await;
    fixture.ask("s").await.unwrap();
    fixture.host.shutdown().await;
    assert!(matches!(
        fixture.ask("s").await,
        Err(CallError::Overloaded { .. })
    ));
}
