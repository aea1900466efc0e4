//! Reads the JSON of providers: bounded, each member once, and strict about the members that count and nothing else.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value};
use url::Url;

use crate::claims::plain;

/// The most values in one answer: a megabyte of `[],[],[]` would be twenty as values. A key set of 50 keys has 500, and a
/// person with 300 groups has 400.
pub(crate) const MAX_VALUES: usize = 10_000;

/// The last second of the year 9999. A later time is a mistake, or milliseconds.
const LAST_SECOND: u64 = 253_402_300_799;

/// Why an answer is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Bad {
    /// It is not JSON to its end.
    #[error("is not JSON")]
    NotJson,
    /// It has more than [`MAX_VALUES`] values.
    #[error("has more than {MAX_VALUES} JSON values")]
    TooMany,
    /// It is JSON, but not an object in which each member comes once.
    #[error("is not a JSON object in which each member comes once")]
    NotObject,
}

/// A member that counts, and is not what it has to be. Says nothing of the value: it may be a secret, or personal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` must be {expected}, but is {found}")]
pub(crate) struct Unfit {
    path: String,
    expected: &'static str,
    found: &'static str,
}

/// Reads an object in which each member comes once (RFC 7519 section 4): of two, readers differ on which counts. Members
/// inside its members are not looked at.
pub(crate) fn object(json: &[u8]) -> Result<Map<String, Value>, Bad> {
    check(json)?;
    let Unique(members) = serde_json::from_slice(json).map_err(|_| Bad::NotObject)?;
    Ok(members)
}

/// The members of an object, by name. A member that is `null` is absent.
#[derive(Clone, Copy)]
pub(crate) struct Members<'a>(pub(crate) &'a Map<String, Value>);

impl<'a> Members<'a> {
    fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text that may be absent.
    pub(crate) fn text(self, name: &str) -> Result<Option<&'a str>, Unfit> {
        self.read(name, "a string", Value::as_str)
    }

    /// A text that has to be there, and says something.
    pub(crate) fn required_text(self, name: &str) -> Result<&'a str, Unfit> {
        const EXPECTED: &str = "a string";
        match self.text(name)? {
            Some("") => Err(unfit(name, EXPECTED, "empty")),
            Some(text) => Ok(text),
            None => Err(self.missing(name, EXPECTED)),
        }
    }

    /// Texts that may be absent.
    pub(crate) fn texts(self, name: &str) -> Result<Option<Vec<&'a str>>, Unfit> {
        let Some(values) = self.read(name, "a list of strings", Value::as_array)? else {
            return Ok(None);
        };
        let read = |(index, value): (usize, &'a Value)| {
            let path = || format!("{name}[{index}]");
            value
                .as_str()
                .ok_or_else(|| unfit(&path(), "a string", kind(value)))
        };
        values
            .iter()
            .enumerate()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A flag that may be absent.
    pub(crate) fn flag(self, name: &str) -> Result<Option<bool>, Unfit> {
        self.read(name, "true or false", Value::as_bool)
    }

    /// A URL that may be absent; an empty text is none.
    pub(crate) fn url(self, name: &str) -> Result<Option<Url>, Unfit> {
        match self.text(name)? {
            None | Some("") => Ok(None),
            Some(text) => match Url::parse(text) {
                Ok(url) => Ok(Some(url)),
                Err(_) => Err(unfit(name, "an absolute URL", "another string")),
            },
        }
    }

    /// A URL that has to be there.
    pub(crate) fn required_url(self, name: &str) -> Result<Url, Unfit> {
        self.url(name)?
            .ok_or_else(|| self.missing(name, "an absolute URL"))
    }

    /// A time in seconds since 1970 (RFC 7519 section 2, NumericDate) that may be absent. Parts of a second are dropped.
    pub(crate) fn time(self, name: &str) -> Result<Option<u64>, Unfit> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "both ends of the range are compared first, and are exact as floats"
        )]
        let seconds = |value: &Value| {
            let whole = value.as_u64().or_else(|| {
                let number = value.as_f64()?;
                (number >= 0.0 && number <= LAST_SECOND as f64).then_some(number as u64)
            });
            whole.filter(|seconds| *seconds <= LAST_SECOND)
        };
        self.read(name, "a number of seconds since 1970", seconds)
    }

    /// Whether a time that may be absent is later than this. It may be before 1970, too.
    #[expect(clippy::cast_precision_loss, reason = "times of this age are exact as floats")]
    pub(crate) fn begins_after(self, name: &str, seconds: u64) -> Result<bool, Unfit> {
        let begin = self.read(name, "a number of seconds since 1970", Value::as_f64)?;
        Ok(begin.is_some_and(|begin| begin > seconds as f64))
    }

    /// A time that has to be there.
    pub(crate) fn required_time(self, name: &str) -> Result<u64, Unfit> {
        self.time(name)?
            .ok_or_else(|| self.missing(name, "a number of seconds since 1970"))
    }

    fn read<T>(
        self,
        name: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Unfit> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(unfit(name, expected, kind(value))),
        }
    }

    /// The member is absent, and has to be there.
    pub(crate) fn missing(self, name: &str, expected: &'static str) -> Unfit {
        let found = match self.0.get(name) {
            None => "missing",
            Some(value) => kind(value),
        };
        unfit(name, expected, found)
    }
}

