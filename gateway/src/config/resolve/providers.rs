//! `[providers.NAME]`: whom people sign in with.

use gateway_store::UserIds;
use gateway_upstream::{ProviderConfig, ProviderKind};
use url::Url;

use super::sign_out::sign_out;
use super::{Layers, Origin, in_order, in_variable};
use crate::config::file::{self, Provider, Setting};
use crate::config::value::{Issuer, NAME, UpstreamUrl, Value, is_name};

const GOOGLE_ISSUER: &str = "https://accounts.google.com";
const GITHUB_WEB: &str = "https://github.com";
const GITHUB_API: &str = "https://api.github.com";

/// The name of the development sign-in.
const RESERVED: &str = "dev";

pub(super) fn providers(layers: &mut Layers<'_>, in_file: file::Named<Provider>) -> Vec<ProviderConfig> {
    let mut named: Vec<(String, Option<Origin>, Provider)> = in_order(layers, "providers", in_file)
        .into_iter()
        .map(|(name, origin, provider)| (name, Some(origin), provider))
        .collect();
    let by_variables = layers
        .list("providers", "GATEWAY_PROVIDERS", None)
        .unwrap_or_default();
    let mut names: Vec<String> = Vec::new();
    for name in ["google", "github"] {
        let variables = client_variables(name);
        let set = [&variables.0, &variables.1, &format!("{}_FILE", variables.1)]
            .into_iter()
            .any(|variable| layers.sources.environment.get(variable).is_some());
        if set {
            names.push(name.to_owned());
        }
    }
    for (name, origin) in by_variables {
        if is_name(&name) {
            names.push(name);
        } else {
            layers.mistake(Some(origin), "providers", format!("{name:?} must be {NAME}"));
        }
    }
    for name in names {
        if named.iter().all(|(known, _, _)| *known != name) {
            named.push((name, None, Provider::default()));
        }
    }
    named
        .into_iter()
        .filter_map(|(name, origin, inside)| provider(layers, &name, origin, inside))
        .collect()
}

/// Where ids are made of addresses, says what becomes of the users of a provider whose addresses do not count.
pub(super) fn warn_of_untrusted_addresses(
    layers: &mut Layers<'_>,
    providers: &[ProviderConfig],
    user_ids: UserIds,
) {
    if user_ids != UserIds::EmailMd5 {
        return;
    }
    for provider in providers.iter().filter(|provider| !provider.trusted_email) {
        let name = &provider.name;
        layers.warn(format!(
            "providers.{name} is not trusted for email addresses, so its new users get random ids although \
             database.user_ids is email-md5: permission data that is keyed by md5(address) does not apply to them. Earlier \
             gateways gave them md5(address), whoever owned the address: look for such users with `gateway user list`. Set \
             providers.{name}.trusted_email = true only if the provider verifies that its people own their addresses"
        ));
    }
}

/// The variables of the client's id and secret.
fn client_variables(name: &str) -> (String, String) {
    match name {
        "google" => ("GOOGLE_KEY".into(), "GOOGLE_SECRET".into()),
        "github" => ("GITHUB_KEY".into(), "GITHUB_SECRET".into()),
        name => {
            let name = in_variable(name);
            (
                format!("GATEWAY_PROVIDER_{name}_CLIENT_ID"),
                format!("GATEWAY_PROVIDER_{name}_CLIENT_SECRET"),
            )
        }
    }
}

/// Which protocol, as it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Oidc,
    GitHub,
}

impl Value for Protocol {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "oidc" => Ok(Self::Oidc),
            "github" => Ok(Self::GitHub),
            _ => Err("oidc or github".into()),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Oidc => "oidc".into(),
            Self::GitHub => "github".into(),
        }
    }
}

