//! Values that are one of a few words.

pub(super) trait Words: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

/// # Errors
/// The words.
pub(super) fn read<T: Words>(text: &str) -> Result<T, String> {
    let found = T::WORDS.iter().find(|(word, _)| *word == text);
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| match all::<T>().split_last() {
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        })
}

pub(super) fn show<T: Words>(value: T) -> String {
    let found = T::WORDS.iter().find(|(_, known)| *known == value);
    found.map_or("", |(word, _)| word).to_owned()
}

pub(super) fn all<T: Words>() -> Vec<&'static str> {
    T::WORDS.iter().map(|(word, _)| *word).collect()
}

/// Implements [`Value`](super::Value) by a table of words.
macro_rules! words {
    ($type:ty, $($word:literal => $value:expr),+ $(,)?) => {
        impl $crate::config::value::words::Words for $type {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $value)),+];
        }

        value!(
            $type,
            $crate::config::setting::Form::Words($crate::config::value::words::all::<Self>),
            $crate::config::value::words::read,
            |value| $crate::config::value::words::show(*value)
        );
    };
}

pub(super) use words;
