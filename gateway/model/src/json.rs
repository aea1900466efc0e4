//! JSON that is passed on without changing any digit.
//!
//! A `serde_json::Value` holds numbers as 64-bit integers and floats, so an amount or an identifier of twenty digits
//! would change. In a permission, that would be a wrong answer with a valid signature.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// The longest number, in characters. Parsers have their own limits: Java's Jackson reads a thousand digits, Python
/// four thousand.
const MAX_NUMBER: usize = 100;

/// A user's permissions by name.
pub type PermissionMap = BTreeMap<String, JsonText>;

/// A JSON value (RFC 8259) as its text: without white space, with members sorted by name and each of them once, and
/// with numbers as they were written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonText(Box<RawValue>);

/// The reason why a text is rejected.
#[derive(Debug, thiserror::Error)]
pub enum JsonTextError {
    /// It is not JSON.
    #[error("not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// It contains a number that parsers with floats, which are most, do not read.
    #[error("JSON with the number {0}, which most readers of JSON do not read: give it as a string")]
    Number(String),
}

impl JsonText {
    /// Parses a text. Of members with the same name, the last one counts. The caller must reject deep nesting: the time
    /// that parsing takes is proportional to length and depth.
    ///
    /// # Errors
    /// If the text is not JSON, or contains a number that is too long or too large.
    pub fn parse(text: &str) -> Result<Self, JsonTextError> {
        let raw: &RawValue = serde_json::from_str(text)?;
        let mut tidy = String::with_capacity(text.len());
        write(raw.get(), &mut tidy)?;
        Ok(Self(RawValue::from_string(tidy)?))
    }

    /// The text of the value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Serializes a value, with all digits of its type.
    ///
    /// # Errors
    /// If JSON cannot represent it.
    pub fn of(value: &impl Serialize) -> Result<Self, JsonTextError> {
        serde_json::value::to_raw_value(value)
            .map(Self)
            .map_err(Into::into)
    }
}

impl From<Value> for JsonText {
    fn from(value: Value) -> Self {
        let text = RawValue::from_string(value.to_string());
        // The text of a value is always JSON.
        Self(text.unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for JsonText {}

/// Writes the JSON value that is all of `text`.
fn write(text: &str, tidy: &mut String) -> Result<(), JsonTextError> {
    match text.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
            tidy.push('{');
            for (number, (name, value)) in members.into_iter().enumerate() {
                if number > 0 {
                    tidy.push(',');
                }
                tidy.push_str(&serde_json::to_string(&name)?);
                tidy.push(':');
                write(value.get(), tidy)?;
            }
            tidy.push('}');
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(text)?;
            tidy.push('[');
            for (number, value) in elements.into_iter().enumerate() {
                if number > 0 {
                    tidy.push(',');
                }
                write(value.get(), tidy)?;
            }
            tidy.push(']');
        }
        Some(b'"') => {
            let string: String = serde_json::from_str(text)?;
            tidy.push_str(&serde_json::to_string(&string)?);
        }
        Some(b'-' | b'0'..=b'9') => {
            if text.len() > MAX_NUMBER || !text.parse::<f64>().is_ok_and(f64::is_finite) {
                let mut shown: String = text.chars().take(40).collect();
                if shown.len() < text.len() {
                    let _ = write!(shown, "… ({} characters)", text.len());
                }
                return Err(JsonTextError::Number(shown));
            }
            tidy.push_str(text);
        }
        _ => tidy.push_str(text),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{JsonText, JsonTextError, PermissionMap};

    #[test]
    fn u7_digits_are_kept() {
        for number in [
            "12345678901234567890.123456789",
            "0.1000000000000000055511151231257827",
            "123456789012345678901234567890",
            "-0",
            "1.10",
            "1E5",
            "1e-400",
            &"9".repeat(100),
        ] {
            let text = JsonText::parse(&format!(r#" {{ "b": [1, {number} ], "a": null }} "#)).unwrap();
            assert_eq!(text.as_str(), format!(r#"{{"a":null,"b":[1,{number}]}}"#));
            let map: PermissionMap = [("quota".to_owned(), text)].into();
            let sent = serde_json::to_string(&map).unwrap();
            assert!(sent.contains(&format!("[1,{number}]")), "{sent}");
            assert_eq!(serde_json::from_str::<PermissionMap>(&sent).unwrap(), map);
            serde_json::from_str::<Value>(&sent).expect("what every reader of JSON reads");
        }
    }

    #[test]
    fn u7_numbers_that_others_cannot_read_are_refused() {
        for number in [
            "1e400",
            "-1e400",
            &"9".repeat(101),
            &format!("0.{}", "1".repeat(5000)),
        ] {
            for text in [
                number.to_owned(),
                format!("[{number}]"),
                format!(r#"{{"a":{{"b":{number}}}}}"#),
            ] {
                let error = JsonText::parse(&text).unwrap_err();
                assert!(matches!(error, JsonTextError::Number(_)), "{error}");
                assert!(error.to_string().len() < 200, "{error}");
            }
        }
        for text in [
            "",
            " ",
            "{",
            "1 2",
            "01",
            "+1",
            "1.",
            ".5",
            "NaN",
            "Infinity",
            "[1,]",
            "{\"a\":1,}",
            "'a'",
            "tru",
            "\"\n\"",
            r#""\ud800""#,
            r#"{"\ud800":1}"#,
            "[1]x",
        ] {
            let error = JsonText::parse(text).unwrap_err();
            assert!(matches!(error, JsonTextError::NotJson(_)), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_rejected_number_is_shown_shortened() {
        let said = |number: &str| JsonText::parse(number).unwrap_err().to_string();
        assert!(said("1e400").starts_with("JSON with the number 1e400, which"));
        let long = said(&"9".repeat(101));
        let shown = format!("JSON with the number {}… (101 characters), which", "9".repeat(40));
        assert!(long.starts_with(&shown), "{long}");
    }

    #[test]
    fn texts_are_equal_only_with_equal_digits() {
        let text = |text| JsonText::parse(text).unwrap();
        assert_eq!(text(" [1, 2] "), text("[1,2]"));
        assert_ne!(text("1.10"), text("1.1"));
    }

    #[test]
    fn a_json_text_equals_the_text_of_its_value() {
        for text in [
            r#"{"b":1,"a":2,"b":3}"#,
            r#"[true,false,null,"a\/\u0041\n","gr\u00fc\u00dfe",{}, [ ]]"#,
            "-12",
            "0.5",
            r#""""#,
            r#"{"a":{"c":1,"b":{"x":1,"x":[2]}}}"#,
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            let read = JsonText::parse(text).unwrap();
            assert_eq!(read.as_str(), value.to_string());
            assert_eq!(read, JsonText::from(value));
        }
        assert_eq!(JsonText::of(&i64::MIN).unwrap(), json!(i64::MIN).into());
    }
}
