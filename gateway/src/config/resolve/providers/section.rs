//! One provider: its section of the file, its variables, its preset.

use std::path::{Path, PathBuf};

use gateway_upstream::{
    ClientAuth, Icon, NonceRule, Par, ProviderConfig, ProviderKind, RESERVED_PARAMETERS, ResponseMode,
    TENANT, Userinfo,
};

use super::client::{self, Client};
use super::client_variables;
use super::kind::{self, Places};
use super::preset::{self, Parts};
use crate::config::file::{self, Provider, Setting};
use crate::config::presets::Shape;
use crate::config::resolve::sign_out::sign_out;
use crate::config::resolve::{Layers, Origin, in_variable};
use crate::config::value::{Id, Prompt, Protocol, ScopeToken, Shown, Value};

/// The name of the development sign-in.
const RESERVED: &str = "dev";
/// What Entra ID has in addresses in the place of a tenant.
const ENTRA_GROUPS: [&str; 3] = ["common", "consumers", "organizations"];
/// The most bytes of an icon.
const MAX_ICON: usize = 64 << 10;
/// The most bytes of the names and values of further parameters: they become part of a redirect, which proxies bound.
const MAX_PARAMETERS: usize = 1500;

/// Where a provider's settings are.
pub(super) struct Section {
    pub(super) name: String,
    /// The place of the section, where there is one in the file.
    pub(super) origin: Option<Origin>,
}

impl Section {
    /// The full name of a key.
    pub(super) fn key(&self, key: &str) -> String {
        format!("providers.{}.{key}", self.name)
    }

    /// The variable of a key.
    pub(super) fn variable(&self, key: &str) -> String {
        format!(
            "GATEWAY_PROVIDER_{}_{}",
            in_variable(&self.name),
            in_variable(key)
        )
    }

    pub(super) fn optional<T: Value>(
        &self,
        layers: &mut Layers<'_>,
        key: &str,
        in_file: Setting,
    ) -> Option<(T, Origin)> {
        layers.optional(&self.key(key), &self.variable(key), in_file)
    }

    pub(super) fn value<T: Value>(
        &self,
        layers: &mut Layers<'_>,
        key: &str,
        in_file: Setting,
        default: T,
    ) -> T {
        layers.value(&self.key(key), &self.variable(key), in_file, default)
    }

    /// Whether anybody says something of a key.
    pub(super) fn is_set(&self, layers: &mut Layers<'_>, key: &str, in_file: &Setting) -> bool {
        layers
            .text(&self.key(key), &self.variable(key), in_file.clone())
            .is_some()
    }

    /// Warns of what works and is probably not meant.
    fn warn(&self, layers: &mut Layers<'_>, origin: Option<Origin>, key: &str, message: &str) {
        let key = self.key(key);
        layers.warn_at(origin, &key, format!("{key}: {message}"));
    }

    /// Keys that the file has and that mean nothing for the provider's protocol.
    pub(super) fn unused(
        &self,
        layers: &mut Layers<'_>,
        protocol: Protocol,
        belongs_to: &str,
        settings: &[(&str, &Setting)],
    ) {
        for (key, value) in settings {
            if let Some(value) = value {
                let origin = layers.source.origin(&value.span());
                self.means_nothing(layers, origin, key, protocol, belongs_to);
            }
        }
    }

    pub(super) fn means_nothing(
        &self,
        layers: &mut Layers<'_>,
        origin: Origin,
        key: &str,
        protocol: Protocol,
        belongs_to: &str,
    ) {
        let message = format!(
            "means nothing for a provider of kind {}: it belongs to {belongs_to}",
            protocol.show()
        );
        layers.mistake(Some(origin), &self.key(key), message);
    }
}

