//! A component on the bench meets what it would meet in the gateway.

mod reports;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use gateway_devkit::{
    Answer, BenchLimits, Call, CallFailure, Question, Workbench, WorkbenchError, WorkbenchOptions,
};
use gateway_model::{Event, EventId, EventKind, Timestamp, User};
use gateway_sandbox::{CallError, Grant, Limits, PluginConfig, Secret};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_guests::{
    BEHAVE, COUNT, IMPORTS_CONFIG, IMPORTS_HTTP, IMPORTS_KEY_VALUE, IMPORTS_LOGGING, IMPORTS_SECRETS,
    IMPORTS_USERS, LOGIN_ONLY, PLAIN, REALLOC_LOOP, REJECT,
};

use crate::support::user;

/// A file with these bytes.
fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(format!("{name}.wasm"));
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

async fn open_with(bytes: &[u8], config: PluginConfig, users: Vec<User>) -> Workbench {
    let (_dir, path) = file("tried", bytes);
    let options = WorkbenchOptions {
        users,
        ..WorkbenchOptions::default()
    };
    Workbench::open(&path, config, options).await.unwrap()
}

fn config(grants: &[Grant]) -> PluginConfig {
    PluginConfig {
        grants: grants.iter().copied().collect(),
        limits: Limits {
            // Debug builds on busy machines: only tests of the deadline want a short one.
            deadline: Duration::from_secs(120),
            ..Limits::default()
        },
        ..PluginConfig::default()
    }
}

async fn open(bytes: &[u8], grants: &[Grant]) -> Workbench {
    open_with(bytes, config(grants), Vec::new()).await
}

async fn ask(bench: &Workbench, service: &str, user: &str) -> Call {
    bench.ask(question(service, user)).await.unwrap()
}

fn question(service: &str, user: &str) -> Question {
    Question::Permissions {
        service: service.to_owned(),
        user: user.into(),
    }
}

async fn run_hook(bench: &Workbench, event: &Event, user: &User) -> Result<Call, WorkbenchError> {
    let (event, user) = (Box::new(event.clone()), Box::new(user.clone()));
    bench.ask(Question::Event { event, user }).await
}

fn permissions(call: Call) -> Value {
    match call.answer {
        Ok(Answer::Permissions(permissions)) => json!(permissions),
        other => panic!("{other:?}"),
    }
}

async fn failure(bench: &Workbench, service: &str) -> CallFailure {
    ask(bench, service, "somebody").await.answer.unwrap_err()
}

fn event(kind: EventKind, user: &User) -> Event {
    Event {
        id: EventId::from("e-1"),
        kind,
        user_id: user.id.clone(),
        at: Timestamp(1_800_000_000),
        identity: user.identities[0].clone(),
        claims: json!({"groups": ["staff"]}).as_object().unwrap().clone().into(),
    }
}

#[tokio::test]
async fn the_limits_are_the_gateways() {
    let mut config = config(&[]);
    config.limits.memory = 16 << 20;
    let bench = open_with(BEHAVE, config.clone(), Vec::new()).await;

    let spun = failure(&bench, "spin").await;
    assert_eq!(
        *spun.error(),
        CallError::OutOfFuel {
            plugin: "tried".to_owned(),
            function: "get-permissions",
            fuel: 100_000_000
        }
    );
    let text = spun.to_string();
    assert!(
        text.starts_with(
            "tried: get-permissions ran out of fuel: 100,000,000 of 100,000,000; in `auth-gateway:plugin/"
        ),
        "{text}"
    );

    let bombed = failure(&bench, "bomb-trap").await;
    assert!(
        matches!(bombed.error(), CallError::OutOfMemory { memory: 16_777_216, used, wanted, .. }
            if *used <= 16 << 20 && used + wanted > 16 << 20),
        "{bombed:?}"
    );
    assert!(bombed.to_string().contains(" of 16,777,216 bytes"), "{bombed}");
    let pages = permissions(ask(&bench, "bomb", "u").await)["pages"]
        .as_u64()
        .unwrap();
    assert!(pages <= 256, "{pages} pages");

    config.limits.memory = 1 << 30;
    config.limits.fuel = u64::MAX;
    let bench = open_with(BEHAVE, config.clone(), Vec::new()).await;
    for (service, says) in [
        ("huge-list", "65,536 bytes or 1,000 items"),
        ("huge-text", "65,536 bytes"),
        ("nan", "NaN"),
        ("bad-json", "not JSON"),
        ("duplicate", "twice"),
        ("escape-name", "control"),
    ] {
        let failed = failure(&bench, service).await;
        assert!(
            matches!(failed.error(), CallError::InvalidAnswer { .. }),
            "{service}: {failed}"
        );
        assert!(failed.to_string().contains(says), "{service}: {failed}");
    }
    assert!(matches!(
        failure(&bench, "error-failed").await.error(),
        CallError::Failed { .. }
    ));
    assert_eq!(
        permissions(ask(&bench, "env", "u").await),
        json!({"variables": 0, "arguments": 0, "input": 0, "opened": ""})
    );
    for _ in 0..3 {
        let found = permissions(ask(&bench, "plant", "secret").await);
        assert_eq!(found, json!({"calls": 0, "found": "", "last": "", "pages": ""}));
    }

    config.limits.deadline = Duration::from_secs(1);
    config.limits.fuel = u64::MAX;
    let bench = open_with(BEHAVE, config, Vec::new()).await;
    for service in ["spin", "sleep"] {
        let failed = failure(&bench, service).await;
        assert!(
            matches!(failed.error(), CallError::DeadlineExceeded { .. }),
            "{service}: {failed}"
        );
    }
}

