//! Whether a request is a user opening an address in their browser, or something else: an image, a frame, a script, a
//! prefetch. Browsers say so in Fetch Metadata headers (W3C "Fetch Metadata Request Headers"), which pages cannot
//! change. A client without these headers, such as curl or a browser from 2022, is treated as a user.

use hyper::header::{HeaderMap, HeaderName, HeaderValue, ORIGIN, REFERER};
use url::{Origin, Url};

use crate::cors;
use crate::origins::Origins;

static SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
static USER: HeaderName = HeaderName::from_static("sec-fetch-user");

/// The headers that mark a prefetch: the standard's, and older ones.
static PREFETCH: [HeaderName; 4] = [
    HeaderName::from_static("sec-purpose"),
    HeaderName::from_static("purpose"),
    HeaderName::from_static("x-purpose"),
    HeaderName::from_static("x-moz"),
];

/// Whether a browser opens the address in a window or tab, as far as the request tells.
pub(crate) fn is_navigation(headers: &HeaderMap) -> bool {
    // Each header counts on its own: a browser may omit one of them, and a program such as Node's fetch() sends only
    // its mode.
    let is = |name, wanted: &[u8]| values(headers, name).all(|value| value == wanted);
    is(&MODE, b"navigate") && is(&DEST, b"document") && !is_prefetch(headers)
}

fn is_prefetch(headers: &HeaderMap) -> bool {
    PREFETCH
        .iter()
        .flat_map(|name| values(headers, name))
        .any(|value| {
            // Only the text before parameters counts, as in "prefetch;prerender".
            let purpose = value
                .split(|byte| matches!(byte, b';' | b','))
                .next()
                .unwrap_or_default();
            let purpose = purpose.trim_ascii();
            [&b"prefetch"[..], b"prerender", b"preview"]
                .iter()
                .any(|known| purpose.eq_ignore_ascii_case(known))
        })
}

/// Whether the user began this navigation, and no page of another site can have done so without them. They came from
/// the address bar, from a page of the gateway, or by a click on a page of a configured origin.
pub(crate) fn is_by_the_person(headers: &HeaderMap, origins: &Origins, own: &Origin) -> bool {
    let mut sites = values(headers, &SITE).peekable();
    if sites.peek().is_none() {
        return true;
    }
    if sites.all(|site| matches!(site, b"none" | b"same-origin")) {
        return true;
    }
    // A page can omit the Referer but cannot forge it.
    let referrer = headers.get(REFERER).and_then(|value| value.to_str().ok());
    let referrer = referrer
        .and_then(|url| Url::parse(url).ok())
        .map(|url| url.origin());
    let is_known = referrer.is_some_and(|origin| origin == *own || origins.contains(&origin));
    is_known && values(headers, &USER).eq([b"?1"])
}

/// Whether a page of another origin made the browser send this request, according to Fetch Metadata.
pub(crate) fn is_from_another_page(headers: &HeaderMap) -> bool {
    values(headers, &SITE).any(|site| !matches!(site, b"none" | b"same-origin"))
}

/// Whether a page of an origin that is not configured sent this request. Such a page cannot read the response, but what
/// the request does would count against everyone behind the user's address. A browser without Fetch Metadata still
/// sends the page's origin.
pub(crate) fn is_from_a_foreign_page(headers: &HeaderMap, origins: &Origins, own: &Origin) -> bool {
    let is_foreign = if headers.contains_key(&SITE) {
        is_from_another_page(headers)
    } else {
        headers.contains_key(ORIGIN)
    };
    is_foreign
        && !headers
            .get(ORIGIN)
            .is_some_and(|origin| cors::is_allowed(origin, origins, own))
}

