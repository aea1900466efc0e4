//! `[providers.NAME]`: whom people sign in with.

use gateway_store::UserIds;
use gateway_upstream::{ProviderConfig, ProviderKind};

use super::{Layers, Origin, in_order, in_variable};
use crate::config::file::{self, Provider};
use crate::config::value::{NAME, is_name};

mod client;
mod kind;
mod preset;
mod section;

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
    let mut providers = Vec::new();
    let mut places = Vec::new();
    for (name, origin, inside) in named {
        if let Some(provider) = section::provider(layers, &name, origin.clone(), inside) {
            providers.push(provider);
            places.push(origin);
        }
    }
    refuse_shared_issuers(layers, &providers, &places);
    providers
}

/// People are known by issuer and subject. Two providers that are not the same one must not share the first, or a person
/// of one could be taken for a person of the other.
fn refuse_shared_issuers(layers: &mut Layers<'_>, providers: &[ProviderConfig], places: &[Option<Origin>]) {
    for (at, (provider, origin)) in providers.iter().zip(places).enumerate() {
        let issuer = provider.kind.issuer();
        let other = providers
            .iter()
            .take(at)
            .find(|other| other.kind.issuer() == issuer && !is_same(&other.kind, &provider.kind));
        if let Some(other) = other {
            let message = format!(
                "{issuer} is the issuer of providers.{} too, which is another provider: people are known by their issuer, so \
                 give each its own",
                other.name
            );
            layers.mistake(
                origin.clone(),
                &format!("providers.{}.issuer", provider.name),
                message,
            );
        }
    }
}

fn is_same(one: &ProviderKind, other: &ProviderKind) -> bool {
    match (one, other) {
        (ProviderKind::OAuth2(one), ProviderKind::OAuth2(other)) => {
            one.userinfo == other.userinfo && one.mapping.subject == other.mapping.subject
        }
        (one, other) => one == other,
    }
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
