//! Who is signed in.

use serde::Serialize;

use crate::clock::Timestamp;
use crate::id::{SessionId, UserId};

/// One sign-in that has not been ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Session {
    /// The `sid` of the session token.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// The upstream provider that the user came through.
    pub provider: String,
    /// When the user signed in.
    pub created: Timestamp,
    /// When it ends by itself.
    pub expires: Timestamp,
}
