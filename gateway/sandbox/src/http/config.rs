//! The operator's decisions about a plugin's requests.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{HostName, HttpOrigin};

/// Where a plugin with the grant `http` may send requests, and the limits on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// The only origins that it may send requests to. An IP address in this list may be private.
    pub allow: BTreeSet<HttpOrigin>,
    /// Host names of these origins that may resolve to addresses of this machine and its private networks.
    pub allow_private: BTreeSet<HostName>,
    /// Timeout of one request, from the name look-up to the end of the response.
    pub timeout: Duration,
    /// Most bytes of a request body, and of a response body.
    pub max_body: usize,
    /// Most requests in one call, including denied ones.
    pub requests: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            allow: BTreeSet::new(),
            allow_private: BTreeSet::new(),
            timeout: Duration::from_secs(2),
            max_body: 1 << 20,
            requests: 10,
        }
    }
}

impl HttpConfig {
    /// Whether the other configuration allows everything that this one allows.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.allow.is_subset(&other.allow) && self.allow_private.is_subset(&other.allow_private)
    }
}

#[cfg(test)]
mod tests {
    use super::HttpConfig;

    #[test]
    fn a_subset_is_within() {
        let config = |allow: &[&str], private: &[&str]| HttpConfig {
            allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
            allow_private: private.iter().map(|text| text.parse().unwrap()).collect(),
            ..HttpConfig::default()
        };
        let more = config(&["https://a.example", "https://b.example"], &["a.example"]);
        for (less, within) in [
            (config(&[], &[]), true),
            (config(&["https://a.example"], &["a.example"]), true),
            (config(&["https://c.example"], &[]), false),
            (config(&["https://b.example"], &["b.example"]), false),
        ] {
            assert_eq!(less.is_within(&more), within, "{less:?}");
        }
    }
}