/// Reads one provider.
pub(super) fn provider(
    layers: &mut Layers<'_>,
    name: &str,
    origin: Option<Origin>,
    file: Provider,
) -> Option<ProviderConfig> {
    let section = Section {
        name: name.to_owned(),
        origin,
    };
    if name == RESERVED {
        layers.mistake(
            section.origin,
            &format!("providers.{name}"),
            "the name is that of the development sign-in; choose another",
        );
        return None;
    }
    let (id_variable, _) = client_variables(name);
    let client_id =
        layers.optional::<String>(&section.key("client_id"), &id_variable, file.client_id.clone());
    if client_id.is_none() {
        let message = format!("is missing: set it, or {id_variable}, to the id that the provider gave");
        layers.mistake(section.origin.clone(), &section.key("client_id"), message);
    }
    if let Some((id, origin)) = &client_id
        && id.trim().is_empty()
    {
        let message = "must be the id that the provider gave, but is empty";
        layers.mistake(Some(origin.clone()), &section.key("client_id"), message);
    }
    let parts = Parts {
        domain: file.domain,
        tenant: file.tenant,
        realm: file.realm,
        application: file.application,
        user_pool: file.user_pool,
    };
    let has = [
        ("issuer", file.issuer.is_some()),
        ("team_id", file.team_id.is_some()),
        ("client_key_id", file.client_key_id.is_some()),
        ("tenants", file.tenants.is_some()),
        ("audiences", file.audiences.is_some()),
    ];
    let is_set = |key: &str| has.iter().any(|(name, has)| *name == key && *has);
    let id = client_id.as_ref().map(|(id, _)| id.as_str());
    let told = preset::apply(layers, &section, file.preset, parts, id, is_set);

    let by_name = if name == "github" {
        Protocol::GitHub
    } else {
        Protocol::Oidc
    };
    let protocol = section.value(layers, "kind", file.kind, by_name);
    kind::only_oidc(
        layers,
        &section,
        protocol,
        &[("audiences", &file.audiences), ("tenants", &file.tenants)],
        &[
            ("nonce", &file.nonce),
            ("par", &file.par),
            ("userinfo", &file.userinfo),
            ("client_assertion_audience", &file.client_assertion_audience),
        ],
    );
    if protocol == Protocol::GitHub {
        let settings = [("response_mode", &file.response_mode)];
        section.unused(layers, protocol, "oidc and oauth2", &settings);
    }
    let places = Places {
        told,
        issuer: file.issuer,
        discovery_url: file.discovery_url,
        web: file.web,
        api: file.api,
        authorize_url: file.authorize_url,
        token_url: file.token_url,
        userinfo_url: file.userinfo_url,
        claims: file.claims,
    };
    let (kind, discovery) = kind::kind(layers, &section, protocol, places);
    let client = Client {
        auth: file.client_auth,
        secret: file.client_secret,
        secret_file: file.client_secret_file,
        key: file.client_key,
        key_file: file.client_key_file,
        key_id: file.client_key_id,
        key_alg: file.client_key_alg,
        audience: file.client_assertion_audience,
        team_id: file.team_id,
    };
    let client_auth = client::auth(layers, &section, protocol, client);
    let trusted_email = section.value(
        layers,
        "trusted_email",
        file.trusted_email,
        kind::is_well_known(kind.as_ref()),
    );
    let assumed = section.optional::<bool>(layers, "assume_email_verified", file.assume_email_verified);
    let allow_private_addresses = section.value(
        layers,
        "allow_private_addresses",
        file.allow_private_addresses,
        false,
    );
    let sign_out = sign_out(
        layers,
        &section.key("sign_out"),
        &section.variable("sign_out"),
        file.sign_out,
        kind.as_ref(),
    );
    let scopes = scopes(layers, &section, protocol, file.scopes);
    let audiences = audiences(layers, &section, file.audiences);
    let tenants = tenants(layers, &section, kind.as_ref(), file.tenants);
    let nonce = nonce(layers, &section, file.nonce);
    let response_mode = section.value(layers, "response_mode", file.response_mode, ResponseMode::Query);
    if matches!(client_auth, Some(ClientAuth::Apple { .. }))
        && response_mode == ResponseMode::Query
        && let Some(scopes) = &scopes
        && scopes
            .iter()
            .any(|scope| matches!(scope.as_str(), "name" | "email"))
    {
        let key = section.key("response_mode");
        let origin = layers.origin(&key).or_else(|| section.origin.clone());
        let message = "must be form_post: Apple refuses the scopes name and email with any other";
        layers.mistake(origin, &key, message);
    }
    let par = section.value(layers, "par", file.par, Par::Auto);
    if let Some((true, origin)) = &assumed
        && !matches!(origin, Origin::ProviderPreset(_))
    {
        let message = assumed_addresses(tenants.len() > 1, trusted_email);
        section.warn(layers, Some(origin.clone()), "assume_email_verified", &message);
    }
    let prompt = section.optional::<Prompt>(layers, "prompt", file.prompt);
    let authorization_parameters = parameters(layers, &section, file.authorization_parameters);
    let userinfo = section.value(layers, "userinfo", file.userinfo, Userinfo::Auto);
    let display_name = section.optional::<Shown>(layers, "display_name", file.display_name);
    let icon = icon(layers, &section, file.icon);
    if protocol == Protocol::GitHub && !asks_for_addresses(scopes.as_deref()) {
        let message = "without user:email among them GitHub does not tell the gateway any address";
        section.warn(layers, section.origin.clone(), "scopes", message);
    }
    let kind = kind?;
    let defaults = kind.scopes().iter().map(|scope| (*scope).to_owned()).collect();
    Some(ProviderConfig {
        trusted_email,
        allow_private_addresses,
        scopes: scopes.unwrap_or(defaults),
        userinfo,
        sign_out,
        discovery,
        client_auth: client_auth?,
        audiences,
        assume_email_verified: assumed.is_some_and(|(assumed, _)| assumed),
        tenants,
        nonce,
        response_mode,
        par,
        prompt: prompt.map(|(Prompt(prompt), _)| prompt),
        authorization_parameters,
        display_name: display_name.map(|(Shown(name), _)| name),
        icon,
        ..ProviderConfig::new(name, kind, &client_id?.0, String::new().into())
    })
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

/// Clients that may be named beside this one.
fn audiences(layers: &mut Layers<'_>, section: &Section, in_file: file::List) -> Vec<String> {
    const KEY: &str = "audiences";
    let found = layers
        .values::<Id>(&section.key(KEY), &section.variable(KEY), in_file)
        .unwrap_or_default();
    show(layers, section, KEY, found)
}

fn show<T: Value>(
    layers: &mut Layers<'_>,
    section: &Section,
    key: &str,
    found: Vec<(T, Origin)>,
) -> Vec<String> {
    let texts: Vec<String> = found.iter().map(|(text, _)| text.show()).collect();
    if let Some((_, origin)) = found.into_iter().next() {
        layers.show_list(&section.key(key), &texts, origin);
    }
    texts
}

/// All scopes, where they are configured.
fn scopes(
    layers: &mut Layers<'_>,
    section: &Section,
    protocol: Protocol,
    in_file: file::List,
) -> Option<Vec<String>> {
    let key = section.key("scopes");
    let found = layers.values::<ScopeToken>(&key, &section.variable("scopes"), in_file)?;
    let origin = found.first().map(|(_, origin)| origin.clone());
    let scopes = show(layers, section, "scopes", found);
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
        layers.mistake(origin.or_else(|| section.origin.clone()), &key, message);
    }
    Some(scopes)
}

