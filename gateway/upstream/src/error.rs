//! Every way a sign-in through a provider can fail. Messages are for the log: no secret, code or token
//! is in them.

use std::fmt;

use crate::http::error::HttpError;
use crate::text::plain;

/// Why a sign-in through an upstream provider failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// The configuration makes no sense.
    #[error("the configuration makes no sense: {0}")]
    Config(String),
    /// A request failed, took too long, or brought too much.
    #[error("{what}: {error}")]
    Http {
        /// Which request.
        what: &'static str,
        /// What went wrong with it.
        error: HttpError,
    },
    /// The provider describes itself wrongly (OpenID Connect Discovery 1.0 section 4.3).
    #[error("discovery: {0}")]
    BadDiscovery(String),
    /// The token endpoint says no (RFC 6749 section 5.2).
    #[error("the token endpoint refuses: {0}{hint}", hint = hint(.0))]
    TokenRefused(Refusal),
    /// The endpoint for pushed authorization requests says no (RFC 9126 section 2.3).
    #[error("the provider refuses the pushed authorization request: {0}")]
    PushRefused(Refusal),
    /// An answer is not what the protocol has there.
    #[error("{what}: {problem}")]
    BadResponse {
        /// Which request.
        what: &'static str,
        /// What is wrong with its answer.
        problem: String,
    },
    /// The ID token is not valid (OpenID Connect Core 1.0 section 3.1.3.7).
    #[error("the ID token is not valid: {0}")]
    BadIdToken(String),
    /// The userinfo endpoint speaks of somebody else (OpenID Connect Core 1.0 section 5.3.2).
    #[error(
        "the userinfo endpoint speaks of another subject than the ID token (`sub`); if this provider does so for \
         everybody, set userinfo = \"never\" for it"
    )]
    OtherSubject,
    /// So many sign-ins wait for the provider that one more is not begun.
    #[error("too many sign-ins wait for the provider")]
    Overloaded,
    /// A token's key is unknown, and the provider was asked for its keys a moment ago.
    #[error(
        "the token's key is unknown, and the provider has been asked for its keys within the last 30 seconds"
    )]
    KeyUnknown,
    /// The callback's `iss` is another one's, or is missing (RFC 9207 section 2.4).
    #[error("the callback comes from another issuer")]
    IssuerMismatch,
}

/// What a provider refuses with (RFC 6749 sections 4.1.2.1 and 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error code, where it looks like one.
    code: Option<String>,
    /// The description: plain text, of limited length.
    description: Option<String>,
}

impl Refusal {
    /// A refusal with this code, and with a description that says nothing that must stay out of the log. The code is kept
    /// only where it looks like one: what stands in its place may repeat what was sent.
    #[must_use]
    pub fn new(code: &str, description: Option<&str>) -> Self {
        // Registered codes are small letters, and shorter; a code verifier has 43 characters (RFC 7636, 4.1), and
        // may have no digit by which it could be told.
        let is_code = (1..=40).contains(&code.len())
            && code
                .bytes()
                .all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-' | b'.'));
        let description = description.map(plain).filter(|text| !text.trim().is_empty());
        Self {
            code: is_code.then(|| code.to_owned()),
            description,
        }
    }

    /// What to change where the description says what it is about, as the rest of a sentence.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        let description = self
            .description
            .as_deref()
            .unwrap_or_default()
            .to_ascii_lowercase();
        // RFC 9126 section 5 lets a provider require it of one client, which its metadata does not say.
        if description.contains("pushed authorization") || description.contains("request_uri") {
            "; if the provider requires pushed authorization requests of this client, set par = \"always\" for it"
        } else {
            ""
        }
    }

    /// The error code, where there is a proper one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code().unwrap_or("without a proper error code"))?;
        match &self.description {
            Some(description) => write!(f, " ({description:?})"),
            None => Ok(()),
        }
    }
}

/// What to change, where a refusal is about the gateway and not about the person.
fn hint(refusal: &Refusal) -> &'static str {
    match refusal.code().unwrap_or_default() {
        "invalid_client" | "unauthorized_client" | "incorrect_client_credentials" => {
            "; check client_id, client_secret or client_key, and client_auth"
        }
        "redirect_uri_mismatch" => "; register the callback with the provider",
        _ => refusal.advice(),
    }
}

/// What kind of failure it is, for whoever has to answer the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The provider took too long.
    TimedOut,
    /// The provider cannot be reached, or has an error of its own.
    Down,
    /// Too many wait for the provider; it has not been asked.
    Busy,
    /// The provider's answers make no sense.
    Wrong,
    /// The provider does not confirm this sign-in; beginning again may help.
    Refused,
}

