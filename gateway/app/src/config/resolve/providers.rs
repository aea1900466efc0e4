//! `[providers.NAME]`: the upstream providers.

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

const SECTION: &str = "providers.NAME";

/// Providers that are configured by variables alone.
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
    reject_shared_issuers(layers, &providers, &origins);
    providers
}

/// Users are identified by issuer and subject. If two different providers shared an issuer, a user of one could be taken for
/// a user of the other.
fn reject_shared_issuers(layers: &mut Layers<'_>, providers: &[ProviderConfig], places: &[Option<Origin>]) {
    for (at, (provider, origin)) in providers.iter().zip(places).enumerate() {
        let issuer = provider.kind.issuer();
        let mut before = providers.iter().take(at);
        let other =
            before.find(|other| other.kind.issuer() == issuer && !is_same(&other.kind, &provider.kind));
        if let Some(other) = other {
            let message = format!(
                "{issuer} is also the issuer of providers.{}, which is another provider: users are identified by their \
                 issuer, so give each provider its own",
                other.name
            );
            let key = format!("providers.{}.issuer", provider.name);
            layers.mistake(origin.clone(), &key, message);
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

/// With ids made of addresses, warns of providers whose addresses do not count.
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
             providers.{name}.trusted_email = true only if the provider verifies that its users own their addresses"
        ));
    }
}

/// The section of one provider, and the layers from which it is read.
struct Section<'a, 'l, 'p> {
    layers: &'a mut Layers<'l>,
    place: &'a Place<'p>,
}

impl Section<'_, '_, '_> {
    /// The place of a value that was read already.
    fn origin(&self, key: &str) -> Option<Origin> {
        self.layers.origin(&self.place.key(key))
    }

    fn is_mistaken(&self, key: &str) -> bool {
        self.layers.is_mistaken(&self.place.key(key))
    }

    /// Reports a mistake at `origin`, or otherwise at the beginning of the section.
    fn mistake(&mut self, origin: Option<&Origin>, key: &str, message: impl Into<String>) {
        let origin = origin.cloned().or_else(|| self.place.origin());
        self.layers.mistake(origin, &self.place.key(key), message);
    }

    fn missing(&mut self, key: &str, what: &str) {
        let message = format!("is missing: set it, or {}, to {what}", self.variable(key));
        self.mistake(None, key, message);
    }

    /// A setting without which the provider cannot be used.
    fn required<T>(&mut self, key: &str, found: Option<(T, Origin)>, what: &str) -> Option<T> {
        let table = key.split_once('.').map_or(key, |(table, _)| table);
        if found.is_none() && ![key, table].iter().any(|key| self.is_mistaken(key)) {
            self.missing(key, what);
        }
        found.map(|(value, _)| value)
    }

    fn warn(&mut self, origin: Option<Origin>, key: &str, message: &str) {
        let key = self.place.key(key);
        self.layers.warn_at(origin, &key, format!("{key}: {message}"));
    }

    fn variable(&self, key: &str) -> String {
        let declared = format!("GATEWAY_PROVIDER_NAME_{}", in_variable(key));
        setting::variable(&declared, &self.place.name)
    }

    /// Whether the file or a variable sets a setting that has not been read yet.
    fn is_set(&self, key: &str) -> bool {
        let setting = settings::find(SECTION, key);
        self.place.written(key).is_some()
            || setting.is_some_and(|setting| self.layers.is_set_by_variable(self.place, setting))
    }

    /// Rejects settings in the file that have no effect for the provider's protocol.
    fn reject_unused(&mut self, protocol: Protocol) {
        let kind = protocol.show();
        for section in SECTIONS {
            let place = match section.path.strip_prefix(SECTION) {
                None => continue,
                Some("") => self.place.clone(),
                Some(below) => self.place.section(below.trim_start_matches('.')),
            };
            let others = section.settings.iter().filter(|setting| !setting.only.is_empty());
            for setting in others.filter(|setting| !setting.only.contains(&kind.as_str())) {
                if let Some(written) = place.written(setting.key) {
                    let (key, kinds) = (place.key(setting.key), setting.only.join(" and "));
                    let message = format!("has no effect for a provider of kind {kind}, only for {kinds}");
                    // Other mistakes in it do not matter.
                    self.layers.mistakes.retain(|mistake| mistake.key != key);
                    self.layers.mistake(written.origin().cloned(), &key, message);
                }
            }
        }
    }
}
