//! Reads providers' JSON: bounded, without duplicate members, and strict only about the members that the gateway uses.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use gateway_model::Claims;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use url::Url;

use crate::text::plain;

/// The most values in one answer: a megabyte of `[],[],[]` would take twenty as parsed values. A key set of 50 keys has
/// 500, and a user with 300 groups has 400.
pub(crate) const MAX_VALUES: usize = 10_000;

/// The last second of the year 9999. A later time is a mistake, such as milliseconds.
const LAST_SECOND: u64 = 253_402_300_799;

/// Why JSON is rejected. The texts follow a noun, such as "the answer".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Bad {
    #[error("is not JSON")]
    NotJson,
    #[error("has lists or objects that are nested more than 127 levels deep")]
    TooDeep,
    #[error("has more than {MAX_VALUES} JSON values")]
    TooMany,
    #[error("is not a JSON object without duplicate members")]
    NotObject,
}

/// A member with the wrong type. The text does not contain the value, which may be secret or personal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` must be {expected}, but is {found}")]
pub(crate) struct Unfit {
    path: String,
    expected: &'static str,
    found: &'static str,
}

/// Reads an object without duplicate members (RFC 7519 section 4): readers differ on which of two counts. Nested
/// objects are not checked.
pub(crate) fn object(json: &[u8]) -> Result<Map<String, Value>, Bad> {
    members(&repaired(json))
}

fn members(json: &[u8]) -> Result<Map<String, Value>, Bad> {
    let json = readable(json);
    count(&json)?;
    let Unique(members) = serde_json::from_slice(&json).map_err(|_| Bad::NotObject)?;
    Ok(members)
}

/// An object that is passed on to hooks: the parsed values for the gateway, and the original texts for the hooks.
#[derive(Debug, Default)]
pub(crate) struct Object {
    values: Map<String, Value>,
    texts: BTreeMap<String, Box<RawValue>>,
}

impl Object {
    /// Reads an object like [`object`].
    pub(crate) fn read(json: &[u8]) -> Result<Self, Bad> {
        let json = repaired(json);
        let values = members(&json)?;
        let texts = serde_json::from_slice(&json).map_err(|_| Bad::NotJson)?;
        Ok(Self { values, texts })
    }

    pub(crate) const fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// Whether it has a member that is neither null nor blank.
    pub(crate) fn says(&self, name: &str) -> bool {
        let value = self.values.get(name);
        value.is_some_and(|value| {
            !value.is_null() && value.as_str().is_none_or(|text| !text.trim().is_empty())
        })
    }

    /// Removes a member.
    pub(crate) fn take(&mut self, name: &str) -> Option<(Value, Box<RawValue>)> {
        self.values.remove(name).zip(self.texts.remove(name))
    }

    /// Adds a member, unless it [says](Object::says) it already.
    pub(crate) fn add(&mut self, name: &str, (value, text): (Value, Box<RawValue>)) {
        if !self.says(name) {
            self.values.insert(name.to_owned(), value);
            self.texts.insert(name.to_owned(), text);
        }
    }

    /// Adds the members of another object that this one does not have.
    pub(crate) fn add_all(&mut self, mut other: Self) {
        for (name, value) in other.values {
            if let Some(text) = other.texts.remove(&name) {
                self.add(&name, (value, text));
            }
        }
    }

    /// The object for the hooks, with every digit of its numbers.
    pub(crate) fn claims(&self) -> Claims {
        let texts = self.texts.iter();
        Claims::of(texts.map(|(name, text)| (name.as_str(), text.as_ref())))
    }
}

const TIME: &str = "a number of seconds since 1970";

/// The members of an object, by name. A member that is `null` is absent.
#[derive(Clone, Copy)]
pub(crate) struct Members<'a>(pub(crate) &'a Map<String, Value>);

