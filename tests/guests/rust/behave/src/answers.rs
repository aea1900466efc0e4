//! Answers with the right types that the host must reject, and `all-values`, which it must accept.

use crate::{Answer, Value, permission, text};

/// The answer for `service`, if this module has it.
pub(crate) fn answer(service: &str) -> Option<Answer> {
    Some(Ok(match service {
        "all-values" => vec![
            permission("boolean", Value::Boolean(true)),
            permission("integer", Value::Integer(-9_007_199_254_740_993)),
            permission("number", Value::Number(0.5)),
            permission("text", Value::Text("naïve \u{1f980} \"quoted\"".to_owned())),
            permission("json", Value::Json(r#" {"list": [1, null, "a"]} "#.to_owned())),
        ],
        "huge-list" => (0..1_000_000)
            .map(|n| permission(&n.to_string(), Value::Boolean(true)))
            .collect(),
        "huge-text" => vec![text("huge", &"x".repeat(100_000_000))],
        "huge-name" => vec![text(&"x".repeat(1 << 20), "")],
        "nan" => vec![permission("number", Value::Number(f64::NAN))],
        "infinity" => vec![permission("number", Value::Number(f64::INFINITY))],
        "bad-json" => vec![permission("json", Value::Json(r#"{"a": "#.to_owned()))],
        "two-jsons" => vec![permission("json", Value::Json("1 2".to_owned()))],
        "deep-json" => {
            let depth = 10_000;
            vec![permission(
                "json",
                Value::Json("[".repeat(depth) + &"]".repeat(depth)),
            )]
        }
        "control-name" => vec![text("line\nbreak", "")],
        "escape-name" => vec![text("\u{1b}[31mred", "")],
        "bidi-name" => vec![text("\u{202e}nimda", "")],
        "empty-name" => vec![text("", "")],
        "duplicate" => vec![text("twice", "first"), text("twice", "second")],
        _ => return None,
    }))
}
