//! The errors of guests' requests: their text for the log, their code for the guest, and their outcome in metrics.

use std::error::Error as _;
use std::io;

use gateway_model::address::NotPublic;
use tokio_rustls::rustls;
use wasmtime_wasi_http::Error as WasiError;

use super::{HEAD_BYTES, MAX_HEADERS, MAX_PATH, MAX_REQUEST_HEADERS, OriginError};

/// Why a request fails, or the rest of its response.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("a trial call has no network")]
    NoNetwork,
    #[error("a call may make {0} requests; the gateway denies this one, and further ones without a log line")]
    TooMany(usize),
    #[error("the URL is not valid: {0}")]
    Origin(#[from] OriginError),
    #[error("the origin is not in the plugin's `http.allow`")]
    NotAllowed,
    /// `CONNECT`, or a very long method.
    #[error("the method is not allowed")]
    Method,
    #[error("the path is not valid")]
    Path,
    #[error("the path has {0} bytes, {MAX_PATH} are allowed")]
    PathTooLong(usize),
    #[error("the Host header is not the origin's")]
    Host,
    #[error("the request headers have {0} bytes, {MAX_REQUEST_HEADERS} are allowed")]
    HeadersTooLarge(usize),
    #[error("the request body has more than {0} bytes")]
    BodyTooLarge(usize),
    #[error("cannot resolve the name: {0}")]
    Unresolved(String),
    #[error("too many name look-ups of the plugin are unanswered")]
    TooManyLookUps,
    #[error("the plugin has too many open connections")]
    TooManyConnections,
    #[error("the name resolves to {}, which is {}: {}", .0.address, .0.is, advice(.0.is_private))]
    Address(NotPublic),
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("the certificate was rejected: {0}")]
    Certificate(String),
    /// The handshake failed, or the machine has no certificates to compare with.
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("timeout: {0}")]
    Timeout(Phase),
    #[error("the response head has more than {HEAD_BYTES} bytes, or more than {MAX_HEADERS} headers")]
    HeadTooLarge,
    #[error("the response body has more than {0} bytes")]
    ResponseTooLarge(usize),
    #[error("the connection closed before the end of the response")]
    Incomplete,
    #[error("the connection closed before the response")]
    Terminated,
    #[error("the plugin did not finish its request body")]
    Unfinished,
    #[error("the response is not HTTP/1.1: {0}")]
    Protocol(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Resolve,
    Connect,
    Head,
    /// The server was silent for longer than the guest allows.
    Silence,
    /// The exchange took too long in total.
    Body,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Resolve => "the name was not resolved",
            Self::Connect => "no connection",
            Self::Head => "no response",
            Self::Silence => "the server stopped sending",
            Self::Body => "the response did not end",
        })
    }
}

/// How an operator can allow an address.
const fn advice(private: bool) -> &'static str {
    if private {
        "`http.allow_private` would allow it"
    } else {
        "it cannot be allowed"
    }
}

/// How a request ended, for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A response, whatever its status.
    Ok,
    /// Refused before a connection was made.
    Denied,
    Failed,
    Timeout,
    TooLarge,
    /// The call ended before the response.
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
    /// Classifies an error of hyper. `before` is true until the response head has arrived.
    pub(super) fn from_hyper(error: &hyper::Error, before: bool, max_body: usize) -> Self {
        // Our own request body reports errors as WASI errors.
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

/// The code of `wasi:http/types` for the guest, without the text, which may reveal details of the gateway's network.
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
