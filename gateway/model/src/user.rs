//! A user, with their identities and username.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::UserId;

/// A user as stored in the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The gateway's own id. It never changes and is never reused.
    pub id: UserId,
    /// The username, which the user can choose once.
    pub username: Option<Username>,
    /// The display name from the upstream provider; may be empty.
    pub name: String,
    /// The verified address, if there is one.
    pub email: Option<Email>,
    /// The URL of the user's picture.
    pub avatar_url: Option<String>,
    /// Every identity that signs in as this user, oldest first. Never empty.
    pub identities: Vec<Identity>,
    /// When the user first signed in.
    pub joined: Timestamp,
    /// Whether the user may sign in.
    pub status: UserStatus,
    /// The attributes that hooks have set.
    pub attributes: BTreeMap<String, String>,
}

crate::named_enum! {
    /// Whether a user may sign in and get tokens.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum UserStatus {
        /// Not yet: not all new-user hooks have accepted.
        Pending = "pending",
        /// The user may sign in.
        Active = "active",
        /// No: an operator has disabled the user.
        Disabled = "disabled",
    }
}

/// An email address that an upstream provider has verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Email {
    /// The address, byte for byte as the provider sent it.
    pub address: String,
    /// Whether the operator trusts the provider to say who owns an address. Only between trusted providers does the
    /// same address mean the same user.
    pub trusted: bool,
}

/// How an upstream provider knows the user. (issuer, subject) is unique.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The provider's name in the configuration.
    pub provider: String,
    /// The provider's issuer identifier, an absolute URL.
    pub issuer: String,
    /// The provider's stable id of the user.
    pub subject: String,
}

/// The name that a user has chosen: 3 to 32 ASCII letters, digits, `-` and `_`, not reserved.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Username(String);

/// Names that could be mistaken for the gateway or its operators.
const RESERVED: &[&str] = &[
    "abuse",
    "account",
    "admin",
    "administrator",
    "anonymous",
    "api",
    "auth",
    "billing",
    "config",
    "gateway",
    "guest",
    "help",
    "hostmaster",
    "info",
    "login",
    "logout",
    "me",
    "moderator",
    "nobody",
    "noreply",
    "no-reply",
    "null",
    "oauth",
    "official",
    "operator",
    "owner",
    "postmaster",
    "public",
    "root",
    "security",
    "self",
    "service",
    "settings",
    "signin",
    "signout",
    "signup",
    "staff",
    "superuser",
    "support",
    "sysadmin",
    "system",
    "undefined",
    "user",
    "username",
    "users",
    "webmaster",
    "well-known",
    "www",
];

/// The reason why a text is not a username. The messages are shown to users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsernameError {
    /// It is shorter than 3 or longer than 32 characters.
    #[error("A username has 3 to 32 characters")]
    Length,
    /// It contains something other than ASCII letters, digits, `-` and `_`.
    #[error("A username has letters a to z, digits, - and _ only")]
    Character,
    /// It could be mistaken for the gateway or its operators.
    #[error("This username is reserved")]
    Reserved,
    /// It consists of 32 hexadecimal digits, like a user's id.
    #[error("A username must not look like an id")]
    LooksLikeId,
    /// It begins with `-`: commands would mistake it for an option.
    #[error("A username must not begin with -")]
    LeadingDash,
}

impl Username {
    /// Checks a username that a user wants.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, UsernameError> {
        let username = Self::existing(text)?;
        if text.starts_with('-') {
            return Err(UsernameError::LeadingDash);
        }
        Ok(username)
    }

    /// Checks a username that a user already has: it may begin with `-`, as earlier versions allowed.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn existing(text: &str) -> Result<Self, UsernameError> {
        if !text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            return Err(UsernameError::Character);
        }
        if !(3..=32).contains(&text.len()) {
            return Err(UsernameError::Length);
        }
        if RESERVED.contains(&text.to_ascii_lowercase().as_str()) {
            return Err(UsernameError::Reserved);
        }
        if looks_like_id(text) {
            return Err(UsernameError::LooksLikeId);
        }
        Ok(Self(text.to_owned()))
    }

    /// The username as the user wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The username in lower case, which must be unique.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

/// Whether a text has the form of a [`UserId`], regardless of case. Commands and applications that accept both must
/// never mistake a username for another user's id.
fn looks_like_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl TryFrom<String> for Username {
    type Error = UsernameError;

    /// A deserialized username already belongs to a user.
    fn try_from(text: String) -> Result<Self, UsernameError> {
        Self::existing(&text)
    }
}

impl From<Username> for String {
    fn from(username: Username) -> Self {
        username.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{UserStatus, Username, UsernameError};

    #[test]
    fn a_username_keeps_its_letters_and_is_compared_without_regard_to_case() {
        let username = Username::parse("Alice_L").unwrap();
        assert_eq!(
            (username.as_str(), username.folded().as_str()),
            ("Alice_L", "alice_l")
        );
        let written = serde_json::to_string(&username).unwrap();
        assert_eq!(written, r#""Alice_L""#);
        assert_eq!(serde_json::from_str::<Username>(&written).unwrap(), username);
        // A name that an earlier version accepted can be read, and one that none accepted cannot.
        assert!(serde_json::from_str::<Username>(r#""-old""#).is_ok());
        assert!(serde_json::from_str::<Username>(r#""admin""#).is_err());
    }

    #[test]
    fn a_status_is_serialized_as_its_name() {
        for (status, name) in [
            (UserStatus::Pending, "pending"),
            (UserStatus::Active, "active"),
            (UserStatus::Disabled, "disabled"),
        ] {
            assert_eq!(status.name(), name);
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("{name:?}"));
        }
    }

    #[test]
    fn ordinary_usernames_are_accepted() {
        for name in ["neo", "Alice_L", "a-1", "x".repeat(32).as_str()] {
            assert_eq!(Username::parse(name).map(|u| u.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn a6_a_username_never_looks_like_an_id_or_an_identity() {
        let id = "2c2db9578d01ea65795ee8212989d562";
        for text in [id, &id.to_uppercase(), &"0".repeat(32)] {
            assert_eq!(Username::parse(text), Err(UsernameError::LooksLikeId), "{text}");
        }
        assert_eq!(Username::parse("google:1234"), Err(UsernameError::Character));
        for text in [&id[1..], "2c2db9578d01ea65795ee8212989d56z"] {
            assert!(Username::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a6_a_new_username_is_never_an_option_and_an_old_one_stays() {
        for text in ["-rf", "--yes", "---"] {
            assert_eq!(Username::parse(text), Err(UsernameError::LeadingDash), "{text}");
            assert!(Username::existing(text).is_ok(), "{text}");
        }
        assert!(Username::parse("a-b-").is_ok());
    }

    #[test]
    fn deceptive_usernames_are_rejected() {
        use UsernameError::{Character, Length, Reserved};
        for (text, error) in [
            ("", Length),
            ("ab", Length),
            ("x".repeat(33).as_str(), Length),
            ("Admin", Reserved),
            ("аlice", Character),         // Cyrillic а
            ("ali\u{200b}ce", Character), // zero width space
            ("\u{202e}ecila", Character), // right-to-left override
            ("al ice", Character),
            ("alice\0", Character),
            ("ALİCE", Character),
        ] {
            assert_eq!(Username::parse(text), Err(error), "{text:?}");
        }
    }
}
