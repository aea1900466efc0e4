//! The WASI draft for key-value stores: the plugin's own values, by another interface.

use gateway_plugin::PluginSet;
use serde_json::{Value, json};
use test_guests::{IMPORTS_KEY_VALUE, WASI_KEYVALUE};

use crate::support::{Fixture, set};

const SERVICES: [(&str, &str); 3] = [("own", "wasi"), ("default", "wasi"), ("elsewhere", "wasi")];

async fn fixture(set: PluginSet) -> Fixture {
    Fixture::new(&[("wasi", WASI_KEYVALUE)], set).await
}

impl Fixture {
    /// What the plugin `wasi` answers to a command in a store.
    async fn tell_in(&self, store: &str, command: &str) -> Value {
        self.ask_for(store, command).await.unwrap()
    }
}

#[tokio::test]
async fn a_plugin_has_one_store_by_two_names() {
    let fixture = fixture(set(&SERVICES, &[])).await;
    assert_eq!(fixture.status("wasi").problem, None);
    for (store, command, answer) in [
        ("own", "get key", json!({"none": true})),
        ("own", "set key value", json!({"done": true})),
        ("default", "get key", json!({"text": "value"})),
        ("default", "exists key", json!({"done": true})),
        ("default", "delete key", json!({"done": true})),
        ("own", "delete key", json!({"done": true})),
        ("own", "exists key", json!({"done": false})),
        ("own", "increment n 5", json!({"sum": 5})),
        ("default", "increment n 2", json!({"sum": 7})),
        ("elsewhere", "get key", json!({"error": "no such store"})),
    ] {
        assert_eq!(
            fixture.tell_in(store, command).await,
            answer,
            "{store}: {command}"
        );
    }
}

#[tokio::test]
async fn refusals_are_errors_and_not_traps() {
    let mut set = set(&SERVICES, &[]);
    let limits = &mut set.plugins.get_mut("wasi").unwrap().limits;
    (limits.value_bytes, limits.store_bytes) = (100, 300);
    let fixture = fixture(set).await;
    let too_large = i64::MAX.unsigned_abs() + 1;
    for (command, answer) in [
        ("fill key 100".to_owned(), json!({"done": true})),
        (
            "fill key 101".to_owned(),
            json!({"error": "the value has 101 bytes, 100 are allowed"}),
        ),
        ("fill other 100".to_owned(), json!({"error": "the store is full"})),
        (
            "set  x".to_owned(),
            json!({"error": "the key has 0 bytes, 1 to 256 are allowed"}),
        ),
        (
            format!("get {}", "k".repeat(257)),
            json!({"error": "the key has 257 bytes, 1 to 256 are allowed"}),
        ),
        (
            "increment key 1".to_owned(),
            json!({"error": "the value is not the decimal text of a whole number"}),
        ),
        (
            format!("increment n {too_large}"),
            json!({"error": "the sum does not fit"}),
        ),
        ("cursor 1".to_owned(), json!({"error": "no such cursor"})),
        (format!("cursor {}", u64::MAX), json!({"error": "no such cursor"})),
        ("open 100".to_owned(), json!({"done": true})),
        ("open 1000".to_owned(), json!({"error": "too much is open"})),
    ] {
        assert_eq!(fixture.tell_in("own", &command).await, answer, "{command}");
    }
}

#[tokio::test]
async fn keys_come_in_pages() {
    let mut set = set(&SERVICES, &[]);
    set.plugins.get_mut("wasi").unwrap().limits.fuel = u64::MAX;
    let fixture = fixture(set).await;
    for (count, pages) in [(0, "0"), (999, "999"), (1000, "1000,0"), (2345, "1000,1000,345")] {
        fixture.tell_in("own", &format!("many {count}")).await;
        assert_eq!(
            fixture.tell_in("own", "list").await,
            json!({"page": pages, "different": count}),
        );
    }
}

#[tokio::test]
async fn both_interfaces_work_on_the_same_values() {
    let fixture = fixture(set(&SERVICES, &[])).await;
    fixture.tell_in("own", "set key value").await;
    // Another component under the same name, as an author who moves to our interface has it.
    fixture.put("wasi", IMPORTS_KEY_VALUE);
    fixture.host.reconfigure(set(&SERVICES, &[])).await;
    assert_eq!(
        fixture.tell_in("own", "get key").await,
        json!({"bytes": 5, "text": "value"})
    );
}
