//! `[service.NAME]`, `extensions`, `[plugin.NAME]`: which plugin answers what, and what it may do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use gateway_host::{CompileOptions, PluginSet};
use gateway_sandbox::{Grant, PluginConfig, Secret};
use secrecy::SecretString;

use crate::config::ServiceConfig;
use crate::config::field::{Context, Text, Tree};
use crate::config::layers::{Layers, Place, Texts};
use crate::config::setting::{Setting, Shape};
use crate::config::settings::{self, Limits, Plugins, SecretPlace, Service};
use crate::config::sources::Origin;
use crate::config::value::{NAME, Value as _, is_name};

mod files;
mod http;

/// Replaces the services of the file.
const ALLOWED_SERVICES: Setting = Setting {
    key: "service",
    variables: &["ALLOWED_SERVICES"],
    shape: Shape::List,
    ..Setting::PLAIN
};

pub(super) fn plugins(
    layers: &mut Layers<'_>,
    file: &Place<'_>,
    extensions: Option<Texts>,
    cx: &Context<'_>,
) -> (PluginSet, BTreeMap<String, ServiceConfig>, CompileOptions) {
    let all = Plugins::read(layers, &file.section("plugins"), cx);
    let trusted_keys = files::trusted_keys(layers, all.trusted_keys);
    let services = services(layers, file, cx);
    let extensions = self::extensions(layers, extensions);
    let mut used: BTreeSet<String> = services.values().map(|service| service.plugin.clone()).collect();
    used.extend(extensions.iter().cloned());

    let mut plugins = BTreeMap::new();
    for place in layers.named(file, "plugin") {
        let name = place.name.clone();
        if !used.remove(&name) {
            let origin = place.origin().unwrap_or(Origin::Default);
            let warning =
                format!("{origin}: [plugin.{name}] is configured, but no service or extension uses it");
            layers.warn_at(Some(origin), &format!("plugin.{name}"), warning);
        }
        let config = plugin(layers, &place, &PluginConfig::default());
        plugins.insert(name, config);
    }
    for name in used {
        let mut place = Place::absent("plugin", &name);
        let preset = layers.sources.presets.plugins.get(&name);
        if preset.is_some() {
            place.default = Origin::Preset;
        }
        let config = plugin(layers, &place, &preset.cloned().unwrap_or_default());
        plugins.insert(name, config);
    }
    let of_services = services
        .iter()
        .map(|(name, service)| (name.clone(), service.plugin.clone()))
        .collect();
    let set = PluginSet {
        plugins,
        services: of_services,
        extensions,
        trusted_keys,
        total_memory: Some(all.total_memory),
        allow_v1_signatures: all.allow_v1_signatures,
    };
    let compile = CompileOptions {
        size: all.max_size,
        time: all.compile_time,
        memory: all.compile_memory,
        command: None,
    };
    (set, services, compile)
}

/// The configuration of one plugin, whether or not anything uses it.
pub(super) fn one(layers: &mut Layers<'_>, file: &Place<'_>, name: &str) -> PluginConfig {
    let place = layers
        .named(file, "plugin")
        .into_iter()
        .find(|place| place.name == name);
    let place = place.unwrap_or_else(|| Place::absent("plugin", name));
    plugin(layers, &place, &PluginConfig::default())
}

fn services(layers: &mut Layers<'_>, file: &Place<'_>, cx: &Context<'_>) -> BTreeMap<String, ServiceConfig> {
    let places = layers.named(file, "service").into_iter();
    let mut places: BTreeMap<String, Place<'_>> = places.map(|place| (place.name.clone(), place)).collect();
    // By name: the plugin, if a source other than the file sets it, and the origin.
    let mut wanted: BTreeMap<String, (Option<String>, Origin)> = BTreeMap::new();
    if let Some(allowed) = layers.list(file, &ALLOWED_SERVICES) {
        for (text, origin) in allowed.list {
            let (service, plugin) = text.split_once(':').unwrap_or((&text, &text));
            let (service, plugin) = (service.trim(), plugin.trim());
            let value = (Some(plugin.to_owned()), origin.clone());
            if wanted.insert(service.to_owned(), value).is_some() {
                layers.mistake(Some(origin), "service", format!("{service:?} is listed twice"));
            }
        }
    } else {
        for (name, place) in &places {
            wanted.insert(name.clone(), (None, place.origin().unwrap_or(Origin::Default)));
        }
    }
    for (name, plugin) in &layers.sources.presets.services {
        wanted
            .entry(name.clone())
            .or_insert_with(|| (Some(plugin.clone()), Origin::Preset));
    }

    let mut services = BTreeMap::new();
    for (name, (plugin, origin)) in wanted {
        let place = places
            .remove(&name)
            .unwrap_or_else(|| Place::absent("service", &name));
        let Service {
            plugin: in_file,
            audience,
        } = Service::read(layers, &place, cx);
        let (plugin, origin) = match (plugin, in_file) {
            (Some(plugin), _) => (plugin, origin),
            (None, Some(Text(plugin, origin))) => (plugin, origin),
            (None, None) => (name.clone(), origin),
        };
        for text in [&name, &plugin] {
            if !is_name(text) {
                let message = format!("{text:?} must be {NAME}");
                layers.mistake(Some(origin.clone()), &place.path, message);
            }
        }
        layers.show(&place.key("plugin"), plugin.clone(), origin);
        services.insert(name, ServiceConfig { plugin, audience });
    }
    services
}

