//! Values that are web addresses: origins, pages, upstream providers.

use std::net::IpAddr;

use gateway_model::address::{Reach, reach};
use ipnet::IpNet;
use url::{Host, Url};

use super::Form;
use crate::origins::is_loopback_host;

/// An http or https URL.
pub(super) const FORM: Form = Form::Pattern("^[Hh][Tt][Tt][Pp][Ss]?://[^/]");

/// Whether others on the network could read or change a request: http to anywhere but this machine.
pub(in crate::config) fn is_exposed(url: &Url) -> bool {
    url.scheme() != "https" && url.host().is_none_or(|host| !is_loopback_host(&host))
}

kind!(
    /// Scheme, host and port of an http URL, and nothing more.
    WebOrigin(Url),
    FORM,
    |text| {
        let is_bare = |url: &Url| url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        // The parser accepts these, but an operator who wrote them meant something else.
        let is_plain = !text.contains(['\\', '*', '?', '#']) && !text.contains(char::is_whitespace);
        web_url(text)
            .filter(|url| is_bare(url) && is_plain)
            .ok_or_else(|| "an origin, scheme://host[:port], as in https://app.example.org".into())
    },
    |url| url.origin().ascii_serialization()
);

kind!(
    /// The address of a proxy, or a network of them.
    Network(IpNet),
    Form::Pattern("^[0-9A-Fa-f.:]+(/[0-9]+)?$"),
    |text| {
        let network: IpNet = text
            .parse()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| "an address or a network, as in 127.0.0.1, 10.0.0.0/8 or fd00::/8")?;
        if network.prefix_len() == 0 {
            return Err("a smaller network: if you trust the whole internet, anybody can claim any address".into());
        }
        Ok(network.trunc())
    },
    |network| if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
);

kind!(
    /// An origin; without a scheme, https.
    External(Url),
    Form::Scalar,
    |text| {
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        WebOrigin::read(&with_scheme).map(|origin| origin.0).map_err(|_| {
            "the host at which browsers reach the gateway, without a path, as in auth.example.org or \
             http://127.0.0.1:8080"
                .into()
        })
    },
    |url| url.origin().ascii_serialization()
);

kind!(
    /// The address of a page.
    PageUrl(Url),
    FORM,
    |text| web_url(text).ok_or_else(|| "an address, as in https://app.example.org/start".into()),
    Url::to_string
);

kind!(
    /// An upstream provider's base URL: https, or http on this machine.
    UpstreamUrl(Url),
    FORM,
    |text| {
        let url = web_url(text)
            .filter(|url| !is_exposed(url) && url.query().is_none() && url.fragment().is_none())
            .ok_or("an https URL without query and fragment, as in https://login.example.org")?;
        match prohibited(&url) {
            Some(is) => Err(format!("another address: this one is {is}, which the gateway never calls")),
            None => Ok(url),
        }
    },
    Url::to_string
);

kind!(
    /// An endpoint of an upstream provider, which may have a query: https, or http on this machine.
    EndpointUrl(Url),
    FORM,
    |text| web_url(text)
        .filter(|url| !is_exposed(url) && url.fragment().is_none())
        .ok_or_else(|| "an https URL without a fragment, as in https://login.example.org/token".into()),
    Url::to_string
);

/// The kind of a URL's address, if it is one at which the gateway never calls a provider.
fn prohibited(url: &Url) -> Option<&'static str> {
    let address: IpAddr = match url.host()? {
        Host::Ipv4(address) => address.into(),
        Host::Ipv6(address) => address.into(),
        Host::Domain(_) => return None,
    };
    match reach(address) {
        Reach::Prohibited(is) => Some(is),
        Reach::Public | Reach::Private(_) => None,
    }
}