/// The header's values, without empty ones.
fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    values.map(<[u8]>::trim_ascii).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderMap, HeaderName, HeaderValue};
    use url::Url;

    use super::{is_by_the_person, is_from_a_foreign_page, is_navigation};
    use crate::origins::Origins;

    fn headers(text: &str) -> HeaderMap {
        let lines = text.split('\n').filter(|line| !line.is_empty());
        lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    #[test]
    fn b4_images_frames_scripts_and_prefetches_are_not_navigations() {
        for navigation in [
            "",
            "sec-fetch-mode: navigate\nsec-fetch-dest: document\nsec-fetch-site: cross-site",
            "sec-fetch-mode: navigate\nsec-fetch-dest: document\nsec-fetch-user: ?1",
            "sec-fetch-mode: navigate",
            "sec-fetch-mode: ",
            "sec-fetch-site: none\nsec-fetch-mode: navigate",
            "purpose: something",
        ] {
            assert!(is_navigation(&headers(navigation)), "{navigation:?}");
        }
        for other in [
            "sec-fetch-mode: no-cors\nsec-fetch-dest: image",
            "sec-fetch-mode: navigate\nsec-fetch-dest: iframe",
            "sec-fetch-mode: navigate\nsec-fetch-dest: frame",
            "sec-fetch-mode: navigate\nsec-fetch-dest: object",
            "sec-fetch-mode: navigate\nsec-fetch-dest: embed",
            "sec-fetch-mode: navigate\nsec-fetch-dest: fencedframe",
            "sec-fetch-mode: cors",
            "sec-fetch-mode: no-cors",
            "sec-fetch-mode: websocket",
            "sec-fetch-mode: same-origin",
            "sec-fetch-mode: cors\nsec-fetch-dest: empty",
            "sec-fetch-mode: same-origin\nsec-fetch-site: same-origin",
            "sec-fetch-mode: websocket\nsec-fetch-site: cross-site",
            "sec-fetch-dest: script",
            "sec-fetch-mode: navigate\nsec-fetch-mode: no-cors\nsec-fetch-dest: document",
            "sec-purpose: prefetch",
            "sec-purpose: prefetch;prerender",
            "sec-purpose: prefetch; anonymous-client-ip",
            "purpose: prefetch",
            "x-moz: prefetch",
            "x-purpose: preview",
            "sec-fetch-mode: navigate\nsec-fetch-dest: document\nsec-purpose: prefetch",
        ] {
            assert!(!is_navigation(&headers(other)), "{other:?}");
        }
    }

    #[test]
    fn a8_a_navigation_by_another_site_is_not_by_the_user() {
        let origins = Origins::from(vec![Url::parse("https://app.example.org").unwrap().origin()]);
        let own = Url::parse("https://auth.example.org").unwrap().origin();
        let is = |text| is_by_the_person(&headers(text), &origins, &own);
        for person in [
            "",
            "sec-fetch-site: none",
            "sec-fetch-site: same-origin",
            "sec-fetch-site: cross-site\nsec-fetch-user: ?1\nreferer: https://app.example.org/",
            "sec-fetch-site: same-site\nsec-fetch-user: ?1\nreferer: https://app.example.org/x?y",
        ] {
            assert!(is(person), "{person:?}");
        }
        for page in [
            "sec-fetch-site: cross-site",
            "sec-fetch-site: same-site",
            "sec-fetch-site: none\nsec-fetch-site: cross-site",
            "sec-fetch-site: made-up",
            "sec-fetch-site: cross-site\nsec-fetch-user: ?1",
            "sec-fetch-site: cross-site\nsec-fetch-user: ?1\nreferer: https://evil.example/",
            "sec-fetch-site: cross-site\nsec-fetch-user: ?1\nreferer: https://app.example.org.evil.example/",
            // A page that redirects everyone to a sign-in, opened by a malicious page.
            "sec-fetch-site: cross-site\nreferer: https://app.example.org/",
            "sec-fetch-site: cross-site\nsec-fetch-user: ?0\nreferer: https://app.example.org/",
        ] {
            assert!(!is(page), "{page:?}");
        }
    }

    #[test]
    fn a11_only_pages_of_unknown_origins_are_foreign() {
        let origins = Origins::from(vec![Url::parse("https://app.example.org").unwrap().origin()]);
        let own = Url::parse("https://auth.example.org").unwrap().origin();
        let is = |text| is_from_a_foreign_page(&headers(text), &origins, &own);
        for fine in [
            "",
            "origin: https://auth.example.org",
            "origin: https://app.example.org",
            "sec-fetch-site: none",
            "sec-fetch-site: same-origin\norigin: https://auth.example.org",
            "sec-fetch-site: cross-site\norigin: https://app.example.org",
        ] {
            assert!(!is(fine), "{fine:?}");
        }
        for foreign in [
            "origin: https://evil.example",
            "origin: null",
            "sec-fetch-site: cross-site",
            "sec-fetch-site: cross-site\norigin: null",
            "sec-fetch-site: cross-site\norigin: https://evil.example",
            "sec-fetch-site: same-site\norigin: https://other.example.org",
        ] {
            assert!(is(foreign), "{foreign:?}");
        }
    }
}
