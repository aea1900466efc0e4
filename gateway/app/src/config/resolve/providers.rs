//! `[providers.NAME]`: whom people sign in with.

use gateway_store::UserIds;
use gateway_upstream::{ProviderConfig, ProviderKind};

use crate::config::field::Context;
use crate::config::layers::{Layers, Place};
use crate::config::setting::{self, Setting, Shape, in_variable};
use crate::config::settings::{self, SECTIONS};
use crate::config::sources::Origin;
use crate::config::value::{NAME, Protocol, Value as _, is_name};

mod client;
mod kind;
mod preset;
mod section;

/// The path of the sections of providers.
const SECTION: &str = "providers.NAME";

/// The providers that are configured by variables alone.
const PROVIDERS: Setting = Setting {
    key: "providers",
    variables: &["GATEWAY_PROVIDERS"],
    shape: Shape::List,
    ..Setting::PLAIN
};

pub(super) fn providers(layers: &mut Layers<'_>, file: &Place<'_>, cx: &Context<'_>) -> Vec<ProviderConfig> {
    let mut places = layers.named(file, "providers");
    let mut names: Vec<String> = Vec::new();
    for name in ["google", "github"] {
        let place = Place::absent("providers", name);
        let client = ["client_id", "client_secret"].map(|key| settings::find(SECTION, key));
        let mut client = client.into_iter().flatten();
        if client.any(|setting| layers.is_set_by_variable(&place, setting)) {
            names.push(name.to_owned());
        }
    }
    let by_variables = layers.list(file, &PROVIDERS);
    for (name, origin) in by_variables.map(|names| names.list).unwrap_or_default() {
        if is_name(&name) {
            names.push(name);
        } else {
            layers.mistake(Some(origin), "providers", format!("{name:?} must be {NAME}"));
        }
    }
    for name in names {
        if places.iter().all(|known| known.name != name) {
            places.push(Place::absent("providers", &name));
        }
    }
    let mut providers = Vec::new();
    let mut origins = Vec::new();
    for place in places {
        let cx = &Context {
            provider: &place.name,
            ..*cx
        };
        if let Some(provider) = section::provider(layers, &place, cx) {
            providers.push(provider);
            origins.push(place.origin());
        }
    }
    refuse_shared_issuers(layers, &providers, &origins);
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

/// The variable of a key.
fn variable(place: &Place<'_>, key: &str) -> String {
    let declared = format!("GATEWAY_PROVIDER_NAME_{}", in_variable(key));
    setting::variable(&declared, &place.name)
}

/// Reports a setting that has to be set, and to what.
fn missing(layers: &mut Layers<'_>, place: &Place<'_>, key: &str, what: &str) {
    let message = format!("is missing: set it, or {}, to {what}", variable(place, key));
    layers.mistake(place.origin(), &place.key(key), message);
}

/// A setting without which there is no provider.
fn required<T>(
    layers: &mut Layers<'_>,
    place: &Place<'_>,
    key: &str,
    found: Option<(T, Origin)>,
    what: &str,
) -> Option<T> {
    let table = key.split_once('.').map_or(key, |(table, _)| table);
    let is_mistaken = [key, table].iter().any(|key| layers.is_mistaken(&place.key(key)));
    if found.is_none() && !is_mistaken {
        missing(layers, place, key, what);
    }
    found.map(|(value, _)| value)
}

/// Warns of what works and is probably not meant.
fn warn(layers: &mut Layers<'_>, place: &Place<'_>, origin: Option<Origin>, key: &str, message: &str) {
    let key = place.key(key);
    layers.warn_at(origin, &key, format!("{key}: {message}"));
}

/// Reports the settings in the file that mean nothing for the provider's protocol.
fn refuse_unused(layers: &mut Layers<'_>, provider: &Place<'_>, protocol: Protocol) {
    let kind = protocol.show();
    for section in SECTIONS {
        let place = match section.path.strip_prefix(SECTION) {
            None => continue,
            Some("") => provider.clone(),
            Some(below) => provider.section(below.trim_start_matches('.')),
        };
        let others = section.settings.iter().filter(|setting| !setting.only.is_empty());
        for setting in others.filter(|setting| !setting.only.contains(&kind.as_str())) {
            if let Some(written) = place.written(setting.key) {
                let (key, belongs_to) = (place.key(setting.key), setting.only.join(" and "));
                let message =
                    format!("means nothing for a provider of kind {kind}: it belongs to {belongs_to}");
                // Whatever else is wrong with it does not matter.
                layers.mistakes.retain(|mistake| mistake.key != key);
                layers.mistake(written.origin().cloned(), &key, message);
            }
        }
    }
}
