//! Sign-ins and sign-outs, as the lifecycle hooks see them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::claims::Claims;
use crate::clock::Timestamp;
use crate::id::{EventId, UserId};
use crate::user::Identity;

/// Something that happened to a user, for the hooks. It is kept until every hook has answered, so it survives a crash
/// and is delivered again with the same id.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The same for every delivery.
    pub id: EventId,
    /// The kind of event.
    pub kind: EventKind,
    /// The user.
    pub user_id: UserId,
    /// When it happened.
    pub at: Timestamp,
    /// For a sign-in, the identity that signed in; for a sign-out, the one with which the session began.
    pub identity: Identity,
    /// For a sign-in, the provider's claims; empty for a sign-out.
    pub claims: Claims,
}

crate::named_enum! {
    /// The kind of an event.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum EventKind {
        /// The first sign-in of a new user.
        NewUser = "new-user",
        /// A sign-in.
        Login = "login",
        /// A sign-out.
        Logout = "logout",
    }
}

impl EventKind {
    /// The hook's name: `on-new-user`, `on-user-login` or `on-user-logout`.
    #[must_use]
    pub const fn hook(self) -> &'static str {
        match self {
            Self::NewUser => "on-new-user",
            Self::Login => "on-user-login",
            Self::Logout => "on-user-logout",
        }
    }
}

/// The combined answer of all hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every hook accepted. Contains the changes to make to the user's attributes ([`crate::limits::change`]); the
    /// later hook wins.
    Accepted(BTreeMap<String, String>),
    /// A hook rejected. Later hooks were not called.
    Rejected {
        /// The hook.
        hook: String,
        /// The reason for the person.
        reason: String,
    },
    /// A hook trapped, ran out of fuel or time, is missing, or returned no verdict: the sign-in is rejected and a new
    /// user stays pending.
    Failed {
        /// The hook.
        hook: String,
        /// The cause, for the log; never shown to the person.
        error: String,
    },
}

#[cfg(test)]
mod tests {
    use super::EventKind;

    #[test]
    fn each_kind_has_the_hook_of_its_name_in_the_wit_file() {
        for (kind, hook) in [
            (EventKind::NewUser, "on-new-user"),
            (EventKind::Login, "on-user-login"),
            (EventKind::Logout, "on-user-logout"),
        ] {
            assert_eq!(kind.hook(), hook);
        }
    }
}
