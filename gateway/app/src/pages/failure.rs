//! Everything that an error page can be about: its status, its text, and the error code for applications.

use std::borrow::Cow;

use hyper::StatusCode;

use super::texts::{Errors, Said};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure<'a> {
    /// The user declined at the provider.
    Denied,
    ProviderRefused,
    /// The provider failed, or rejected the gateway's request.
    ProviderBroken,
    ProviderUnavailable,
    /// The provider has ended the session that the sign-in came from.
    SessionEnded,
    /// A hook rejected the sign-in, with a reason for the user.
    Rejected(&'a str),
    Disabled,
    /// The email address belongs to another user.
    EmailInUse,
    /// The gateway failed, and the next attempt may work.
    TryLater,
    /// The gateway has a bug.
    Broken,
    /// The database failed before anything changed.
    Reload,
    ProviderSlow,
    ProviderDown,
    /// Too many users are signing in.
    Busy,
    /// The provider's response cannot be used.
    ProviderWrong,
    /// The provider does not confirm the code.
    Unconfirmed,
    /// The callback does not belong to this sign-in.
    Mismatch,
    BadReturn,
    /// The return URL is on an origin that is not configured.
    UnknownReturn(&'a str),
    LongReturn,
    TooMany,
    /// The request comes from an image, a frame, a script or a prefetch.
    NotAPerson,
    Expired,
    Completed,
    FailedBefore,
    /// The sign-in did not begin in this browser.
    Elsewhere,
    /// A page of an origin that is not configured tried to sign the user out.
    ForeignSignOut,
    NotFound,
    UnknownProvider(&'a str),
    /// The address is for programs.
    WrongMethod,
    /// The request cannot be parsed. With the status.
    Unreadable(StatusCode),
    /// A hint that is not passed on to the provider, with the reason.
    BadHint(&'static str),
    /// The name of a test user is invalid.
    #[cfg_attr(
        not(feature = "dev"),
        expect(dead_code, reason = "only the development sign-in has test users")
    )]
    BadName,
}

/// The error codes for applications (RFC 6749 section 4.1.2.1).
const DENIED: Option<&str> = Some("access_denied");
const LATER: Option<&str> = Some("temporarily_unavailable");
const BROKEN: Option<&str> = Some("server_error");
const INVALID: Option<&str> = Some("invalid_request");
/// The user may be signed in nevertheless, or the failure is not about a sign-in.
const NONE: Option<&str> = None;

pub(crate) struct Row {
    pub(crate) status: StatusCode,
    pub(crate) code: Option<&'static str>,
    pub(super) said: fn(&Errors) -> &Said,
    description: &'static str,
}

impl Failure<'_> {
    #[rustfmt::skip]
    pub(crate) const fn row(&self) -> Row {
        const fn row(
            status: StatusCode, code: Option<&'static str>, said: fn(&Errors) -> &Said, description: &'static str,
        ) -> Row {
            Row { status, code, said, description }
        }
        match self {
            Self::Denied => row(StatusCode::BAD_REQUEST, DENIED, |e| &e.denied, "The user did not let the provider sign them in"),
            Self::ProviderRefused => row(StatusCode::BAD_REQUEST, DENIED, |e| &e.provider_refused, "The provider refused to sign the user in"),
            Self::ProviderBroken => row(StatusCode::BAD_REQUEST, BROKEN, |e| &e.provider_refused, "The provider failed, or rejected the gateway's request"),
            Self::ProviderUnavailable => row(StatusCode::BAD_REQUEST, LATER, |e| &e.provider_unavailable, "The provider cannot sign anyone in at the moment"),
            Self::SessionEnded => row(StatusCode::FORBIDDEN, DENIED, |e| &e.session_ended, "The provider has ended the session that the sign-in came from; begin again with prompt=login"),
            Self::Rejected(_) => row(StatusCode::FORBIDDEN, DENIED, |e| &e.rejected, "A plugin rejected the sign-in"),
            Self::Disabled => row(StatusCode::FORBIDDEN, DENIED, |e| &e.disabled, "The account is disabled"),
            Self::EmailInUse => row(StatusCode::FORBIDDEN, DENIED, |e| &e.email_in_use, "The email address belongs to another account"),
            Self::TryLater => row(StatusCode::SERVICE_UNAVAILABLE, LATER, |e| &e.try_later, "The gateway cannot sign anyone in at the moment"),
            Self::Broken => row(StatusCode::INTERNAL_SERVER_ERROR, BROKEN, |e| &e.try_later, "The gateway failed"),
            Self::Reload => row(StatusCode::SERVICE_UNAVAILABLE, LATER, |e| &e.reload, "The gateway cannot sign anyone in at the moment"),
            Self::ProviderSlow => row(StatusCode::GATEWAY_TIMEOUT, LATER, |e| &e.provider_slow, "The provider did not answer in time"),
            Self::ProviderDown => row(StatusCode::BAD_GATEWAY, LATER, |e| &e.provider_down, "The provider cannot be reached"),
            Self::Busy => row(StatusCode::SERVICE_UNAVAILABLE, LATER, |e| &e.busy, "Too many users are signing in at the moment"),
            Self::ProviderWrong => row(StatusCode::BAD_GATEWAY, BROKEN, |e| &e.provider_wrong, "The provider's answer cannot be used"),
            Self::Unconfirmed => row(StatusCode::BAD_REQUEST, BROKEN, |e| &e.unconfirmed, "The provider did not confirm the sign-in"),
            Self::Mismatch => row(StatusCode::BAD_REQUEST, BROKEN, |e| &e.mismatch, "The provider's answer does not belong to this sign-in"),
            Self::BadReturn => row(StatusCode::BAD_REQUEST, NONE, |e| &e.bad_return, ""),
            Self::UnknownReturn(_) => row(StatusCode::BAD_REQUEST, NONE, |e| &e.unknown_return, ""),
            Self::LongReturn => row(StatusCode::BAD_REQUEST, INVALID, |e| &e.long_return, "The address in next is too long"),
            Self::TooMany => row(StatusCode::TOO_MANY_REQUESTS, LATER, |e| &e.too_many, "Too many requests came from the user's network"),
            Self::NotAPerson => row(StatusCode::FORBIDDEN, NONE, |e| &e.not_a_person, ""),
            Self::Expired => row(StatusCode::BAD_REQUEST, DENIED, |e| &e.expired, "The sign-in took longer than ten minutes"),
            Self::Completed => row(StatusCode::BAD_REQUEST, NONE, |e| &e.completed, ""),
            Self::FailedBefore => row(StatusCode::BAD_REQUEST, DENIED, |e| &e.failed_before, "The sign-in has failed before"),
            Self::Elsewhere => row(StatusCode::BAD_REQUEST, NONE, |e| &e.elsewhere, ""),
            Self::ForeignSignOut => row(StatusCode::FORBIDDEN, NONE, |e| &e.foreign_sign_out, ""),
            Self::NotFound => row(StatusCode::NOT_FOUND, NONE, |e| &e.not_found, ""),
            Self::UnknownProvider(_) => row(StatusCode::NOT_FOUND, INVALID, |e| &e.unknown_provider, "There is no such provider"),
            Self::WrongMethod => row(StatusCode::METHOD_NOT_ALLOWED, NONE, |e| &e.wrong_method, ""),
            Self::Unreadable(status) => row(*status, INVALID, |e| &e.unreadable, "The request cannot be parsed; a parameter may occur twice"),
            Self::BadHint(reason) => row(StatusCode::BAD_REQUEST, INVALID, |e| &e.bad_hint, reason),
            Self::BadName => row(StatusCode::BAD_REQUEST, INVALID, |e| &e.bad_name, "The name of a test user has 1 to 64 letters, digits, dots, dashes and underscores"),
        }
    }

    /// A sentence for the application's developer, in the characters that `error_description` may have (RFC 6749 section
    /// 4.1.2.1). It never repeats what a provider or a caller sent. If a hook rejected the sign-in, it is the hook's reason.
    pub(crate) fn description(&self) -> Cow<'static, str> {
        match self {
            Self::Rejected(reason) => plain(reason).into(),
            _ => self.row().description.into(),
        }
    }
}