impl UpstreamError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Http {
                error: HttpError::TimedOut,
                ..
            } => ErrorKind::TimedOut,
            Self::Http {
                error: HttpError::Unreachable(_) | HttpError::Status(429 | 500..),
                ..
            } => ErrorKind::Down,
            Self::PushRefused(refusal)
                if matches!(refusal.code(), Some("server_error" | "temporarily_unavailable")) =>
            {
                ErrorKind::Down
            }
            Self::TokenRefused(refusal) => match refusal.code().unwrap_or_default() {
                "server_error" | "temporarily_unavailable" => ErrorKind::Down,
                // Our registration there is not right: beginning again does not help the person.
                "invalid_client"
                | "unauthorized_client"
                | "unsupported_grant_type"
                | "incorrect_client_credentials"
                | "redirect_uri_mismatch" => ErrorKind::Wrong,
                _ => ErrorKind::Refused,
            },
            Self::Overloaded
            | Self::KeyUnknown
            | Self::Http {
                error: HttpError::Full,
                ..
            } => ErrorKind::Busy,
            Self::IssuerMismatch | Self::BadIdToken(_) => ErrorKind::Refused,
            Self::Http { .. }
            | Self::Config(_)
            | Self::BadDiscovery(_)
            | Self::BadResponse { .. }
            | Self::PushRefused(_)
            | Self::OtherSubject => ErrorKind::Wrong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ErrorKind, Refusal, UpstreamError};
    use crate::http::error::HttpError;

    #[test]
    fn says_whose_fault_it_is() {
        let http = |error| UpstreamError::Http {
            what: "discovery",
            error,
        };
        for (error, kind) in [
            (http(HttpError::TimedOut), ErrorKind::TimedOut),
            (http(HttpError::Unreachable(String::new())), ErrorKind::Down),
            (http(HttpError::Status(503)), ErrorKind::Down),
            (http(HttpError::Status(429)), ErrorKind::Down),
            (
                UpstreamError::PushRefused(Refusal::new("temporarily_unavailable", None)),
                ErrorKind::Down,
            ),
            (
                UpstreamError::PushRefused(Refusal::new("invalid_request", None)),
                ErrorKind::Wrong,
            ),
            (http(HttpError::Status(302)), ErrorKind::Wrong),
            (http(HttpError::TooLarge(1)), ErrorKind::Wrong),
            (refused("invalid_grant"), ErrorKind::Refused),
            (refused("server_error"), ErrorKind::Down),
            (refused("invalid_client"), ErrorKind::Wrong),
            (refused("7"), ErrorKind::Refused),
            (UpstreamError::IssuerMismatch, ErrorKind::Refused),
            (UpstreamError::Overloaded, ErrorKind::Busy),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
        }
    }

    fn refused(code: &str) -> UpstreamError {
        UpstreamError::TokenRefused(Refusal::new(code, None))
    }

    #[test]
    fn only_what_looks_like_a_code_is_repeated_as_one() {
        assert_eq!(
            refused("bad_verification_code").to_string(),
            "the token endpoint refuses: bad_verification_code"
        );
        let verifier = "QZJ_drqyqxBLYgzIEoRI_ItIwgtWsUer-spmINggWDc";
        for odd in ["", "4/0AX4XfWh", "a b", "a\nb", verifier, "Code", &"a".repeat(41)] {
            assert_eq!(
                refused(odd).to_string(),
                "the token endpoint refuses: without a proper error code",
                "{odd:?}"
            );
        }
    }

    #[test]
    fn p11_a_client_that_must_push_its_requests_is_told_the_setting() {
        let refused = Refusal::new(
            "invalid_request",
            Some("Pushed Authorization Request must be used"),
        );
        assert!(refused.advice().contains("par = \"always\""));
        assert_eq!(Refusal::new("invalid_request", Some("no")).advice(), "");
        let client = refused_with("invalid_client");
        assert!(client.contains("client_secret or client_key"), "{client}");
    }

    fn refused_with(code: &str) -> String {
        refused(code).to_string()
    }

    #[test]
    fn p17_a_description_is_short_plain_and_quoted() {
        let told = |description: &str| Refusal::new("invalid_client", Some(description)).to_string();
        assert_eq!(
            told("AADSTS7000215: Invalid client secret\r\n\u{1b}[31m \"x\""),
            r#"invalid_client ("AADSTS7000215: Invalid client secret[31m \"x\"")"#
        );
        assert_eq!(told(" "), "invalid_client");
        assert!(told(&"é".repeat(5000)).len() < 300);
    }
}
