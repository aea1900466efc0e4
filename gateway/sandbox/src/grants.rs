//! The interfaces that the operator can let a plugin import. A plugin's linker has the interfaces of its grants and no
//! others, so a plugin cannot call what it has not been granted.
//!
//! Each grant has a file below this one, with its [`Definition`] and its implementation, and a row in `grants!`.
//! `linker` checks a component's imports and links them.

mod config;
mod http;
mod key_value;
mod linker;
mod logging;
mod secrets;
mod users;

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use self::linker::Definition;
pub use self::linker::{Import, check_imports, import, linker};

macro_rules! grants {
    ($($(#[doc = $doc:literal])+ $grant:ident = $module:ident;)+) => {
        /// An interface that an operator can let a plugin import.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Grant {
            $($(#[doc = $doc])+ $grant,)+
        }

        impl Grant {
            /// All grants.
            pub const ALL: &[Self] = &[$(Self::$grant),+];

            const fn definition(self) -> &'static Definition {
                match self {
                    $(Self::$grant => &$module::DEFINITION,)+
                }
            }
        }
    };
}

grants! {
    /// Look up users by id.
    Users = users;
    /// Read the plugin's own settings.
    Config = config;
    /// Read the plugin's own secrets.
    Secrets = secrets;
    /// Store values between calls.
    KeyValue = key_value;
    /// Write to the gateway's log.
    Logging = logging;
    /// Send HTTP requests, where [`HttpConfig`](crate::HttpConfig) allows.
    Http = http;
}

impl Grant {
    /// Its name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.definition().name
    }

    /// The text of its interface in `wit/`, unless another package publishes it.
    #[must_use]
    pub const fn wit(self) -> Option<&'static str> {
        self.definition().wit
    }

    /// The names of all grants, for a message.
    #[must_use]
    pub fn names() -> String {
        let names: Vec<_> = Self::ALL.iter().map(|grant| grant.as_str()).collect();
        names.join(", ")
    }
}

impl FromStr for Grant {
    type Err = String;

    /// The error lists all names.
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|grant| grant.as_str() == text);
        known
            .copied()
            .ok_or_else(|| format!("one of the grants {}", Self::names()))
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Grant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
