//! Checks plugins' answers. They are hostile input: the gateway counts, measures and checks everything before it signs,
//! stores or shows it.

use std::collections::BTreeMap;

use gateway_model::{JsonText, PermissionMap};

use crate::Limits;
use crate::bindings::types;
use crate::text::{grouped, is_plain, sentence};

/// Longest name of a permission, in bytes.
const MAX_NAME: usize = 256;
/// Longest name of an attribute, in bytes.
const MAX_ATTRIBUTE_NAME: usize = 64;
/// Longest value of an attribute, in bytes.
const MAX_ATTRIBUTE_VALUE: usize = 1024;
/// How deep a JSON value may nest.
const MAX_DEPTH: usize = 32;
/// The prefix of the gateway's own attributes.
const RESERVED: &str = "gateway.";
/// Longest reason for a rejection, as shown to the person, in bytes.
const MAX_REASON: usize = 500;
/// Longest reason for a missing answer, as logged, in bytes.
const MAX_MESSAGE: usize = 500;

/// Converts the permissions of an answer to the members of a JSON object.
///
/// # Errors
/// The rule that the answer breaks, in words.
pub fn permissions(answer: Vec<types::Permission>, limits: &Limits) -> Result<PermissionMap, String> {
    let sizes = answer
        .iter()
        .map(|permission| permission.name.len() + size(&permission.value));
    check_size("permissions", sizes, limits)?;
    let mut permissions = PermissionMap::new();
    for types::Permission { name, value } in answer {
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(format!(
                "a permission's name has {} bytes, 1 to {MAX_NAME} are allowed",
                name.len()
            ));
        }
        if !is_plain(&name) {
            return Err(format!("the permission's name {name:?} has control characters"));
        }
        let value = json(value).map_err(|reason| format!("the value of {name:?} {reason}"))?;
        if permissions.contains_key(&name) {
            return Err(format!("the permission {name:?} occurs twice"));
        }
        permissions.insert(name, value);
    }
    Ok(permissions)
}

/// Checks the number of items in an answer, and the sum of their sizes.
fn check_size(
    items: &str,
    sizes: impl ExactSizeIterator<Item = usize>,
    limits: &Limits,
) -> Result<(), String> {
    let count = sizes.len();
    if count > limits.result_items {
        return Err(format!(
            "{} {items}, {} are allowed",
            grouped(count as u64),
            grouped(limits.result_items as u64)
        ));
    }
    let bytes: usize = sizes.sum();
    if bytes > limits.result_bytes {
        return Err(format!(
            "{} bytes, {} are allowed",
            grouped(bytes as u64),
            grouped(limits.result_bytes as u64)
        ));
    }
    Ok(())
}

/// The size of a value, in bytes.
const fn size(value: &types::Value) -> usize {
    match value {
        types::Value::Boolean(_) => 1,
        types::Value::Integer(_) | types::Value::Number(_) => 8,
        types::Value::Text(text) | types::Value::Json(text) => text.len(),
    }
}

/// One value as JSON (RFC 8259).
fn json(value: types::Value) -> Result<JsonText, String> {
    let json = match value {
        types::Value::Boolean(value) => JsonText::of(&value),
        types::Value::Integer(value) => JsonText::of(&value),
        // JSON libraries write these as `null`.
        types::Value::Number(value) if !value.is_finite() => {
            return Err(format!("is {value}, which JSON cannot represent"));
        }
        types::Value::Number(value) => JsonText::of(&value),
        types::Value::Text(text) => JsonText::of(&text),
        types::Value::Json(text) => {
            if depth(&text) > MAX_DEPTH {
                return Err(format!("is JSON nested deeper than {MAX_DEPTH}"));
            }
            // defence: numbers-keep-their-digits (a test fails without it: docs/defences.md)
            JsonText::parse(&text)
        }
    };
    json.map_err(|error| format!("is {error}"))
}

/// How deep a JSON text nests, without parsing it. The result is meaningless for other texts.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Checks the attributes that a hook sets. If a name occurs twice, the last one counts.
///
/// # Errors
/// The rule that the answer breaks, in words.
pub fn attributes(
    answer: Vec<(String, String)>,
    limits: &Limits,
) -> Result<BTreeMap<String, String>, String> {
    let sizes = answer.iter().map(|(name, value)| name.len() + value.len());
    check_size("attributes", sizes, limits)?;
    for (name, value) in &answer {
        let named = !name.is_empty()
            && name.len() <= MAX_ATTRIBUTE_NAME
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !named {
            return Err(format!(
                "the attribute's name {:?} is not 1 to {MAX_ATTRIBUTE_NAME} letters, digits, dots, - and _",
                sentence(name, MAX_ATTRIBUTE_NAME)
            ));
        }
        if name.starts_with(RESERVED) {
            return Err(format!(
                "the attribute's name {name:?} begins with \"{RESERVED}\", which is reserved for the gateway"
            ));
        }
        if value.len() > MAX_ATTRIBUTE_VALUE {
            return Err(format!(
                "the value of {name:?} has {} bytes, {MAX_ATTRIBUTE_VALUE} are allowed",
                value.len()
            ));
        }
        if !is_plain(value) {
            return Err(format!("the value of {name:?} has control characters"));
        }
    }
    Ok(answer.into_iter().collect())
}

/// The text for the log when a plugin has no answer.
pub fn message(text: &str) -> String {
    sentence(text, MAX_MESSAGE)
}

