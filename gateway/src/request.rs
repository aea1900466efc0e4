//! Requests, read strictly: parameters that are text, a body that is a form, neither larger than
//! they may be.

use std::borrow::Cow;
use std::error::Error;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::BufMut as _;
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;

use crate::response::{self, Response};

/// The longest target: a `next` of 4 KiB, percent-encoded, a token, and something to spare.
const MAX_TARGET: usize = 16 << 10;
/// Far more parameters than any endpoint has.
const MAX_PARAMETERS: usize = 64;

/// A request whose parameters have been read.
#[derive(Debug)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its target.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// The address of the connection that it came by.
    pub peer: IpAddr,
    query: Parameters,
    form: Parameters,
}

type Parameters = Vec<(String, String)>;

/// A request that cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// The target is too long.
    #[error("The address is too long")]
    TargetTooLong,
    /// A parameter is not UTF-8, or there are too many.
    #[error("The parameters cannot be read")]
    Parameters,
    /// A parameter that may come once came twice.
    #[error("The parameter \"{0}\" may come only once")]
    Repeated(&'static str),
    /// `errors` is something else than `next` or `page`.
    #[error("The parameter \"errors\" must be next or page")]
    Errors,
    /// The body is no form.
    #[error("A body must be application/x-www-form-urlencoded")]
    ContentType,
    /// The body is larger than it may be.
    #[error("The body is too large")]
    BodyTooLarge,
    /// The body did not arrive in time.
    #[error("The body took too long")]
    BodyTooSlow,
    /// The body ended early, or is not framed as RFC 9112 section 6 has it.
    #[error("The body cannot be read")]
    Body,
}

impl BadRequest {
    /// Its status code.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Parameters | Self::Repeated(_) | Self::Errors | Self::Body => StatusCode::BAD_REQUEST,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

impl From<BadRequest> for Response {
    fn from(bad: BadRequest) -> Self {
        response::error(bad.status(), &bad.to_string())
    }
}

impl Request {
    /// Reads the parameters in the target and, of a `POST`, the form in the body.
    ///
    /// # Errors
    /// What is wrong with either.
    pub async fn read<B>(
        request: hyper::Request<B>,
        peer: IpAddr,
        max_body: usize,
        body_timeout: Duration,
    ) -> Result<Self, BadRequest>
    where
        B: Body<Error: Into<Box<dyn Error + Send + Sync>>>,
    {
        let (head, body) = request.into_parts();
        let target = head
            .uri
            .path_and_query()
            .map_or(0, |target| target.as_str().len());
        if target > MAX_TARGET {
            return Err(BadRequest::TargetTooLong);
        }
        let query = parse(head.uri.query().unwrap_or_default())?;
        let form = if head.method == Method::POST && !body.is_end_stream() {
            let form = form(&head.headers, body, max_body);
            timeout(body_timeout, form)
                .await
                .map_err(|_| BadRequest::BodyTooSlow)??
        } else {
            Vec::new()
        };
        Ok(Self {
            method: head.method,
            uri: head.uri,
            headers: head.headers,
            peer,
            query,
            form,
        })
    }

    /// A parameter of the query or, where it is not there, of the form.
    ///
    /// # Errors
    /// When it comes twice.
    pub fn parameter(&self, name: &'static str) -> Result<Option<&str>, BadRequest> {
        Ok(only(&self.query, name)?.or(only(&self.form, name)?))
    }

    /// A parameter of the form.
    ///
    /// # Errors
    /// When it comes twice.
    pub fn form_parameter(&self, name: &'static str) -> Result<Option<&str>, BadRequest> {
        only(&self.form, name)
    }
}

fn only<'a>(parameters: &'a Parameters, name: &'static str) -> Result<Option<&'a str>, BadRequest> {
    let mut values = parameters
        .iter()
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value.as_str());
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => Err(BadRequest::Repeated(name)),
    }
}

async fn form<B>(headers: &HeaderMap, body: B, max_body: usize) -> Result<Parameters, BadRequest>
where
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let mut body = pin!(Limited::new(body, max_body));
    // Copied as it comes: a body of tiny chunks (RFC 9112 section 7.1) would cost many times its size if each was kept.
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                BadRequest::BodyTooLarge
            } else {
                BadRequest::Body
            }
        })?;
        if let Ok(data) = frame.into_data() {
            bytes.put(data);
        }
    }
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let essence = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = essence.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(BadRequest::ContentType);
    }
    parse(std::str::from_utf8(&bytes).map_err(|_| BadRequest::Parameters)?)
}

/// The application/x-www-form-urlencoded format of the WHATWG URL standard, but strict: what is not
/// UTF-8 is an error where the standard has U+FFFD.
fn parse(text: &str) -> Result<Parameters, BadRequest> {
    let mut parameters = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        if parameters.len() == MAX_PARAMETERS {
            return Err(BadRequest::Parameters);
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        parameters.push((decode(name)?, decode(value)?));
    }
    Ok(parameters)
}

fn decode(text: &str) -> Result<String, BadRequest> {
    let spaced = if text.contains('+') {
        Cow::from(text.replace('+', " "))
    } else {
        Cow::from(text)
    };
    percent_decode_str(&spaced)
        .decode_utf8()
        .map(Cow::into_owned)
        .map_err(|_| BadRequest::Parameters)
}

#[cfg(test)]
mod tests {
    use super::{BadRequest, only, parse};

    #[test]
    fn reads_what_browsers_send() {
        let parameters = parse("a=1&b=x+y%20z&&c&d=%C3%A9").unwrap();
        let get = |name| only(&parameters, name).unwrap();
        assert_eq!(
            (get("a"), get("b"), get("c"), get("d")),
            (Some("1"), Some("x y z"), Some(""), Some("é"))
        );
        assert_eq!(get("e"), None);
    }

    #[test]
    fn refuses_what_is_not_text() {
        assert_eq!(parse("a=%FF"), Err(BadRequest::Parameters));
        assert_eq!(parse("a=%C3"), Err(BadRequest::Parameters));
    }

    #[test]
    fn refuses_repetition_and_floods() {
        assert_eq!(
            only(&parse("a=1&a=1").unwrap(), "a"),
            Err(BadRequest::Repeated("a"))
        );
        assert_eq!(parse(&"a&".repeat(65)), Err(BadRequest::Parameters));
    }
}
