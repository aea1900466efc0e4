//! One provider: its section of the file, its variables, its preset.

use std::path::{Path, PathBuf};

use gateway_upstream::{
    ClientAuth, Icon, NonceRule, ProviderConfig, ProviderKind, RESERVED_PARAMETERS, ResponseMode, SignOut,
    TENANT,
};

use super::{client, kind, preset, refuse_unused, variable, warn};
use crate::config::field::{Context, List, Pairs};
use crate::config::layers::{Layers, Place};
use crate::config::presets::Shape;
use crate::config::resolve::first_origin;
use crate::config::settings::{
    Claims, Provider, ProviderClient, ProviderPages, ProviderPlaces, ProviderRequests, ProviderTrust,
};
use crate::config::sources::Origin;
use crate::config::value::{Id, Protocol, ScopeToken, Value as _};

/// The name of the development sign-in.
const RESERVED: &str = "dev";
/// What Entra ID has in addresses in the place of a tenant.
const ENTRA_GROUPS: [&str; 3] = ["common", "consumers", "organizations"];
/// The most bytes of an icon.
const MAX_ICON: usize = 64 << 10;
/// The most bytes of the names and values of further parameters: they become part of a redirect, which proxies bound.
const MAX_PARAMETERS: usize = 1500;

/// Reads one provider.
pub(super) fn provider(
    layers: &mut Layers<'_>,
    place: &Place<'_>,
    cx: &Context<'_>,
) -> Option<ProviderConfig> {
    if place.name == RESERVED {
        let message = "the name is that of the development sign-in; choose another";
        layers.mistake(place.origin(), &place.path, message);
        return None;
    }
    let provider = Provider::read(layers, place, cx);
    client_id(layers, place, &provider);
    let told = preset::apply(layers, place, &provider);

    let places = ProviderPlaces::read(layers, place, cx);
    let (protocol, allow_private_addresses) = (places.kind, places.allow_private_addresses);
    let claims = Claims::read(layers, &place.section("claims"), cx);
    let client = ProviderClient::read(layers, place, cx);
    let trust = ProviderTrust::read(layers, place, cx);
    let requests = ProviderRequests::read(layers, place, cx);
    let pages = ProviderPages::read(layers, place, cx);
    refuse_unused(layers, place, protocol);

    let (kind, discovery) = kind::kind(layers, place, places, claims, told);
    let client_auth = client::auth(layers, place, protocol, client);
    let trusted_email = trust.trusted_email.unwrap_or_else(|| {
        let trusted = kind::is_well_known(kind.as_ref());
        layers.show(&place.key("trusted_email"), trusted.show(), Origin::Default);
        trusted
    });
    check_sign_out(layers, place, pages.sign_out, kind.as_ref());
    let scopes = requests
        .scopes
        .map(|scopes| check_scopes(layers, place, protocol, scopes));
    let audiences = trust.audiences.unwrap_or_default();
    let audiences = audiences.0.into_iter().map(|(Id(id), _)| id).collect();
    let tenants = tenants(layers, place, kind.as_ref(), trust.tenants.unwrap_or_default());
    warn_of_nonce(layers, place, trust.nonce);
    if matches!(client_auth, Some(ClientAuth::Apple { .. })) && requests.response_mode == ResponseMode::Query
    {
        check_response_mode(layers, place, scopes.as_deref().unwrap_or_default());
    }
    if let Some((true, origin)) = &trust.assume_email_verified
        && !matches!(origin, Origin::ProviderPreset(_))
    {
        let message = assumed_addresses(tenants.len() > 1, trusted_email);
        warn(
            layers,
            place,
            Some(origin.clone()),
            "assume_email_verified",
            &message,
        );
    }
    let authorization_parameters = parameters(layers, place, requests.authorization_parameters);
    let icon = icon(layers, place, pages.icon);
    if protocol == Protocol::GitHub && !asks_for_addresses(scopes.as_deref()) {
        let message = "without user:email among them GitHub does not tell the gateway any address";
        warn(layers, place, place.origin(), "scopes", message);
    }
    let kind = kind?;
    let defaults = kind.scopes().iter().map(|scope| (*scope).to_owned()).collect();
    Some(ProviderConfig {
        trusted_email,
        allow_private_addresses,
        scopes: scopes.unwrap_or(defaults),
        userinfo: trust.userinfo,
        sign_out: pages.sign_out,
        discovery,
        client_auth: client_auth?,
        audiences,
        assume_email_verified: trust.assume_email_verified.is_some_and(|(assumed, _)| assumed),
        tenants,
        nonce: trust.nonce,
        response_mode: requests.response_mode,
        par: requests.par,
        prompt: requests.prompt,
        authorization_parameters,
        display_name: pages.display_name,
        icon,
        ..ProviderConfig::new(&place.name, kind, &provider.client_id?.0, String::new().into())
    })
}