/// A member that has to be something else. What is found is a kind of value, never the value.
pub(crate) fn unfit(path: &str, expected: &'static str, found: &'static str) -> Unfit {
    Unfit {
        path: plain(path),
        expected,
        found,
    }
}

/// What a value is, without saying which.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        Value::Number(_) => "a number",
        Value::String(text) if text.is_empty() => "an empty string",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

struct Unique(Map<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self(Map::new()))
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Self, A::Error> {
        while let Some((name, value)) = entries.next_entry()? {
            if self.0.insert(name, value).is_some() {
                return Err(A::Error::custom("a member comes twice"));
            }
        }
        Ok(self)
    }
}

/// Whether a text is JSON to its end and has no more values than an answer may have.
pub(crate) fn check(json: &[u8]) -> Result<(), Bad> {
    let mut left = MAX_VALUES;
    let mut reader = serde_json::Deserializer::from_slice(json);
    let read = Count(&mut left)
        .deserialize(&mut reader)
        .and_then(|()| reader.end());
    match read {
        Ok(()) => Ok(()),
        Err(_) if left == 0 => Err(Bad::TooMany),
        Err(_) => Err(Bad::NotJson),
    }
}

/// Counts values down, and keeps none.
struct Count<'a>(&'a mut usize);

impl Count<'_> {
    fn one<E: Error>(self) -> Result<(), E> {
        match self.0.checked_sub(1) {
            Some(left) => *self.0 = left,
            None => return Err(E::custom("too many values")),
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Count<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.one()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.one()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.one()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.one()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.one()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.one()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        Count(self.0).one()?;
        while values.next_element_seed(Count(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        Count(self.0).one()?;
        while entries.next_key::<IgnoredAny>()?.is_some() {
            entries.next_value_seed(Count(self.0))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Bad, MAX_VALUES, Members, Unfit, check, object};

    #[test]
    fn reads_objects_in_which_a_member_comes_once() {
        let text = br#"{"sub": "1", "groups": [{"a": 1}]}"#;
        assert_eq!(
            Value::Object(object(text).unwrap()),
            json!({"sub": "1", "groups": [{"a": 1}]})
        );
        for odd in [
            r#"{"a": 1, "a": 1}"#,
            r#"{"a": 1, "\u0061": 2}"#,
            "[]",
            "null",
            "1",
            "",
            "{} {}",
        ] {
            assert!(object(odd.as_bytes()).is_err(), "{odd}");
        }
    }

    #[test]
    fn p1_a_member_that_counts_is_named_with_what_it_is_and_without_its_value() {
        let value = json!({
            "text": 7, "empty": "", "null": null, "texts": ["a", {"b": 1}], "one": "a", "flag": "true",
            "url": "not a url", "time": "2199-01-01", "late": 253_402_300_800_u64, "early": -1, "huge": 1e300,
            "good": 1_795_500_000.9,
        });
        let members = Members(value.as_object().unwrap());
        let said = |unfit: Option<Unfit>| unfit.unwrap().to_string();
        for (unfit, expected) in [
            (
                members.text("text").err(),
                "`text` must be a string, but is a number",
            ),
            (
                members.required_text("empty").err(),
                "`empty` must be a string, but is empty",
            ),
            (
                members.required_text("null").err(),
                "`null` must be a string, but is null",
            ),
            (
                members.required_text("none").err(),
                "`none` must be a string, but is missing",
            ),
            (
                members.texts("texts").err(),
                "`texts[1]` must be a string, but is an object",
            ),
            (
                members.texts("one").err(),
                "`one` must be a list of strings, but is a string",
            ),
            (
                members.flag("flag").err(),
                "`flag` must be true or false, but is a string",
            ),
            (
                members.url("url").err(),
                "`url` must be an absolute URL, but is another string",
            ),
            (
                members.required_url("empty").err(),
                "`empty` must be an absolute URL, but is an empty string",
            ),
        ] {
            assert_eq!(said(unfit), expected);
        }
        for name in ["time", "late", "early", "huge", "flag"] {
            assert!(members.time(name).is_err(), "{name}");
        }
        assert_eq!(members.time("good"), Ok(Some(1_795_500_000)));
        assert_eq!(members.time("none"), Ok(None));
        assert_eq!(members.url("empty"), Ok(None));
        assert_eq!((members.text("null"), members.flag("none")), (Ok(None), Ok(None)));
    }

    #[test]
    fn json_is_json_to_its_end() {
        for broken in ["{", "{} x", "{}{}", " [1]]", "{\"a\":}", "{}\u{0}"] {
            assert_eq!(check(broken.as_bytes()), Err(Bad::NotJson), "{broken}");
        }
        for whole in ["{}", " {\"a\": [1, null, true, -1, 1.5, \"x\"]}\n", "[]"] {
            assert_eq!(check(whole.as_bytes()), Ok(()), "{whole}");
        }
        assert_eq!(check("[".repeat(50_000).as_bytes()), Err(Bad::NotJson));
    }

    #[test]
    fn a14_values_are_counted_wherever_they_are() {
        for (value, weight) in [("[],", 1), ("{},", 1), ("0,", 1), ("[{\"a\":[\"\"]}],", 4)] {
            let of = |count: usize| format!("[{}0]", value.repeat(count));
            assert_eq!(check(of((MAX_VALUES - 2) / weight).as_bytes()), Ok(()), "{value}");
            let many = of((MAX_VALUES - 2) / weight + 1);
            assert_eq!(check(many.as_bytes()), Err(Bad::TooMany), "{value}");
        }
    }
}
