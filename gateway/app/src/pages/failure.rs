//! Everything that an error page can be about: its status, its text, and the error code for applications.

use std::borrow::Cow;

use hyper::StatusCode;

use super::texts::{Errors, Said};

/// Why a sign-in or a request failed.
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
    /// The sign-in failed before.
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
    BadName,
}

/// The error codes for applications (RFC 6749 section 4.1.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    /// The user, the provider, a hook or the gateway refused.
    AccessDenied,
    TemporarilyUnavailable,
    /// The gateway or the provider is broken or misconfigured.
    ServerError,
    InvalidRequest,
}

impl ErrorCode {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
            Self::InvalidRequest => "invalid_request",
        }
    }
}

impl Failure<'_> {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Rejected(_)
            | Self::SessionEnded
            | Self::Disabled
            | Self::EmailInUse
            | Self::NotAPerson
            | Self::ForeignSignOut => StatusCode::FORBIDDEN,
            Self::TryLater | Self::Reload | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ProviderSlow => StatusCode::GATEWAY_TIMEOUT,
            Self::ProviderDown | Self::ProviderWrong => StatusCode::BAD_GATEWAY,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::NotFound | Self::UnknownProvider(_) => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unreadable(status) => *status,
            Self::Denied
            | Self::ProviderRefused
            | Self::ProviderBroken
            | Self::ProviderUnavailable
            | Self::Unconfirmed
            | Self::Mismatch
            | Self::BadReturn
            | Self::UnknownReturn(_)
            | Self::LongReturn
            | Self::Expired
            | Self::Completed
            | Self::FailedBefore
            | Self::Elsewhere
            | Self::BadHint(_)
            | Self::BadName => StatusCode::BAD_REQUEST,
        }
    }

    /// The code for the application. `None` if the user may be signed in nevertheless, or the failure is not about a
    /// sign-in.
    pub(crate) const fn code(&self) -> Option<ErrorCode> {
        Some(match self {
            Self::Denied
            | Self::ProviderRefused
            | Self::SessionEnded
            | Self::Rejected(_)
            | Self::Disabled
            | Self::EmailInUse
            | Self::Expired
            | Self::FailedBefore => ErrorCode::AccessDenied,
            Self::ProviderUnavailable
            | Self::TryLater
            | Self::Reload
            | Self::Busy
            | Self::ProviderSlow
            | Self::ProviderDown
            | Self::TooMany => ErrorCode::TemporarilyUnavailable,
            Self::Broken
            | Self::ProviderBroken
            | Self::ProviderWrong
            | Self::Unconfirmed
            | Self::Mismatch => ErrorCode::ServerError,
            Self::UnknownProvider(_)
            | Self::LongReturn
            | Self::BadHint(_)
            | Self::BadName
            | Self::Unreadable(_) => ErrorCode::InvalidRequest,
            Self::BadReturn
            | Self::UnknownReturn(_)
            | Self::NotAPerson
            | Self::Completed
            | Self::Elsewhere
            | Self::ForeignSignOut
            | Self::NotFound
            | Self::WrongMethod => return None,
        })
    }

    /// A sentence for the application's developer, in the characters that `error_description` may have (RFC 6749
    /// section 4.1.2.1). It never repeats what a provider or a caller sent. If a hook rejected the sign-in, it is the
    /// hook's reason.
    pub(crate) fn description(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Rejected(reason) => return Cow::Owned(plain(reason)),
            Self::Denied => "The person did not let the provider sign them in",
            Self::ProviderRefused => "The provider refused to sign the person in",
            Self::ProviderBroken => "The provider failed, or rejected the gateway's request",
            Self::ProviderUnavailable => "The provider cannot sign anybody in at the moment",
            Self::SessionEnded => {
                "The provider has ended the session that the sign-in came from; begin again with prompt=login"
            }
            Self::Disabled => "The account is disabled",
            Self::EmailInUse => "The email address belongs to another account",
            Self::TryLater | Self::Reload => "The gateway cannot sign anybody in at the moment",
            Self::Broken => "The gateway failed",
            Self::ProviderSlow => "The provider did not answer in time",
            Self::ProviderDown => "The provider cannot be reached",
            Self::Busy => "Too many people are signing in at the moment",
            Self::ProviderWrong => "The provider's answer cannot be used",
            Self::Unconfirmed => "The provider did not confirm the sign-in",
            Self::Mismatch => "The provider's answer does not belong to this sign-in",
            Self::TooMany => "Too many requests came from the person's network",
            Self::Expired => "The sign-in took longer than ten minutes",
            Self::FailedBefore => "The sign-in has failed before",
            Self::UnknownProvider(_) => "There is no such provider",
            Self::LongReturn => "The address in next is too long",
            Self::BadHint(wrong) => *wrong,
            Self::BadName => {
                "The name of a test user has 1 to 64 letters, digits, dots, dashes and underscores"
            }
            Self::BadReturn
            | Self::UnknownReturn(_)
            | Self::NotAPerson
            | Self::Completed
            | Self::Elsewhere
            | Self::ForeignSignOut
            | Self::NotFound
            | Self::WrongMethod => "The request cannot be answered",
            Self::Unreadable(_) => "The request cannot be read; a parameter may be in it twice",
        })
    }

    pub(super) const fn said<'t>(&self, texts: &'t Errors) -> &'t Said {
        match self {
            Self::Denied => &texts.denied,
            Self::ProviderRefused | Self::ProviderBroken => &texts.provider_refused,
            Self::ProviderUnavailable => &texts.provider_unavailable,
            Self::Rejected(_) => &texts.rejected,
            Self::SessionEnded => &texts.session_ended,
            Self::Disabled => &texts.disabled,
            Self::EmailInUse => &texts.email_in_use,
            Self::TryLater | Self::Broken => &texts.try_later,
            Self::Reload => &texts.reload,
            Self::ProviderSlow => &texts.provider_slow,
            Self::ProviderDown => &texts.provider_down,
            Self::Busy => &texts.busy,
            Self::ProviderWrong => &texts.provider_wrong,
            Self::Unconfirmed => &texts.unconfirmed,
            Self::Mismatch => &texts.mismatch,
            Self::BadReturn => &texts.bad_return,
            Self::UnknownReturn(_) => &texts.unknown_return,
            Self::LongReturn => &texts.long_return,
            Self::TooMany => &texts.too_many,
            Self::NotAPerson => &texts.not_a_person,
            Self::Expired => &texts.expired,
            Self::Completed => &texts.completed,
            Self::FailedBefore => &texts.failed_before,
            Self::Elsewhere => &texts.elsewhere,
            Self::ForeignSignOut => &texts.foreign_sign_out,
            Self::NotFound => &texts.not_found,
            Self::UnknownProvider(_) => &texts.unknown_provider,
            Self::WrongMethod => &texts.wrong_method,
            Self::Unreadable(_) => &texts.unreadable,
            Self::BadHint(_) => &texts.bad_hint,
            Self::BadName => &texts.bad_name,
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
    use super::{ErrorCode, Failure};

    #[test]
    fn b5_what_an_application_is_told_has_the_characters_of_the_standard() {
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
    fn b5_the_words_are_those_of_the_standard() {
        let word = |failure: Failure<'_>| failure.code().map(ErrorCode::as_str);
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
