//! Every way a request to a provider fails.

use gateway_model::address::NotPublic;

use super::MAX_HEADERS;
use crate::json::MAX_VALUES;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// It took longer than the limit.
    #[error("no answer in time")]
    TimedOut,
    /// There is nobody there, or the connection broke.
    #[error("cannot be reached ({0})")]
    Unreachable(String),
    /// The body is larger than the limit.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// The headers are larger than the limit.
    #[error("the headers of the answer have more than {MAX_HEADERS} bytes")]
    HeadersTooLarge,
    /// The answer has more values than anybody needs.
    #[error("the answer has more than {MAX_VALUES} JSON values")]
    TooManyValues,
    /// The answer has lists and objects in each other to no end.
    #[error("the answer has lists or objects that are nested more than 127 levels deep")]
    TooDeep,
    /// The answers of other sign-ins take all the memory there is for this provider.
    #[error("other sign-ins hold all the memory that answers of this provider may take; try again later")]
    Full,
    /// The address is not one we ask: not https.
    #[error("the address is not https")]
    Insecure,
    /// The address is one of this machine or a private network.
    #[error("{}", advised(.0))]
    NotPublic(NotPublic),
    /// The status is not one the protocol has there.
    #[error("answered with status {0}")]
    Status(u16),
    /// The answer begins as JSON and goes on as something else.
    #[error("the answer is not JSON to its end")]
    Json,
}

/// An address that is not called, and what an operator can do about it.
fn advised(refused: &NotPublic) -> String {
    let advice = if refused.is_private {
        "if the provider is on your own network, set allow_private_addresses = true for it; otherwise it sends the gateway \
         where it must not go"
    } else {
        "the gateway never calls such an address, and no setting allows it"
    };
    format!("{refused}: {advice}")
}
