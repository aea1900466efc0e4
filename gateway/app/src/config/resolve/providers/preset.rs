//! What a provider's preset fills in.

use super::{SECTION, variable};
use crate::config::layers::{Layers, Place};
use crate::config::presets::{self, Preset, Shape};
use crate::config::settings::{self, Provider};
use crate::config::sources::Origin;
use crate::config::value::PresetName;

/// Makes the settings of the section's preset those that hold where nobody says otherwise. Returns whether the preset, or a
/// part of its issuer, is wrong or missing, which has been said then.
pub(super) fn apply(layers: &mut Layers<'_>, place: &Place<'_>, provider: &Provider) -> bool {
    let preset = match &provider.preset {
        Some((PresetName(preset), _)) => Some(*preset),
        None if layers.is_mistaken(&place.key("preset")) => return true,
        None => matches!(place.name.as_str(), "google" | "github")
            .then(|| presets::find(&place.name))
            .flatten(),
    };
    let mut filled: Vec<(&str, String)> = Vec::new();
    let mut told = false;
    for (key, part) in [
        ("domain", &provider.domain),
        ("tenant", &provider.tenant),
        ("realm", &provider.realm),
        ("application", &provider.application),
        ("user_pool", &provider.user_pool),
    ] {
        let need = preset.and_then(|preset| preset.needs.iter().find(|need| need.key == key));
        match (need, part) {
            (None, None) => {}
            (None, Some((_, origin))) => {
                let message = match preset {
                    Some(preset) => format!("means nothing for the preset {}", preset.name),
                    None => "means nothing without a preset that asks for it".to_owned(),
                };
                layers.mistake(Some(origin.clone()), &place.key(key), message);
            }
            (Some(need), Some((text, origin))) => match need.shape.problem(text) {
                // Entra ID writes them in lower case, in its issuer too.
                None if need.shape == Shape::Uuid => filled.push((key, text.to_ascii_lowercase())),
                None => filled.push((key, text.clone())),
                Some(right) => {
                    layers.mistake(Some(origin.clone()), &place.key(key), format!("must be {right}"));
                    told = true;
                }
            },
            (Some(need), None) => match need.default {
                Some(default) => filled.push((key, default.to_owned())),
                // Who says where the provider is needs not say it twice.
                None if is_set(layers, place, "issuer") => {}
                None => {
                    missing(layers, place, preset, key, need.what);
                    told = true;
                }
            },
        }
    }
    let Some(preset) = preset else {
        return false;
    };
    for need in preset.needs.iter().filter(|need| need.shape == Shape::Setting) {
        if !is_set(layers, place, need.key) {
            missing(layers, place, Some(preset), need.key, need.what);
        }
    }
    let pool = filled.iter().find(|(key, _)| *key == "user_pool");
    if let Some(region) = pool
        .and_then(|(_, pool)| pool.split_once('_'))
        .map(|(region, _)| region.to_owned())
    {
        filled.push(("region", region));
    }
    if let Some((client_id, _)) = &provider.client_id {
        filled.push(("client_id", client_id.clone()));
    }
    for (key, value) in preset.settings {
        let value = match *key {
            // Braces mean something else in the place of a member.
            "issuer" | "discovery_url" => fill(value, &filled),
            _ => Some((*value).to_owned()),
        };
        if let Some(value) = value {
            let origin = Origin::ProviderPreset(preset.name);
            layers.fallbacks.insert(place.key(key), (value, origin));
        }
    }
    told
}

/// Whether the file or a variable sets a setting that is yet to be read.
fn is_set(layers: &Layers<'_>, place: &Place<'_>, key: &str) -> bool {
    let setting = settings::find(SECTION, key);
    place.written(key).is_some() || setting.is_some_and(|setting| layers.is_set_by_variable(place, setting))
}

fn missing(layers: &mut Layers<'_>, place: &Place<'_>, preset: Option<&Preset>, key: &str, what: &str) {
    let message = format!(
        "is missing: the preset {} needs it. Set it, or {}, to {what}",
        preset.map_or("", |preset| preset.name),
        variable(place, key)
    );
    layers.mistake(place.origin(), &place.key(key), message);
}

/// A text with its placeholders filled in; nothing where one of them is not known.
fn fill(text: &str, parts: &[(&str, String)]) -> Option<String> {
    let full = parts.iter().fold(text.to_owned(), |text, (key, part)| {
        text.replace(&format!("{{{key}}}"), part)
    });
    let left = full.replace(gateway_upstream::TENANT, "");
    (!left.contains('{')).then_some(full)
}
