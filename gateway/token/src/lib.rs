//! Signed tokens and sealed cookies. Knows neither HTTP nor the database, and never asks for the time.
//!
//! | module | what it holds |
//! |---|---|
//! | [`keys`] | the private keys that sign permission tokens, and how their public halves are published |
//! | [`permission`] | what a permission token says |
//! | [`secret`] | [`SessionKey`]: the gateway's own secret and the keys derived from it |
//! | [`session`] | session tokens: issued and verified by the gateway alone |
//! | [`seal`] | text that only the gateway can read and that nobody can change: the sign-in's cookie |
//!
//! Two kinds of token, and neither is taken for the other: they have different keys, different
//! algorithms and a different `typ`. A permission token is signed with a private key and verified by
//! applications; the gateway itself never reads one. A session token carries a MAC that nobody else
//! can make or check.
//!
//! Signing goes through aws-lc with keys parsed once, not through `jsonwebtoken`: its signers are made
//! anew, from the key's bytes, for each token, which for RSA takes as long as the signature. Its header
//! and key-set types are used.

pub mod keys;
pub mod permission;
pub mod seal;
pub mod secret;
pub mod session;

pub use keys::{Algorithm, KeyError, PemError, SigningKeys, generate_key, public_kid};
pub use permission::PermissionClaims;
pub use secret::SessionKey;
pub use session::{SessionClaims, SessionTokenError};
