//! A text that is never printed.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

/// A plugin's secret: never printed, and wiped from memory when dropped. Secrets can be compared, so that a reload can
/// tell whether the configuration has changed.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<SecretString> for Secret {
    fn from(secret: SecretString) -> Self {
        Self(secret)
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret.into())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;
    use crate::PluginConfig;

    #[test]
    fn a_secret_can_be_compared_and_is_not_printed() {
        let secret = || Secret::from("hunter2".to_owned());
        assert_eq!(secret(), secret());
        assert_ne!(secret(), Secret::from("hunter3".to_owned()));
        let config = PluginConfig {
            secrets: [("token".to_owned(), secret())].into(),
            ..PluginConfig::default()
        };
        let printed = format!("{config:#?}");
        assert!(
            printed.contains("token") && !printed.contains("hunter2"),
            "{printed}"
        );
    }
}
