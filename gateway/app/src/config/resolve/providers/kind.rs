//! Which protocol a provider speaks, and where it is.

use gateway_upstream::{Mapping, OAuth2, ProviderKind, TENANT};
use url::Url;

use super::Section;
use crate::config::settings::{Claims, ProviderPlaces};
use crate::config::sources::Origin;
use crate::config::value::{EndpointUrl, Issuer, Protocol, UpstreamUrl, Value as _};

const GOOGLE_ISSUER: &str = "https://accounts.google.com";
const GITHUB_WEB: &str = "https://github.com";
const GITHUB_API: &str = "https://api.github.com";

/// The protocol, and the URL of the discovery document if it is not below the issuer. `reported` says whether a mistake in
/// the part of the issuer that a preset needs has been reported.
pub(super) fn kind(
    section: &mut Section<'_, '_, '_>,
    places: ProviderPlaces,
    claims: Claims,
    reported: bool,
) -> (Option<ProviderKind>, Option<Url>) {
    match places.kind {
        Protocol::Oidc => oidc_kind(section, places, reported),
        Protocol::OAuth2 => (oauth2_kind(section, places, claims), None),
        Protocol::GitHub => (github_kind(section, places), None),
    }
}

fn oidc_kind(
    section: &mut Section<'_, '_, '_>,
    places: ProviderPlaces,
    reported: bool,
) -> (Option<ProviderKind>, Option<Url>) {
    let issuer = match places.issuer {
        None if reported => None,
        issuer => section.required("issuer", issuer, "the issuer's exact identifier, an https URL"),
    };
    let discovery = places.discovery_url.map(|(EndpointUrl(url), _)| url);
    let is_template = issuer
        .as_ref()
        .is_some_and(|Issuer(issuer)| issuer.contains(TENANT));
    if is_template && discovery.is_none() && !section.is_mistaken("discovery_url") {
        let message = format!(
            "is missing: the issuer is a template for several tenants ({TENANT}). Set this to the address of their common \
             metadata, as in https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration"
        );
        section.mistake(None, "discovery_url", message);
    }
    let kind = issuer.map(|Issuer(issuer)| ProviderKind::Oidc { issuer });
    (kind, discovery)
}

fn github_kind(section: &mut Section<'_, '_, '_>, places: ProviderPlaces) -> Option<ProviderKind> {
    let web = or_default(section, "web", places.web, GITHUB_WEB);
    let api = match &web {
        // The path of the API on GitHub Enterprise Server.
        Some(web) if !is(web, GITHUB_WEB) => format!("{}/api/v3", web.as_str().trim_end_matches('/')),
        _ => GITHUB_API.to_owned(),
    };
    let api = or_default(section, "api", places.api, &api);
    web.zip(api).map(|(web, api)| ProviderKind::GitHub { web, api })
}

fn oauth2_kind(
    section: &mut Section<'_, '_, '_>,
    places: ProviderPlaces,
    claims: Claims,
) -> Option<ProviderKind> {
    let issuer = section.required(
        "issuer",
        places.issuer,
        "a URL that identifies this provider, as in https://discord.com: users are identified by it, so never change it",
    );
    let mut endpoint = |key, found, what| section.required(key, found, what).map(|EndpointUrl(url)| url);
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
    let subject = section.required(
        "claims.subject",
        claims.subject,
        "the member of the response that identifies a user permanently, as in id: not a name that can change",
    );
    let subject = subject.filter(|subject| {
        let plain = subject.is_plain();
        if !plain {
            let message =
                "must be one member: if users are identified by one of several, two users could be confused";
            section.mistake(None, "claims.subject", message);
        }
        plain
    });
    Some(ProviderKind::OAuth2(Box::new(OAuth2 {
        issuer: issuer?.0,
        authorize: authorize?,
        token: token?,
        userinfo: userinfo?,
        mapping: Mapping {
            subject: subject?,
            email: claims.email,
            email_verified: claims.email_verified,
            name: claims.name,
            picture: claims.picture,
        },
    })))
}

fn or_default(
    section: &mut Section<'_, '_, '_>,
    key: &str,
    found: Option<(UpstreamUrl, Origin)>,
    default: &str,
) -> Option<Url> {
    match found {
        Some((UpstreamUrl(url), _)) => Some(url),
        None if section.is_mistaken(key) => None,
        None => {
            let default = UpstreamUrl::read(default).ok()?;
            let key = section.place.key(key);
            section.layers.show(&key, default.show(), Origin::Default);
            Some(default.0)
        }
    }
}

/// Whether the provider is known to verify addresses.
pub(super) fn is_well_known(kind: Option<&ProviderKind>) -> bool {
    match kind {
        Some(ProviderKind::Oidc { issuer }) => issuer == GOOGLE_ISSUER,
        Some(ProviderKind::GitHub { web, api }) => is(web, GITHUB_WEB) && is(api, GITHUB_API),
        Some(ProviderKind::OAuth2(_)) | None => false,
    }
}

fn is(url: &Url, known: &str) -> bool {
    url.as_str().trim_end_matches('/') == known
}
