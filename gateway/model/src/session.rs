//! Sessions.

use serde::Serialize;

use crate::clock::Timestamp;
use crate::id::{SessionId, UserId};

/// A sign-in that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Session {
    /// The `sid` of the session token.
    pub id: SessionId,
    /// The user.
    pub user_id: UserId,
    /// The upstream provider through which the user signed in.
    pub provider: String,
    /// When the user signed in.
    pub created: Timestamp,
    /// When the session expires.
    pub expires: Timestamp,
}
