//! The values that a sign-in sends to a provider, and those that come back.

use serde::{Deserialize, Serialize};
use url::Url;

// Anyone who has these values can finish the sign-in.
opaque_debug!(Authorization, Flow, Hints<'_>, Callback<'_>);

/// Where to send the browser, and what to keep (sealed, in its cookie) until it comes back.
#[derive(Clone)]
pub struct Authorization {
    /// The authorization URL.
    pub url: Url,
    /// The values that the callback is checked against.
    pub flow: Flow,
}

/// The values that a sign-in keeps between redirect and callback.
#[derive(Clone, Serialize, Deserialize)]
pub struct Flow {
    /// RFC 6749 section 10.12: single use.
    pub state: String,
    /// OpenID Connect Core 1.0 section 3.1.2.1; absent for plain OAuth.
    pub nonce: Option<String>,
    /// RFC 7636 code verifier.
    pub verifier: String,
}

/// The parameters of a callback.
#[derive(Clone, Copy)]
pub struct Callback<'a> {
    /// The authorization code.
    pub code: &'a str,
    /// RFC 9207 `iss`, if sent.
    pub iss: Option<&'a str>,
}

/// An application's wishes for one sign-in.
#[derive(Clone, Copy, Default)]
pub struct Hints<'a> {
    /// The user expected to sign in (OpenID Connect Core 1.0 section 3.1.2.1, `login_hint`).
    pub login_hint: Option<&'a str>,
    /// Replaces the configured `prompt`.
    pub prompt: Option<&'a str>,
}
