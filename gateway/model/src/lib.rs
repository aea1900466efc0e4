//! The terms of the gateway as types: users, identities, sessions, events. No I/O, no SQL, no HTTP.
//!
//! | module | purpose |
//! |---|---|
//! | [`address`] | whether an IP address is public, private or unusable |
//! | [`clock`] | time and randomness, passed in so that tests can control them |
//! | [`file`] | kinds of files, for error messages |
//! | [`id`] | opaque random identifiers |
//! | [`json`] | JSON values with all of their digits |
//! | [`user`] | a user with their identities and username |
//! | [`session`] | a session |
//! | [`limits`] | limits for one user |
//! | [`metric`] | declarations of metrics |
//! | [`event`] | sign-ins and sign-outs, and the hooks' verdicts |
//! | [`named_enum`] | enums whose variants have names |
//! | [`claims`] | the claims of an upstream provider about a person |
//! | [`value`] | changes of a plugin's value |
//! | [`stored_bytes`] | the size of a plugin's value on disk |
//! | [`text`] | characters that act on the text around them |

pub mod address;
pub mod claims;
pub mod clock;
pub mod event;
pub mod file;
pub mod id;
pub mod json;
pub mod limits;
pub mod metric;
mod named;
pub mod session;
mod stored;
pub mod text;
pub mod user;
pub mod value;

pub use claims::{Claims, UpstreamSession, UpstreamUser};
pub use clock::{Clock, Random, SystemClock, SystemRandom, Timestamp};
pub use event::{Event, EventKind, Verdict};
pub use id::{EventId, SessionId, UserId};
pub use json::{JsonText, JsonTextError, PermissionMap};
pub use limits::{TooManyAttributes, UserLimits};
pub use session::Session;
pub use stored::stored_bytes;
pub use user::{Email, Identity, User, UserStatus, Username, UsernameError};
pub use value::{ChangedValue, ValueChange, ValueRefusal};