fn client_id(layers: &mut Layers<'_>, place: &Place<'_>, provider: &Provider) {
    let key = place.key("client_id");
    match &provider.client_id {
        None => {
            let variable = variable(place, "client_id");
            let message = format!("is missing: set it, or {variable}, to the id that the provider gave");
            layers.mistake(place.origin(), &key, message);
        }
        Some((id, origin)) if id.trim().is_empty() => {
            let message = "must be the id that the provider gave, but is empty";
            layers.mistake(Some(origin.clone()), &key, message);
        }
        Some(_) => {}
    }
}

/// What follows where the operator vouches for addresses.
fn assumed_addresses(many: bool, trusted: bool) -> String {
    let whose = if many {
        "every administrator of one of its tenants"
    } else {
        "whoever can choose an address there"
    };
    let reach = if trusted {
        ", and since it is trusted for email addresses too, can sign in as an existing user who has that address"
    } else {
        ""
    };
    format!(
        "addresses count as verified although the provider does not say that they are: {whose} can claim any address{reach}. \
         Keep this only if the provider gives its people addresses that they cannot change"
    )
}

fn asks_for_addresses(scopes: Option<&[String]>) -> bool {
    scopes.is_none_or(|scopes| {
        scopes
            .iter()
            .any(|scope| matches!(scope.as_str(), "user:email" | "user"))
    })
}

/// Only OpenID Connect has a way to sign people out.
fn check_sign_out(
    layers: &mut Layers<'_>,
    place: &Place<'_>,
    sign_out: SignOut,
    kind: Option<&ProviderKind>,
) {
    let can = matches!(kind, None | Some(ProviderKind::Oidc { .. }));
    if sign_out == SignOut::Provider && !can {
        let key = place.key("sign_out");
        let message = "must be local: only OpenID Connect lets applications sign people out at the provider";
        layers.mistake(layers.origin(&key), &key, message);
    }
}

/// What Apple answers to a request for a name or an address.
fn check_response_mode(layers: &mut Layers<'_>, place: &Place<'_>, scopes: &[String]) {
    if scopes
        .iter()
        .any(|scope| matches!(scope.as_str(), "name" | "email"))
    {
        let key = place.key("response_mode");
        let origin = layers.origin(&key).or_else(|| place.origin());
        let message = "must be form_post: Apple refuses the scopes name and email with any other";
        layers.mistake(origin, &key, message);
    }
}

/// All scopes, where they are configured.
fn check_scopes(
    layers: &mut Layers<'_>,
    place: &Place<'_>,
    protocol: Protocol,
    List(scopes): List<ScopeToken>,
) -> Vec<String> {
    let origin = first_origin(&scopes);
    let scopes: Vec<String> = scopes.into_iter().map(|(ScopeToken(scope), _)| scope).collect();
    if protocol == Protocol::Oidc && !scopes.iter().any(|scope| scope == "openid") {
        let all: Vec<String> = ["openid", "email", "profile"]
            .into_iter()
            .map(str::to_owned)
            .chain(scopes.clone())
            .collect();
        let message = format!(
            "must have openid in it, since these are all the scopes that are asked for: to add to the usual ones, write \
             [\"{}\"]",
            all.join("\", \"")
        );
        layers.mistake(origin.or_else(|| place.origin()), &place.key("scopes"), message);
    }
    scopes
}

/// The tenants of an issuer that is a template.
fn tenants(
    layers: &mut Layers<'_>,
    place: &Place<'_>,
    kind: Option<&ProviderKind>,
    List(found): List<Id>,
) -> Vec<String> {
    let key = place.key("tenants");
    for (Id(tenant), origin) in &found {
        if ENTRA_GROUPS.contains(&tenant.to_ascii_lowercase().as_str()) {
            let message = format!(
                "{tenant} stands for many tenants, and no ID token names it (`tid`): list the IDs of the tenants whose people \
                 may sign in, as in 01234567-89ab-cdef-0123-456789abcdef"
            );
            layers.mistake(Some(origin.clone()), &key, message);
        } else if Shape::Word.problem(tenant).is_some() {
            let message = "must be the IDs of tenants, as in 01234567-89ab-cdef-0123-456789abcdef";
            layers.mistake(Some(origin.clone()), &key, message);
        }
    }
    let is_template = matches!(kind, Some(ProviderKind::Oidc { issuer }) if issuer.contains(TENANT));
    match found.first() {
        None if is_template => {
            let message = format!(
                "is missing: the issuer stands for all tenants there are. Set it, or {}, to the IDs of those whose people may \
                 sign in",
                variable(place, "tenants")
            );
            layers.mistake(place.origin(), &key, message);
        }
        Some((_, origin)) if kind.is_some() && !is_template => {
            let message = format!("means nothing unless the issuer has {TENANT} in it");
            layers.mistake(Some(origin.clone()), &key, message);
        }
        _ => {}
    }
    // Entra ID writes them in lower case.
    found
        .into_iter()
        .map(|(Id(tenant), _)| match Shape::Uuid.problem(&tenant) {
            None => tenant.to_ascii_lowercase(),
            Some(_) => tenant,
        })
        .collect()
}

