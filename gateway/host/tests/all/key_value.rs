//! Values that plugins keep from one call to the next: the rules, the limits, and their isolation.

use std::sync::Arc;
use std::time::Duration;

use gateway_host::PluginSet;
use gateway_model::clock::ManualClock;
use gateway_model::{ChangedValue, ValueChange, stored_bytes};
use gateway_sandbox::{CallError, KeyValueStore, Limits, ScratchValues, ValueError};
use serde_json::{Value, json};
use test_guests::IMPORTS_KEY_VALUE;

use crate::support::{Fixture, log, set};

/// One plugin, `kv`, that keeps values under these limits.
fn one(limits: impl FnOnce(&mut Limits)) -> PluginSet {
    let mut set = set(&[("s", "kv")], &[]);
    limits(&mut set.plugins.get_mut("kv").unwrap().limits);
    set
}

async fn fixture(limits: impl FnOnce(&mut Limits)) -> Fixture {
    Fixture::new(&[("kv", IMPORTS_KEY_VALUE)], one(limits)).await
}

impl Fixture {
    /// The answer of the plugin `kv` to a command.
    async fn tell(&self, command: &str) -> Value {
        self.ask_for("s", command).await.unwrap()
    }
}

fn done() -> Value {
    json!({"done": true})
}

#[tokio::test]
async fn values_are_kept_from_one_call_to_the_next() {
    let fixture = fixture(|_| ()).await;
    for (command, answer) in [
        ("get key", json!({"none": true})),
        ("set key =value", done()),
        ("get key", json!({"bytes": 5, "text": "value"})),
        ("set key =", done()),
        ("get key", json!({"bytes": 0, "text": ""})),
        ("delete key", done()),
        ("delete key", json!({"done": false})),
        ("get key", json!({"none": true})),
        ("increment n 5", json!({"sum": 5})),
        ("increment n -7", json!({"sum": -2})),
        ("get n", json!({"bytes": 2, "text": "-2"})),
        ("swap key - =1", done()),
        ("swap key - =2", json!({"done": false})),
        ("swap key =1 =2", done()),
        ("swap key =1 -", json!({"done": false})),
        ("swap key =2 -", done()),
        ("get key", json!({"none": true})),
        ("set keys/b =", done()),
        ("set keys/a =", done()),
        (
            "list keys/ - 9",
            json!({"count": 2, "first": "keys/a", "last": "keys/b"}),
        ),
        (
            "list keys/ =keys/a 9",
            json!({"count": 1, "first": "keys/b", "last": "keys/b"}),
        ),
        (
            "list  - 1",
            json!({"count": 1, "first": "keys/a", "last": "keys/a"}),
        ),
        ("list  - 0", json!({"count": 0, "first": "", "last": ""})),
        ("list nothing - 9", json!({"count": 0, "first": "", "last": ""})),
    ] {
        assert_eq!(fixture.tell(command).await, answer, "{command}");
    }
    // A restarted host finds them.
    let fixture = fixture.restart(one(|_| ())).await;
    assert_eq!(fixture.tell("get n").await["text"], "-2");
}

#[tokio::test]
async fn what_breaks_a_rule_is_told_and_not_done() {
    let fixture = fixture(|_| ()).await;
    let (longest, longer) = ("k".repeat(256), "k".repeat(257));
    for key in ["k", &longest] {
        assert_eq!(fixture.tell(&format!("set {key} =value")).await, done(), "{key}");
        assert_eq!(fixture.tell(&format!("get {key}")).await["text"], "value");
    }
    for key in ["", &longer] {
        for command in ["get {}", "set {} =", "delete {}", "increment {} 1", "swap {} - ="] {
            let command = command.replace("{}", key);
            assert_eq!(
                fixture.tell(&command).await,
                json!({"error": format!("invalid: the key has {} bytes, 1 to 256 are allowed", key.len())}),
                "{command}"
            );
        }
    }
    assert_eq!(
        fixture.tell(&format!("list {longer} - 9")).await["count"],
        0,
        "no key begins so"
    );

    fixture.tell("set text =1x").await;
    fixture.tell(&format!("set largest ={}", i64::MAX)).await;
    for (command, error) in [
        (
            "increment text 1",
            "invalid: the value is not the decimal text of a whole number",
        ),
        ("increment largest 1", "invalid: the sum does not fit"),
    ] {
        assert_eq!(fixture.tell(command).await, json!({"error": error}));
    }
    assert_eq!(fixture.tell("get text").await["text"], "1x");
}

