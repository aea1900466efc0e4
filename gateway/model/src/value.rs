//! What plugins keep: what each verb of `wit/key-value.wit` does to the value of a key. Stores make such a change in one
//! step, and see to how much a plugin keeps.

use std::time::Duration;

use crate::Timestamp;

/// A value that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptValue {
    /// The value.
    pub bytes: Vec<u8>,
    /// When its lifetime is over; `None`: never.
    pub expires: Option<Timestamp>,
}

/// A change of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueChange {
    /// Keep a value in place of the one before. A lifetime of zero keeps nothing, and the one before is gone.
    Set {
        /// What to keep.
        value: Vec<u8>,
        /// For how many whole seconds; `None`: until it is deleted.
        lifetime: Option<Duration>,
    },
    /// Remove the value. Done if there was one.
    Delete,
    /// Add to a whole number. The value is the number's decimal text as Rust writes it (no `+`, no leading zeros, no
    /// spaces); none counts as 0. A lifetime goes on as it was.
    Increment(i64),
    /// Keep `new`, which has no lifetime, or remove the value. Done if the value was `old`; otherwise nothing happens.
    CompareAndSet {
        /// The value that there must be; `None`: there must be none.
        old: Option<Vec<u8>>,
        /// The value to keep; `None`: remove the one there is.
        new: Option<Vec<u8>>,
    },
}

/// What becomes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextValue {
    /// It stays as it is.
    Same,
    /// There is none.
    Removed,
    /// This one is kept.
    Kept(KeptValue),
}

/// What a change answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangedValue {
    /// Whether the value was as the change expects it. Only [`ValueChange::Delete`] and
    /// [`ValueChange::CompareAndSet`] expect anything.
    pub done: bool,
    /// The sum after [`ValueChange::Increment`], 0 after any other change.
    pub sum: i64,
}

/// Why a value was not changed. The one before is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueRefusal {
    /// Everything that the plugin keeps would be more than its cap.
    #[error("the plugin would keep more than it may")]
    Full,
    /// The value to add to is not the decimal text of a whole number of 64 bits.
    #[error("the value is not the decimal text of a whole number")]
    NotANumber,
    /// The sum is not a whole number of 64 bits.
    #[error("the sum does not fit")]
    DoesNotFit,
}

impl ValueChange {
    /// What this change makes of the value `before`; `None`: there is none, or its lifetime is over.
    ///
    /// # Errors
    /// [`ValueRefusal::NotANumber`], [`ValueRefusal::DoesNotFit`].
    pub fn apply(
        self,
        before: Option<&KeptValue>,
        now: Timestamp,
    ) -> Result<(NextValue, ChangedValue), ValueRefusal> {
        let keep = |bytes, expires| NextValue::Kept(KeptValue { bytes, expires });
        let (next, done, sum) = match self {
            Self::Set { value, lifetime } => match lifetime.map(|lifetime| now.after(lifetime)) {
                Some(expires) if expires <= now => (NextValue::Removed, true, 0),
                expires => (keep(value, expires), true, 0),
            },
            Self::Delete => (NextValue::Removed, before.is_some(), 0),
            Self::Increment(by) => {
                let number = before.map_or(Some(0), |before| number(&before.bytes));
                let number = number.ok_or(ValueRefusal::NotANumber)?;
                let sum = number.checked_add(by).ok_or(ValueRefusal::DoesNotFit)?;
                let expires = before.and_then(|before| before.expires);
                (keep(sum.to_string().into_bytes(), expires), true, sum)
            }
            Self::CompareAndSet { old, .. } if before.map(|before| &before.bytes) != old.as_ref() => {
                (NextValue::Same, false, 0)
            }
            Self::CompareAndSet { new, .. } => {
                (new.map_or(NextValue::Removed, |new| keep(new, None)), true, 0)
            }
        };
        Ok((next, ChangedValue { done, sum }))
    }
}

/// The number that a value is the text of, as [`ToString`] would write it: an increment accepts what an increment
/// writes.
fn number(value: &[u8]) -> Option<i64> {
    let text = str::from_utf8(value).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{KeptValue, NextValue, ValueChange, ValueRefusal};
    use crate::Timestamp;

    const NOW: Timestamp = Timestamp(100);

    fn kept(text: &str, expires: Option<u64>) -> KeptValue {
        KeptValue {
            bytes: text.into(),
            expires: expires.map(Timestamp),
        }
    }

    #[test]
    fn a_lifetime_counts_whole_seconds() {
        for (lifetime, next) in [
            (None, NextValue::Kept(kept("v", None))),
            (Some(Duration::from_millis(999)), NextValue::Removed),
            (
                Some(Duration::from_millis(1999)),
                NextValue::Kept(kept("v", Some(101))),
            ),
            (Some(Duration::MAX), NextValue::Kept(kept("v", Some(u64::MAX)))),
        ] {
            let value = b"v".to_vec();
            let change = ValueChange::Set { value, lifetime };
            assert_eq!(change.apply(None, NOW).unwrap().0, next, "{lifetime:?}");
        }
    }

    #[test]
    fn an_increment_keeps_the_lifetime_and_a_swap_ends_it() {
        let before = kept("1", Some(200));
        let (next, changed) = ValueChange::Increment(4).apply(Some(&before), NOW).unwrap();
        assert_eq!((next, changed.sum), (NextValue::Kept(kept("5", Some(200))), 5));
        let swap = ValueChange::CompareAndSet {
            old: Some(b"1".to_vec()),
            new: Some(b"2".to_vec()),
        };
        let (next, changed) = swap.apply(Some(&before), NOW).unwrap();
        assert_eq!((next, changed.done), (NextValue::Kept(kept("2", None)), true));
    }

    #[test]
    fn only_what_an_increment_writes_can_be_incremented() {
        for text in [
            "",
            "x",
            "+1",
            "01",
            " 1",
            "1.0",
            "-0",
            "9223372036854775808",
            "\u{661}",
        ] {
            let refused = ValueChange::Increment(0).apply(Some(&kept(text, None)), NOW);
            assert_eq!(refused, Err(ValueRefusal::NotANumber), "{text:?}");
        }
        let largest = kept(&i64::MAX.to_string(), None);
        let refused = ValueChange::Increment(1).apply(Some(&largest), NOW);
        assert_eq!(refused, Err(ValueRefusal::DoesNotFit));
    }
}
