//! CORS (Fetch standard, section 3.2). Pages of configured origins may call with credentials. For all others, the
//! browser withholds the response.

use hyper::Response;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderValue, VARY,
};
use url::{Origin, Url};

use crate::origins::Origins;

/// The headers that a page may send: a token, a form's type, a trace (W3C Trace Context).
const HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, auth-token, content-type, traceparent, tracestate");
/// The headers that a page may read, beyond the ones that the Fetch standard allows.
const EXPOSED: HeaderValue = HeaderValue::from_static("Retry-After, X-Request-Id");
/// How long a browser may cache a preflight, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Lets a page of this `Origin` read the response if the origin is configured. Always sets `Vary`, because the response
/// depends on the origin.
pub(crate) fn apply<B>(
    origin: Option<&HeaderValue>,
    origins: &Origins,
    own: &Origin,
    response: &mut Response<B>,
) {
    let headers = response.headers_mut();
    // defence: responses-vary-by-origin (a test fails without it: docs/defences.md)
    headers.append(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin.filter(|origin| is_allowed(origin, origins, own)) else {
        return;
    };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}

pub(crate) fn preflight<B>(
    origin: Option<&HeaderValue>,
    origins: &Origins,
    own: &Origin,
    allow: &'static str,
    response: &mut Response<B>,
) {
    if origin.is_some_and(|origin| is_allowed(origin, origins, own)) {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(allow));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    }
}

pub(crate) fn is_allowed(origin: &HeaderValue, origins: &Origins, own: &Origin) -> bool {
    let Some(text) = origin.to_str().ok().filter(|text| *text != "null") else {
        return false;
    };
    let Ok(url) = Url::parse(text) else { return false };
    let origin = url.origin();
    // Browsers serialize an origin in exactly one way.
    origin.ascii_serialization() == text && (origin == *own || origins.contains(&origin))
}

#[cfg(test)]
mod tests {
    use hyper::Response;
    use hyper::header::HeaderMap;
    use url::Url;

    use super::{apply, preflight};
    use crate::origins::Origins;

    /// The headers of a response to a page of this origin, and of a response to its preflight.
    fn answers(origin: Option<&str>) -> [HeaderMap; 2] {
        let origins = Origins::from(vec![Url::parse("https://app.example.org").unwrap().origin()]);
        let own = Url::parse("https://auth.example.org").unwrap().origin();
        let origin = origin.map(|origin| origin.parse().unwrap());
        let (mut plain, mut asked) = (Response::new(()), Response::new(()));
        preflight(origin.as_ref(), &origins, &own, "GET, HEAD, OPTIONS", &mut asked);
        for answer in [&mut plain, &mut asked] {
            apply(origin.as_ref(), &origins, &own, answer);
        }
        [plain.into_parts().0.headers, asked.into_parts().0.headers]
    }

    #[test]
    fn b7_configured_origins_may_call_and_read_when_to_ask_again() {
        for origin in ["https://app.example.org", "https://auth.example.org"] {
            let [plain, asked] = answers(Some(origin));
            for headers in [&plain, &asked] {
                assert_eq!(headers["access-control-allow-origin"], origin);
                assert_eq!(headers["access-control-allow-credentials"], "true");
                assert_eq!(
                    headers["access-control-expose-headers"],
                    "Retry-After, X-Request-Id"
                );
                assert_eq!(headers["vary"], "Origin");
            }
            assert!(!plain.contains_key("access-control-allow-methods"));
            assert_eq!(asked["access-control-allow-methods"], "GET, HEAD, OPTIONS");
            let headers = &asked["access-control-allow-headers"];
            assert_eq!(
                headers,
                "authorization, auth-token, content-type, traceparent, tracestate"
            );
            assert!(asked.contains_key("access-control-max-age"));
        }
    }

    #[test]
    fn other_origins_get_no_cors_headers() {
        for other in [
            Some("null"),
            Some("http://app.example.org"),
            Some("https://app.example.org:8443"),
            Some("https://app.example.org:443"),
            Some("https://app.example.org.e.example"),
            Some("https://APP.example.org"),
            Some("https://app.example.org/"),
            Some("https://app.example.org https://e.example"),
            Some("blob:https://app.example.org/x"),
            Some("*"),
            Some(""),
            Some("https://e.example"),
            None,
        ] {
            for headers in answers(other) {
                assert_eq!(headers["vary"], "Origin");
                assert_eq!(headers.len(), 1, "{other:?}: {headers:?}");
            }
        }
    }
}
