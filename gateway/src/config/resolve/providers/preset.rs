//! What a provider's preset fills in.

use super::section::Section;
use crate::config::file::Setting;
use crate::config::presets::{self, PRESETS, Preset, Shape};
use crate::config::resolve::{Layers, Origin};

/// What the file has of what presets need.
pub(super) struct Parts {
    pub(super) domain: Setting,
    pub(super) tenant: Setting,
    pub(super) realm: Setting,
    pub(super) application: Setting,
    pub(super) user_pool: Setting,
}

/// Makes the settings of the section's preset those that hold where nobody says otherwise. `is_set` tells whether the file
/// has a key that is a setting of its own. Returns whether a part of the issuer is wrong or missing, which has been said then.
pub(super) fn apply(
    layers: &mut Layers<'_>,
    section: &Section,
    preset: Setting,
    parts: Parts,
    client_id: Option<&str>,
    is_set: impl Fn(&str) -> bool,
) -> bool {
    let named = section.optional::<String>(layers, "preset", preset);
    let preset = match &named {
        Some((name, origin)) => {
            let preset = presets::find(name);
            if preset.is_none() {
                let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
                let message = format!("must be one of {}", names.join(", "));
                layers.mistake(Some(origin.clone()), &section.key("preset"), message);
            }
            preset
        }
        None if matches!(section.name.as_str(), "google" | "github") => presets::find(&section.name),
        None => None,
    };
    let by_variable =
        |layers: &Layers<'_>, key: &str| layers.sources.environment.get(&section.variable(key)).is_some();
    let mut filled: Vec<(&str, String)> = Vec::new();
    let mut told = false;
    for (key, part) in [
        ("domain", parts.domain),
        ("tenant", parts.tenant),
        ("realm", parts.realm),
        ("application", parts.application),
        ("user_pool", parts.user_pool),
    ] {
        let need = preset.and_then(|preset| preset.needs.iter().find(|need| need.key == key));
        let found = section.optional::<String>(layers, key, part);
        match (need, found) {
            (None, None) => {}
            (None, Some((_, origin))) => {
                let message = match preset {
                    Some(preset) => format!("means nothing for the preset {}", preset.name),
                    None => "means nothing without a preset that asks for it".to_owned(),
                };
                layers.mistake(Some(origin), &section.key(key), message);
            }
            (Some(need), Some((text, origin))) => match need.shape.problem(&text) {
                // Entra ID writes them in lower case, in its issuer too.
                None if need.shape == Shape::Uuid => filled.push((key, text.to_ascii_lowercase())),
                None => filled.push((key, text)),
                Some(right) => {
                    layers.mistake(Some(origin), &section.key(key), format!("must be {right}"));
                    told = true;
                }
            },
            (Some(need), None) => match need.default {
                Some(default) => filled.push((key, default.to_owned())),
                // Who says where the provider is needs not say it twice.
                None if is_set("issuer") || by_variable(layers, "issuer") => {}
                None => {
                    missing(layers, section, preset, key, need.what);
                    told = true;
                }
            },
        }
    }
    let Some(preset) = preset else {
        return false;
    };
    for need in preset.needs.iter().filter(|need| need.shape == Shape::Setting) {
        if !is_set(need.key) && !by_variable(layers, need.key) {
            missing(layers, section, Some(preset), need.key, need.what);
        }
    }
    let pool = filled.iter().find(|(key, _)| *key == "user_pool");
    if let Some(region) = pool
        .and_then(|(_, pool)| pool.split_once('_'))
        .map(|(region, _)| region.to_owned())
    {
        filled.push(("region", region));
    }
    if let Some(client_id) = client_id {
        filled.push(("client_id", client_id.to_owned()));
    }
    for (key, value) in preset.settings {
        let value = match *key {
            // Braces mean something else in the place of a member.
            "issuer" | "discovery_url" => fill(value, &filled),
            _ => Some((*value).to_owned()),
        };
        if let Some(value) = value {
            let origin = Origin::ProviderPreset(preset.name);
            layers.fallbacks.insert(section.key(key), (value, origin));
        }
    }
    told
}

fn missing(layers: &mut Layers<'_>, section: &Section, preset: Option<&Preset>, key: &str, what: &str) {
    let message = format!(
        "is missing: the preset {} needs it. Set it, or {}, to {what}",
        preset.map_or("", |preset| preset.name),
        section.variable(key)
    );
    layers.mistake(section.origin.clone(), &section.key(key), message);
}

/// A text with its placeholders filled in; nothing where one of them is not known.
fn fill(text: &str, parts: &[(&str, String)]) -> Option<String> {
    let full = parts.iter().fold(text.to_owned(), |text, (key, part)| {
        text.replace(&format!("{{{key}}}"), part)
    });
    let left = full.replace(gateway_upstream::TENANT, "");
    (!left.contains('{')).then_some(full)
}