/// Replaces the characters that `error_description` must not have by `?`.
fn plain(text: &str) -> String {
    let allowed = |c: char| matches!(c, '\x20'..='\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e');
    text.chars()
        .map(|c| match c {
            '"' => '\'',
            '\n' | '\t' => ' ',
            c if allowed(c) => c,
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Failure;

    #[test]
    fn b5_descriptions_have_only_characters_that_the_standard_allows() {
        let told = Failure::Rejected("Nur für \"uns\"\n\\ <b>")
            .description()
            .into_owned();
        assert_eq!(told, "Nur f?r 'uns' ? <b>");
        for failure in [
            Failure::Denied,
            Failure::UnknownProvider("\"ü"),
            Failure::Unconfirmed,
        ] {
            let said = failure.description();
            assert!(!said.contains(['"', '\\']) && said.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        }
    }

    #[test]
    fn b5_error_codes_are_those_of_the_standard() {
        let word = |failure: Failure<'_>| failure.row().code;
        assert_eq!(word(Failure::Denied), Some("access_denied"));
        assert_eq!(word(Failure::Disabled), Some("access_denied"));
        assert_eq!(word(Failure::ProviderDown), Some("temporarily_unavailable"));
        assert_eq!(word(Failure::TryLater), Some("temporarily_unavailable"));
        assert_eq!(word(Failure::ProviderWrong), Some("server_error"));
        assert_eq!(word(Failure::LongReturn), Some("invalid_request"));
        // It may have worked, and the return URL is unknown.
        assert_eq!(word(Failure::Completed), None);
        assert_eq!(word(Failure::Elsewhere), None);
    }
}
