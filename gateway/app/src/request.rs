//! Strict parsing of requests: parameters must be text, a body must be a form or a JSON object, and both are bounded.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::BufMut as _;
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::response::{self, Response};

/// The longest target, in bytes: a `next` of 4 KiB, percent-encoded, a token, and some reserve.
const MAX_TARGET: usize = 16 << 10;
/// Far more parameters than any endpoint has.
const MAX_PARAMETERS: usize = 64;

/// A request with its parameters parsed.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) peer: IpAddr,
    query: Parameters,
    body: Parameters,
}

type Parameters = Vec<(String, Parameter)>;

#[derive(Debug, PartialEq, Eq)]
enum Parameter {
    Text(String),
    /// Not a string, in JSON. An error only if an endpoint has a parameter with this name.
    NotText,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    #[error("The address is too long")]
    TargetTooLong,
    /// A parameter is not UTF-8, or there are too many.
    #[error("The parameters cannot be read")]
    Parameters,
    #[error("The parameter \"{0}\" may occur only once")]
    Repeated(&'static str),
    #[error("The parameter \"errors\" must be next or page")]
    Errors,
    #[error("The parameter \"{0}\" must be a string")]
    NotText(&'static str),
    #[error("A body must be application/json or application/x-www-form-urlencoded")]
    ContentType,
    #[error("The body must be a JSON object without duplicate members")]
    Json,
    #[error("The body is too large")]
    BodyTooLarge,
    #[error("The body took too long to arrive")]
    BodyTooSlow,
    /// The body ended early, or its framing is invalid (RFC 9112 section 6).
    #[error("The body cannot be read")]
    Body,
}

impl BadRequest {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Parameters
            | Self::Repeated(_)
            | Self::Errors
            | Self::NotText(_)
            | Self::Json
            | Self::Body => StatusCode::BAD_REQUEST,
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
    /// Parses the parameters in the target and, for a `POST`, in the body.
    pub(crate) async fn read<B>(
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
        let body = if head.method == Method::POST && !body.is_end_stream() {
            let body = parameters(&head.headers, body, max_body);
            timeout(body_timeout, body)
                .await
                .map_err(|_| BadRequest::BodyTooSlow)??
        } else {
            Vec::new()
        };
        Ok(Self {
            method: head.method,
            headers: head.headers,
            peer,
            query,
            body,
        })
    }

    /// A parameter of the query, otherwise of the body.
    pub(crate) fn parameter(&self, name: &'static str) -> Result<Option<&str>, BadRequest> {
        Ok(only(&self.query, name)?.or(only(&self.body, name)?))
    }

    pub(crate) fn body_parameter(&self, name: &'static str) -> Result<Option<&str>, BadRequest> {
        only(&self.body, name)
    }
}

fn only<'a>(parameters: &'a Parameters, name: &'static str) -> Result<Option<&'a str>, BadRequest> {
    let mut values = parameters
        .iter()
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value);
    match (values.next(), values.next()) {
        (None, None) => Ok(None),
        (Some(Parameter::Text(text)), None) => Ok(Some(text)),
        (Some(Parameter::NotText), None) => Err(BadRequest::NotText(name)),
        (_, Some(_)) => Err(BadRequest::Repeated(name)),
    }
}

async fn parameters<B>(headers: &HeaderMap, body: B, max_body: usize) -> Result<Parameters, BadRequest>
where
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let mut body = pin!(Limited::new(body, max_body));
    // Each frame is copied: keeping the frames of a body in tiny chunks (RFC 9112 section 7.1) would take many times
    // its size.
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
    // A page of another origin can send forms and plain text without a preflight, but not JSON (Fetch standard, section
    // 4.8). So text that merely looks like JSON is not parsed as JSON.
    if essence.eq_ignore_ascii_case("application/json") {
        let Members(members) = serde_json::from_slice(&bytes).map_err(|_| BadRequest::Json)?;
        return Ok(members);
    }
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(BadRequest::ContentType);
    }
    parse(std::str::from_utf8(&bytes).map_err(|_| BadRequest::Parameters)?)
}

