//! Every way in which a guest's request fails: what the guest is told, what the log says, how it counts.

use std::error::Error as _;
use std::io;

use gateway_model::address::NotPublic;
use tokio_rustls::rustls;
use wasmtime_wasi_http::Error as WasiError;

use super::HEAD_BYTES;
use super::OriginError;

/// Why there is no response, or no more of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// A trial call.
    #[error("a trial call has no network")]
    NoNetwork,
    /// More than the call may make.
    #[error("a call may make {0} requests, and this is one more; the call's further ones are not logged")]
    TooMany(usize),
    /// It does not say where to.
    #[error("it does not say where to: {0}")]
    Origin(#[from] OriginError),
    /// The allow-list does not have the origin.
    #[error("the origin is not in the plugin's `http.allow`")]
    NotAllowed,
    /// A method that makes a tunnel of the connection, or a very long one.
    #[error("the method is not possible")]
    Method,
    /// What should be a path is none.
    #[error("its path is none")]
    Path,
    /// The path and query are too long.
    #[error("the path has {0} bytes")]
    PathTooLong(usize),
    /// A `Host` of its own.
    #[error("its Host is not the origin's")]
    Host,
    /// The head is too large.
    #[error("its headers have {0} bytes")]
    HeadersTooLarge(usize),
    /// The body is too large.
    #[error("its body has more than {0} bytes")]
    BodyTooLarge(usize),
    /// The name has no address, or nobody says.
    #[error("the name cannot be resolved: {0}")]
    Unresolved(String),
    /// As many of the plugin's look-ups as it may have are without an answer.
    #[error("too many names that the plugin wants to reach are being looked up, without an answer so far")]
    TooManyLookUps,
    /// The plugin has as many connections as it may have.
    #[error("the plugin has too many connections at once")]
    TooManyConnections,
    /// The name resolves to an address that guests may not reach.
    #[error("the name resolves to {}, which is {}: {}", .0.address, .0.is, advice(.0.is_private))]
    Address(NotPublic),
    /// Nobody answers.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The server is not who it should be.
    #[error("the certificate is refused: {0}")]
    Certificate(String),
    /// There are no certificates to compare with, or no common version.
    #[error("TLS fails: {0}")]
    Tls(String),
    /// It takes too long.
    #[error("it takes too long: {0}")]
    Timeout(Phase),
    /// The response's head is too large.
    #[error("the response's head has more than {HEAD_BYTES} bytes, or too many headers")]
    HeadTooLarge,
    /// The response's body is too large.
    #[error("the response's body has more than {0} bytes")]
    ResponseTooLarge(usize),
    /// The connection ends before the response does.
    #[error("the connection ends before the response does")]
    Incomplete,
    /// The connection ends before there is a response.
    #[error("the connection ends without a response")]
    Terminated,
    /// The guest has not finished what it began to send.
    #[error("the plugin did not finish its body")]
    Unfinished,
    /// What comes is no response of HTTP/1.1.
    #[error("what comes is no HTTP/1.1 response: {0}")]
    Protocol(String),
}

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Resolve,
    Connect,
    Head,
    /// Nothing came for as long as the guest wanted to wait.
    Silence,
    /// The whole exchange is over its time.
    Body,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Resolve => "the name is not resolved",
            Self::Connect => "there is no connection",
            Self::Head => "there is no response",
            Self::Silence => "nothing comes",
            Self::Body => "the response does not end",
        })
    }
}

/// What an operator could do about an address.
const fn advice(private: bool) -> &'static str {
    if private {
        "`http.allow_private` would allow it"
    } else {
        "no name may"
    }
}

/// How a request ended, for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There was a response, whatever its status.
    Ok,
    /// It was refused before a connection was made.
    Denied,
    /// No connection, or no response of HTTP/1.1.
    Failed,
    Timeout,
    /// The request or the response.
    TooLarge,
    /// The guest, or its call, ended before there was a response.
    Cancelled,
}

impl Outcome {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Cancelled => "cancelled",
        }
    }
}