kind!(
    /// An issuer's identifier (OpenID Connect Core 1.0, section 2, `iss`), kept character for character, because it is
    /// compared so; a URL parser would add a slash to some.
    Issuer(String),
    FORM,
    |text| {
        UpstreamUrl::read(text)?;
        // Operators often copy the address of the discovery document.
        if let Some((issuer, _)) = text.split_once("/.well-known/") {
            return Err(format!(
                "only the issuer's identifier, {issuer}, without /.well-known/ and everything after it"
            ));
        }
        Ok(text.to_owned())
    },
    String::clone
);

/// Parses an absolute http or https URL without a user and a password.
fn web_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let web = matches!(url.scheme(), "http" | "https") && url.has_host();
    // `https:host` and `https:///host` parse too.
    let written_out = text
        .get(url.scheme().len()..)
        .is_some_and(|rest| rest.starts_with("://") && !rest.starts_with(":///"));
    (web && written_out && url.username().is_empty() && url.password().is_none()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::super::Value as _;
    use super::super::tests::table;
    use super::{External, Issuer, UpstreamUrl, WebOrigin};

    #[test]
    fn origins_are_exact() {
        table::<WebOrigin>(&[
            ("https://app.example.org", Some("https://app.example.org")),
            ("https://app.example.org/", Some("https://app.example.org")),
            ("https://APP.example.org:443", Some("https://app.example.org")),
            ("http://10.0.0.1:3000", Some("http://10.0.0.1:3000")),
            ("https://app.example.org/path", None),
            ("https://app.example.org?", None),
            ("https://user@app.example.org", None),
            ("https://*.example.org", None),
            ("app.example.org", None),
            ("https:app.example.org", None),
            ("https:///app.example.org", None),
            ("https://app.example.org\\", None),
            ("https://a pp.example.org", None),
            ("javascript:alert(1)", None),
            ("file:///etc/passwd", None),
            ("null", None),
            ("*", None),
        ]);
    }

    #[test]
    fn an_external_address_without_a_scheme_is_https() {
        table::<External>(&[
            ("auth.example.org", Some("https://auth.example.org")),
            ("localhost:8000", Some("https://localhost:8000")),
            ("http://127.0.0.1:8080/", Some("http://127.0.0.1:8080")),
            ("http://", None),
            ("https://auth.example.org/auth", None),
            ("ftp://auth.example.org", None),
        ]);
    }

    #[test]
    fn upstream_urls_are_https_except_on_this_machine() {
        table::<UpstreamUrl>(&[
            (
                "https://accounts.google.com",
                Some("https://accounts.google.com/"),
            ),
            ("http://127.0.0.1:9000/realm", Some("http://127.0.0.1:9000/realm")),
            ("http://[::1]:9000", Some("http://[::1]:9000/")),
            ("http://login.example.org", None),
            ("http://127.0.0.1.example.org", None),
            ("https://login.example.org?a=b", None),
            ("https://10.0.0.1", Some("https://10.0.0.1/")),
            ("https://169.254.169.254", None),
            ("https://[fe80::1]", None),
            ("https://0.0.0.0", None),
        ]);
    }

    #[test]
    fn an_issuer_is_kept_character_for_character() {
        table::<Issuer>(&[
            ("https://accounts.google.com", Some("https://accounts.google.com")),
            ("https://tenant.example.org/", Some("https://tenant.example.org/")),
            ("http://login.example.org", None),
            ("https://169.254.169.254/latest", None),
        ]);
    }

    #[test]
    fn p19_the_address_of_the_discovery_document_is_not_an_issuer() {
        for (text, issuer) in [
            (
                "https://id.example.org/.well-known/openid-configuration",
                "https://id.example.org",
            ),
            (
                "https://id.example.org/realms/a/.well-known/openid-configuration/",
                "https://id.example.org/realms/a",
            ),
            (
                "https://id.example.org/.well-known/oauth-authorization-server",
                "https://id.example.org",
            ),
        ] {
            let right = Issuer::read(text).expect_err(text);
            assert!(
                right.contains(&format!("identifier, {issuer}, without")),
                "{right}"
            );
        }
    }
}
