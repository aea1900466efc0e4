//! Origins and host names of guests' requests.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use gateway_model::address;
use url::{Host, Url};

/// Longest origin as text, in bytes. A host name has at most 253 (RFC 1035 section 2.3.4).
const MAX_LENGTH: usize = 512;

/// Why a text is not an origin, or not a host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// It is not exactly `scheme://host[:port]`.
    #[error(
        "an origin is scheme://host[:port], with a scheme of http or https, as in https://policy.example.org"
    )]
    NotAnOrigin,
    /// No server can have this address: it is unspecified, multicast or broadcast.
    #[error("no server can have this address")]
    NoServer,
    /// It is not a host name.
    #[error(
        "a host name has letters, digits, `-` and `.`, as in policy.internal, without scheme or port, and is not an address"
    )]
    NotAName,
}

/// Scheme, host and port of an http or https URL (RFC 6454 section 4). Host names are in lower-case ASCII (IDNA). Two
/// origins are equal if all three parts are, so an address differs from a name that resolves to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpOrigin {
    pub(super) is_tls: bool,
    pub(super) host: Host<String>,
    pub(super) port: u16,
}

impl HttpOrigin {
    /// The value of `Host` (RFC 9110 section 7.2): the host, and the port unless it is the scheme's default.
    pub(super) fn authority(&self) -> String {
        if self.port == default_port(self.is_tls) {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The host name, or `None` for an address.
    #[must_use]
    pub fn host_name(&self) -> Option<&str> {
        match &self.host {
            Host::Domain(name) => Some(name),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        }
    }
}

const fn default_port(is_tls: bool) -> u16 {
    if is_tls { 443 } else { 80 }
}

impl FromStr for HttpOrigin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        // URL parsers drop line breaks and convert backslashes, which is never what the author meant.
        let is_odd = |byte: u8| byte <= b' ' || byte == 0x7f || b"\\@".contains(&byte);
        if text.len() > MAX_LENGTH || text.bytes().any(is_odd) {
            return Err(OriginError::NotAnOrigin);
        }
        let url = Url::parse(text).map_err(|_| OriginError::NotAnOrigin)?;
        let is_tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(OriginError::NotAnOrigin),
        };
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let host = url.host().ok_or(OriginError::NotAnOrigin)?.to_owned();
        let address: Option<IpAddr> = match &host {
            Host::Domain(name) if is_name(name) => None,
            Host::Domain(_) => return Err(OriginError::NotAnOrigin),
            Host::Ipv4(address) => Some((*address).into()),
            Host::Ipv6(address) => Some((*address).into()),
        };
        let port = url.port_or_known_default().filter(|port| *port != 0);
        let (true, Some(port)) = (is_bare, port) else {
            return Err(OriginError::NotAnOrigin);
        };
        if address.is_some_and(address::is_nobody) {
            return Err(OriginError::NoServer);
        }
        Ok(Self { is_tls, host, port })
    }
}

/// `scheme://host[:port]`, as browsers write it.
impl fmt::Display for HttpOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// A host name, in the same form as in [`HttpOrigin`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

impl HostName {
    /// The name in lower-case ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        match Host::parse(text) {
            Ok(Host::Domain(name)) if is_name(&name) && name.len() <= MAX_LENGTH => Ok(Self(name)),
            _ => Err(OriginError::NotAName),
        }
    }
}

impl std::borrow::Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Whether all characters can occur in a name. The URL standard allows more in a host, such as `*`.
fn is_name(host: &str) -> bool {
    !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use http::uri::Authority;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::{HostName, HttpOrigin, OriginError};

    proptest! {
        #[test]
        fn every_origin_can_be_parsed_again(scheme in "https?", text in "[ -~äⓟ。\\PC]{0,40}") {
            if let Ok(origin) = format!("{scheme}://{text}").parse::<HttpOrigin>() {
                prop_assert_eq!(origin.to_string().parse(), Ok(origin));
            }
        }

        #[test]
        fn origins_of_guests_have_no_user_path_or_query(text in "[a-z0-9.:@%\\[\\]/?#*-]{1,24}") {
            if let Ok(authority) = text.parse::<Authority>()
                && let Ok(origin) = format!("https://{authority}").parse::<HttpOrigin>()
            {
                prop_assert!(!text.contains(['@', '/', '?', '#', '*']), "{}", text);
                let host = origin.host_name().unwrap_or_default();
                prop_assert!(host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)));
            }
        }
    }

    #[test]
    fn origins_have_one_form() {
        for (text, shown) in [
            ("https://policy.example.org", "https://policy.example.org"),
            ("https://policy.example.org:443", "https://policy.example.org"),
            ("http://policy.example.org:80/", "http://policy.example.org"),
            ("HTTPS://Policy.Example.ORG", "https://policy.example.org"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("http://127.1:9000", "http://127.0.0.1:9000"),
            ("http://0x7f000001", "http://127.0.0.1"),
            ("http://[0:0::1]:8080", "http://[::1]:8080"),
            ("https://a_b.internal:8443", "https://a_b.internal:8443"),
        ] {
            let origin: HttpOrigin = text.parse().unwrap();
            assert_eq!(origin.to_string(), shown, "{text}");
            assert_eq!(shown.parse(), Ok(origin), "{text}");
        }
    }

    #[test]
    fn other_texts_are_rejected() {
        for text in [
            "",
            "policy.example.org",
            "//policy.example.org",
            "ftp://policy.example.org",
            "https://",
            "https://*.example.org",
            "https://%2a.example.org",
            "https://policy.example.org/path",
            "https://policy.example.org?query",
            "https://policy.example.org#fragment",
            "https://user@policy.example.org",
            "https://user:password@policy.example.org",
            "https://policy.example.org\\@evil.example",
            "https://policy.example.org:0",
            "https://policy.example.org:65536",
            " https://policy.example.org",
            "https://policy.exam\nple.org",
            "https://[::1%25eth0]",
            "https://1.2.3.4.5",
        ] {
            assert_eq!(
                text.parse::<HttpOrigin>(),
                Err(OriginError::NotAnOrigin),
                "{text:?}"
            );
        }
        for text in [
            "http://0.0.0.0",
            "http://[::]",
            "http://224.0.0.1",
            "http://255.255.255.255",
        ] {
            assert_eq!(text.parse::<HttpOrigin>(), Err(OriginError::NoServer), "{text:?}");
        }
    }

    #[test]
    fn host_names_are_not_addresses_or_urls() {
        assert_eq!(
            "Policy.Internal".parse::<HostName>().unwrap().as_str(),
            "policy.internal"
        );
        for text in ["", "10.0.0.5", "[::1]", "a:80", "http://a", "*.internal", "a b"] {
            assert_eq!(text.parse::<HostName>(), Err(OriginError::NotAName), "{text:?}");
        }
    }
}
