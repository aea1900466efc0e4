//! One provider: its section of the file, its variables, its preset.

use std::path::{Path, PathBuf};

use gateway_upstream::{
    ClientAuth, Icon, NonceRule, ProviderConfig, ProviderKind, RESERVED_PARAMETERS, ResponseMode, SignOut,
    TENANT,
};

use super::{Section, client, kind, preset};
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
/// Words that Entra ID accepts in URLs in place of a tenant.
const ENTRA_GROUPS: [&str; 3] = ["common", "consumers", "organizations"];
/// The largest icon, in bytes.
const MAX_ICON: usize = 64 << 10;
/// The maximum length of the names and values of all parameters, in bytes: they become part of a redirect, and proxies limit
/// its length.
const MAX_PARAMETERS: usize = 1500;

pub(super) fn provider(
    layers: &mut Layers<'_>,
    place: &Place<'_>,
    cx: &Context<'_>,
) -> Option<ProviderConfig> {
    if place.name == RESERVED {
        let message = "is the name of the development sign-in: choose another";
        layers.mistake(place.origin(), &place.path, message);
        return None;
    }
    let provider = Provider::read(layers, place, cx);
    let section = &mut Section { layers, place };
    check_client_id(section, &provider);
    let reported = preset::apply(section, &provider);

    let layers = &mut *section.layers;
    let places = ProviderPlaces::read(layers, place, cx);
    let (protocol, allow_private_addresses) = (places.kind, places.allow_private_addresses);
    let claims = Claims::read(layers, &place.section("claims"), cx);
    let client = ProviderClient::read(layers, place, cx);
    let trust = ProviderTrust::read(layers, place, cx);
    let requests = ProviderRequests::read(layers, place, cx);
    let pages = ProviderPages::read(layers, place, cx);
    section.reject_unused(protocol);

    let (kind, discovery) = kind::kind(section, places, claims, reported);
    let client_auth = client::auth(section, protocol, client);
    let trusted_email = trust.trusted_email.unwrap_or_else(|| {
        let trusted = kind::is_well_known(kind.as_ref());
        section
            .layers
            .show(&place.key("trusted_email"), trusted.show(), Origin::Default);
        trusted
    });
    check_sign_out(section, pages.sign_out, kind.as_ref());
    let scopes = requests
        .scopes
        .map(|scopes| check_scopes(section, protocol, scopes));
    let audiences = trust.audiences.unwrap_or_default();
    let audiences = audiences.into_iter().map(|(Id(id), _)| id).collect();
    let tenants = tenants(section, kind.as_ref(), trust.tenants.unwrap_or_default());
    warn_of_nonce(section, trust.nonce);
    if matches!(client_auth, Some(ClientAuth::Apple { .. })) && requests.response_mode == ResponseMode::Query
    {
        check_response_mode(section, scopes.as_deref().unwrap_or_default());
    }
    if let Some((true, origin)) = &trust.assume_email_verified
        && !matches!(origin, Origin::ProviderPreset(_))
    {
        let message = assumed_addresses(tenants.len() > 1, trusted_email);
        section.warn(Some(origin.clone()), "assume_email_verified", &message);
    }
    let authorization_parameters = parameters(section, requests.authorization_parameters);
    let icon = icon(section, pages.icon);
    if protocol == Protocol::GitHub && !asks_for_addresses(scopes.as_deref()) {
        let message = "without the scope user:email, GitHub does not return email addresses";
        section.warn(place.origin(), "scopes", message);
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

fn check_client_id(section: &mut Section<'_, '_, '_>, provider: &Provider) {
    match &provider.client_id {
        None => section.missing("client_id", "the id that the provider gave you"),
        Some((id, origin)) if id.trim().is_empty() => {
            let message = "is empty: set it to the id that the provider gave you";
            section.mistake(Some(origin), "client_id", message);
        }
        Some(_) => {}
    }
}

/// The warning for an operator who vouches for addresses.
fn assumed_addresses(many: bool, trusted: bool) -> String {
    let whose = if many {
        "every administrator of one of its tenants"
    } else {
        "anybody who can choose an address there"
    };
    let reach = if trusted {
        ", and since it is trusted for email addresses too, can sign in as an existing user who has that address"
    } else {
        ""
    };
    format!(
        "addresses count as verified although the provider does not say that they are: {whose} can claim any address{reach}. \
         Keep this only if the provider assigns addresses that its users cannot change"
    )
}

fn asks_for_addresses(scopes: Option<&[String]>) -> bool {
    let is_one = |scope: &String| matches!(scope.as_str(), "user:email" | "user");
    scopes.is_none_or(|scopes| scopes.iter().any(is_one))
}

fn check_sign_out(section: &mut Section<'_, '_, '_>, sign_out: SignOut, kind: Option<&ProviderKind>) {
    let can = matches!(kind, None | Some(ProviderKind::Oidc { .. }));
    if sign_out == SignOut::Provider && !can {
        let origin = section.origin("sign_out");
        let message = "must be local: only OpenID Connect lets applications sign users out at the provider";
        section.mistake(origin.as_ref(), "sign_out", message);
    }
}

fn check_response_mode(section: &mut Section<'_, '_, '_>, scopes: &[String]) {
    let is_one = |scope: &String| matches!(scope.as_str(), "name" | "email");
    if scopes.iter().any(is_one) {
        let origin = section.origin("response_mode");
        let message = "must be form_post: Apple rejects the scopes name and email with any other";
        section.mistake(origin.as_ref(), "response_mode", message);
    }
}

fn check_scopes(
    section: &mut Section<'_, '_, '_>,
    protocol: Protocol,
    scopes: List<ScopeToken>,
) -> Vec<String> {
    let origin = first_origin(&scopes);
    let scopes: Vec<String> = scopes.into_iter().map(|(ScopeToken(scope), _)| scope).collect();
    if protocol == Protocol::Oidc && !scopes.iter().any(|scope| scope == "openid") {
        let usual = ["openid", "email", "profile"].map(str::to_owned);
        let all = [&usual, scopes.as_slice()].concat().join("\", \"");
        let message = format!(
            "must contain openid, since no other scopes are requested: to add to the usual ones, write [\"{all}\"]"
        );
        section.mistake(origin.as_ref(), "scopes", message);
    }
    scopes
}

/// The tenants of an issuer that is a template.
fn tenants(section: &mut Section<'_, '_, '_>, kind: Option<&ProviderKind>, found: List<Id>) -> Vec<String> {
    for (Id(tenant), origin) in &found {
        if ENTRA_GROUPS.contains(&tenant.to_ascii_lowercase().as_str()) {
            let message = format!(
                "{tenant} means several tenants, and no ID token has it as its `tid`: list the IDs of the tenants whose users \
                 may sign in, as in 01234567-89ab-cdef-0123-456789abcdef"
            );
            section.mistake(Some(origin), "tenants", message);
        } else if Shape::Word.problem(tenant).is_some() {
            let message = "must be the IDs of tenants, as in 01234567-89ab-cdef-0123-456789abcdef";
            section.mistake(Some(origin), "tenants", message);
        }
    }
    let is_template = matches!(kind, Some(ProviderKind::Oidc { issuer }) if issuer.contains(TENANT));
    match found.first() {
        None if is_template => {
            let message = format!(
                "is missing: the issuer is a template for all tenants. Set it, or {}, to the IDs of those whose users may \
                 sign in",
                section.variable("tenants")
            );
            section.mistake(None, "tenants", message);
        }
        Some((_, origin)) if kind.is_some() && !is_template => {
            let message = format!("has no effect unless the issuer contains {TENANT}");
            section.mistake(Some(origin), "tenants", message);
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

fn warn_of_nonce(section: &mut Section<'_, '_, '_>, nonce: NonceRule) {
    let origin = section.origin("nonce");
    if nonce != NonceRule::Required && !matches!(origin, Some(Origin::ProviderPreset(_))) {
        let message = "an ID token without a nonce is not bound to the sign-in; use this only with a provider that supports \
                       PKCE";
        section.warn(origin, "nonce", message);
    }
}

/// Additional parameters of authorization requests. Those that the gateway sets itself are rejected.
fn parameters(section: &mut Section<'_, '_, '_>, Pairs(found): Pairs) -> Vec<(String, String)> {
    const KEY: &str = "authorization_parameters";
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
            Some("names of parameters may only have letters, digits, `_`, `-` and `.`".to_owned())
        } else if value.chars().any(char::is_control) {
            Some(format!("the value of {name} contains control characters"))
        } else if name == "max_age" && value.parse::<u32>().is_err() {
            Some("max_age must be a number of seconds".to_owned())
        } else if kept.iter().any(|(known, _)| *known == name) {
            Some(format!("{name} is set twice"))
        } else {
            None
        };
        if let Some(problem) = problem {
            section.mistake(Some(&origin), KEY, problem);
            continue;
        }
        if matches!(name.as_str(), "hd" | "domain_hint" | "hosted_domain") {
            let message = "is only a hint, which users can remove from the address: check their domain in a hook as well";
            section.warn(Some(origin.clone()), &format!("{KEY}.{name}"), message);
        }
        let key = section.place.key(&format!("{KEY}.{name}"));
        section.layers.show(&key, value.clone(), origin);
        kept.push((name, value));
    }
    if size > MAX_PARAMETERS {
        let message = format!("is longer than {MAX_PARAMETERS} bytes in total");
        section.mistake(None, KEY, message);
    }
    kept
}

fn icon(section: &mut Section<'_, '_, '_>, given: Option<(String, Origin)>) -> Option<Icon> {
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
            section.mistake(Some(&origin), "icon", problem);
            None
        }
    }
}

/// Checks that a file is a picture that a page may show.
fn picture(path: &Path) -> Result<(), String> {
    let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    if !is_file {
        return Err(format!(
            "must be the name of a built-in icon, as in google, or a PNG or SVG file; there is no file {}",
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
