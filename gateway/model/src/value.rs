//! Plugins' values: what each function of `wit/key-value.wit` does to the value of a key. A store applies a change
//! atomically, and limits how much a plugin stores.

use std::time::Duration;

use crate::Timestamp;

/// A stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptValue {
    /// The value.
    pub bytes: Vec<u8>,
    /// When it expires, if ever.
    pub expires: Option<Timestamp>,
}

/// A change of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueChange {
    /// Store a value in place of the previous one. With a lifetime of zero, nothing is stored, and the previous one is
    /// removed.
    Set {
        /// The value.
        value: Vec<u8>,
        /// The lifetime in whole seconds, or `None` for a value that stays until it is deleted.
        lifetime: Option<Duration>,
    },
    /// Remove the value. Done if there was one.
    Delete,
    /// Add to an integer. The value is the decimal text of the number as Rust writes it (no `+`, no leading zeros, no
    /// spaces); a missing one counts as 0. The lifetime stays the same.
    Increment(i64),
    /// If the value is `old`, store `new`, without a lifetime, or remove the value. Done if the value was `old`.
    CompareAndSet {
        /// The expected value, or `None` if none is expected.
        old: Option<Vec<u8>>,
        /// The value to store, or `None` to remove it.
        new: Option<Vec<u8>>,
    },
}

/// The result of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextValue {
    /// The value is unchanged.
    Same,
    /// The value is removed.
    Removed,
    /// This value is stored.
    Kept(KeptValue),
}

/// The result of a change, for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangedValue {
    /// Whether the value was as the change expects. Only [`ValueChange::Delete`] and [`ValueChange::CompareAndSet`]
    /// expect anything.
    pub done: bool,
    /// The sum after [`ValueChange::Increment`], 0 after any other change.
    pub sum: i64,
}

/// The reason why a value was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueRefusal {
    /// The plugin's values would exceed its cap.
    #[error("the plugin would keep more than it may")]
    Full,
    /// The value to add to is not the decimal text of a 64-bit integer.
    #[error("the value is not the decimal text of a whole number")]
    NotANumber,
    /// The sum is not a 64-bit integer.
    #[error("the sum does not fit")]
    DoesNotFit,
}

impl ValueChange {
    /// Applies this change to the value `before`, which is `None` if it does not exist or has expired.
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

/// Parses a number, only in the form in which [`ToString`] writes it.
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
