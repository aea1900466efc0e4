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

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Phase {
    #[error("the name was not resolved")]
    Resolve,
    #[error("no connection")]
    Connect,
    #[error("no response")]
    Head,
    /// The server was silent for longer than the guest allows.
    #[error("the server stopped sending")]
    Silence,
    /// The exchange took too long in total.
    #[error("the response did not end")]
    Body,
}

/// How an operator can allow an address.
const fn advice(private: bool) -> &'static str {
    if private {
        "`http.allow_private` would allow it"
    } else {
        "it cannot be allowed"
    }
}

gateway_model::named_enum! {
    /// How a request ended, for the metrics.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Outcome {
        /// A response, whatever its status.
        Ok = "ok",
        /// Refused before a connection was made.
        Denied = "denied",
        Failed = "failed",
        Timeout = "timeout",
        TooLarge = "too_large",
        /// The call ended before the response.
        Cancelled = "cancelled",
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

    /// The outcome for the metrics, and the code of `wasi:http/types` for the guest, without the text, which may reveal
    /// details of the gateway's network.
    pub(super) fn classify(&self) -> (Outcome, WasiError) {
        use Outcome::{Denied, Failed, TooLarge};
        let size = |bytes: usize| u32::try_from(bytes).ok();
        let body = |bytes: usize| u64::try_from(bytes).ok();
        match self {
            Self::NoNetwork | Self::TooMany(_) | Self::NotAllowed | Self::Host => {
                (Denied, WasiError::HttpRequestDenied)
            }
            Self::Origin(_) | Self::Path => (Denied, WasiError::HttpRequestUriInvalid),
            Self::Method => (Denied, WasiError::HttpRequestMethodInvalid),
            Self::PathTooLong(_) => (Denied, WasiError::HttpRequestUriTooLong),
            Self::Address(_) => (Denied, WasiError::DestinationIpProhibited),
            Self::HeadersTooLarge(bytes) => (TooLarge, WasiError::HttpRequestHeaderSectionSize(size(*bytes))),
            Self::BodyTooLarge(bytes) => (TooLarge, WasiError::HttpRequestBodySize(body(*bytes))),
            Self::HeadTooLarge => (
                TooLarge,
                WasiError::HttpResponseHeaderSectionSize(size(HEAD_BYTES)),
            ),
            Self::ResponseTooLarge(bytes) => (TooLarge, WasiError::HttpResponseBodySize(body(*bytes))),
            Self::Timeout(phase) => {
                let code = match phase {
                    Phase::Resolve => WasiError::DnsTimeout,
                    Phase::Connect => WasiError::ConnectionTimeout,
                    Phase::Head | Phase::Silence => WasiError::ConnectionReadTimeout,
                    Phase::Body => WasiError::HttpResponseTimeout,
                };
                (Outcome::Timeout, code)
            }
            Self::Unresolved(_) => {
                let (rcode, info_code) = (None, None);
                (Failed, WasiError::DnsError { rcode, info_code })
            }
            Self::TooManyLookUps => (Failed, WasiError::DnsTimeout),
            Self::TooManyConnections => (Failed, WasiError::ConnectionLimitReached),
            Self::Connect(error) => {
                let code = match error.kind() {
                    io::ErrorKind::ConnectionRefused => WasiError::ConnectionRefused,
                    io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                        WasiError::DestinationIpUnroutable
                    }
                    _ => WasiError::DestinationUnavailable,
                };
                (Failed, code)
            }
            Self::Certificate(_) => (Failed, WasiError::TlsCertificateError),
            Self::Tls(_) => (Failed, WasiError::TlsProtocolError),
            Self::Incomplete => (Failed, WasiError::HttpResponseIncomplete),
            Self::Terminated => (Failed, WasiError::ConnectionTerminated),
            Self::Unfinished | Self::Protocol(_) => (Failed, WasiError::HttpProtocolError),
        }
    }
}
