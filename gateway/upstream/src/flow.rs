//! What goes to a provider and comes back, in one sign-in.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

/// Where to send the browser, and what to keep (sealed, in its cookie) until it comes back.
#[derive(Clone)]
pub struct Authorization {
    /// The authorization URL.
    pub url: Url,
    /// What the callback must be matched with.
    pub flow: Flow,
}

/// What has to be remembered of one sign-in between redirect and callback.
#[derive(Clone, Serialize, Deserialize)]
pub struct Flow {
    /// RFC 6749 section 10.12: single use.
    pub state: String,
    /// OpenID Connect Core 1.0 section 3.1.2.1; absent for plain OAuth.
    pub nonce: Option<String>,
    /// RFC 7636 code verifier.
    pub verifier: String,
}

/// What the callback brought.
#[derive(Clone, Copy)]
pub struct Callback<'a> {
    /// The authorization code.
    pub code: &'a str,
    /// RFC 9207 `iss`, where sent.
    pub iss: Option<&'a str>,
}

/// What an application asks for at one sign-in.
#[derive(Clone, Copy, Default)]
pub struct Hints<'a> {
    /// Who is expected to sign in (OpenID Connect Core 1.0 section 3.1.2.1, `login_hint`).
    pub login_hint: Option<&'a str>,
    /// What the provider is to ask the person, in place of the configured `prompt`.
    pub prompt: Option<&'a str>,
}

// None of the four says in a log what it holds: with it somebody else could end the sign-in.

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorization").finish_non_exhaustive()
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow").finish_non_exhaustive()
    }
}

impl fmt::Debug for Hints<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hints").finish_non_exhaustive()
    }
}

impl fmt::Debug for Callback<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").finish_non_exhaustive()
    }
}