/// The text for the person whom a hook rejects.
pub fn reason(text: &str) -> String {
    let text = sentence(text, MAX_REASON);
    if text.is_empty() {
        "You may not sign in here.".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use serde_json::json;

    use super::{attributes, depth, permissions, reason};
    use crate::Limits;
    use crate::bindings::types::{Permission, Value};

    fn one(name: &str, value: Value) -> Vec<Permission> {
        vec![Permission {
            name: name.to_owned(),
            value,
        }]
    }

    #[test]
    fn each_type_of_value_becomes_json() {
        let answer = [
            ("b", Value::Boolean(true)),
            ("i", Value::Integer(i64::MIN)),
            ("n", Value::Number(0.5)),
            ("t", Value::Text("a\nb".to_owned())),
            ("j", Value::Json(r#"{"a":[1,null]}"#.to_owned())),
        ];
        let answer = answer
            .map(|(name, value)| Permission {
                name: name.to_owned(),
                value,
            })
            .to_vec();
        assert_eq!(
            json!(permissions(answer, &Limits::default()).unwrap()),
            json!({"b": true, "i": i64::MIN, "n": 0.5, "t": "a\nb", "j": {"a": [1, null]}})
        );
    }

    #[test]
    fn u7_digits_are_those_of_the_plugin() {
        let text = r#"{"quota":12345678901234567890.123456789,"id":123456789012345678901234567890}"#;
        let answer = permissions(one("j", Value::Json(text.to_owned())), &Limits::default()).unwrap();
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"j":{"id":123456789012345678901234567890,"quota":12345678901234567890.123456789}}"#
        );
        for number in ["1e400", "-1e400", &"1".repeat(101)] {
            let error =
                permissions(one("j", Value::Json(number.to_owned())), &Limits::default()).unwrap_err();
            assert!(
                error.contains("which most readers of JSON do not read"),
                "{error}"
            );
        }
    }

    #[test]
    fn hostile_answers_are_rejected() {
        let limits = Limits {
            result_bytes: 1000,
            result_items: 3,
            ..Limits::default()
        };
        let nested = |depth| Value::Json("[".repeat(depth) + &"]".repeat(depth));
        let yes = Value::Boolean(true);
        let four = ["a", "b", "c", "d"]
            .map(|name| Permission {
                name: name.into(),
                value: yes.clone(),
            })
            .to_vec();
        for (answer, says) in [
            (one("", yes.clone()), "0 bytes"),
            (one(&"x".repeat(257), yes.clone()), "257 bytes"),
            (one("a\u{1b}[31m", yes.clone()), "control"),
            (one("a\u{202e}", yes.clone()), "control"),
            (one("n", Value::Number(f64::NAN)), "NaN"),
            (one("n", Value::Number(f64::INFINITY)), "inf"),
            (one("j", Value::Json("{".to_owned())), "not JSON"),
            (one("j", Value::Json("1 2".to_owned())), "not JSON"),
            (one("j", Value::Json("1e999".to_owned())), "the number 1e999"),
            (one("j", nested(33)), "nested"),
            (one("t", Value::Text("x".repeat(1000))), "1,001 bytes"),
            (four, "4 permissions"),
            ([one("a", yes.clone()), one("a", yes.clone())].concat(), "twice"),
        ] {
            let error = permissions(answer, &limits).unwrap_err();
            assert!(error.contains(says), "{error:?} does not say {says:?}");
        }
        assert!(permissions(one("j", nested(32)), &limits).is_ok());
    }

    #[test]
    fn attributes_are_checked() {
        let limits = Limits::default();
        for (name, value) in [
            ("", "x"),
            ("a b", "x"),
            ("ä", "x"),
            (&"n".repeat(65), "x"),
            ("n", &"x".repeat(1025)),
            ("n", "a\nb"),
            ("gateway.role", "x"),
            ("gateway.role", ""),
        ] {
            assert!(
                attributes(vec![(name.to_owned(), value.to_owned())], &limits).is_err(),
                "{name:?} {value:?}"
            );
        }
        for name in ["gateway", "gatewayx", "my.gateway.role"] {
            assert!(attributes(vec![(name.to_owned(), "x".to_owned())], &limits).is_ok());
        }
        let twice = vec![("n".to_owned(), "1".to_owned()), ("n".to_owned(), String::new())];
        assert_eq!(
            attributes(twice, &limits).unwrap().get("n").map(String::as_str),
            Some("")
        );
    }

    #[test]
    fn attributes_are_counted_and_measured() {
        let limits = Limits {
            result_bytes: 10,
            result_items: 3,
            ..Limits::default()
        };
        let of = |names: &[&str], value: &str| {
            let answer = names.iter().map(|name| ((*name).to_owned(), value.to_owned()));
            attributes(answer.collect(), &limits)
        };
        assert!(of(&["a", "b", "c"], "xx").is_ok());
        let error = of(&["a", "b", "c", "d"], "x").unwrap_err();
        assert!(error.contains("4 attributes"), "{error}");
        let error = of(&["a", "b"], "xxxxx").unwrap_err();
        assert!(error.contains("12 bytes"), "{error}");
    }

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(reason("\u{1b}[2J No\nway "), "[2J No way");
        assert_eq!(reason(" \n"), "You may not sign in here.");
        assert!(reason(&"x".repeat(10_000)).len() < 510);
    }

    proptest! {
        #[test]
        fn json_texts_never_panic(text in any::<String>()) {
            let _ = permissions(one("j", Value::Json(text)), &Limits::default());
        }

        #[test]
        fn depth_agrees_with_the_parser(levels in 0_usize..100, text in "[^\u{0}-\u{1f}]{0,20}") {
            let inner = serde_json::to_string(&text).unwrap();
            let json = "[".repeat(levels) + &inner + &"]".repeat(levels);
            assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
            assert_eq!(depth(&json), levels);
        }
    }
}
