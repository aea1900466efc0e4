//! The values in force and their origins, with secrets hidden.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use super::sources::Origin;

/// Every setting, in the order of the sections.
#[derive(Clone, Debug, Default)]
pub struct Report(pub Vec<Entry>);

/// One setting.
#[derive(Clone, Debug)]
pub struct Entry {
    /// For example `server.listen`.
    pub key: String,
    /// Its value.
    pub value: Shown,
    /// The source of the value.
    pub origin: Origin,
}

/// A value for the report.
#[derive(Clone, Debug)]
pub enum Shown {
    /// Shown as it is.
    Text(String),
    /// Not shown.
    Hidden(SecretString),
}

impl Report {
    /// The origin of a setting, or of the first value of a section; `None` if nobody has set it.
    #[must_use]
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        let is_in = |entry: &&Entry| {
            let rest = entry.key.strip_prefix(key);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let mut entries = self.0.iter().filter(is_in).map(|entry| &entry.origin);
        entries.find(|origin| **origin != Origin::Default)
    }

    /// The keys whose values differ in `newer`, and that only a restart applies.
    #[must_use]
    pub fn needs_restart(&self, newer: &Self, is_reloadable: impl Fn(&str) -> bool) -> Vec<String> {
        let (old, new) = (self.by_key(), newer.by_key());
        let keys: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
        let keys = keys.into_iter();
        keys.filter(|key| old.get(key) != new.get(key) && !is_reloadable(key))
            .map(str::to_owned)
            .collect()
    }

    fn by_key(&self) -> BTreeMap<&str, &str> {
        let entries = self.0.iter().map(|entry| {
            let value = match &entry.value {
                Shown::Text(text) => text.as_str(),
                Shown::Hidden(secret) => secret.expose_secret(),
            };
            (entry.key.as_str(), value)
        });
        entries.collect()
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", text.escape_debug()),
            Self::Hidden(_) => f.write_str("(hidden)"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Longer values do not widen their column.
        const WIDEST: usize = 48;
        let rows: Vec<(&str, String, &Origin)> = self
            .0
            .iter()
            .map(|entry| (entry.key.as_str(), entry.value.to_string(), &entry.origin))
            .collect();
        let widest =
            |lengths: &mut dyn Iterator<Item = usize>| lengths.filter(|n| *n <= WIDEST).max().unwrap_or(0);
        let key_width = widest(&mut rows.iter().map(|(key, _, _)| key.chars().count()));
        let value_width = widest(&mut rows.iter().map(|(_, value, _)| value.chars().count()));
        for (key, value, origin) in &rows {
            writeln!(f, "{key:<key_width$}  {value:<value_width$}  {origin}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Origin, Report, Shown};
    use crate::config::settings::is_reloadable;

    fn report(entries: &[(&str, &str)]) -> Report {
        let entry = |(key, value): &(&str, &str)| Entry {
            key: (*key).to_owned(),
            value: if key.contains("secret") {
                Shown::Hidden((*value).into())
            } else {
                Shown::Text((*value).to_owned())
            },
            origin: Origin::Default,
        };
        Report(entries.iter().map(entry).collect())
    }

    #[test]
    fn changes_that_need_a_restart_are_listed() {
        let old = report(&[
            ("server.listen", "127.0.0.1:1"),
            ("keys.session_secret", "one"),
            ("plugin.x.grants", ""),
            ("log.filter", "info"),
        ]);
        let new = report(&[
            ("server.listen", "127.0.0.1:2"),
            ("keys.session_secret", "two"),
            ("plugin.x.grants", "users"),
            ("log.filter", "info"),
            ("providers.new.kind", "oidc"),
        ]);
        assert_eq!(
            old.needs_restart(&new, is_reloadable),
            ["keys.session_secret", "providers.new.kind", "server.listen"]
        );
        assert!(old.needs_restart(&old, is_reloadable).is_empty());
    }

    #[test]
    fn hides_secrets_and_control_characters() {
        let text = report(&[("keys.session_secret", "canary"), ("log.filter", "a\u{1b}[31m")]).to_string();
        assert!(
            text.contains("(hidden)") && !text.contains("canary") && !text.contains('\u{1b}'),
            "{text}"
        );
    }
}
