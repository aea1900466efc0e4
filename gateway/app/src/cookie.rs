//! The cookies that bind a sign-in to the browser in which it began (RFC 6265). Every `state` has its own cookie, so
//! that tabs do not disturb each other. Together they are small enough for any proxy.
//!
//! Other applications of the domain set cookies with arbitrary bytes (RFC 6265 section 4.2.2 leaves the value open).
//! The header is therefore read as bytes, and foreign cookies are skipped.

use cookie::{Cookie, SameSite};
use hyper::HeaderMap;
use hyper::header::{COOKIE, HeaderValue};
use sha2::{Digest, Sha256};

pub(crate) mod room;

/// Lifetime of a sign-in's cookie, in seconds. Longer than a sign-in may take, so that an expired sign-in differs
/// from one that began in another browser.
const MAX_AGE: i64 = 3600;
/// Lifetime of the proof that this browser has just signed in to the gateway's own page, in seconds.
const ARRIVAL_MAX_AGE: i64 = 60;
/// The most bytes that a browser's sign-in cookies have together in one request. nginx accepts header lines of 8 KB by
/// default, and other applications of the domain have cookies too.
pub(crate) const MAX_TOGETHER: usize = 3_000;

/// With the prefix `__Host-`, browsers require Secure, Path=/ and no Domain (RFC 6265bis section 4.1.3.2). Over plain
/// http, which the gateway accepts on loopback only, they would reject it.
const fn prefix(secure: bool) -> &'static str {
    if secure { "__Host-auth-" } else { "auth-" }
}

/// The name of the cookie for a `state`.
pub fn name(state: &str, secure: bool) -> String {
    format!("{}{}", prefix(secure), digest(state))
}

/// The name of the cookie that proves that a session token was issued to this browser. For the gateway's own page.
pub(crate) fn arrival_name(token: &str, secure: bool) -> String {
    format!("{}at-{}", prefix(secure), digest(token))
}

fn digest(text: &str) -> String {
    // defence: cookie-name-is-of-the-state (a test fails without it: docs/defences.md)
    let digest = Sha256::digest(text.as_bytes());
    hex::encode(digest.get(..8).unwrap_or(&digest))
}

/// The number of bytes that a cookie adds to a request's `Cookie` header, with its separator.
pub(crate) const fn size(name: &str, value: &[u8]) -> usize {
    name.len() + "=; ".len() + value.len()
}

pub(crate) fn set(name: &str, value: &str, secure: bool) -> HeaderValue {
    header(name, value, MAX_AGE, secure)
}

pub(crate) fn set_arrival(name: &str, secure: bool) -> HeaderValue {
    header(name, "1", ARRIVAL_MAX_AGE, secure)
}

/// `Set-Cookie` that deletes the cookie. Short, because one response may carry many.
pub(crate) fn clear(name: &str, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    text(&format!("{name}=; Path=/; Max-Age=0{secure}"))
}

fn header(name: &str, value: &str, max_age: i64, secure: bool) -> HeaderValue {
    let cookie = Cookie::build((name, value))
        .path("/")
        .http_only(true)
        .secure(secure)
        .same_site(SameSite::Lax)
        .max_age(cookie::time::Duration::seconds(max_age))
        .build();
    text(&cookie.to_string())
}

/// Names are hex and values base64url, so both are valid in a header.
fn text(cookie: &str) -> HeaderValue {
    HeaderValue::from_str(cookie).unwrap_or(HeaderValue::from_static(""))
}

/// All cookies of the request, in the browser's order.
fn all(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    lines
        .flat_map(|line| line.split(|byte| *byte == b';'))
        .filter_map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            let (name, value) = pair.split_at(at);
            Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
        })
}

/// The values that the browser sent under this name. There can be several, because other applications of the domain can
/// set cookies for all of it. The seal shows which one is the gateway's.
pub(crate) fn find<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    all(headers)
        .filter(move |(key, _)| *key == name.as_bytes())
        .filter_map(|(_, value)| std::str::from_utf8(value).ok())
}

