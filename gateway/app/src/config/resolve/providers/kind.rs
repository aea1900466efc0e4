//! Which protocol a provider speaks, and where it is.

use gateway_upstream::{Mapping, Member, OAuth2, ProviderKind, TENANT};
use url::Url;

use super::required;
use crate::config::layers::{Layers, Place};
use crate::config::settings::{Claims, ProviderPlaces};
use crate::config::sources::Origin;
use crate::config::value::{EndpointUrl, Issuer, Protocol, UpstreamUrl, Value as _};

const GOOGLE_ISSUER: &str = "https://accounts.google.com";
const GITHUB_WEB: &str = "https://github.com";
const GITHUB_API: &str = "https://api.github.com";

/// Which protocol, and what it needs to know. `told` is whether it has been said what is wrong with the part of a preset's
/// issuer that the operator gives.
pub(super) fn kind(
    layers: &mut Layers<'_>,
    place: &Place<'_>,
    places: ProviderPlaces,
    claims: Claims,
    told: bool,
) -> (Option<ProviderKind>, Option<Url>) {
    match places.kind {
        Protocol::Oidc => oidc_kind(layers, place, places, told),
        Protocol::OAuth2 => (oauth2_kind(layers, place, places, claims), None),
        Protocol::GitHub => (github_kind(layers, place, places), None),
    }
}

fn oidc_kind(
    layers: &mut Layers<'_>,
    place: &Place<'_>,
    places: ProviderPlaces,
    told: bool,
) -> (Option<ProviderKind>, Option<Url>) {
    let issuer = match places.issuer {
        None if told => None,
        issuer => {
            let what = "the issuer's exact identifier, an https URL";
            required::<Issuer>(layers, place, "issuer", issuer, what)
        }
    };
    let discovery = places.discovery_url.map(|(EndpointUrl(url), _)| url);
    let is_template = issuer
        .as_ref()
        .is_some_and(|Issuer(issuer)| issuer.contains(TENANT));
    let discovery_key = place.key("discovery_url");
    if is_template && discovery.is_none() && !layers.is_mistaken(&discovery_key) {
        let message = format!(
            "is missing: an issuer with {TENANT} in it stands for many, so set this to where they describe themselves, as in \
             https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration"
        );
        layers.mistake(place.origin(), &discovery_key, message);
    }
    let kind = issuer.map(|Issuer(issuer)| ProviderKind::Oidc { issuer });
    (kind, discovery)
}

fn github_kind(layers: &mut Layers<'_>, place: &Place<'_>, places: ProviderPlaces) -> Option<ProviderKind> {
    let web = or_default(layers, place, "web", places.web, GITHUB_WEB);
    let api = match &web {
        // Where GitHub Enterprise Server has it.
        Some(web) if !is(web, GITHUB_WEB) => {
            format!("{}/api/v3", web.as_str().trim_end_matches('/'))
        }
        _ => GITHUB_API.to_owned(),
    };
    let api = or_default(layers, place, "api", places.api, &api);
    web.zip(api).map(|(web, api)| ProviderKind::GitHub { web, api })
}

fn oauth2_kind(
    layers: &mut Layers<'_>,
    place: &Place<'_>,
    places: ProviderPlaces,
    claims: Claims,
) -> Option<ProviderKind> {
    let issuer = required::<Issuer>(
        layers,
        place,
        "issuer",
        places.issuer,
        "a URL that stands for this provider, as in https://discord.com: people are known by it, so never change it",
    );
    let mut endpoint = |key, found, what| {
        required::<EndpointUrl>(layers, place, key, found, what).map(|EndpointUrl(url)| url)
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
    let subject = required::<Member>(
        layers,
        place,
        "claims.subject",
        claims.subject,
        "the member of the answer that a person is known by for good, as in id: not a name that can be changed",
    );
    let subject = subject.filter(|subject| {
        let plain = subject.is_plain();
        if !plain {
            let message = "must be one member: people who are known by one of several could be mixed up";
            layers.mistake(place.origin(), &place.key("claims.subject"), message);
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
    layers: &mut Layers<'_>,
    place: &Place<'_>,
    key: &str,
    found: Option<(UpstreamUrl, Origin)>,
    default: &str,
) -> Option<Url> {
    let key = place.key(key);
    match found {
        Some((UpstreamUrl(url), _)) => Some(url),
        None if layers.is_mistaken(&key) => None,
        None => {
            let default = UpstreamUrl::read(default).ok()?;
            layers.show(&key, default.show(), Origin::Default);
            Some(default.0)
        }
    }
}

/// Whether it is one whose addresses are known to be verified.
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
