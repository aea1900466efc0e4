//! Sign-ins and sign-outs, as they are told to the lifecycle hooks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::claims::Claims;
use crate::clock::Timestamp;
use crate::id::{EventId, UserId};
use crate::user::Identity;

/// Something that happened to a user and that hooks are told. Kept until every hook has answered,
/// so it survives a crash and is delivered again under the same id.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The same at every delivery.
    pub id: EventId,
    /// What happened.
    pub kind: EventKind,
    /// To whom.
    pub user_id: UserId,
    /// When.
    pub at: Timestamp,
    /// For a sign-in: the identity that signed in. For a sign-out: the one the session began with.
    pub identity: Identity,
    /// For a sign-in: the provider's claims; empty for a sign-out.
    pub claims: Claims,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// Somebody signed in who was not known before.
    NewUser,
    /// Somebody signed in.
    Login,
    /// Somebody ended their session.
    Logout,
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

/// What all hooks together said of a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every hook accepted. The changes to make to the user's attributes ([`crate::limits::change`]), the later hook winning.
    Accepted(BTreeMap<String, String>),
    /// A hook said no. Later hooks were not asked.
    Rejected {
        /// Which hook.
        hook: String,
        /// What the person is shown.
        reason: String,
    },
    /// A hook trapped, ran out of fuel or time, is missing, or had no verdict itself: the sign-in is
    /// refused and a new user stays pending.
    Failed {
        /// Which hook.
        hook: String,
        /// What went wrong, for the log; never shown to the person.
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