impl RequestError {
    /// Sorts an error of hyper's: `before` where there is no head yet.
    pub(super) fn from_hyper(error: &hyper::Error, before: bool, max_body: usize) -> Self {
        // The request's body is ours, and says what is wrong with it in the terms of WASI.
        match error
            .source()
            .and_then(|source| source.downcast_ref::<WasiError>())
        {
            Some(WasiError::HttpRequestBodySize(_)) => return Self::BodyTooLarge(max_body),
            Some(_) => return Self::Unfinished,
            None => {}
        }
        if error.is_parse_too_large() {
            Self::HeadTooLarge
        } else if error.is_parse() {
            Self::Protocol(error.to_string())
        } else if error.is_user() {
            Self::Unfinished
        } else if before {
            Self::Terminated
        } else {
            Self::Incomplete
        }
    }

    /// Sorts an error of a TLS handshake.
    pub(super) fn from_tls(error: &io::Error) -> Self {
        let cause = error
            .get_ref()
            .and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::InvalidCertificate(reason)) => Self::Certificate(reason.to_string()),
            Some(cause) => Self::Tls(cause.to_string()),
            None => Self::Tls(error.to_string()),
        }
    }

    /// How it counts.
    pub(super) const fn outcome(&self) -> Outcome {
        match self {
            Self::NoNetwork
            | Self::TooMany(_)
            | Self::Origin(_)
            | Self::NotAllowed
            | Self::Method
            | Self::Path
            | Self::PathTooLong(_)
            | Self::Host
            | Self::Address(_) => Outcome::Denied,
            Self::HeadersTooLarge(_)
            | Self::BodyTooLarge(_)
            | Self::HeadTooLarge
            | Self::ResponseTooLarge(_) => Outcome::TooLarge,
            Self::Timeout(_) => Outcome::Timeout,
            Self::Unresolved(_)
            | Self::TooManyLookUps
            | Self::TooManyConnections
            | Self::Connect(_)
            | Self::Certificate(_)
            | Self::Tls(_)
            | Self::Incomplete
            | Self::Terminated
            | Self::Unfinished
            | Self::Protocol(_) => Outcome::Failed,
        }
    }
}

/// What the guest is told: the code of `wasi:http/types`, and none of the words, which may say more about
/// the gateway's network than a guest needs to know.
impl From<&RequestError> for WasiError {
    fn from(error: &RequestError) -> Self {
        let size = |bytes: usize| u32::try_from(bytes).ok();
        let body = |bytes: usize| u64::try_from(bytes).ok();
        match error {
            RequestError::NoNetwork
            | RequestError::TooMany(_)
            | RequestError::NotAllowed
            | RequestError::Host => Self::HttpRequestDenied,
            RequestError::Origin(_) | RequestError::Path => Self::HttpRequestUriInvalid,
            RequestError::Method => Self::HttpRequestMethodInvalid,
            RequestError::PathTooLong(_) => Self::HttpRequestUriTooLong,
            RequestError::HeadersTooLarge(bytes) => Self::HttpRequestHeaderSectionSize(size(*bytes)),
            RequestError::BodyTooLarge(bytes) => Self::HttpRequestBodySize(body(*bytes)),
            RequestError::Unresolved(_) => Self::DnsError {
                rcode: None,
                info_code: None,
            },
            RequestError::TooManyLookUps => Self::DnsTimeout,
            RequestError::TooManyConnections => Self::ConnectionLimitReached,
            RequestError::Address(_) => Self::DestinationIpProhibited,
            RequestError::Connect(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => Self::ConnectionRefused,
                io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                    Self::DestinationIpUnroutable
                }
                _ => Self::DestinationUnavailable,
            },
            RequestError::Certificate(_) => Self::TlsCertificateError,
            RequestError::Tls(_) => Self::TlsProtocolError,
            RequestError::Timeout(Phase::Resolve) => Self::DnsTimeout,
            RequestError::Timeout(Phase::Connect) => Self::ConnectionTimeout,
            RequestError::Timeout(Phase::Head | Phase::Silence) => Self::ConnectionReadTimeout,
            RequestError::Timeout(Phase::Body) => Self::HttpResponseTimeout,
            RequestError::HeadTooLarge => Self::HttpResponseHeaderSectionSize(size(HEAD_BYTES)),
            RequestError::ResponseTooLarge(bytes) => Self::HttpResponseBodySize(body(*bytes)),
            RequestError::Incomplete => Self::HttpResponseIncomplete,
            RequestError::Terminated => Self::ConnectionTerminated,
            RequestError::Unfinished | RequestError::Protocol(_) => Self::HttpProtocolError,
        }
    }
}