impl<'a> Members<'a> {
    fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// An optional string.
    pub(crate) fn text(self, name: &str) -> Result<Option<&'a str>, Unfit> {
        self.read(name, "a string", Value::as_str)
    }

    /// A string that must be present and not empty.
    pub(crate) fn required_text(self, name: &str) -> Result<&'a str, Unfit> {
        const EXPECTED: &str = "a string";
        match self.text(name)? {
            Some("") => Err(unfit(name, EXPECTED, "empty")),
            Some(text) => Ok(text),
            None => Err(self.missing(name, EXPECTED)),
        }
    }

    /// An optional list of strings.
    pub(crate) fn texts(self, name: &str) -> Result<Option<Vec<&'a str>>, Unfit> {
        let Some(values) = self.read(name, "a list of strings", Value::as_array)? else {
            return Ok(None);
        };
        let read = |(index, value): (usize, &'a Value)| {
            let text = value.as_str();
            text.ok_or_else(|| unfit(&format!("{name}[{index}]"), "a string", kind(value)))
        };
        values
            .iter()
            .enumerate()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// Whether `aud` is or contains this client; `None` if it is missing or neither a string nor a list.
    pub(crate) fn has_audience(self, client_id: &str) -> Option<bool> {
        match self.0.get("aud")? {
            Value::String(audience) => Some(audience == client_id),
            Value::Array(audiences) => Some(audiences.iter().any(|audience| audience == client_id)),
            _ => None,
        }
    }

    /// An optional flag.
    pub(crate) fn flag(self, name: &str) -> Result<Option<bool>, Unfit> {
        self.read(name, "true or false", Value::as_bool)
    }

    /// An optional URL; an empty string counts as absent.
    pub(crate) fn url(self, name: &str) -> Result<Option<Url>, Unfit> {
        match self.text(name)? {
            None | Some("") => Ok(None),
            Some(text) => match Url::parse(text) {
                Ok(url) => Ok(Some(url)),
                Err(_) => Err(unfit(name, "an absolute URL", "another string")),
            },
        }
    }

    pub(crate) fn required_url(self, name: &str) -> Result<Url, Unfit> {
        self.url(name)?
            .ok_or_else(|| self.missing(name, "an absolute URL"))
    }

    /// An optional time in seconds since 1970 (RFC 7519 section 2, NumericDate). Fractions of a second are dropped.
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
        let time = self.read(name, TIME, seconds);
        time.map_err(|unfit| match self.get(name) {
            Some(Value::Number(_)) => self::unfit(name, TIME, "a number that is below zero or too large"),
            _ => unfit,
        })
    }

    /// Whether an optional time is later than this. Unlike [`Members::time`], accepts times before 1970.
    #[expect(clippy::cast_precision_loss, reason = "times of this age are exact as floats")]
    pub(crate) fn begins_after(self, name: &str, seconds: u64) -> Result<bool, Unfit> {
        let begin = self.read(name, TIME, Value::as_f64)?;
        Ok(begin.is_some_and(|begin| begin > seconds as f64))
    }

    pub(crate) fn required_time(self, name: &str) -> Result<u64, Unfit> {
        self.time(name)?.ok_or_else(|| self.missing(name, TIME))
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

    /// The error for a required member that is absent.
    pub(crate) fn missing(self, name: &str, expected: &'static str) -> Unfit {
        let found = match self.0.get(name) {
            None => "missing",
            Some(value) => kind(value),
        };
        unfit(name, expected, found)
    }
}

/// The error for a member of the wrong type. `found` is a kind of value, never the value.
pub(crate) fn unfit(path: &str, expected: &'static str, found: &'static str) -> Unfit {
    Unfit {
        path: plain(path),
        expected,
        found,
    }
}

/// The kind of a value.
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
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(self)
    }
}

/// Checks that a text is JSON to its end and has at most [`MAX_VALUES`] values.
pub(crate) fn check(json: &[u8]) -> Result<(), Bad> {
    count(&readable(&repaired(json)))
}