fn provider(
    layers: &mut Layers<'_>,
    name: &str,
    origin: Option<Origin>,
    file: Provider,
) -> Option<ProviderConfig> {
    let section = format!("providers.{name}");
    if name == RESERVED {
        layers.mistake(
            origin,
            &section,
            "the name is that of the development sign-in; choose another",
        );
        return None;
    }
    let key = |name: &str| format!("{section}.{name}");
    let variable = {
        let name = in_variable(name);
        move |setting: &str| format!("GATEWAY_PROVIDER_{name}_{setting}")
    };
    let by_name = if name == "github" {
        Protocol::GitHub
    } else {
        Protocol::Oidc
    };
    let protocol = layers.value(&key("kind"), &variable("KIND"), file.kind, by_name);
    let kind = match protocol {
        Protocol::Oidc => {
            let known = (name == "google").then_some(GOOGLE_ISSUER);
            unused(layers, &section, [("web", file.web), ("api", file.api)]);
            let (key, variable) = (key("issuer"), variable("ISSUER"));
            let issuer = base::<Issuer>(layers, &key, &variable, file.issuer, known, origin.clone());
            issuer.map(|Issuer(issuer)| ProviderKind::Oidc { issuer })
        }
        Protocol::GitHub => {
            unused(layers, &section, [("issuer", file.issuer)]);
            let (web_key, web_variable) = (key("web"), variable("WEB"));
            let web = base::<UpstreamUrl>(layers, &web_key, &web_variable, file.web, Some(GITHUB_WEB), None);
            let api = match &web {
                // Where GitHub Enterprise Server has it.
                Some(UpstreamUrl(web)) if !is(web, GITHUB_WEB) => {
                    format!("{}/api/v3", web.as_str().trim_end_matches('/'))
                }
                _ => GITHUB_API.to_owned(),
            };
            let (api_key, api_variable) = (key("api"), variable("API"));
            let api = base::<UpstreamUrl>(layers, &api_key, &api_variable, file.api, Some(&api), None);
            web.zip(api)
                .map(|(UpstreamUrl(web), UpstreamUrl(api))| ProviderKind::GitHub { web, api })
        }
    };
    let (id_variable, secret_variable) = client_variables(name);
    let client_id = layers.optional::<String>(&key("client_id"), &id_variable, file.client_id);
    if client_id.is_none() {
        let message = format!("is missing: set it, or {id_variable}, to the id that the provider gave");
        layers.mistake(origin.clone(), &key("client_id"), message);
    }
    let before = layers.mistakes.len();
    let client_secret = layers.secret(
        &key("client_secret"),
        &secret_variable,
        file.client_secret,
        file.client_secret_file,
    );
    if client_secret.is_none() && layers.mistakes.len() == before {
        let message = format!(
            "is missing: set it, or client_secret_file, or {secret_variable}, to the secret that the provider gave"
        );
        layers.mistake(origin, &key("client_secret"), message);
    }
    let is_well_known = match &kind {
        Some(ProviderKind::Oidc { issuer }) => issuer == GOOGLE_ISSUER,
        Some(ProviderKind::GitHub { web, api }) => is(web, GITHUB_WEB) && is(api, GITHUB_API),
        None => false,
    };
    let trusted_email = layers.value(
        &key("trusted_email"),
        &variable("TRUSTED_EMAIL"),
        file.trusted_email,
        is_well_known,
    );
    let allow_private_addresses = layers.value(
        &key("allow_private_addresses"),
        &variable("ALLOW_PRIVATE_ADDRESSES"),
        file.allow_private_addresses,
        false,
    );
    let sign_out = sign_out(
        layers,
        &key("sign_out"),
        &variable("SIGN_OUT"),
        file.sign_out,
        kind.as_ref(),
    );
    let scopes = layers
        .values::<String>(&key("scopes"), &variable("SCOPES"), file.scopes)
        .unwrap_or_default();
    if let Some((_, origin)) = scopes.first() {
        let shown: Vec<String> = scopes.iter().map(|(scope, _)| scope.clone()).collect();
        layers.show_list(&key("scopes"), &shown, origin.clone());
    }
    Some(ProviderConfig {
        trusted_email,
        allow_private_addresses,
        scopes: scopes.into_iter().map(|(scope, _)| scope).collect(),
        sign_out,
        ..ProviderConfig::new(name, kind?, &client_id?.0, client_secret?.0)
    })
}

/// Where a provider is.
fn base<T: Value>(
    layers: &mut Layers<'_>,
    key: &str,
    variable: &str,
    in_file: Setting,
    default: Option<&str>,
    section: Option<Origin>,
) -> Option<T> {
    let set = layers.text(key, variable, in_file.clone()).is_some();
    if let Some((base, _)) = layers.optional(key, variable, in_file) {
        return Some(base);
    }
    if set {
        return None;
    }
    let Some(default) = default.and_then(|default| T::read(default).ok()) else {
        let message =
            format!("is missing: set it, or {variable}, to the issuer's exact identifier, an https URL");
        layers.mistake(section, key, message);
        return None;
    };
    layers.show(key, default.show(), Origin::Default);
    Some(default)
}

/// Keys that mean nothing for the provider's protocol.
fn unused<const N: usize>(layers: &mut Layers<'_>, section: &str, settings: [(&str, Setting); N]) {
    for (key, value) in settings {
        if let Some(value) = value {
            let origin = layers.source.origin(&value.span());
            layers.mistake(
                Some(origin),
                &format!("{section}.{key}"),
                "means nothing for this kind of provider: issuer belongs to oidc, web and api to github",
            );
        }
    }
}

fn is(url: &Url, known: &str) -> bool {
    url.as_str().trim_end_matches('/') == known
}
