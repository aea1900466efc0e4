//! The URLs to which a user may return after a sign-in. A URL is parsed once, by the rules of browsers, and its origin is
//! compared as a tuple. The gateway sends the parsed URL, so no other parser can read it differently.

use url::{Origin, Url};

use crate::origins::Origins;

/// Sign-ins and sign-outs cannot remember an address of this many bytes or more.
const TOO_LONG: usize = 2_000;
/// The longest address, in bytes, both as received and as the URL standard serializes it.
const MAX: usize = 4096;

/// A URL to which a user may be sent: http or https, with an allowed origin, without a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnUrl(Url);

/// Why a user may not be sent to an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReturnUrlError {
    /// Not an absolute http or https URL, or written so that parsers could disagree about it.
    #[error("The address to return to is not an absolute http or https URL")]
    NotAnAddress,
    /// Too long to be remembered until the user comes back.
    #[error("The address to return to is too long: it must be shorter than 2,000 characters")]
    TooLong,
    /// Its origin is not configured.
    #[error("The address to return to is not allowed: {origin} is not one of `origins` (ALLOWED_ORIGINS)")]
    NotAllowed {
        /// The rejected origin.
        origin: String,
    },
}

/// Parses an address, and checks that its origin is `own` or one of `origins`.
///
/// # Errors
///
/// See [`ReturnUrlError`].
pub fn parse(text: &str, origins: &Origins, own: &Origin) -> Result<ReturnUrl, ReturnUrlError> {
    // The URL standard removes or replaces these while parsing. No honest client sends them.
    let odd = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
    if text.is_empty() || text.len() > MAX || text.contains(odd) {
        return Err(ReturnUrlError::NotAnAddress);
    }
    // Browsers accept `https:/x`, `https:x` and `https:///x`; other parsers read them differently.
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    let after = ["https://", "http://"]
        .iter()
        .find(|scheme| lower.starts_with(**scheme));
    if after.is_none_or(|scheme| text.get(scheme.len()..).is_none_or(|rest| rest.starts_with('/'))) {
        return Err(ReturnUrlError::NotAnAddress);
    }
    let url = Url::parse(text).map_err(|_| ReturnUrlError::NotAnAddress)?;
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(ReturnUrlError::NotAnAddress);
    }
    let origin = url.origin();
    if !origin.is_tuple() || !(origin == *own || origins.contains(&origin)) {
        return Err(ReturnUrlError::NotAllowed {
            origin: origin.ascii_serialization(),
        });
    }
    let url = without_token(url);
    // Percent-encoding makes text that is not ASCII up to three times as long.
    if url.as_str().len() > MAX {
        return Err(ReturnUrlError::NotAnAddress);
    }
    Ok(ReturnUrl(url))
}

/// Removes `jwt` from the query. Every other parameter stays as it was, byte for byte.
fn without_token(url: Url) -> Url {
    without(url, &["jwt"])
}

fn without(mut url: Url, names: &[&str]) -> Url {
    let Some(query) = url.query() else { return url };
    let goes = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        // The name as the application will decode it: %6Awt is jwt.
        url::form_urlencoded::parse(name.as_bytes())
            .next()
            .is_some_and(|(name, _)| names.contains(&name.as_ref()))
    };
    if !query.split('&').any(|pair| goes(&pair)) {
        return url;
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !goes(pair)).collect();
    let kept = kept.join("&");
    url.set_query(Some(&kept).filter(|kept| !kept.is_empty()).map(String::as_str));
    url
}

impl ReturnUrl {
    /// Returns the URL if a sign-in or a sign-out can remember it.
    pub(crate) fn if_short(self) -> Result<Self, ReturnUrlError> {
        if self.as_str().len() < TOO_LONG {
            Ok(self)
        } else {
            Err(ReturnUrlError::TooLong)
        }
    }

    /// The operator's default, for users without a `next`.
    pub(crate) fn from_default(url: &Url) -> Self {
        Self(without_token(url.clone()))
    }

    /// The address, as the URL standard serializes it.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it is the gateway's own page, at the origin `own`.
    pub(crate) fn is_home(&self, own: &Origin) -> bool {
        self.0.path() == "/" && self.0.origin() == *own
    }

    pub(crate) fn is_on(&self, origin: &Origin) -> bool {
        self.0.origin() == *origin
    }

