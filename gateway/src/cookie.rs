//! The cookies that bind a sign-in to the browser it began in (RFC 6265): one for each `state`, so that
//! tabs don't disturb each other.

use cookie::{Cookie, SameSite};
use hyper::HeaderMap;
use hyper::header::{COOKIE, HeaderValue};
use sha2::{Digest, Sha256};

/// As long as a sign-in may take, in seconds.
const MAX_AGE: i64 = 600;
/// What browsers keep of a cookie at least, name and value together, in bytes (RFC 6265bis section 5.7);
/// larger ones they drop without a word.
const LARGEST: usize = 4096;
/// Most sign-ins that one browser may have begun.
const MOST: usize = 8;

/// The prefix that makes browsers insist on Secure, Path=/ and no Domain (RFC 6265bis section 4.1.3.2).
/// They would not take it over plain http, which only loopback has.
const fn prefix(secure: bool) -> &'static str {
    if secure { "__Host-auth-" } else { "auth-" }
}

/// The name of the cookie that belongs to a `state`.
#[must_use]
pub fn name(state: &str, secure: bool) -> String {
    let digest = Sha256::digest(state.as_bytes());
    format!(
        "{}{}",
        prefix(secure),
        hex::encode(digest.get(..8).unwrap_or(&digest))
    )
}

/// Whether browsers will keep it. Where they would not, the sign-in could not end, and must not begin.
#[must_use]
pub const fn fits(name: &str, value: &str) -> bool {
    name.len() + value.len() <= LARGEST
}

/// `Set-Cookie` for ten minutes.
#[must_use]
pub fn set(name: &str, value: &str, secure: bool) -> HeaderValue {
    header(name, value, MAX_AGE, secure)
}

/// `Set-Cookie` that makes the browser forget it.
#[must_use]
pub fn clear(name: &str, secure: bool) -> HeaderValue {
    header(name, "", 0, secure)
}

fn header(name: &str, value: &str, max_age: i64, secure: bool) -> HeaderValue {
    let cookie = Cookie::build((name, value))
        .path("/")
        .http_only(true)
        .secure(secure)
        .same_site(SameSite::Lax)
        .max_age(cookie::time::Duration::seconds(max_age))
        .build();
    // Names are hex and values base64url: both are header text.
    HeaderValue::from_str(&cookie.to_string()).unwrap_or(HeaderValue::from_static(""))
}

fn all(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}

/// The value of a cookie that the browser sent. Where there are two of the name, neither counts.
#[must_use]
pub fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = all(headers)
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

/// The names of those that are too many, once one more is set. A cookie does not say how old it is, but
/// browsers send the oldest first (RFC 6265 section 5.4).
#[must_use]
pub fn surplus(headers: &HeaderMap, secure: bool) -> Vec<String> {
    let is_ours = |name: &&str| {
        let digits = name.strip_prefix(prefix(secure));
        digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let ours: Vec<&str> = all(headers).map(|(name, _)| name).filter(is_ours).collect();
    let surplus = (ours.len() + 1).saturating_sub(MOST);
    ours.into_iter().take(surplus).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use hyper::header::COOKIE;

    use super::{clear, find, fits, name, set, surplus};

    fn sent(line: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, line.parse().unwrap())])
    }

    #[test]
    fn is_bound_to_the_host_where_that_can_be() {
        let secure = set(&name("s", true), "v", true);
        let secure = secure.to_str().unwrap();
        assert!(secure.starts_with("__Host-auth-"), "{secure}");
        for attribute in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/", "Max-Age=600"] {
            assert!(secure.contains(attribute), "{secure} lacks {attribute}");
        }
        let plain = clear(&name("s", false), false);
        let plain = plain.to_str().unwrap();
        assert!(
            plain.starts_with("auth-") && plain.contains("Max-Age=0") && !plain.contains("Secure"),
            "{plain}"
        );
    }

    #[test]
    fn each_state_has_its_own() {
        assert_ne!(name("a", true), name("b", true));
        assert_eq!(name("a", true), format!("__Host-{}", name("a", false)));
        assert_eq!(name("a", false).len(), "auth-".len() + 16);
    }

    #[test]
    fn what_browsers_would_drop_does_not_fit() {
        assert!(fits("name", &"v".repeat(4092)));
        assert!(!fits("name", &"v".repeat(4093)));
    }

    #[test]
    fn finds_its_own_only() {
        let headers = sent("a=1; auth-0011=x; b=2=3");
        assert_eq!(find(&headers, "auth-0011"), Some("x"));
        assert_eq!(find(&headers, "b"), Some("2=3"));
        assert_eq!(find(&headers, "c"), None);
        assert_eq!(find(&sent("a=1; a=2"), "a"), None);
    }

    #[test]
    fn keeps_eight_at_most() {
        let line: Vec<String> = (0..9)
            .map(|number| format!("{}=v", name(&number.to_string(), false)))
            .collect();
        let headers = sent(&format!("other=1; {}", line.join("; ")));
        assert_eq!(surplus(&headers, false), [name("0", false), name("1", false)]);
        assert_eq!(surplus(&headers, true), [] as [String; 0]);
    }
}
