//! What an answer is made of, before anything is made of it: a megabyte of `[],[],[]` would be twenty as values.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The most values in one answer. A key set of 50 keys has 500, and a person with 300 groups has 400.
pub(crate) const MAX_VALUES: usize = 10_000;

/// Why an answer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// It is not JSON to its end.
    NotJson,
    /// It has more than [`MAX_VALUES`] values.
    TooMany,
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
    use super::{Bad, MAX_VALUES, check};

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
