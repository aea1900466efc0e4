//! The syntax of permissions: `read, wiki:edit, quota=10, groups=["a","b"]`.
//!
//! An entry is `[service:]permission[=value]`. Commas and line breaks separate entries, except within quotes, brackets
//! and braces. A value is `true`, `false`, a number, JSON (if it begins with `"`, `[` or `{`, or is `null`) or else
//! text; without a value, it is `true`. The service `*`, or no service, means every service.

/// The value of a permission.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// A text.
    Text(String),
    /// JSON text, which the gateway checks.
    Json(String),
}

/// One entry of a list of permissions.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The service that it applies to; `None` means every service.
    pub service: Option<String>,
    /// The permission's name.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// Reads a list of permissions.
///
/// # Errors
/// The mistake, without the name of the setting.
pub fn entries(list: &str) -> Result<Vec<Entry>, String> {
    split(list)?.into_iter().map(entry).collect()
}

/// Reads a list of names: words between commas or line breaks.
pub fn names(list: &str) -> Vec<&str> {
    list.split([',', '\n'])
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect()
}

fn entry(text: &str) -> Result<Entry, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name.trim(), self::value(value.trim())),
        None => (text, Value::Boolean(true)),
    };
    let (service, name) = match name.split_once(':') {
        Some((service, name)) => (service.trim(), name.trim()),
        None => ("*", name),
    };
    if name.is_empty() || service.is_empty() {
        return Err(format!(
            "`{text}` is not a permission: write `name`, `name=value` or `service:name=value`"
        ));
    }
    let service = (service != "*").then(|| service.to_owned());
    Ok(Entry {
        service,
        name: name.to_owned(),
        value,
    })
}

fn value(text: &str) -> Value {
    match text {
        "true" => Value::Boolean(true),
        "false" => Value::Boolean(false),
        "null" => Value::Json(text.to_owned()),
        _ if text.starts_with(['"', '[', '{']) => Value::Json(text.to_owned()),
        // Rust parses `inf`, `NaN` and `infinity` as numbers, which JSON does not have.
        _ if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => Value::Text(text.to_owned()),
        _ => match (text.parse(), text.parse::<f64>()) {
            (Ok(integer), _) => Value::Integer(integer),
            (_, Ok(number)) if number.is_finite() => Value::Number(number),
            _ => Value::Text(text.to_owned()),
        },
    }
}

/// Splits a list at commas and line breaks outside quotes, brackets and braces.
fn split(list: &str) -> Result<Vec<&str>, String> {
    let mut parts = Vec::new();
    let (mut start, mut depth, mut quoted, mut escaped) = (0, 0_u32, false, false);
    for (at, character) in list.char_indices() {
        if quoted {
            (quoted, escaped) = match character {
                _ if escaped => (true, false),
                '\\' => (true, true),
                '"' => (false, false),
                _ => (true, false),
            };
            continue;
        }
        match character {
            '"' => quoted = true,
            '[' | '{' => depth += 1,
            ']' | '}' => {
                depth = depth
                    .checked_sub(1)
                    .ok_or_else(|| format!("`{character}` closes nothing"))?
            }
            ',' | '\n' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if quoted {
        return Err("a quotation mark is not closed".to_owned());
    }
    if depth > 0 {
        return Err("a bracket or brace is not closed".to_owned());
    }
    parts.push(&list[start..]);
    Ok(parts
        .into_iter()
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::{Entry, Value, entries, names};

    #[test]
    fn reads_every_kind_of_value() {
        let list = r#"
            read, draft=false, quota=-10, share = 0.5, plan=gold member,
            groups=["a, b", {"c": 1}], note="x,\"y]", none=null, odd=1.2.3, far=infinity
        "#;
        let expected = [
            ("read", Value::Boolean(true)),
            ("draft", Value::Boolean(false)),
            ("quota", Value::Integer(-10)),
            ("share", Value::Number(0.5)),
            ("plan", Value::Text("gold member".into())),
            ("groups", Value::Json(r#"["a, b", {"c": 1}]"#.into())),
            ("note", Value::Json(r#""x,\"y]""#.into())),
            ("none", Value::Json("null".into())),
            ("odd", Value::Text("1.2.3".into())),
            ("far", Value::Text("infinity".into())),
        ]
        .map(|(name, value)| Entry {
            service: None,
            name: name.into(),
            value,
        });
        assert_eq!(entries(list), Ok(expected.into()));
    }

    #[test]
    fn reads_services() {
        let read = |text| entries(text).map(|list| list[0].clone());
        let entry = |service: Option<&str>, name: &str| {
            let service = service.map(str::to_owned);
            Ok(Entry {
                service,
                name: name.into(),
                value: Value::Boolean(true),
            })
        };
        assert_eq!(read("wiki:edit"), entry(Some("wiki"), "edit"));
        assert_eq!(read("*:urn:x:y"), entry(None, "urn:x:y"));
        // A colon in a value is part of the value.
        assert_eq!(
            read("home=https://example.org").map(|e| e.value),
            Ok(Value::Text("https://example.org".into()))
        );
    }

    #[test]
    fn says_what_is_wrong() {
        for (list, mistake) in [
            ("a, =1", "`=1` is not a permission"),
            ("wiki:", "`wiki:` is not a permission"),
            (":edit", "`:edit` is not a permission"),
            ("a=[1, 2", "not closed"),
            ("a=\"x", "quotation mark is not closed"),
            ("a=1]", "`]` closes nothing"),
        ] {
            let error = entries(list).unwrap_err();
            assert!(error.contains(mistake), "{list}: {error}");
        }
    }

    #[test]
    fn names_are_words_between_commas() {
        assert_eq!(
            names(" staff, wiki editor,\n,admin "),
            ["staff", "wiki editor", "admin"]
        );
    }
}