    /// The host and, if it is not the default, the port. For display.
    pub(crate) fn place(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        match self.0.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Removes the error of an earlier sign-in.
    pub(crate) fn without_error(self) -> Self {
        Self(without(self.0, &["error", "error_description"]))
    }

    /// The address with `jwt=<token>` at the end of its query, before a fragment.
    pub fn with_token(&self, token: &str) -> String {
        self.with(&format!("jwt={token}"))
    }

    /// The address with `error` and `error_description` (RFC 6749 section 4.1.2.1) at the end of its query.
    pub(crate) fn with_error(&self, code: &str, description: &str) -> String {
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        pairs
            .append_pair("error", code)
            .append_pair("error_description", description);
        self.with(&pairs.finish())
    }

    fn with(&self, pairs: &str) -> String {
        let mut url = self.0.clone();
        let query = match url.query() {
            Some(query) if !query.is_empty() => format!("{query}&{pairs}"),
            _ => pairs.to_owned(),
        };
        // defence: token-goes-before-the-fragment (a test fails without it: docs/defences.md)
        url.set_query(Some(&query));
        url.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;
    use url::{Origin, Url};

    use super::{ReturnUrl, ReturnUrlError, parse};
    use crate::origins::Origins;

    fn origin(text: &str) -> Origin {
        Url::parse(text).unwrap().origin()
    }

    fn read(text: &str) -> Result<ReturnUrl, ReturnUrlError> {
        let origins = Origins::from(vec![
            origin("https://app.example.org"),
            origin("http://localhost:3000"),
        ]);
        parse(text, &origins, &origin("https://auth.example.org"))
    }

    fn arrives(text: &str) -> String {
        read(text).unwrap().with_token("T")
    }

    #[test]
    fn the_token_is_added_and_the_rest_is_unchanged() {
        assert_eq!(
            arrives("https://app.example.org"),
            "https://app.example.org/?jwt=T"
        );
        assert_eq!(
            arrives("https://app.example.org/a?b=%7e&c=%2F+d"),
            "https://app.example.org/a?b=%7e&c=%2F+d&jwt=T"
        );
        assert_eq!(
            arrives("https://app.example.org/a?b#/route?x"),
            "https://app.example.org/a?b&jwt=T#/route?x"
        );
        assert_eq!(arrives("http://localhost:3000/?"), "http://localhost:3000/?jwt=T");
        assert_eq!(
            arrives("https://auth.example.org/"),
            "https://auth.example.org/?jwt=T"
        );
        assert_eq!(
            arrives("HTTPS://APP.example.ORG:443/"),
            "https://app.example.org/?jwt=T"
        );
    }

    #[test]
    fn old_tokens_are_removed() {
        for old in [
            "?jwt=old",
            "?jwt=old&jwt=older",
            "?%6awt=old",
            "?j%77t=old",
            "?jwt",
            "?jwt=%26a",
        ] {
            assert_eq!(
                arrives(&format!("https://app.example.org/{old}#f")),
                "https://app.example.org/?jwt=T#f",
                "{old}"
            );
        }
        assert_eq!(
            arrives("https://app.example.org/?a=1&jwt=x&b=2"),
            "https://app.example.org/?a=1&b=2&jwt=T"
        );
        assert_eq!(
            arrives("https://app.example.org/?ajwt=1&jwtb=2"),
            "https://app.example.org/?ajwt=1&jwtb=2&jwt=T"
        );
    }

    #[test]
    fn addresses_on_other_origins_are_rejected() {
        for text in [
            "",
            "/",
            "//e.example",
            "/\\e.example",
            "///e.example",
            "https:e.example",
            "https:/e.example",
            "https:///app.example.org",
            "https:\\\\app.example.org",
            "https://app.example.org\\@e.example",
            "https://app.example.org@e.example/",
            "https://app.example.org:443@e.example",
            "https://u:p@app.example.org/",
            "https://@app.example.org.e.example",
            "https://app.example.org.e.example",
            "https://eapp.example.org",
            "https://app.example.org:80/",
            "https://app.example.org:8443/",
            "http://app.example.org/",
            "https://app.example.org%25@e.example/",
            "https://app.example.org%2f@e.example",
            "https://%65.example/",
            "javascript:alert(1)",
            "javascript://app.example.org/%0aalert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "blob:https://app.example.org/x",
            "ftp://app.example.org/",
            "ws://app.example.org/",
            "https://app.example.org\r\nSet-Cookie: a=b",
            "https://app.example.org/\t",
            "\thttps://app.example.org/",
            "ht\ntps://app.example.org/",
            " https://app.example.org/",
            "https://аpp.example.org/",
            "https://app。e.example/",
            "https://0x7f.1/",
            "https://2130706433/",
            "http://localhost:3001/",
            "http://localhost/",
            "http://127.0.0.1:3000/",
            "https://[::1]/",
            "https://app.example.org:99999/",
            "https://",
            "https://app.example.org./",
        ] {
            assert!(read(text).is_err(), "{text:?} is let through as {:?}", read(text));
        }
    }

    #[test]
    fn b11_the_error_names_the_origin_to_configure() {
        let error = read("http://localhost:5173/x?y").unwrap_err();
        assert_eq!(
            error.to_string(),
            "The address to return to is not allowed: http://localhost:5173 is not one of `origins` (ALLOWED_ORIGINS)"
        );
    }

    #[test]
    fn b5_an_error_is_added_to_the_query_and_replaces_an_earlier_one() {
        let told = |text: &str| {
            let next = read(text).unwrap().without_error();
            next.with_error("access_denied", "It's \"no\" & that's it")
        };
        let said = "error=access_denied&error_description=It%27s+%22no%22+%26+that%27s+it";
        assert_eq!(
            told("https://app.example.org"),
            format!("https://app.example.org/?{said}")
        );
        assert_eq!(
            told("https://app.example.org/?a=%2F&error=x&%65rror_description=y#f"),
            format!("https://app.example.org/?a=%2F&{said}#f")
        );
        // Without `errors=next`, an application's own parameter stays.
        assert_eq!(
            arrives("https://app.example.org/?error=x"),
            "https://app.example.org/?error=x&jwt=T"
        );
    }

    #[test]
    fn the_length_is_bounded() {
        let room = 4096 - "https://app.example.org/".len();
        let address = |path: &str| format!("https://app.example.org/{path}");
        assert!(read(&address(&"a".repeat(room))).is_ok());
        assert!(read(&address(&"a".repeat(room + 1))).is_err());
        // Two bytes become six.
        assert!(read(&address(&"é".repeat(room / 6))).is_ok());
        assert!(read(&address(&"é".repeat(room / 6 + 1))).is_err());
    }

    #[test]
    fn the_default_has_no_token() {
        let url = Url::parse("https://app.example.org/?jwt=x&a=1#f").unwrap();
        assert_eq!(
            ReturnUrl::from_default(&url).as_str(),
            "https://app.example.org/?a=1#f"
        );
    }

    #[test]
    fn parsing_is_idempotent() {
        for text in [
            "https://app.example.org",
            "https://app.example.org/a b?c".replace(' ', "%20").as_str(),
            "https://app.example.org/ü?ä=ö&&x=%zz#ß",
            "https://app.example.org/..//a/./b?jwt=x",
        ] {
            let once = read(text).unwrap();
            assert_eq!(read(once.as_str()), Ok(once.clone()), "{text}");
        }
    }

    proptest! {
        /// Every accepted address is on an allowed origin, for a second parser too.
        #[test]
        fn accepted_addresses_are_on_allowed_origins(
            scheme in "(https://|http://|https:|HTTPS://|//|https:/|\\PC{0,6})",
            before in "[/\\\\@:a-z.%#?\t\r\n]{0,8}",
            host in "(app\\.example\\.org|localhost:3000|e\\.example)",
            after in "(|[/?#:@.%\\\\]\\PC{0,20})",
        ) {
            if let Ok(next) = read(&format!("{scheme}{before}{host}{after}")) {
                let again = Url::parse(&next.with_token("T")).unwrap();
                let allowed = ["https://app.example.org", "http://localhost:3000", "https://auth.example.org"];
                assert!(allowed.iter().any(|allowed| again.origin() == origin(allowed)), "{again}");
                assert!(again.username().is_empty() && again.password().is_none());
                assert_eq!(again.query_pairs().filter(|(name, _)| name == "jwt").count(), 1);
                let text = next.with_token("T");
                assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
            }
        }

        #[test]
        fn other_parameters_are_unchanged(query in "[a-z0-9=&%+._~-]{0,40}") {
            if !query.contains("jwt") && !query.contains('%') {
                let next = read(&format!("https://app.example.org/?{query}")).unwrap();
                assert_eq!(next.as_str(), format!("https://app.example.org/?{query}"));
            }
        }
    }
}