#[tokio::test]
async fn a_value_may_be_so_long_and_no_longer() {
    // Beyond what the host would copy for an answer.
    let fixture = fixture(|limits| limits.value_bytes = 300_000).await;
    assert_eq!(fixture.tell("set key *300000").await, done());
    assert_eq!(fixture.tell("get key").await["bytes"], 300_000);
    assert_eq!(fixture.tell("swap key *300000 *300000").await, done());
    let refused = json!({"error": "invalid: the value has 300001 bytes, 300000 are allowed"});
    assert_eq!(fixture.tell("set key *300001").await, refused);
    assert_eq!(fixture.tell("swap key *300000 *300001").await, refused);
    assert_eq!(fixture.tell("get key").await["bytes"], 300_000);

    // A value that is far too long is not even copied out of the guest.
    let error = fixture.ask_for("s", "set key *700000").await.unwrap_err();
    assert!(
        error.to_string().contains(
            "passed the gateway more than 65,536 bytes or 1,000 items, or values of more than 300,000 bytes"
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_plugin_may_keep_so_much_and_no_more() {
    let mut set = set(&[("s", "kv"), ("o", "other")], &[]);
    // As much for either: one name is three bytes longer.
    for name in ["kv", "other"] {
        set.plugins.get_mut(name).unwrap().limits.store_bytes =
            usize::try_from(stored_bytes(5, 1, 800, false)).unwrap();
    }
    let files: [(&str, &[u8]); 2] = [("kv", IMPORTS_KEY_VALUE), ("other", IMPORTS_KEY_VALUE)];
    let fixture = Fixture::new(&files, set.clone()).await;
    let full = json!({"error": "full"});
    assert_eq!(fixture.tell("set k *804").await, full);
    assert_eq!(fixture.tell("set k *803").await, done());
    assert_eq!(fixture.tell("set k *804").await, full);
    assert_eq!(fixture.tell("set k *803").await, done(), "in place of as much");
    for command in ["set l =", "increment l 1", "swap l - ="] {
        assert_eq!(fixture.tell(command).await, full, "{command}");
    }
    assert_eq!(fixture.ask_for("o", "set k *800").await.unwrap(), done());

    // A lower limit takes nothing away.
    set.plugins.get_mut("kv").unwrap().limits.store_bytes = 700;
    fixture.host.reconfigure(set).await;
    assert_eq!(fixture.tell("get k").await["bytes"], 803);
    assert_eq!(fixture.tell("set l =").await, full);
    assert_eq!(fixture.tell("set k *400").await, done());
    assert_eq!(fixture.tell("set l =").await, done());
}

#[tokio::test]
async fn a_list_has_a_thousand_keys_and_no_more() {
    let fixture = fixture(|limits| limits.fuel = u64::MAX).await;
    assert_eq!(fixture.tell("many 1001").await, done());
    let key = |number| format!("{number:0256}");
    assert_eq!(
        fixture.tell("list  - 4294967295").await,
        json!({"count": 1000, "first": key(0), "last": key(999)})
    );
    assert_eq!(
        fixture.tell(&format!("list  ={} 1000", key(999))).await,
        json!({"count": 1, "first": key(1000), "last": key(1000)})
    );
}

#[tokio::test]
async fn a_lifetime_ends() {
    let clock = Arc::new(ManualClock::at(1000));
    let values = Arc::new(ScratchValues::new(clock.clone()));
    let fixture = Fixture::with_values(&[("kv", IMPORTS_KEY_VALUE)], one(|_| ()), values).await;
    for (key, lifetime) in [("short", 10), ("long", u64::MAX)] {
        fixture.tell(&format!("set {key} =1 {lifetime}")).await;
    }
    assert_eq!(fixture.tell("increment short 1").await["sum"], 2);
    clock.advance(Duration::from_secs(9));
    assert_eq!(fixture.tell("get short").await["text"], "2");
    clock.advance(Duration::from_secs(1));
    assert_eq!(fixture.tell("get short").await, json!({"none": true}));
    assert_eq!(fixture.tell("list  - 9").await["count"], 1);
    assert_eq!(fixture.tell("increment short 1").await["sum"], 1);
    assert_eq!(fixture.tell("get long").await["text"], "1");
    assert_eq!(fixture.tell("set long =1 0").await, done());
    assert_eq!(fixture.tell("get long").await, json!({"none": true}));
}

#[tokio::test]
async fn plugins_see_their_own_values_only() {
    let services = [("s", "kv"), ("o", "other")];
    let files: [(&str, &[u8]); 2] = [("kv", IMPORTS_KEY_VALUE), ("other", IMPORTS_KEY_VALUE)];
    let fixture = Fixture::new(&files, set(&services, &[])).await;
    fixture.tell("set key =mine").await;
    assert_eq!(
        fixture.ask_for("o", "get key").await.unwrap(),
        json!({"none": true})
    );
    fixture.ask_for("o", "set key =theirs").await.unwrap();
    fixture.ask_for("o", "set another =").await.unwrap();
    assert_eq!(fixture.tell("get key").await["text"], "mine");
    assert_eq!(fixture.tell("list  - 9").await["count"], 1);
    assert_eq!(fixture.tell("delete another").await, json!({"done": false}));
}

#[tokio::test]
async fn a_trial_call_sees_nothing_and_leaves_nothing() {
    let fixture = fixture(|_| ()).await;
    assert_eq!(
        fixture.tell("get calls").await,
        json!({"none": true}),
        "admission called it"
    );
    assert_eq!(fixture.tell("anything").await, json!({"sum": 1}));

    fixture.tell("set poison =").await;
    assert!(matches!(
        fixture.ask_for("s", "anything").await,
        Err(CallError::Trap { .. })
    ));
    fixture.host.reconfigure(one(|limits| limits.fuel += 1)).await;
    // The same component keeps its number; had it been tried on the real store, it would have trapped.
    let status = fixture.status("kv");
    assert_eq!((status.problem, status.generation.unwrap().0), (None, 1));
    assert_eq!(fixture.tell("get calls").await["text"], "1");
}

#[tokio::test]
async fn a_store_that_fails_is_told_as_unavailable() {
    let set = one(|limits| limits.deadline = Duration::from_secs(5));
    let fixture = Fixture::with_values(&[("kv", IMPORTS_KEY_VALUE)], set, Arc::new(Broken)).await;
    assert_eq!(fixture.status("kv").problem, None, "the trial does not need it");
    for command in [
        "get key",
        "set key =",
        "delete key",
        "increment key 1",
        "swap key - =",
        "list  - 1",
    ] {
        assert_eq!(
            fixture.tell(command).await,
            json!({"error": "unavailable"}),
            "{command}"
        );
    }
    assert!(log().contains("cannot read or write the plugin's values: the disk is on fire"));
    assert!(matches!(
        fixture.ask_for("s", "get slow").await,
        Err(CallError::DeadlineExceeded { .. })
    ));
}

/// A store that fails, or does not even do that.
#[derive(Debug)]
struct Broken;

impl Broken {
    async fn fail<T>(key: &str) -> Result<T, ValueError> {
        if key == "slow" {
            std::future::pending::<()>().await;
        }
        Err(ValueError::Unavailable("the disk is on fire".to_owned()))
    }
}

#[async_trait::async_trait]
impl KeyValueStore for Broken {
    async fn get(&self, _: &str, key: &str) -> Result<Option<Vec<u8>>, ValueError> {
        Self::fail(key).await
    }

    async fn change(&self, _: &str, key: &str, _: ValueChange, _: u64) -> Result<ChangedValue, ValueError> {
        Self::fail(key).await
    }

    async fn keys(&self, _: &str, _: &str, _: Option<&str>, _: usize) -> Result<Vec<String>, ValueError> {
        Self::fail("").await
    }
}