fn warn_of_nonce(layers: &mut Layers<'_>, place: &Place<'_>, nonce: NonceRule) {
    let origin = layers.origin(&place.key("nonce"));
    if nonce != NonceRule::Required && !matches!(origin, Some(Origin::ProviderPreset(_))) {
        let message = "an ID token without a nonce is not bound to the sign-in; only a provider that supports PKCE makes up \
                       for it";
        warn(layers, place, origin, "nonce", message);
    }
}

/// Further parameters of authorization requests. None of them is one that the gateway sets itself.
fn parameters(layers: &mut Layers<'_>, place: &Place<'_>, Pairs(found): Pairs) -> Vec<(String, String)> {
    let key = place.key("authorization_parameters");
    let mut size = 0;
    let mut kept: Vec<(String, String)> = Vec::new();
    for (name, value, origin) in found {
        size += name.len() + value.len();
        let problem = if RESERVED_PARAMETERS.contains(&name.as_str()) {
            let instead = match name.as_str() {
                "scope" => ": use scopes",
                "prompt" => ": use prompt",
                "response_mode" => ": use response_mode",
                "nonce" => ": use nonce",
                "login_hint" => ": applications pass it to /auth/login/NAME",
                _ => "",
            };
            Some(format!("{name} is set by the gateway itself{instead}"))
        } else if Shape::Word.problem(&name).is_some() {
            Some("names of parameters are letters, digits, `_`, `-` and `.`".to_owned())
        } else if value.chars().any(char::is_control) {
            Some(format!("the value of {name} has control characters in it"))
        } else if name == "max_age" && value.parse::<u32>().is_err() {
            Some("max_age must be a number of seconds".to_owned())
        } else if kept.iter().any(|(known, _)| *known == name) {
            Some(format!("{name} is named twice"))
        } else {
            None
        };
        if let Some(problem) = problem {
            layers.mistake(Some(origin), &key, problem);
            continue;
        }
        if matches!(name.as_str(), "hd" | "domain_hint" | "hosted_domain") {
            let message =
                "is a hint that people can take out of the address: check their domain in a hook as well";
            let key = format!("authorization_parameters.{name}");
            warn(layers, place, Some(origin.clone()), &key, message);
        }
        layers.show(&format!("{key}.{name}"), value.clone(), origin);
        kept.push((name, value));
    }
    if size > MAX_PARAMETERS {
        let message = format!("is longer than {MAX_PARAMETERS} bytes in all");
        layers.mistake(place.origin(), &key, message);
    }
    kept
}

/// What is shown beside its name.
fn icon(layers: &mut Layers<'_>, place: &Place<'_>, given: Option<(String, Origin)>) -> Option<Icon> {
    let (text, origin) = given?;
    let is_mark = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if is_mark {
        return Some(Icon::Mark(text));
    }
    let path = PathBuf::from(text);
    match picture(&path) {
        Ok(()) => Some(Icon::File(path)),
        Err(problem) => {
            layers.mistake(Some(origin), &place.key("icon"), problem);
            None
        }
    }
}

/// Whether a file is a picture that a page may show.
fn picture(path: &Path) -> Result<(), String> {
    let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    if !is_file {
        return Err(format!(
            "must be the name of a mark, as in google, or a PNG or SVG file; there is no file {}",
            path.display()
        ));
    }
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if bytes.len() > MAX_ICON {
        return Err(format!("{} has more than {MAX_ICON} bytes", path.display()));
    }
    let is_svg = std::str::from_utf8(&bytes).is_ok_and(|text| text.contains("<svg"));
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") || is_svg {
        Ok(())
    } else {
        Err(format!("{} is neither a PNG nor an SVG file", path.display()))
    }
}