/// Replaces unpaired surrogates with U+FFFD. Providers that count in UTF-16 cut a name in the middle of an emoji; that
/// is JSON by its grammar (RFC 8259 section 8.2), but no reader has a character for it.
fn repaired(json: &[u8]) -> Cow<'_, [u8]> {
    const NO_CHARACTER: &[u8] = b"\\ufffd";
    let mut repaired = Cow::Borrowed(json);
    let mut at = 0;
    // In JSON, only strings contain backslashes.
    while let Some(found) = json
        .get(at..)
        .and_then(|rest| rest.iter().position(|byte| *byte == b'\\'))
    {
        at += found;
        at += match (unit(json, at), unit(json, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                if let Some(half) = repaired.to_mut().get_mut(at..at + 6) {
                    half.copy_from_slice(NO_CHARACTER);
                }
                6
            }
            (Some(_), _) => 6,
            (None, _) => 2,
        };
    }
    repaired
}

/// The UTF-16 code unit of the escape at this position.
fn unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    are_digits.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

/// Replaces numbers that are too large for a float with the largest float. They are JSON (RFC 8259 section 6), but
/// serde_json rejects them; whether one is acceptable depends on the member.
fn readable(json: &[u8]) -> Cow<'_, [u8]> {
    const LARGEST: &str = "1.7976931348623157e308";
    let mut copy = Vec::new();
    let (mut copied, mut at) = (0, 0);
    while let Some((byte, rest)) = json.get(at..).and_then(<[u8]>::split_first) {
        let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
        at += 1;
        match byte {
            b'"' => at += to_end_of_string(rest),
            b'-' | b'0'..=b'9' => {
                let (start, end) = (at - 1, at + rest.iter().take_while(is_part).count());
                at = end;
                if let Some(number) = json.get(start..end).filter(|number| is_too_large(number)) {
                    copy.extend_from_slice(json.get(copied..start).unwrap_or_default());
                    copy.extend_from_slice(if number.starts_with(b"-") { b"-" } else { b"" });
                    copy.extend_from_slice(LARGEST.as_bytes());
                    copied = end;
                }
            }
            _ => {}
        }
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    copy.extend_from_slice(json.get(copied..).unwrap_or_default());
    Cow::Owned(copy)
}

/// The length of the rest of a string, including the closing quotation mark.
fn to_end_of_string(rest: &[u8]) -> usize {
    let mut escaped = false;
    let is_end = |byte: &u8| {
        let is_end = !escaped && *byte == b'"';
        escaped = !escaped && *byte == b'\\';
        is_end
    };
    rest.iter().position(is_end).map_or(rest.len(), |end| end + 1)
}

fn is_too_large(number: &[u8]) -> bool {
    // The largest float has 309 digits.
    if number.len() < 309 && !number.iter().any(|byte| matches!(byte, b'e' | b'E')) {
        return false;
    }
    let text = std::str::from_utf8(number).unwrap_or_default();
    text.parse::<f64>().is_ok_and(f64::is_infinite) && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn count(json: &[u8]) -> Result<(), Bad> {
    let mut left = MAX_VALUES;
    let mut reader = serde_json::Deserializer::from_slice(json);
    let read = Count(&mut left)
        .deserialize(&mut reader)
        .and_then(|()| reader.end());
    match read {
        Ok(()) => Ok(()),
        Err(_) if left == 0 => Err(Bad::TooMany),
        Err(error) if error.to_string().starts_with("recursion limit exceeded") => Err(Bad::TooDeep),
        Err(_) => Err(Bad::NotJson),
    }
}

/// Counts values down without keeping them.
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

macro_rules! count_scalars {
    ($($visit:ident: $scalar:ty),+) => {$(
        fn $visit<E: Error>(self, _: $scalar) -> Result<(), E> {
            self.one()
        }
    )+};
}

impl<'de> Visitor<'de> for Count<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    count_scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

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
mod tests;
