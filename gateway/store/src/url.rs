//! `DATABASE_URL`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A parsed `DATABASE_URL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite://`: a private temporary file, deleted at exit.
    Temporary,
    /// `sqlite:///relative` (to the working directory) or `sqlite:////absolute`.
    File(PathBuf),
}

/// The text is not a database URL that the gateway supports. The message never repeats the text, which may contain a
/// password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    /// It does not start with `sqlite://`.
    #[error("a database URL begins with sqlite:// (other databases are not supported)")]
    Scheme,
    /// `sqlite://host…`: SQLite has no hosts.
    #[error("write sqlite:///relative/path, sqlite:////absolute/path, or sqlite:// for a temporary database")]
    Host,
    /// `sqlite:///` without a path.
    #[error("the path is missing: write sqlite:///relative/path or sqlite:////absolute/path")]
    NoPath,
    /// A query, a fragment or a NUL in the path.
    #[error("the path must not contain `?`, `#` or NUL")]
    Character,
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, DatabaseUrlError> {
        let rest = text.strip_prefix("sqlite://").ok_or(DatabaseUrlError::Scheme)?;
        if rest.is_empty() {
            return Ok(Self::Temporary);
        }
        let path = rest.strip_prefix('/').ok_or(DatabaseUrlError::Host)?;
        match path {
            "" => Err(DatabaseUrlError::NoPath),
            // SQLAlchemy's name, and so the old service's, for a database that is not kept.
            ":memory:" => Ok(Self::Temporary),
            path if path.contains(['?', '#', '\0']) => Err(DatabaseUrlError::Character),
            path => Ok(Self::File(PathBuf::from(path))),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Temporary => f.write_str("sqlite://"),
            Self::File(path) => write!(f, "sqlite:///{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{DatabaseUrl, DatabaseUrlError};

    #[test]
    fn urls_mean_what_they_meant_in_the_old_service() {
        for (text, path) in [
            ("sqlite:///users.db", "users.db"),
            ("sqlite:///a/b c.db", "a/b c.db"),
            ("sqlite:////var/lib/users.db", "/var/lib/users.db"),
            ("sqlite:///100%25.db", "100%25.db"),
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            assert_eq!(url, DatabaseUrl::File(PathBuf::from(path)));
            assert_eq!(url.to_string(), text);
        }
        assert_eq!("sqlite://".parse(), Ok(DatabaseUrl::Temporary));
        assert_eq!("sqlite:///:memory:".parse(), Ok(DatabaseUrl::Temporary));
        assert_eq!(DatabaseUrl::Temporary.to_string(), "sqlite://");
    }

    #[test]
    fn other_urls_are_rejected_without_repeating_them() {
        use DatabaseUrlError::{Character, Host, NoPath, Scheme};
        for (text, error) in [
            ("", Scheme),
            ("users.db", Scheme),
            ("sqlite:users.db", Scheme),
            ("postgresql://gateway:hunter2@db/users", Scheme),
            ("sqlite://users.db", Host),
            ("sqlite:///", NoPath),
            ("sqlite:///users.db?mode=ro", Character),
            ("sqlite:///users.db#x", Character),
            ("sqlite:///users\0.db", Character),
        ] {
            assert_eq!(text.parse::<DatabaseUrl>(), Err(error), "{text:?}");
        }
        assert!(!Scheme.to_string().contains("hunter2"));
    }
}