#[tokio::test]
async fn a_trap_says_where_and_what_the_guest_said() {
    let bench = open(BEHAVE, &[]).await;
    let trapped = failure(&bench, "trap").await;
    let functions = trapped.functions();
    // The compiler puts all of it into one function here.
    assert_eq!(
        functions,
        ["auth-gateway:plugin/permission-provider@1.0.0#get-permissions"]
    );
    assert!(trapped.said()[0].contains("panicked at"), "{:?}", trapped.said());
    let text = trapped.to_string();
    assert!(
        text.contains("trapped: it reached `unreachable`") && text.contains("; it wrote to stderr: "),
        "{text}"
    );

    let recursed = failure(&bench, "recurse").await;
    let text = recursed.to_string();
    assert!(
        text.contains("in `behave::resources::deep` (") && text.contains(" times in a row)"),
        "{text}"
    );
    let own = |name: &String| name.starts_with("behave::resources::deep");
    assert!(recursed.functions().iter().all(own), "glue is left out: {text}");

    // By hand, and its functions have no names.
    let bench = open(REALLOC_LOOP, &[]).await;
    assert!(!bench.report().has_names);
    let problem = bench.report().problem.clone().unwrap();
    assert!(
        problem.contains("has no function names that would say where"),
        "{problem}"
    );
}

#[tokio::test]
async fn grants_give_what_is_given_here() {
    let known = user("known-1", "Known");
    let bench = open_with(IMPORTS_USERS, config(&[Grant::Users]), vec![known]).await;
    let answer = permissions(ask(&bench, "s", "known-1").await);
    assert_eq!(answer["email"], json!("known-1@example.org"));
    assert_eq!(
        permissions(ask(&bench, "s", "nobody").await)["known"],
        json!(false)
    );

    // Each bench reserves terabytes of addresses, so there is one at a time.
    drop(bench);
    let mut settings = config(&[Grant::Config]);
    settings.settings.insert("name".to_owned(), "value".to_owned());
    let bench = open_with(IMPORTS_CONFIG, settings, Vec::new()).await;
    assert_eq!(
        permissions(ask(&bench, "name", "u").await)["get:name"],
        json!("value")
    );

    drop(bench);
    let mut secrets = config(&[Grant::Secrets]);
    secrets
        .secrets
        .insert("token".to_owned(), Secret::from("hunter2".to_owned()));
    let bench = open_with(IMPORTS_SECRETS, secrets, Vec::new()).await;
    assert_eq!(
        permissions(ask(&bench, "token", "u").await),
        json!({"secret": "hunter2"})
    );

    drop(bench);
    let bench = open(IMPORTS_KEY_VALUE, &[Grant::KeyValue]).await;
    ask(&bench, "s", "set key =text").await.answer.unwrap();
    let got = permissions(ask(&bench, "s", "get key").await);
    assert!(got.to_string().contains("text"), "kept from call to call: {got}");
    drop(bench);
    let other = open(IMPORTS_KEY_VALUE, &[Grant::KeyValue]).await;
    let got = permissions(ask(&other, "s", "get key").await);
    assert!(!got.to_string().contains("text"), "gone with the bench: {got}");

    drop(other);
    // Nowhere is allowed, so nothing is sent.
    let bench = open(IMPORTS_HTTP, &[Grant::Http]).await;
    let got = ask(&bench, "s", "GET http://127.0.0.1:9/").await;
    assert!(
        format!("{:?}", got.answer).to_lowercase().contains("denied"),
        "{:?}",
        got.answer
    );
}

