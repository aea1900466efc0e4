//! Values that are web addresses: origins, pages, upstream providers.

use std::net::IpAddr;

use gateway_model::address::{Reach, reach};
use ipnet::IpNet;
use url::{Host, Url};

use super::{Form, Value};

/// An http or https URL.
pub(super) const FORM: Form = Form::Pattern("^[Hh][Tt][Tt][Pp][Ss]?://[^/]");

/// Whether somebody on the way could read or change what is sent there: http to anywhere but this machine.
pub(in crate::config) fn is_exposed(url: &Url) -> bool {
    url.scheme() != "https" && !is_loopback(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// An origin: scheme, host and port of an http URL, and nothing more.
#[derive(Clone, Debug)]
pub(in crate::config) struct WebOrigin(pub(in crate::config) Url);

impl Value for WebOrigin {
    const FORM: Form = FORM;

    fn read(text: &str) -> Result<Self, String> {
        const RIGHT: &str = "an origin, scheme://host[:port], as in https://app.example.org";
        let url = web_url(text).ok_or(RIGHT)?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        // The parser is lenient where an operator who meant something else had better know.
        let plain = !text.contains(['\\', '*', '?', '#']) && !text.chars().any(char::is_whitespace);
        if bare && plain {
            Ok(Self(url))
        } else {
            Err(RIGHT.into())
        }
    }

    fn show(&self) -> String {
        self.0.origin().ascii_serialization()
    }
}

/// The address of a proxy, or a network of them.
#[derive(Clone, Debug)]
pub(in crate::config) struct Network(pub(in crate::config) IpNet);

impl Value for Network {
    const FORM: Form = Form::Pattern("^[0-9A-Fa-f.:]+(/[0-9]+)?$");

    fn read(text: &str) -> Result<Self, String> {
        let network = text
            .parse()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| "an address or a network, as in 127.0.0.1, 10.0.0.0/8 or fd00::/8")?;
        if network.prefix_len() == 0 {
            return Err(
                "narrower: with the whole internet trusted anybody could give any address as theirs".into(),
            );
        }
        Ok(Self(network.trunc()))
    }

    fn show(&self) -> String {
        let is_one = self.0.prefix_len() == self.0.max_prefix_len();
        if is_one {
            self.0.addr().to_string()
        } else {
            self.0.to_string()
        }
    }
}

/// `EXTERNAL_ADDRESS`: an origin; no scheme means https.
#[derive(Clone, Debug)]
pub(in crate::config) struct External(pub(in crate::config) Url);

impl Value for External {
    fn read(text: &str) -> Result<Self, String> {
        let with_scheme = if text.contains("://") {
            text.to_owned()
        } else {
            format!("https://{text}")
        };
        WebOrigin::read(&with_scheme).map(|origin| Self(origin.0)).map_err(|_| {
            "the host that browsers reach the gateway at, as in auth.example.org or http://127.0.0.1:8080; a path \
             is not possible"
                .into()
        })
    }

    fn show(&self) -> String {
        self.0.origin().ascii_serialization()
    }
}

/// The address of a page.
#[derive(Clone, Debug)]
pub(in crate::config) struct PageUrl(pub(in crate::config) Url);

impl Value for PageUrl {
    const FORM: Form = FORM;

    fn read(text: &str) -> Result<Self, String> {
        web_url(text)
            .map(Self)
            .ok_or_else(|| "an address, as in https://app.example.org/start".into())
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// An upstream provider's base URL: https, or http on this machine.
#[derive(Clone, Debug)]
pub(in crate::config) struct UpstreamUrl(pub(in crate::config) Url);

impl Value for UpstreamUrl {
    const FORM: Form = FORM;

    fn read(text: &str) -> Result<Self, String> {
        let url = web_url(text)
            .filter(|url| !is_exposed(url) && url.query().is_none() && url.fragment().is_none())
            .ok_or("an https URL without query and fragment, as in https://login.example.org")?;
        match prohibited(&url) {
            Some(is) => Err(format!(
                "at an address that the gateway may call; this one is {is}, which it never calls"
            )),
            None => Ok(Self(url)),
        }
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// An endpoint of an upstream provider, which may have a query of its own: https, or http on this machine.
#[derive(Clone, Debug)]
pub(in crate::config) struct EndpointUrl(pub(in crate::config) Url);

impl Value for EndpointUrl {
    const FORM: Form = FORM;

    fn read(text: &str) -> Result<Self, String> {
        web_url(text)
            .filter(|url| !is_exposed(url) && url.fragment().is_none())
            .map(Self)
            .ok_or_else(|| "an https URL without a fragment, as in https://login.example.org/token".into())
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// What a URL's address is, where it is one at which the gateway never calls a provider.
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

/// An issuer's identifier (OpenID Connect Core 1.0, section 2, `iss`): kept character for character, for
/// that is how it is compared; a URL parser would add a slash to some.
#[derive(Clone, Debug)]
pub(in crate::config) struct Issuer(pub(in crate::config) String);

impl Value for Issuer {
    const FORM: Form = FORM;

    fn read(text: &str) -> Result<Self, String> {
        UpstreamUrl::read(text)?;
        // What is copied most easily is the address of the document that the issuer publishes.
        if let Some((issuer, _)) = text.split_once("/.well-known/") {
            return Err(format!(
                "the issuer's identifier alone, {issuer}, without /.well-known/ and what follows it"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// An absolute http or https URL without a user or a password.
fn web_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let web = matches!(url.scheme(), "http" | "https") && url.has_host();
    // `https:host` and `https:///host` parse too.
    let written_out = text
        .get(url.scheme().len()..)
        .is_some_and(|rest| rest.starts_with("://") && !rest.starts_with(":///"));
    (web && written_out && url.username().is_empty() && url.password().is_none()).then_some(url)
}

inner!(External => Url, Network => IpNet);

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
    fn upstream_urls_are_https_but_on_this_machine() {
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
    fn an_issuer_stays_as_it_is_written() {
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
            assert!(right.contains(&format!("alone, {issuer}, without")), "{right}");
        }
    }
}
