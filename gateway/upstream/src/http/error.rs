//! Every way in which a request to a provider can fail.

use gateway_model::address::NotPublic;

use super::MAX_HEADERS;
use crate::json::MAX_VALUES;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The time limit passed.
    #[error("no answer in time")]
    TimedOut,
    /// Connecting failed, or the connection ended early.
    #[error("cannot be reached ({0})")]
    Unreachable(String),
    /// The body is larger than the limit.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// The headers are larger than the limit.
    #[error("the headers of the answer have more than {MAX_HEADERS} bytes")]
    HeadersTooLarge,
    /// The JSON has too many values.
    #[error("the answer has more than {MAX_VALUES} JSON values")]
    TooManyValues,
    /// The JSON is nested too deeply.
    #[error("the answer has lists or objects that are nested more than 127 levels deep")]
    TooDeep,
    /// The answers of other sign-ins use all the memory reserved for this provider.
    #[error("other sign-ins use all the memory reserved for this provider's answers; try again later")]
    Full,
    /// The URL is not https.
    #[error("the URL is not https")]
    Insecure,
    /// The address belongs to this machine or a private network.
    #[error("{}", advised(.0))]
    NotPublic(NotPublic),
    /// The status is not the expected one.
    #[error("answered with status {0}")]
    Status(u16),
    /// The answer begins as JSON but is not valid JSON.
    #[error("the answer is not valid JSON")]
    Json,
}

/// The rejected address, and what the operator can do.
fn advised(refused: &NotPublic) -> String {
    let advice = if refused.is_private {
        "if the provider is on your own network, set allow_private_addresses = true for it; otherwise do not trust it"
    } else {
        "the gateway never connects to this address, and no setting permits it"
    };
    format!("{refused}: {advice}")
}
