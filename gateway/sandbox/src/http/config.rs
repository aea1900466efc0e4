//! What the operator decides about a plugin's requests.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{HostName, HttpOrigin};

/// Where a plugin that is granted `http` may send requests, and what they may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where it may send requests; nowhere else. An address that stands here is allowed whatever it is: the
    /// operator has written it.
    pub allow: BTreeSet<HttpOrigin>,
    /// The names among them that may resolve to addresses of this machine and its own networks.
    pub allow_private: BTreeSet<HostName>,
    /// For one request and its whole response, looking the name up included.
    pub timeout: Duration,
    /// Bytes of a request's body, and of a response's.
    pub max_body: usize,
    /// Most requests in one call, those that are refused included.
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
    /// Whether nothing can be reached that the other does not allow.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.allow.is_subset(&other.allow) && self.allow_private.is_subset(&other.allow_private)
    }
}

#[cfg(test)]
mod tests {
    use super::HttpConfig;

    #[test]
    fn less_is_within_more() {
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
