//! What the gateway speaks of: users, identities, sessions, events. No I/O, no SQL, no HTTP.
//!
//! | module | what it holds |
//! |---|---|
//! | [`address`] | which addresses are public, private, or nobody's |
//! | [`clock`] | time and randomness, passed in so that tests can set them |
//! | [`file`] | what a file is that is not a regular one |
//! | [`id`] | opaque random identifiers |
//! | [`json`] | JSON values with all of their digits |
//! | [`user`] | a user, their identities and username |
//! | [`session`] | who is signed in |
//! | [`limits`] | what one user may take up |
//! | [`metric`] | declarations of metrics |
//! | [`event`] | sign-ins and sign-outs, and what hooks said of them |
//! | [`claims`] | what an upstream provider said of a person |
//! | [`value`] | how a plugin's value changes |
//! | [`stored_bytes`] | what a plugin's value takes on disk |
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