/// The names and values of all cookies that look like sign-ins.
pub(crate) fn sign_ins(headers: &HeaderMap, secure: bool) -> impl Iterator<Item = (&str, &[u8])> {
    all(headers).filter_map(move |(name, value)| {
        let name = std::str::from_utf8(name).ok()?;
        let digits = name.strip_prefix(prefix(secure))?;
        let is_ours = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_ours.then_some((name, value))
    })
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use hyper::header::{COOKIE, HeaderValue};

    use super::{arrival_name, clear, find, name, set, sign_ins};

    fn sent(lines: &[&[u8]]) -> HeaderMap {
        let lines = lines.iter().map(|line| HeaderValue::from_bytes(line).unwrap());
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, line);
        }
        headers
    }

    fn found<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        find(headers, name).collect()
    }

    #[test]
    fn secure_cookies_are_bound_to_the_host() {
        let secure = set(&name("s", true), "v", true);
        let secure = secure.to_str().unwrap();
        assert!(secure.starts_with("__Host-auth-"), "{secure}");
        for attribute in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/", "Max-Age=3600"] {
            assert!(secure.contains(attribute), "{secure} lacks {attribute}");
        }
        let plain = set(&name("s", false), "v", false);
        let plain = plain.to_str().unwrap();
        assert!(plain.starts_with("auth-") && !plain.contains("Secure"), "{plain}");
    }

    #[test]
    fn clear_keeps_the_attributes_that_the_prefix_requires() {
        // A browser changes a cookie with the prefix only if Secure and Path=/ are set (RFC 6265bis section 4.1.3.2).
        assert_eq!(
            clear("__Host-auth-a", true),
            "__Host-auth-a=; Path=/; Max-Age=0; Secure"
        );
        assert_eq!(clear("auth-a", false), "auth-a=; Path=/; Max-Age=0");
    }

    #[test]
    fn each_state_has_its_own_cookie() {
        assert_ne!(name("a", true), name("b", true));
        assert_eq!(name("a", true), format!("__Host-{}", name("a", false)));
        assert_eq!(name("a", false).len(), "auth-".len() + 16);
        assert_ne!(name("a", true), arrival_name("a", true));
    }

    #[test]
    fn b1_other_cookies_may_have_any_bytes() {
        for foreign in [
            "name=José".as_bytes(),
            b"name=Jos\xe9",
            b"\xff\xfe=\x80",
            b"a=\"x, y\"",
            b"=",
            b"==",
            b"novalue",
            b"",
            b"auth-0011=\xff",
            b"a=b\t",
        ] {
            for line in [
                [foreign, b"; auth-0011=x; b=2=3"].concat(),
                [b"auth-0011=x; b=2=3; ", foreign].concat(),
                [b"b=2=3;auth-0011=x;", foreign, b";;"].concat(),
            ] {
                let headers = sent(&[&line]);
                assert_eq!(found(&headers, "auth-0011"), ["x"], "{}", line.escape_ascii());
                assert_eq!(found(&headers, "b"), ["2=3"], "{}", line.escape_ascii());
                assert_eq!(found(&headers, "c"), [""; 0]);
            }
            // RFC 9113 section 8.2.3: a proxy may have split the header.
            let headers = sent(&[foreign, b"auth-0011=x", foreign]);
            assert_eq!(found(&headers, "auth-0011"), ["x"]);
        }
    }

    #[test]
    fn b1_of_two_cookies_with_one_name_both_are_found() {
        assert_eq!(found(&sent(&[b"a=1; a=2", b"a=3"]), "a"), ["1", "2", "3"]);
    }

    #[test]
    fn cookies_with_other_names_are_not_sign_ins() {
        let line =
            b"auth-0123456789abcdef=x; auth-token=y; auth-0123456789abcdeg=z; auth-at-0123456789abcdef=1; \
                     __Host-auth-0123456789ABCDEF=s; auth-00=a; myauth-0123456789abcdef=b";
        let headers = sent(&[line]);
        let names = |secure| {
            sign_ins(&headers, secure)
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["auth-0123456789abcdef"]);
        assert_eq!(names(true), ["__Host-auth-0123456789ABCDEF"]);
    }
}
