//! Pages of other origins (Fetch standard, section 3.2): those that were configured may call, with
//! credentials; others get an answer that their browser keeps from them.

use hyper::Response;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, HeaderValue, VARY,
};
use url::{Origin, Url};

const HEADERS: HeaderValue = HeaderValue::from_static("authorization, auth-token, content-type");
/// What a page may keep a preflight for, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Lets the page of this `Origin` read the answer, if it may. `Vary` always: the answer depends on it.
pub fn apply<B>(origin: Option<&HeaderValue>, origins: &[Origin], own: &Origin, response: &mut Response<B>) {
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin.filter(|origin| is_allowed(origin, origins, own)) else {
        return;
    };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
}

/// Says what a page of this `Origin` may send, if it may send anything.
pub fn preflight<B>(
    origin: Option<&HeaderValue>,
    origins: &[Origin],
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

fn is_allowed(origin: &HeaderValue, origins: &[Origin], own: &Origin) -> bool {
    let Some(text) = origin.to_str().ok().filter(|text| *text != "null") else {
        return false;
    };
    let Ok(url) = Url::parse(text) else { return false };
    let origin = url.origin();
    // A browser writes an origin in one way only.
    origin.ascii_serialization() == text && (origin == *own || origins.contains(&origin))
}

#[cfg(test)]
mod tests {
    use hyper::Response;
    use url::Url;

    use super::apply;

    #[test]
    fn answers_configured_origins_only() {
        let origins = [Url::parse("https://app.example.org").unwrap().origin()];
        let own = Url::parse("https://auth.example.org").unwrap().origin();
        let allowed = |origin: &str| {
            let mut response = Response::new(());
            apply(Some(&origin.parse().unwrap()), &origins, &own, &mut response);
            assert_eq!(response.headers()["vary"], "Origin");
            response.headers().contains_key("access-control-allow-origin")
        };
        assert!(allowed("https://app.example.org") && allowed("https://auth.example.org"));
        for other in [
            "null",
            "http://app.example.org",
            "https://app.example.org:8443",
            "https://app.example.org.e.example",
            "https://APP.example.org",
            "https://app.example.org/",
            "*",
            "",
            "https://e.example",
        ] {
            assert!(!allowed(other), "{other}");
        }
    }
}
