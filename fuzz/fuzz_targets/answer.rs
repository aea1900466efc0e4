//! Plugins' answers, after the gateway's check: they are within the limits, their JSON is valid, and a terminal or a
//! page shows all of their text as text.
#![no_main]

use arbitrary::Arbitrary;
use gateway_sandbox::Limits;
use gateway_sandbox::fuzzing::{self, Permission, Value};
use libfuzzer_sys::fuzz_target;
use serde_json::Value as Json;

/// An answer and its limits.
#[derive(Arbitrary, Debug)]
struct Input {
    bytes: u16,
    items: u8,
    permissions: Vec<(String, Said)>,
    attributes: Vec<(String, String)>,
    words: String,
}

#[derive(Arbitrary, Debug)]
enum Said {
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    Json(String),
    /// JSON nested this deep.
    Deep(u8, bool),
}

impl Said {
    fn value(self) -> Value {
        match self {
            Self::Boolean(value) => Value::Boolean(value),
            Self::Integer(value) => Value::Integer(value),
            Self::Number(value) => Value::Number(value),
            Self::Text(text) => Value::Text(text),
            Self::Json(text) => Value::Json(text),
            Self::Deep(depth, true) => Value::Json("[".repeat(depth.into()) + &"]".repeat(depth.into())),
            Self::Deep(depth, false) => {
                Value::Json("{\"]\":".repeat(depth.into()) + "\"[[\"" + &"}".repeat(depth.into()))
            }
        }
    }
}

fuzz_target!(|input: Input| {
    let limits = Limits {
        result_bytes: input.bytes.into(),
        result_items: input.items.into(),
        ..Limits::default()
    };
    judge_permissions(input.permissions, &limits);
    judge_attributes(input.attributes, &limits);
    for (said, most) in [
        (fuzzing::message(&input.words), 500),
        (fuzzing::reason(&input.words), 500),
    ] {
        assert!(is_plain(&said), "{said:?}");
        assert!(said.len() <= most + "…".len(), "{} bytes", said.len());
    }
    assert!(!fuzzing::reason(&input.words).is_empty());
    let said = fuzzing::printable(&input.words, usize::MAX);
    assert!(is_plain(&said), "{said:?}");
});

fn judge_permissions(said: Vec<(String, Said)>, limits: &Limits) {
    let said: Vec<Permission> = said
        .into_iter()
        .map(|(name, said)| Permission {
            name,
            value: said.value(),
        })
        .collect();
    let names: Vec<String> = said.iter().map(|permission| permission.name.clone()).collect();
    let Ok(taken) = fuzzing::permissions(said, limits) else {
        return;
    };
    assert!(taken.len() <= limits.result_items);
    assert_eq!(
        taken.keys().collect::<Vec<_>>(),
        sorted(&names),
        "none is lost, none twice"
    );
    let taken = serde_json::to_value(&taken).expect("what every reader of JSON reads");
    let members = taken.as_object().expect("an object");
    for (name, value) in members {
        assert!((1..=256).contains(&name.len()) && is_plain(name), "{name:?}");
        assert!(depth(value) <= 32, "nests too deep");
    }
    let text = serde_json::to_vec(&taken).expect("JSON");
    // A control character takes six bytes; a name adds its quotes, colon and comma.
    assert!(
        text.len() <= 6 * limits.result_bytes + 4 * limits.result_items + 2,
        "{} bytes",
        text.len()
    );
    // Compared as an application reads it, where the last digit of a number may differ.
    let again: Json = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(shape(&again), shape(&taken));
}

fn judge_attributes(said: Vec<(String, String)>, limits: &Limits) {
    let Ok(taken) = fuzzing::attributes(said, limits) else {
        return;
    };
    assert!(taken.len() <= limits.result_items);
    let bytes: usize = taken.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(bytes <= limits.result_bytes);
    for (name, value) in &taken {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        assert!(
            (1..=64).contains(&name.len()) && name.bytes().all(plain),
            "{name:?}"
        );
        assert!(!name.starts_with("gateway."), "{name}");
        assert!(value.len() <= 1024 && is_plain(value), "{value:?}");
    }
}

fn sorted(names: &[String]) -> Vec<&String> {
    let mut names: Vec<&String> = names.iter().collect();
    names.sort();
    names
}

/// The value with 0 for each number.
fn shape(value: &Json) -> Json {
    match value {
        Json::Number(_) => 0.into(),
        Json::Array(list) => list.iter().map(shape).collect(),
        Json::Object(map) => map
            .iter()
            .map(|(name, value)| (name.clone(), shape(value)))
            .collect(),
        other => other.clone(),
    }
}

fn depth(value: &Json) -> usize {
    match value {
        Json::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Json::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Whether the text has no control characters (Unicode's `Cc`), and none that reorder text (`Bidi_Control`), break
/// lines or are invisible.
fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            || matches!(c, '\u{2028}' | '\u{2029}')
            || matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    })
}
