//! The origins of applications: where users may be sent, and which pages may call.

use url::{Host, Origin};

/// The origins of applications.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    listed: Vec<Origin>,
    loopback: bool,
}

impl From<Vec<Origin>> for Origins {
    fn from(listed: Vec<Origin>) -> Self {
        Self {
            listed,
            loopback: false,
        }
    }
}

impl Origins {
    /// Adds every origin on this machine. `gateway dev` permits them, and its own address is one of them.
    pub(crate) const fn and_loopback(mut self) -> Self {
        self.loopback = true;
        self
    }

    pub(crate) fn contains(&self, origin: &Origin) -> bool {
        self.listed.contains(origin) || (self.loopback && is_loopback(origin))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Origin> {
        self.listed.iter()
    }
}

fn is_loopback(origin: &Origin) -> bool {
    let Origin::Tuple(scheme, host, _) = origin else {
        return false;
    };
    matches!(scheme.as_str(), "http" | "https") && is_loopback_host(host)
}

pub(crate) fn is_loopback_host<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Domain(name) => name.as_ref() == "localhost" || name.as_ref().ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::Origins;

    #[test]
    fn b11_loopback_origins_are_only_on_this_machine() {
        let listed = Origins::from(vec![Url::parse("https://app.example.org").unwrap().origin()]);
        let all = listed.clone().and_loopback();
        let is = |origins: &Origins, text: &str| origins.contains(&Url::parse(text).unwrap().origin());
        for text in [
            "http://localhost:5173",
            "http://127.0.0.1:3000",
            "http://127.8.9.1",
            "http://[::1]:8000",
            "https://app.localhost",
        ] {
            assert!(is(&all, text) && !is(&listed, text), "{text}");
        }
        for text in [
            "http://localhost.evil.example",
            "http://evil-localhost",
            "http://10.0.0.1",
            "http://0.0.0.0:3000",
            "ftp://localhost",
            "data:text/plain,localhost",
            "file:///localhost",
        ] {
            assert!(!is(&all, text), "{text}");
        }
        assert!(is(&all, "https://app.example.org") && is(&listed, "https://app.example.org"));
    }
}
