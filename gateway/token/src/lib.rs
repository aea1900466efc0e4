//! Signed tokens and sealed cookies. This crate knows neither HTTP nor the database, and never asks for the time.
//!
//! | module | purpose |
//! |---|---|
//! | [`keys`] | the private keys that sign permission tokens, and the publication of their public halves |
//! | [`permission`] | the claims of a permission token |
//! | [`secret`] | [`SessionKey`]: the gateway's own secret and the keys derived from it |
//! | [`session`] | session tokens, which only the gateway issues and verifies |
//! | [`seal`] | text that only the gateway can read or change, for the sign-in's cookie |
//!
//! The two kinds of token cannot be confused: they have different keys, different algorithms and a different `typ`. A
//! permission token is signed with a private key and verified by applications; the gateway itself never reads one. A
//! session token has a MAC that nobody else can make or check.
//!
//! Signing uses aws-lc with keys that are parsed once, and not `jsonwebtoken`, which parses the key's bytes again for
//! each token; for RSA that takes as long as the signature. Its types for headers and key sets are used.

pub mod keys;
pub mod permission;
pub mod seal;
pub mod secret;
pub mod session;

pub use keys::{Algorithm, KeyError, PemError, SigningKeys, generate_key, public_kid};
pub use permission::PermissionClaims;
pub use secret::SessionKey;
pub use session::{SessionClaims, SessionTokenError};
