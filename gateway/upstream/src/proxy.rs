//! The egress proxy by which providers are reached, where there is one.
//!
//! It is told the names of hosts and looks them up itself. So the gateway does not see their addresses, and which of them
//! may be reached is the proxy's rule. Its own address is the operator's choice, and may be private.

use std::fmt;

use reqwest::NoProxy;
use url::Url;

/// A proxy for requests to providers, and the hosts that are reached without it.
#[derive(Clone)]
pub struct EgressProxy {
    url: Url,
    proxy: reqwest::Proxy,
}

impl EgressProxy {
    /// A proxy at an address like `http://proxy.example.org:3128`, which may have a name and a password, and need not have
    /// its scheme. `no_proxy` is a list of hosts that are reached without it, as in the variable `NO_PROXY`.
    ///
    /// # Errors
    /// What the address has to be.
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
        let proxy = proxy.no_proxy(no_proxy.and_then(NoProxy::from_string));
        Ok(Self { url, proxy })
    }

    /// Its host.
    pub(crate) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    pub(crate) fn proxy(&self) -> reqwest::Proxy {
        self.proxy.clone()
    }
}

/// Its address without name and password.
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
    use super::EgressProxy;

    #[test]
    fn p14_a_proxy_has_an_address_and_does_not_tell_its_password() {
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