#[tokio::test]
async fn what_the_guest_writes_is_heard_and_capped() {
    let mut config = config(&[Grant::Logging]);
    config.limits.fuel = 20_000_000;
    let bench = open_with(IMPORTS_LOGGING, config, Vec::new()).await;
    let call = ask(&bench, "hello", "u").await;
    let heard: Vec<_> = call.log.iter().map(|line| (line.level, line.source)).collect();
    assert_eq!(
        heard,
        [
            ("debug", "log"),
            ("info", "log"),
            ("warn", "log"),
            ("error", "log")
        ]
    );
    assert!(call.log.iter().all(|line| line.message.contains("hello")));
    assert_eq!(call.usage.log_dropped, 0);

    let call = ask(&bench, "flood", "u").await;
    let bytes: usize = call.log.iter().map(|line| line.message.len()).sum();
    assert!(
        bytes <= 16 << 10 && call.usage.log_dropped > 1000,
        "{bytes} {}",
        call.usage.log_dropped
    );
}

#[tokio::test]
async fn hooks_answer_and_reject() {
    let ann = user("known-ann", "ann");
    let bench = open(COUNT, &[Grant::Logging]).await;
    for (kind, answer) in [
        (
            EventKind::NewUser,
            Answer::Accepted([("seen-on-new-user".to_owned(), "e-1".to_owned())].into()),
        ),
        (
            EventKind::Login,
            Answer::Accepted([("seen-on-user-login".to_owned(), "e-1".to_owned())].into()),
        ),
        (EventKind::Logout, Answer::Heard),
    ] {
        let call = run_hook(&bench, &event(kind, &ann), &ann).await.unwrap();
        assert_eq!(call.answer, Ok(answer));
        assert!(
            call.log.iter().any(|line| line.message.contains("event=e-1")),
            "{:?}",
            call.log
        );
    }

    let bench = open(LOGIN_ONLY, &[]).await;
    let call = run_hook(&bench, &event(EventKind::Login, &ann), &ann)
        .await
        .unwrap();
    let Ok(Answer::Accepted(attributes)) = call.answer else {
        panic!("{call:?}")
    };
    assert_eq!(attributes["login-claims"], r#"{"groups":["staff"]}"#);
    let error = run_hook(&bench, &event(EventKind::Logout, &ann), &ann)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "it does not export on-user-logout; the gateway would call on-user-login"
    );

    let bench = open(REJECT, &[]).await;
    for (name, says) in [
        ("reject", Ok("Rejected by on-new-user")),
        ("trap", Err("trapped")),
        ("bad-attributes", Err("is not 1 to 64 letters")),
    ] {
        let somebody = user("known-2", name);
        let call = run_hook(&bench, &event(EventKind::NewUser, &somebody), &somebody)
            .await
            .unwrap();
        match (call.answer, says) {
            (Ok(Answer::Rejected(reason)), Ok(says)) => assert!(reason.starts_with(says), "{reason}"),
            (Err(failure), Err(says)) => assert!(failure.to_string().contains(says), "{failure}"),
            (answer, _) => panic!("{name}: {answer:?}"),
        }
    }
}

#[tokio::test]
async fn calls_are_measured_on_one_thread() {
    let bench = open(PLAIN, &[]).await;
    let question = |service: &str| Question::Permissions {
        service: service.to_owned(),
        user: "u".into(),
    };
    let limits = BenchLimits {
        calls: 50,
        time: Duration::from_secs(240),
    };
    let measured = bench.bench(question("s"), limits).await.unwrap();
    for kind in [&measured.fresh, measured.prepared.as_ref().unwrap()] {
        assert_eq!(kind.calls, 50);
        assert!(
            kind.p50_us > 0.0 && kind.p50_us <= kind.p90_us && kind.p99_us <= kind.max_us,
            "{kind:?}"
        );
        assert!(kind.held_p50_us >= kind.p50_us, "{kind:?}");
        assert!(
            kind.per_second > 0.0 && kind.fuel_min <= kind.fuel_max && kind.memory_max > 0,
            "{kind:?}"
        );
    }
    let none = BenchLimits {
        calls: 1000,
        time: Duration::ZERO,
    };
    assert_eq!(bench.bench(question("s"), none).await.unwrap().fresh.calls, 1);

    let bench = open(BEHAVE, &[]).await;
    let error = bench.bench(question("trap"), limits).await.unwrap_err();
    assert!(
        matches!(&error, WorkbenchError::Failed(failure) if !failure.functions().is_empty()),
        "{error}"
    );
}
