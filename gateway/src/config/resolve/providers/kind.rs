//! Which protocol a provider speaks, and where it is.

use gateway_upstream::{Mapping, Member, OAuth2, ProviderKind, TENANT};
use url::Url;

use super::section::Section;
use crate::config::file::{self, List, Setting};
use crate::config::resolve::{Layers, Origin};
use crate::config::value::{EndpointUrl, Issuer, Protocol, UpstreamUrl, Value};

pub(super) const GOOGLE_ISSUER: &str = "https://accounts.google.com";
const GITHUB_WEB: &str = "https://github.com";
const GITHUB_API: &str = "https://api.github.com";

/// The settings that say where a provider is.
pub(super) struct Places {
    /// Whether it has been said what is wrong with the part of a preset's issuer that the operator gives.
    pub(super) told: bool,
    pub(super) issuer: Setting,
    pub(super) discovery_url: Setting,
    pub(super) web: Setting,
    pub(super) api: Setting,
    pub(super) authorize_url: Setting,
    pub(super) token_url: Setting,
    pub(super) userinfo_url: Setting,
    pub(super) claims: file::Claims,
}

/// Which protocol, and what it needs to know.
pub(super) fn kind(
    layers: &mut Layers<'_>,
    section: &Section,
    protocol: Protocol,
    places: Places,
) -> (Option<ProviderKind>, Option<Url>) {
    let oidc = [("discovery_url", &places.discovery_url)];
    let github = [("web", &places.web), ("api", &places.api)];
    let oauth2 = [
        ("authorize_url", &places.authorize_url),
        ("token_url", &places.token_url),
        ("userinfo_url", &places.userinfo_url),
        ("claims.subject", &places.claims.subject),
        ("claims.email", &places.claims.email),
        ("claims.email_verified", &places.claims.email_verified),
        ("claims.name", &places.claims.name),
        ("claims.picture", &places.claims.picture),
    ];
    if protocol != Protocol::Oidc {
        section.unused(layers, protocol, "oidc", &oidc);
    }
    if protocol != Protocol::GitHub {
        section.unused(layers, protocol, "github", &github);
    }
    if protocol != Protocol::OAuth2 {
        section.unused(layers, protocol, "oauth2", &oauth2);
    }
    match protocol {
        Protocol::Oidc => oidc_kind(layers, section, places),
        Protocol::OAuth2 => (oauth2_kind(layers, section, places), None),
        Protocol::GitHub => {
            section.unused(layers, protocol, "oidc and oauth2", &[("issuer", &places.issuer)]);
            (github_kind(layers, section, places), None)
        }
    }
}

fn oidc_kind(
    layers: &mut Layers<'_>,
    section: &Section,
    places: Places,
) -> (Option<ProviderKind>, Option<Url>) {
    let issuer = if places.told && !section.is_set(layers, "issuer", &places.issuer) {
        None
    } else {
        required::<Issuer>(
            layers,
            section,
            "issuer",
            places.issuer,
            "the issuer's exact identifier, an https URL",
        )
    };
    let discovery = section
        .optional::<EndpointUrl>(layers, "discovery_url", places.discovery_url)
        .map(|(EndpointUrl(url), _)| url);
    let is_template = issuer
        .as_ref()
        .is_some_and(|Issuer(issuer)| issuer.contains(TENANT));
    if is_template && discovery.is_none() {
        let message = format!(
            "is missing: an issuer with {TENANT} in it stands for many, so set this to where they describe themselves, as in \
             https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration"
        );
        layers.mistake(section.origin.clone(), &section.key("discovery_url"), message);
    }
    let kind = issuer.map(|Issuer(issuer)| ProviderKind::Oidc { issuer });
    (kind, discovery)
}

fn github_kind(layers: &mut Layers<'_>, section: &Section, places: Places) -> Option<ProviderKind> {
    let web = or_default(layers, section, "web", places.web, GITHUB_WEB);
    let api = match &web {
        // Where GitHub Enterprise Server has it.
        Some(UpstreamUrl(web)) if !is(web, GITHUB_WEB) => {
            format!("{}/api/v3", web.as_str().trim_end_matches('/'))
        }
        _ => GITHUB_API.to_owned(),
    };
    let api = or_default(layers, section, "api", places.api, &api);
    web.zip(api)
        .map(|(UpstreamUrl(web), UpstreamUrl(api))| ProviderKind::GitHub { web, api })
}

