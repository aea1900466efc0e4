//! Mistakes in the configuration: where they are, what is wrong, and what would be right.

use std::fmt;

use super::sources::Origin;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Its place; `None` if something is missing that could be in several places.
    pub origin: Option<Origin>,
    /// The key, for example `server.listen`; empty for the file as a whole.
    pub key: String,
    /// The problem and the expected value, without secrets.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// All mistakes, in the order of the file's lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    /// Each mistake in one line.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|mistake| mistake.to_string().replace('\n', " "))
            .collect()
    }
}

/// Sorts mistakes: missing settings first, then the file from top to bottom, then other sources.
pub(super) fn sort(mistakes: &mut [ConfigError]) {
    mistakes.sort_by_key(|mistake| match &mistake.origin {
        None => (0, 0),
        Some(Origin::File(_, line)) => (1, *line),
        Some(_) => (2, 0),
    });
}

/// The name in `known` that `wrong` is probably a typing error of.
pub(super) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn suggestions_are_near() {
        let known = ["grants", "limits", "settings", "on_failure"];
        assert_eq!(nearest("grnats", known), Some("grants"));
        assert_eq!(nearest("setting", known), Some("settings"));
        assert_eq!(nearest("onfailure", known), Some("on_failure"));
        assert_eq!(nearest("colour", known), None);
    }
}