fn extensions(layers: &mut Layers<'_>, given: Option<Texts>) -> Vec<String> {
    const KEY: &str = "extensions";
    let (list, from) = match given {
        Some(Texts { list, origin }) => (list, origin),
        None => {
            let presets = layers.sources.presets.extensions.iter();
            let list: Vec<_> = presets.map(|name| (name.clone(), Origin::Preset)).collect();
            let from = super::first_origin(&list).unwrap_or(Origin::Default);
            (list, from)
        }
    };
    let mut names: Vec<String> = Vec::new();
    for (name, origin) in list {
        if !is_name(&name) {
            layers.mistake(Some(origin), KEY, format!("{name:?} must be {NAME}"));
        } else if names.contains(&name) {
            layers.mistake(Some(origin), KEY, format!("{name:?} is listed twice"));
        } else {
            names.push(name);
        }
    }
    layers.show_list(KEY, &names, from);
    names
}

/// Reads one plugin's configuration; `base` has the defaults.
fn plugin(layers: &mut Layers<'_>, place: &Place<'_>, base: &PluginConfig) -> PluginConfig {
    Context::with_defaults(|cx| {
        let cx = &Context { plugin: base, ..*cx };
        let plugin = settings::Plugin::read(layers, place, cx);
        let has = |grant: Grant| plugin.grants.contains(&grant);
        let config = PluginConfig {
            limits: limits(layers, place, cx),
            settings: settings_of(layers, place, plugin.settings, cx),
            secrets: secrets(layers, place, cx),
            http: http::http(layers, place, cx, has(Grant::Http)),
            sha256: plugin.sha256,
            on_failure: plugin.on_failure,
            prepared: plugin.prepared,
            grants: plugin.grants.clone(),
        };
        for (what, has_some, grant) in [
            ("settings", !config.settings.is_empty(), Grant::Config),
            ("secrets", !config.secrets.is_empty(), Grant::Secrets),
        ] {
            if has_some && !config.grants.contains(&grant) {
                let key = place.key("grants");
                let message = format!(
                    "the plugin {:?} has {what}, but not the grant {:?}, so it cannot read them",
                    place.name,
                    grant.as_str()
                );
                layers.warn_of(&key, message);
            }
        }
        config
    })
}

fn settings_of(
    layers: &mut Layers<'_>,
    place: &Place<'_>,
    Tree(given): Tree,
    cx: &Context<'_>,
) -> BTreeMap<String, String> {
    let key = |name: &str| place.key(&format!("settings.{name}"));
    let mut settings = cx.plugin.settings.clone();
    // Values may be secrets, so the report shows only the names.
    for (name, value) in &settings {
        layers.hide(&key(name), value.clone().into(), place.default.clone());
    }
    for (name, value, origin) in given {
        layers.hide(&key(&name), value.clone().into(), origin.clone());
        if settings.insert(name.clone(), value).is_some() {
            layers.mistake(Some(origin), &key(&name), "is set twice");
        }
    }
    settings
}

fn secrets(layers: &mut Layers<'_>, place: &Place<'_>, cx: &Context<'_>) -> BTreeMap<String, Secret> {
    let mut secrets = cx.plugin.secrets.clone();
    for (name, place) in place.section("secrets").tables() {
        let origin = place.origin().unwrap_or(Origin::Default);
        let SecretPlace { file, env } = SecretPlace::read(layers, &place, cx);
        let found = match (file, env) {
            (Some(Text(path, _)), None) => layers.secret_file(&place.key("file"), Path::new(&path), &origin),
            (None, Some(Text(variable, _))) => {
                let key = place.key("env");
                let text = layers.variable(&variable, &key);
                if text.is_none() && !layers.is_mistaken(&key) {
                    let message = format!("the variable {variable} is not set");
                    layers.mistake(Some(origin.clone()), &key, message);
                }
                text
            }
            (Some(_), Some(_)) => {
                let message = "has a file and a variable: keep one of them";
                layers.mistake(Some(origin.clone()), &place.path, message);
                None
            }
            (None, None) => {
                let message = "must say where the secret is, { file = \"/path\" } or { env = \"VARIABLE\" }";
                layers.mistake(Some(origin.clone()), &place.path, message);
                None
            }
        };
        let Some(text) = found else { continue };
        // Editors add a line break.
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            layers.mistake(Some(origin), &place.path, "is empty");
            continue;
        }
        let secret = SecretString::from(text);
        layers.hide(&place.path, secret.clone(), origin);
        secrets.insert(name.to_owned(), Secret::from(secret));
    }
    secrets
}

fn limits(layers: &mut Layers<'_>, place: &Place<'_>, cx: &Context<'_>) -> gateway_sandbox::Limits {
    let limits = Limits::read(layers, &place.section("limits"), cx);
    gateway_sandbox::Limits {
        fuel: limits.fuel,
        deadline: limits.deadline,
        memory: limits.memory,
        result_bytes: limits.result_bytes,
        result_items: limits.result_items,
        log_bytes: limits.log_bytes,
        log_bytes_per_minute: limits.log_bytes_per_minute,
        store_bytes: limits.store_bytes,
        value_bytes: limits.value_bytes,
    }
}

/// A call that takes longer than its request is cut off without an answer.
pub(super) fn warn_of_long_deadlines(layers: &mut Layers<'_>, set: &PluginSet, request: Duration) {
    for (name, config) in &set.plugins {
        let deadline = config.limits.deadline;
        if deadline >= request {
            let key = format!("plugin.{name}.limits.deadline");
            let (deadline, request) = (deadline.show(), request.show());
            let message = format!("{key} ({deadline}) must be below server.request_timeout ({request})");
            layers.warn_of(&key, message);
        }
    }
}
