//! Every way in which a sign-in through a provider can fail. Messages are for the log: they contain no secret, code or
//! token.

use std::fmt;

use crate::http::error::HttpError;
use crate::json::Bad;
use crate::text::plain;

/// Why a sign-in through an upstream provider failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// The configuration is invalid.
    #[error("invalid configuration: {0}")]
    Config(String),
    /// A request failed, timed out, or its answer exceeded a limit.
    #[error("{what}: {error}")]
    Http {
        /// Which request.
        what: &'static str,
        /// Why it failed.
        error: HttpError,
    },
    /// The provider's metadata or key set is wrong (OpenID Connect Discovery 1.0 section 4.3).
    #[error("discovery: {0}")]
    BadDiscovery(String),
    /// The token endpoint rejected the code or the client (RFC 6749 section 5.2).
    #[error("the token endpoint rejected the request: {0}{hint}", hint = hint(.0))]
    TokenRefused(Refusal),
    /// The provider rejected a pushed authorization request (RFC 9126 section 2.3).
    #[error("the provider rejected the pushed authorization request: {0}")]
    PushRefused(Refusal),
    /// An answer violates the protocol.
    #[error("{what}: {problem}")]
    BadResponse {
        /// Which request.
        what: &'static str,
        /// The violation.
        problem: String,
    },
    /// The ID token is not valid (OpenID Connect Core 1.0 section 3.1.3.7).
    #[error("the ID token is not valid: {0}")]
    BadIdToken(String),
    /// The userinfo endpoint described another user (OpenID Connect Core 1.0 section 5.3.2).
    #[error(
        "the userinfo endpoint returned another subject than the ID token (`sub`); if this provider always does, set \
         userinfo = \"never\" for it"
    )]
    OtherSubject,
    /// The limit of waiting sign-ins is reached.
    #[error("too many sign-ins are waiting for the provider")]
    Overloaded,
    /// A token's key is unknown, and it is too soon to fetch the keys again.
    #[error(
        "the token's key is unknown, and the gateway fetched the provider's keys within the last 30 seconds"
    )]
    KeyUnknown,
    /// The callback's `iss` is another issuer's, or is missing (RFC 9207 section 2.4).
    #[error("the callback comes from another issuer")]
    IssuerMismatch,
}

/// The error that a provider returns (RFC 6749 sections 4.1.2.1 and 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: Option<String>,
    description: Option<String>,
}

impl Refusal {
    /// A refusal with this code, and with a description from which the caller has removed all secrets. The code is
    /// dropped unless it looks like one, because its place may repeat what was sent.
    #[must_use]
    pub fn new(code: &str, description: Option<&str>) -> Self {
        // Registered codes are lower case, and shorter. A code verifier has at least 43 characters (RFC 7636 section
        // 4.1), and may have no digit that would give it away.
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

    /// The setting to change if the description hints at it, to be appended to a message; otherwise empty.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        let description = self
            .description
            .as_deref()
            .unwrap_or_default()
            .to_ascii_lowercase();
        // RFC 9126 section 5 lets a provider require it of one client. Its metadata does not show that.
        if description.contains("pushed authorization") || description.contains("request_uri") {
            "; if the provider requires pushed authorization requests of this client, set par = \"always\" for it"
        } else {
            ""
        }
    }

    /// The error code, if it looks like one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code().unwrap_or("no valid error code"))?;
        match &self.description {
            Some(description) => write!(f, " ({description:?})"),
            None => Ok(()),
        }
    }
}

/// The setting to change, if the provider rejected the client and not the user.
fn hint(refusal: &Refusal) -> &'static str {
    match refusal.code().unwrap_or_default() {
        "invalid_client" | "unauthorized_client" | "incorrect_client_credentials" => {
            "; check client_id, client_secret or client_key, and client_auth"
        }
        "redirect_uri_mismatch" => "; register the callback with the provider",
        _ => refusal.advice(),
    }
}

/// The kind of a failure, which decides what the user sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The provider took too long.
    TimedOut,
    /// The provider cannot be reached, or reports an internal error.
    Down,
    /// The gateway has not contacted the provider, because too many sign-ins wait for it.
    Busy,
    /// The provider's answers are wrong, or its client registration is.
    Wrong,
    /// The provider does not confirm this sign-in; starting again may help.
    Refused,
}

impl UpstreamError {
    /// An answer that violates the protocol. The problem may quote the provider, so it is shortened.
    pub(crate) fn bad_response(what: &'static str, problem: impl fmt::Display) -> Self {
        Self::BadResponse {
            what,
            problem: plain(&problem.to_string()),
        }
    }

    pub(crate) fn unreadable(what: &'static str, problem: Bad) -> Self {
        Self::bad_response(what, format_args!("the answer {problem}"))
    }

    /// The kind of this failure.
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
                // The client's registration is wrong: starting again does not help the user.
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
    fn errors_are_classified() {
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
    fn only_plausible_error_codes_are_repeated() {
        assert_eq!(
            refused("bad_verification_code").to_string(),
            "the token endpoint rejected the request: bad_verification_code"
        );
        let verifier = "QZJ_drqyqxBLYgzIEoRI_ItIwgtWsUer-spmINggWDc";
        for odd in ["", "4/0AX4XfWh", "a b", "a\nb", verifier, "Code", &"a".repeat(41)] {
            assert_eq!(
                refused(odd).to_string(),
                "the token endpoint rejected the request: no valid error code",
                "{odd:?}"
            );
        }
    }

    #[test]
    fn p11_the_advice_names_the_setting_for_pushed_requests() {
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
    fn p17_descriptions_are_shortened_escaped_and_quoted() {
        let told = |description: &str| Refusal::new("invalid_client", Some(description)).to_string();
        assert_eq!(
            told("AADSTS7000215: Invalid client secret\r\n\u{1b}[31m \"x\""),
            r#"invalid_client ("AADSTS7000215: Invalid client secret[31m \"x\"")"#
        );
        assert_eq!(told(" "), "invalid_client");
        assert!(told(&"é".repeat(5000)).len() < 300);
    }
}
