//! The egress proxy for requests to providers.
//!
//! The proxy resolves host names itself, so the gateway does not see the addresses, and the proxy decides which ones
//! may be reached. The proxy's own address is the operator's choice, and may be private.

use std::fmt;
use std::net::IpAddr;

use reqwest::NoProxy;
use url::Url;

/// A proxy, and the hosts that are reached without it.
#[derive(Clone)]
pub struct EgressProxy {
    url: Url,
    proxy: reqwest::Proxy,
}

impl EgressProxy {
    /// A proxy at a URL like `http://proxy.example.org:3128`, which may contain a name and a password; the scheme may
    /// be omitted. `no_proxy` lists the hosts that are reached directly, as in the variable `NO_PROXY`.
    ///
    /// # Errors
    /// The expected form of the URL.
    pub fn new(address: &str, no_proxy: Option<&str>) -> Result<Self, String> {
        const RIGHT: &str = "the http or https URL of a proxy, as in http://proxy.example.org:3128";
        let with_scheme = if address.contains("://") {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        let url = Url::parse(&with_scheme).map_err(|_| RIGHT)?;
        let named = !address.starts_with('/') && url.host_str().is_some_and(|host| !host.is_empty());
        if !named || !matches!(url.scheme(), "http" | "https") {
            return Err(RIGHT.to_owned());
        }
        let proxy = reqwest::Proxy::all(url.clone()).map_err(|_| RIGHT)?;
        let without: Vec<String> = no_proxy.into_iter().flat_map(hosts).flatten().collect();
        let proxy = proxy.no_proxy(NoProxy::from_string(&without.join(",")));
        Ok(Self { url, proxy })
    }

    /// The invalid entries of a list of hosts, such as a host with a port, a malformed network, or a URL.
    #[must_use]
    pub fn unknown_hosts(no_proxy: &str) -> Vec<String> {
        hosts(no_proxy).filter_map(Result::err).collect()
    }

    pub(crate) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    pub(crate) fn proxy(&self) -> reqwest::Proxy {
        self.proxy.clone()
    }
}

/// The entries of a list like `NO_PROXY`, as reqwest reads them: `example.org` with its subdomains, `.example.org` and
/// `*.example.org` for the same, `*` for all, IP addresses, and networks. An entry that reqwest would not understand is
/// an error.
fn hosts(list: &str) -> impl Iterator<Item = Result<String, String>> {
    let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| {
        let inside = part.strip_prefix('[').and_then(|part| part.strip_suffix(']'));
        let host = inside.unwrap_or(part);
        let is_address = host.parse::<IpAddr>().is_ok() || is_range(host);
        if host == "*" || is_address {
            return Ok(host.to_owned());
        }
        let name = host.strip_prefix('*').unwrap_or(host);
        let bare = name.strip_prefix('.').unwrap_or(name);
        let is_whole = inside.is_none() && (name == host || name.starts_with('.'));
        let is_name = is_whole
            && !bare.is_empty()
            && bare
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        // A malformed IPv4 address would be a host name that does not exist.
        let is_number = bare
            .split('.')
            .next_back()
            .is_some_and(|last| !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()));
        if is_name && !is_number {
            Ok(name.to_owned())
        } else {
            Err(part.to_owned())
        }
    })
}

fn is_range(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let most = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.bytes().all(|byte| byte.is_ascii_digit()) && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

/// The URL without name and password.
impl fmt::Display for EgressProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url.origin().ascii_serialization())
    }
}

impl fmt::Debug for EgressProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EgressProxy({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::{EgressProxy, hosts};

    #[test]
    fn p14_entries_of_no_proxy_are_read_or_rejected() {
        for (part, read) in [
            ("id.example.org", "id.example.org"),
            (" .example.org ", ".example.org"),
            ("*.example.org", ".example.org"),
            ("*", "*"),
            ("localhost", "localhost"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("fd00::/8", "fd00::/8"),
            ("10.1.2.3", "10.1.2.3"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("my_host-1.example", "my_host-1.example"),
        ] {
            assert_eq!(hosts(part).collect::<Vec<_>>(), [Ok(read.to_owned())], "{part}");
        }
        for odd in [
            "host:443",
            "10.0.0.0/99",
            "10.0.0.0/+8",
            "10.0.0.300",
            "1.2.3.4:80",
            "[::1]:443",
            "[localhost]",
            "http://x",
            "a;b",
            "a b",
            "*x.example",
            "a.*.example",
            "*.",
            ".",
            "münchen.example",
        ] {
            assert_eq!(
                EgressProxy::unknown_hosts(&format!("ok.example, {odd}")),
                [odd],
                "{odd}"
            );
        }
        assert_eq!(EgressProxy::unknown_hosts(" , a,, b,"), [""; 0]);
    }

    #[test]
    fn p14_a_proxy_is_shown_without_its_password() {
        for (address, expected) in [
            ("http://proxy.example.org:3128", "http://proxy.example.org:3128"),
            (
                "http://user:p%40ss@proxy.example.org:3128/",
                "http://proxy.example.org:3128",
            ),
            ("https://proxy.example.org", "https://proxy.example.org"),
            ("proxy.example.org:3128", "http://proxy.example.org:3128"),
            ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
        ] {
            let proxy = EgressProxy::new(address, Some("localhost,10.0.0.0/8")).unwrap();
            assert_eq!(proxy.to_string(), expected);
            assert!(!format!("{proxy:?}").contains("p%40ss"));
        }
        for odd in [
            "",
            "http://",
            "socks5://proxy.example.org",
            "ftp://proxy.example.org",
            "/proxy",
        ] {
            assert!(EgressProxy::new(odd, None).is_err(), "{odd}");
        }
    }
}
