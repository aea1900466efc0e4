//! The settings that a provider's preset fills in.

use super::Section;
use crate::config::presets::{self, Need, Shape};
use crate::config::settings::Provider;
use crate::config::sources::Origin;
use crate::config::value::PresetName;

/// Makes the preset's settings the defaults of the section. Returns whether it has reported that the preset, or a part of
/// its issuer, is wrong or missing.
pub(super) fn apply(section: &mut Section<'_, '_, '_>, provider: &Provider) -> bool {
    let preset = match &provider.preset {
        Some((PresetName(preset), _)) => Some(*preset),
        None if section.is_mistaken("preset") => return true,
        None => matches!(section.place.name.as_str(), "google" | "github")
            .then(|| presets::find(&section.place.name))
            .flatten(),
    };
    let name = preset.map_or("", |preset| preset.name);
    let missing = |section: &mut Section<'_, '_, '_>, Need { key, what, .. }: &Need| {
        let variable = section.variable(key);
        let message = format!("is missing: the preset {name} needs it. Set it, or {variable}, to {what}");
        section.mistake(None, key, message);
    };
    let mut filled: Vec<(&str, String)> = Vec::new();
    let mut reported = false;
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
                    Some(_) => format!("has no effect with the preset {name}"),
                    None => "has no effect without a preset that needs it".to_owned(),
                };
                section.mistake(Some(origin), key, message);
            }
            (Some(need), Some((text, origin))) => match need.shape.problem(text) {
                // Entra ID writes tenants in lower case, in its issuer too.
                None if need.shape == Shape::Uuid => filled.push((key, text.to_ascii_lowercase())),
                None => filled.push((key, text.clone())),
                Some(right) => {
                    section.mistake(Some(origin), key, format!("must be {right}"));
                    reported = true;
                }
            },
            (Some(need), None) => match need.default {
                Some(default) => filled.push((key, default.to_owned())),
                // The issuer already says where the provider is.
                None if section.is_set("issuer") => {}
                None => {
                    missing(section, need);
                    reported = true;
                }
            },
        }
    }
    let Some(preset) = preset else {
        return false;
    };
    for need in preset.needs.iter().filter(|need| need.shape == Shape::Setting) {
        if !section.is_set(need.key) {
            missing(section, need);
        }
    }
    let pool = filled.iter().find(|(key, _)| *key == "user_pool");
    let region = pool.and_then(|(_, pool)| Some(pool.split_once('_')?.0.to_owned()));
    filled.extend(region.map(|region| ("region", region)));
    if let Some((client_id, _)) = &provider.client_id {
        filled.push(("client_id", client_id.clone()));
    }
    for (key, value) in preset.settings() {
        let value = match key {
            // In `claims`, braces insert members of the response.
            "issuer" | "discovery_url" => fill(value, &filled),
            _ => Some(value.to_owned()),
        };
        if let Some(value) = value {
            let origin = Origin::ProviderPreset(preset.name);
            let key = section.place.key(key);
            section.layers.fallbacks.insert(key, (value, origin));
        }
    }
    reported
}

/// Fills in the placeholders; `None` if one of them is unknown.
fn fill(text: &str, parts: &[(&str, String)]) -> Option<String> {
    let full = parts.iter().fold(text.to_owned(), |text, (key, part)| {
        text.replace(&format!("{{{key}}}"), part)
    });
    let left = full.replace(gateway_upstream::TENANT, "");
    (!left.contains('{')).then_some(full)
}
