//! Every way a sign-in through a provider can fail. Messages are for the log: no secret, code or token
//! is in them.

use crate::http::HttpError;

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
    #[error("the token endpoint refuses: {0}")]
    TokenRefused(String),
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
    /// So many sign-ins wait for the provider that one more is not begun.
    #[error("too many sign-ins wait for the provider")]
    Overloaded,
    /// The callback's `iss` is another one's, or is missing (RFC 9207 section 2.4).
    #[error("the callback comes from another issuer")]
    IssuerMismatch,
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
    /// Only the code of the refusal (RFC 6749 section 5.2), and only where it looks like one: a
    /// description, or what stands in the code's place, may repeat what was sent.
    pub(crate) fn refused(code: &str) -> Self {
        // Registered codes are small letters, and shorter; a code verifier has 43 characters (RFC 7636, 4.1), and
        // may have no digit by which it could be told.
        let is_code = (1..=40).contains(&code.len())
            && code
                .bytes()
                .all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-' | b'.'));
        Self::TokenRefused(
            if is_code {
                code
            } else {
                "without a proper error code"
            }
            .to_owned(),
        )
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Http {
                error: HttpError::TimedOut,
                ..
            } => ErrorKind::TimedOut,
            Self::Http {
                error: HttpError::Unreachable(_) | HttpError::Status(500..),
                ..
            } => ErrorKind::Down,
            Self::TokenRefused(code) => match code.as_str() {
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
            | Self::Http {
                error: HttpError::Full,
                ..
            } => ErrorKind::Busy,
            Self::IssuerMismatch | Self::BadIdToken(_) => ErrorKind::Refused,
            Self::Http { .. } | Self::Config(_) | Self::BadDiscovery(_) | Self::BadResponse { .. } => {
                ErrorKind::Wrong
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ErrorKind, UpstreamError};
    use crate::http::HttpError;

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
            (http(HttpError::Status(302)), ErrorKind::Wrong),
            (http(HttpError::TooLarge(1)), ErrorKind::Wrong),
            (UpstreamError::refused("invalid_grant"), ErrorKind::Refused),
            (UpstreamError::refused("server_error"), ErrorKind::Down),
            (UpstreamError::refused("invalid_client"), ErrorKind::Wrong),
            (UpstreamError::IssuerMismatch, ErrorKind::Refused),
            (UpstreamError::Overloaded, ErrorKind::Busy),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
        }
    }

    #[test]
    fn repeats_error_codes_and_nothing_else() {
        assert_eq!(
            UpstreamError::refused("bad_verification_code").to_string(),
            "the token endpoint refuses: bad_verification_code"
        );
        let verifier = "QZJ_drqyqxBLYgzIEoRI_ItIwgtWsUer-spmINggWDc";
        for odd in ["", "4/0AX4XfWh", "a b", "a\nb", verifier, "Code", &"a".repeat(41)] {
            let error = UpstreamError::refused(odd);
            assert_eq!(
                error,
                UpstreamError::TokenRefused("without a proper error code".to_owned()),
                "{odd:?}"
            );
        }
    }
}