fn oauth2_kind(layers: &mut Layers<'_>, section: &Section, places: Places) -> Option<ProviderKind> {
    let issuer = required::<Issuer>(
        layers,
        section,
        "issuer",
        places.issuer,
        "a URL that stands for this provider, as in https://discord.com: people are known by it, so never change it",
    );
    let mut endpoint = |key, setting, what| {
        required::<EndpointUrl>(layers, section, key, setting, what).map(|EndpointUrl(url)| url)
    };
    let authorize = endpoint(
        "authorize_url",
        places.authorize_url,
        "the provider's authorization endpoint",
    );
    let token = endpoint("token_url", places.token_url, "the provider's token endpoint");
    let userinfo = endpoint(
        "userinfo_url",
        places.userinfo_url,
        "the address at which the provider says who an access token belongs to",
    );
    let claims = places.claims;
    let subject = required::<Member>(
        layers,
        section,
        "claims.subject",
        claims.subject,
        "the member of the answer that a person is known by for good, as in id: not a name that can be changed",
    );
    let subject = subject.filter(|subject| {
        let plain = subject.is_plain();
        if !plain {
            let message = "must be one member: people who are known by one of several could be mixed up";
            layers.mistake(section.origin.clone(), &section.key("claims.subject"), message);
        }
        plain
    });
    let mut member = |key, setting| {
        section
            .optional::<Member>(layers, key, setting)
            .map(|(member, _)| member)
    };
    let email = member("claims.email", claims.email);
    let email_verified = member("claims.email_verified", claims.email_verified);
    let name = member("claims.name", claims.name);
    let picture = member("claims.picture", claims.picture);
    Some(ProviderKind::OAuth2(Box::new(OAuth2 {
        issuer: issuer?.0,
        authorize: authorize?,
        token: token?,
        userinfo: userinfo?,
        mapping: Mapping {
            subject: subject?,
            email,
            email_verified,
            name,
            picture,
        },
    })))
}

/// A setting without which there is no provider.
fn required<T: Value>(
    layers: &mut Layers<'_>,
    section: &Section,
    key: &str,
    in_file: Setting,
    what: &str,
) -> Option<T> {
    if !section.is_set(layers, key, &in_file) {
        let message = format!("is missing: set it, or {}, to {what}", section.variable(key));
        layers.mistake(section.origin.clone(), &section.key(key), message);
        return None;
    }
    section.optional(layers, key, in_file).map(|(value, _)| value)
}

fn or_default(
    layers: &mut Layers<'_>,
    section: &Section,
    key: &str,
    in_file: Setting,
    default: &str,
) -> Option<UpstreamUrl> {
    if section.is_set(layers, key, &in_file) {
        return section.optional(layers, key, in_file).map(|(value, _)| value);
    }
    let default = UpstreamUrl::read(default).ok()?;
    layers.show(&section.key(key), default.show(), Origin::Default);
    Some(default)
}

/// Whether it is one whose addresses are known to be verified.
pub(super) fn is_well_known(kind: Option<&ProviderKind>) -> bool {
    match kind {
        Some(ProviderKind::Oidc { issuer }) => issuer == GOOGLE_ISSUER,
        Some(ProviderKind::GitHub { web, api }) => is(web, GITHUB_WEB) && is(api, GITHUB_API),
        Some(ProviderKind::OAuth2(_)) | None => false,
    }
}

/// The lists and settings that mean something for OpenID Connect only.
pub(super) fn only_oidc(
    layers: &mut Layers<'_>,
    section: &Section,
    protocol: Protocol,
    lists: &[(&str, &List)],
    settings: &[(&str, &Setting)],
) {
    if protocol == Protocol::Oidc {
        return;
    }
    section.unused(layers, protocol, "oidc", settings);
    for (key, list) in lists {
        if let Some(list) = list {
            let origin = layers.source.origin(&list.span());
            section.means_nothing(layers, origin, key, protocol, "oidc");
        }
    }
}

fn is(url: &Url, known: &str) -> bool {
    url.as_str().trim_end_matches('/') == known
}