/// The application/x-www-form-urlencoded format of the WHATWG URL standard, except that invalid UTF-8 is an error
/// rather than U+FFFD.
fn parse(text: &str) -> Result<Parameters, BadRequest> {
    let mut parameters = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        if parameters.len() == MAX_PARAMETERS {
            return Err(BadRequest::Parameters);
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        parameters.push((decode(name)?, Parameter::Text(decode(value)?)));
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

/// The members of a JSON object. A null counts as missing, because a form cannot express it.
struct Members(Parameters);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Members, A::Error> {
        let (mut members, mut names) = (Vec::new(), BTreeSet::new());
        while let Some(name) = object.next_key::<String>()? {
            if names.len() == MAX_PARAMETERS || !names.insert(name.clone()) {
                return Err(de::Error::custom("too many members, or one of them twice"));
            }
            // Only strings are kept: a list would take many times its size in the body.
            let value = match object.next_value::<&RawValue>()?.get() {
                "null" => continue,
                text if text.starts_with('"') => {
                    Parameter::Text(serde_json::from_str(text).map_err(de::Error::custom)?)
                }
                _ => Parameter::NotText,
            };
            members.push((name, value));
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::{BadRequest, MAX_PARAMETERS, Members, only, parse};

    fn json(text: &str) -> Option<Vec<(String, super::Parameter)>> {
        let Members(members) = serde_json::from_slice(text.as_bytes()).ok()?;
        Some(members)
    }

    #[test]
    fn json_objects_are_parameters() {
        let object =
            json(r#"{"a": "1 \u00e9", "b": null, "c": 7, "n": -7, "f": 1.5e300, "t": true, "l": [[1], {}, "x"], "d": {"a": [], "a": "2"}, "e": ""}"#).unwrap();
        assert_eq!(only(&object, "a"), Ok(Some("1 é")));
        assert_eq!(only(&object, "b"), Ok(None));
        for other in ["c", "n", "f", "t", "l", "d"] {
            assert_eq!(only(&object, other), Err(BadRequest::NotText(other)));
        }
        assert_eq!(only(&object, "e"), Ok(Some("")));
        assert_eq!(only(&object, "missing"), Ok(None));
        assert_eq!(json("{}"), Some(Vec::new()));
        // Ignored values are skipped without recursion.
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(30_000), "]".repeat(30_000));
        assert_eq!(only(&json(&deep).unwrap(), "a"), Err(BadRequest::NotText("a")));
    }

    #[test]
    fn anything_but_one_json_object_is_rejected() {
        for text in [
            "",
            "null",
            "[]",
            "\"username\"",
            "{",
            "{} {}",
            "{'a': 1}",
            "\u{feff}{}",
            r#"{"a": "\ud800"}"#,
            r#"{"a": "1", "a": "1"}"#,
            r#"{"a": 1, "a": 1}"#,
            r#"{"a": 1, "\u0061": 1}"#,
            "username=neo",
        ] {
            assert_eq!(json(text), None, "{text}");
        }
        assert!(serde_json::from_slice::<Members>(b"{\"a\": \"\xff\"}").is_err());
        let many = |count: usize| {
            let members: Vec<String> = (0..count).map(|n| format!("\"{n}\": 1")).collect();
            json(&format!("{{{}}}", members.join(",")))
        };
        assert!(many(MAX_PARAMETERS).is_some());
        assert!(many(MAX_PARAMETERS + 1).is_none());
    }

    #[test]
    fn forms_of_browsers_are_parsed() {
        let parameters = parse("a=1&b=x+y%20z&&c&d=%C3%A9").unwrap();
        let get = |name| only(&parameters, name).unwrap();
        assert_eq!(
            (get("a"), get("b"), get("c"), get("d")),
            (Some("1"), Some("x y z"), Some(""), Some("é"))
        );
        assert_eq!(get("e"), None);
    }

    #[test]
    fn invalid_utf8_is_rejected() {
        assert_eq!(parse("a=%FF"), Err(BadRequest::Parameters));
        assert_eq!(parse("a=%C3"), Err(BadRequest::Parameters));
    }

    #[test]
    fn repeated_and_too_many_parameters_are_rejected() {
        assert_eq!(
            only(&parse("a=1&a=1").unwrap(), "a"),
            Err(BadRequest::Repeated("a"))
        );
        assert_eq!(parse(&"a&".repeat(65)), Err(BadRequest::Parameters));
    }
}