/// The tenants of an issuer that is a template.
fn tenants(
    layers: &mut Layers<'_>,
    section: &Section,
    kind: Option<&ProviderKind>,
    in_file: file::List,
) -> Vec<String> {
    let key = section.key("tenants");
    let found = layers
        .values::<Id>(&key, &section.variable("tenants"), in_file)
        .unwrap_or_default();
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
                section.variable("tenants")
            );
            layers.mistake(section.origin.clone(), &key, message);
        }
        Some((_, origin)) if kind.is_some() && !is_template => {
            let message = format!("means nothing unless the issuer has {TENANT} in it");
            layers.mistake(Some(origin.clone()), &key, message);
        }
        _ => {}
    }
    // Entra ID writes them in lower case.
    show(layers, section, "tenants", found)
        .into_iter()
        .map(|tenant| match Shape::Uuid.problem(&tenant) {
            None => tenant.to_ascii_lowercase(),
            Some(_) => tenant,
        })
        .collect()
}

fn nonce(layers: &mut Layers<'_>, section: &Section, in_file: Setting) -> NonceRule {
    let Some((nonce, origin)) = section.optional::<NonceRule>(layers, "nonce", in_file) else {
        return NonceRule::Required;
    };
    if nonce != NonceRule::Required && !matches!(origin, Origin::ProviderPreset(_)) {
        let message = "an ID token without a nonce is not bound to the sign-in; only a provider that supports PKCE makes up \
                       for it";
        section.warn(layers, Some(origin), "nonce", message);
    }
    nonce
}

/// Further parameters of authorization requests. None of them is one that the gateway sets itself.
fn parameters(
    layers: &mut Layers<'_>,
    section: &Section,
    in_file: file::Named<toml::Spanned<file::Scalar>>,
) -> Vec<(String, String)> {
    let key = section.key("authorization_parameters");
    let variable = section.variable("authorization_parameters");
    let in_file: Vec<(String, String, Origin)> = in_file
        .into_iter()
        .map(|(name, value)| {
            let origin = layers.source.origin(&value.span());
            (name.into_inner(), value.into_inner().0, origin)
        })
        .collect();
    let set_by_variable = layers.sources.environment.get(&variable).is_some();
    let found = if in_file.is_empty() || set_by_variable {
        let pairs = layers.list(&key, &variable, None).unwrap_or_default();
        pairs
            .into_iter()
            .filter_map(|(pair, origin)| match pair.split_once('=') {
                Some((name, value)) => Some((name.trim().to_owned(), value.to_owned(), origin)),
                None => {
                    layers.mistake(
                        Some(origin),
                        &key,
                        "must be name=value pairs with `;` between them",
                    );
                    None
                }
            })
            .collect()
    } else {
        in_file
    };
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
            section.warn(layers, Some(origin.clone()), &key, message);
        }
        layers.show(&format!("{key}.{name}"), value.clone(), origin);
        kept.push((name, value));
    }
    if size > MAX_PARAMETERS {
        let message = format!("is longer than {MAX_PARAMETERS} bytes in all");
        layers.mistake(section.origin.clone(), &key, message);
    }
    kept
}

/// What is shown beside its name.
fn icon(layers: &mut Layers<'_>, section: &Section, in_file: Setting) -> Option<Icon> {
    let (text, origin) = section.optional::<String>(layers, "icon", in_file)?;
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
            layers.mistake(Some(origin), &section.key("icon"), problem);
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
