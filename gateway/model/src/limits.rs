//! Limits for everything about one user that hooks, providers or sign-ins can make grow.

use std::collections::BTreeMap;

/// The limits for one user. Each is a total, not a limit for one answer or one sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserLimits {
    /// The most attributes.
    pub attributes: usize,
    /// The most bytes of the names and values of all attributes.
    pub attribute_bytes: usize,
    /// The most identities.
    pub identities: usize,
    /// The most live sessions; another sign-in ends the oldest.
    pub sessions: usize,
}

impl Default for UserLimits {
    fn default() -> Self {
        Self {
            attributes: 1000,
            attribute_bytes: 128 << 10,
            identities: 20,
            sessions: 100,
        }
    }
}

/// A change of attributes would exceed a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum TooManyAttributes {
    /// There would be too many.
    #[error("the user would have {would} attributes; users.attributes allows {limit}")]
    Count { would: usize, limit: usize },
    /// They would be too large in total.
    #[error("the user's attributes would take {would} bytes; users.attribute_bytes allows {limit}")]
    Bytes { would: usize, limit: usize },
}

/// Applies the hooks' changes, by the rule of [`change`].
///
/// If a user already exceeds a limit, which an operator may have lowered, attributes may change as long as they do not
/// grow.
///
/// # Errors
/// If the attributes would exceed a limit; then none has changed.
pub fn set_attributes(
    attributes: &mut BTreeMap<String, String>,
    changes: &BTreeMap<String, String>,
    limits: &UserLimits,
) -> Result<(), TooManyAttributes> {
    let bytes_of = |attributes: &BTreeMap<String, String>| {
        let sizes = attributes.iter().map(|(name, value)| name.len() + value.len());
        sizes.sum::<usize>()
    };
    let mut changed = attributes.clone();
    change(&mut changed, changes);
    let (count, bytes) = (attributes.len(), bytes_of(attributes));
    let (would_count, would_bytes) = (changed.len(), bytes_of(&changed));
    if would_count > limits.attributes.max(count) {
        return Err(TooManyAttributes::Count {
            would: would_count,
            limit: limits.attributes,
        });
    }
    if would_bytes > limits.attribute_bytes.max(bytes) {
        return Err(TooManyAttributes::Bytes {
            would: would_bytes,
            limit: limits.attribute_bytes,
        });
    }
    *attributes = changed;
    Ok(())
}

/// Sets attributes regardless of limits. An empty value removes the attribute; this is the only place with that rule.
pub fn change(attributes: &mut BTreeMap<String, String>, changes: &BTreeMap<String, String>) {
    for (name, value) in changes {
        if value.is_empty() {
            attributes.remove(name);
        } else {
            attributes.insert(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{TooManyAttributes, UserLimits, set_attributes};

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = entries.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        owned.collect()
    }

    #[test]
    fn a1_attributes_are_bounded_in_sum() {
        let limits = UserLimits {
            attributes: 2,
            attribute_bytes: 8,
            ..UserLimits::default()
        };
        let mut attributes = map(&[("a", "1")]);
        for (changes, expected) in [
            (map(&[("b", "2")]), Ok(())),
            (
                map(&[("c", "3")]),
                Err(TooManyAttributes::Count { would: 3, limit: 2 }),
            ),
            // One goes, one comes.
            (map(&[("a", ""), ("c", "3")]), Ok(())),
            (
                map(&[("b", "12345678")]),
                Err(TooManyAttributes::Bytes { would: 11, limit: 8 }),
            ),
            (map(&[("b", "12345")]), Ok(())),
        ] {
            let before = attributes.clone();
            assert_eq!(set_attributes(&mut attributes, &changes, &limits), expected);
            if expected.is_err() {
                assert_eq!(attributes, before, "nothing is half applied");
            }
        }
        assert_eq!(attributes, map(&[("b", "12345"), ("c", "3")]));
    }

    #[test]
    fn a1_a_replaced_value_counts_once() {
        let limits = UserLimits {
            attributes: 1,
            attribute_bytes: 10,
            ..UserLimits::default()
        };
        let mut attributes = map(&[("a", "123456789")]);
        for value in ["123456780", "1234", "987654321"] {
            let changes = map(&[("a", value)]);
            assert_eq!(set_attributes(&mut attributes, &changes, &limits), Ok(()));
        }
        // The space of the old value is free for a new one, and no more than that.
        let mut attributes = map(&[("a", "123"), ("b", "1")]);
        let limits = UserLimits {
            attributes: 2,
            ..limits
        };
        let grow = |value: &str| map(&[("a", value)]);
        assert_eq!(
            set_attributes(&mut attributes, &grow("12345678"), &limits),
            Err(TooManyAttributes::Bytes { would: 11, limit: 10 })
        );
        assert_eq!(set_attributes(&mut attributes, &grow("1234567"), &limits), Ok(()));
    }

    #[test]
    fn a1_a_user_above_a_lowered_bound_may_shrink() {
        let limits = UserLimits {
            attributes: 1,
            ..UserLimits::default()
        };
        let mut attributes = map(&[("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(
            set_attributes(&mut attributes, &map(&[("a", "x"), ("b", "")]), &limits),
            Ok(())
        );
        assert!(set_attributes(&mut attributes, &map(&[("d", "4")]), &limits).is_err());
    }
}
