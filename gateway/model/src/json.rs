//! JSON that is passed on as it was given, digits included.
//!
//! A `serde_json::Value` holds numbers as 64-bit integers and floats, so that an amount or an identifier of twenty digits
//! would come out as another one: of a permission, that is a wrong answer with a good signature.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// Longest number, in characters. Readers of JSON have limits of their own: Java's Jackson takes a thousand digits,
/// Python four thousand.
const MAX_NUMBER: usize = 100;

/// What a user may do: the name of a permission to its value.
pub type PermissionMap = BTreeMap<String, JsonText>;

/// A JSON value (RFC 8259), kept as its text: without spaces, members sorted by name and each of them once, numbers as
/// they were written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonText(Box<RawValue>);

/// Why a text is not taken.
#[derive(Debug, thiserror::Error)]
pub enum JsonTextError {
    /// It is not JSON.
    #[error("not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// Readers that hold numbers as floats, which are most, would not read it.
    #[error("JSON with the number {0}, which most readers of JSON do not read: give it as a string")]
    Number(String),
}

impl JsonText {
    /// Reads a text. Of members with the same name the last one counts. What nests deeply is for the caller to refuse:
    /// reading takes a time in proportion to length and depth.
    ///
    /// # Errors
    /// When it is not JSON, or has a number that is too long or too large.
    pub fn parse(text: &str) -> Result<Self, JsonTextError> {
        let raw: &RawValue = serde_json::from_str(text)?;
        let mut tidy = String::with_capacity(text.len());
        write(raw.get(), &mut tidy)?;
        Ok(Self(RawValue::from_string(tidy)?))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// What is serialized as this, in as many digits as its type has.
    ///
    /// # Errors
    /// When JSON cannot say it.
    pub fn of(value: &impl Serialize) -> Result<Self, JsonTextError> {
        serde_json::value::to_raw_value(value)
            .map(Self)
            .map_err(Into::into)
    }
}

impl From<Value> for JsonText {
    fn from(value: Value) -> Self {
        let text = RawValue::from_string(value.to_string());
        // The text of a value is JSON.
        Self(text.unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for JsonText {}

/// Writes a text that begins like a JSON value does, and ends with it.
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
    fn a_number_that_is_refused_is_shown_but_not_all_of_it() {
        let said = |number: &str| JsonText::parse(number).unwrap_err().to_string();
        assert!(said("1e400").starts_with("JSON with the number 1e400, which"));
        let long = said(&"9".repeat(101));
        let shown = format!("JSON with the number {}… (101 characters), which", "9".repeat(40));
        assert!(long.starts_with(&shown), "{long}");
    }

    #[test]
    fn texts_are_equal_where_every_digit_is() {
        let text = |text| JsonText::parse(text).unwrap();
        assert_eq!(text(" [1, 2] "), text("[1,2]"));
        assert_ne!(text("1.10"), text("1.1"));
    }

    #[test]
    fn a_text_says_what_a_value_says() {
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
