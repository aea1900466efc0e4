//! `[service.NAME]`, `extensions`, `[plugin.NAME]`: which component is asked what, and what it may do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use gateway_plugin::{DEFAULT_TOTAL_MEMORY, Grant, Limits, PluginConfig, PluginSet, Secret, TrustedKey};
use secrecy::SecretString;

use super::{Layers, Origin, in_order, in_variable};
use crate::config::ServiceConfig;
use crate::config::file;
use crate::config::value::{Bytes, Count, NAME, Sha256Hex, UpTo, Value as _, is_name};

pub(super) mod files;
mod http;

/// What all plugins may have together: more where there are more threads to run them, since an interpreter takes tens of
/// megabytes for each call.
pub(super) fn total_memory(layers: &mut Layers<'_>, file: &file::Plugins, guest_threads: usize) -> usize {
    let scaled = guest_threads.saturating_mul(DEFAULT_TOTAL_MEMORY / 2);
    layers
        .value(
            "plugins.total_memory",
            "GATEWAY_PLUGINS_TOTAL_MEMORY",
            file.total_memory.clone(),
            Bytes(scaled.max(DEFAULT_TOTAL_MEMORY)),
        )
        .0
}

pub(super) fn plugins(
    layers: &mut Layers<'_>,
    services: file::Named<file::Service>,
    extensions: file::List,
    tables: file::Named<file::Plugin>,
    trusted_keys: Vec<TrustedKey>,
) -> (PluginSet, BTreeMap<String, ServiceConfig>) {
    let services = self::services(layers, services);
    let extensions = self::extensions(layers, extensions);
    let mut used: BTreeSet<String> = services.values().map(|service| service.plugin.clone()).collect();
    used.extend(extensions.iter().cloned());

    let mut plugins = BTreeMap::new();
    for (name, origin, table) in in_order(layers, "plugin", tables) {
        if !used.remove(&name) {
            layers.warn_at(
                Some(origin.clone()),
                &format!("plugin.{name}"),
                format!("{origin}: [plugin.{name}] is configured, but no service and no extension uses it"),
            );
        }
        let config = plugin(layers, &name, table, PluginConfig::default(), &Origin::Default);
        plugins.insert(name, config);
    }
    for name in used {
        let preset = layers.sources.presets.plugins.get(&name);
        let from = if preset.is_some() {
            Origin::Preset
        } else {
            Origin::Default
        };
        let base = preset.cloned().unwrap_or_default();
        let config = plugin(layers, &name, file::Plugin::default(), base, &from);
        plugins.insert(name, config);
    }
    let of_services = services
        .iter()
        .map(|(name, service)| (name.clone(), service.plugin.clone()))
        .collect();
    (
        PluginSet {
            plugins,
            services: of_services,
            extensions,
            trusted_keys,
            total_memory: None,
            allow_v1_signatures: false,
        },
        services,
    )
}

/// The configuration of one plugin, whether or not anything uses it.
pub(super) fn one(layers: &mut Layers<'_>, tables: file::Named<file::Plugin>, name: &str) -> PluginConfig {
    let table = in_order(layers, "plugin", tables)
        .into_iter()
        .find_map(|(found, _, table)| (found == name).then_some(table));
    plugin(
        layers,
        name,
        table.unwrap_or_default(),
        PluginConfig::default(),
        &Origin::Default,
    )
}

fn services(layers: &mut Layers<'_>, in_file: file::Named<file::Service>) -> BTreeMap<String, ServiceConfig> {
    let mut tables: BTreeMap<String, (Origin, file::Service)> = in_order(layers, "service", in_file)
        .into_iter()
        .map(|(name, origin, table)| (name, (origin, table)))
        .collect();
    // Name, plugin where it is known already, where that is from.
    let mut wanted: BTreeMap<String, (Option<String>, Origin)> = BTreeMap::new();
    if let Some(allowed) = layers.list("service", "ALLOWED_SERVICES", None) {
        for (text, origin) in allowed {
            let (service, plugin) = text.split_once(':').unwrap_or((&text, &text));
            let (service, plugin) = (service.trim(), plugin.trim());
            let duplicate = wanted
                .insert(service.to_owned(), (Some(plugin.to_owned()), origin.clone()))
                .is_some();
            if duplicate {
                layers.mistake(Some(origin), "service", format!("{service:?} is named twice"));
            }
        }
    } else {
        wanted.extend(
            tables
                .iter()
                .map(|(name, (origin, _))| (name.clone(), (None, origin.clone()))),
        );
    }
    for (name, plugin) in &layers.sources.presets.services {
        wanted
            .entry(name.clone())
            .or_insert_with(|| (Some(plugin.clone()), Origin::Preset));
    }

    let mut services = BTreeMap::new();
    for (name, (plugin, origin)) in wanted {
        let key = format!("service.{name}");
        let table = tables.remove(&name).map(|(_, table)| table).unwrap_or_default();
        let (plugin, origin) = match (plugin, table.plugin) {
            (Some(plugin), _) => (plugin, origin),
            (None, Some(in_file)) => {
                let origin = layers.source.origin(&in_file.span());
                (in_file.into_inner().0, origin)
            }
            (None, None) => (name.clone(), origin),
        };
        for text in [&name, &plugin] {
            if !is_name(text) {
                layers.mistake(Some(origin.clone()), &key, format!("{text:?} must be {NAME}"));
            }
        }
        layers.show(&format!("{key}.plugin"), plugin.clone(), origin);
        let audience = table.audience.map(|audience| {
            let origin = layers.source.origin(&audience.span());
            let audience = audience.into_inner().0;
            layers.show(&format!("{key}.audience"), audience.clone(), origin);
            audience
        });
        services.insert(name, ServiceConfig { plugin, audience });
    }
    services
}

fn extensions(layers: &mut Layers<'_>, in_file: file::List) -> Vec<String> {
    const KEY: &str = "extensions";
    let preset = || {
        layers
            .sources
            .presets
            .extensions
            .iter()
            .map(|name| (name.clone(), Origin::Preset))
            .collect()
    };
    let preset: Vec<_> = preset();
    let list = layers
        .list(KEY, "INSTALLED_EXTENSIONS", in_file)
        .unwrap_or(preset);
    let from = list.first().map_or(Origin::Default, |(_, origin)| origin.clone());
    let mut names: Vec<String> = Vec::new();
    for (name, origin) in list {
        if !is_name(&name) {
            layers.mistake(Some(origin), KEY, format!("{name:?} must be {NAME}"));
        } else if names.contains(&name) {
            layers.mistake(Some(origin), KEY, format!("{name:?} is named twice"));
        } else {
            names.push(name);
        }
    }
    layers.show_list(KEY, &names, from);
    names
}

fn plugin(
    layers: &mut Layers<'_>,
    name: &str,
    file: file::Plugin,
    base: PluginConfig,
    from: &Origin,
) -> PluginConfig {
    let key = |setting: &str| format!("plugin.{name}.{setting}");
    let variable = {
        let name = in_variable(name);
        move |setting: &str| format!("GATEWAY_PLUGIN_{name}_{setting}")
    };
    let grants = layers.values::<Grant>(&key("grants"), &variable("GRANTS"), file.grants);
    let origin = grants.as_ref().map(|grants| {
        grants
            .first()
            .map_or(Origin::Default, |(_, origin)| origin.clone())
    });
    let grants: BTreeSet<Grant> = grants.map_or(base.grants, |grants| {
        grants.into_iter().map(|(grant, _)| grant).collect()
    });
    let shown: Vec<String> = grants.iter().map(Grant::show).collect();
    layers.show_list(&key("grants"), &shown, origin.unwrap_or_else(|| from.clone()));
    let sha256 = layers
        .optional::<Sha256Hex>(&key("sha256"), &variable("SHA256"), file.sha256)
        .map(|(digest, _)| digest.0)
        .or(base.sha256);
    let on_failure = layers.value_or(
        &key("on_failure"),
        &variable("ON_FAILURE"),
        file.on_failure,
        base.on_failure,
        from.clone(),
    );
    let prepared = layers
        .value_or(
            &key("prepared"),
            &variable("PREPARED"),
            file.prepared,
            UpTo::<{ gateway_plugin::MAX_PREPARED }>(base.prepared),
            from.clone(),
        )
        .0;
    let limits = limits(layers, name, file.limits, &base.limits, from);

    let mut settings = base.settings;
    // Values may be secrets, and the operator knows them: only the names are shown.
    for (setting, value) in &settings {
        layers.hide(
            &key(&format!("settings.{setting}")),
            value.clone().into(),
            from.clone(),
        );
    }
    for (setting, value) in file.settings.0 {
        let origin = layers.source.origin(&value.span());
        let value = value.into_inner().0;
        layers.hide(
            &key(&format!("settings.{setting}")),
            value.clone().into(),
            origin.clone(),
        );
        if settings.insert(setting.clone(), value).is_some() {
            layers.mistake(Some(origin), &key(&format!("settings.{setting}")), "is set twice");
        }
    }
    if !settings.is_empty() && !grants.contains(&Grant::Config) {
        layers.warn_at(
            layers.origin(&key("grants")),
            &key("grants"),
            format!("the plugin {name:?} has settings, but not the grant \"config\", so it cannot read them"),
        );
    }
    let mut secrets = base.secrets;
    secrets.extend(self::secrets(layers, &key("secrets"), file.secrets));
    if !secrets.is_empty() && !grants.contains(&Grant::Secrets) {
        layers.warn_at(
            layers.origin(&key("grants")),
            &key("grants"),
            format!("the plugin {name:?} has secrets, but not the grant \"secrets\", so it cannot read them"),
        );
    }
    let http = http::http(
        layers,
        name,
        file.http,
        base.http,
        from,
        grants.contains(&Grant::Http),
    );
    PluginConfig {
        grants,
        sha256,
        limits,
        settings,
        secrets,
        http,
        on_failure,
        prepared,
    }
}

/// Fetches a plugin's secrets from where they are.
fn secrets(
    layers: &mut Layers<'_>,
    section: &str,
    places: file::Named<file::SecretPlace>,
) -> BTreeMap<String, Secret> {
    let mut secrets = BTreeMap::new();
    for (name, place) in places {
        let origin = layers.source.origin(&name.span());
        let name = name.into_inner();
        let key = format!("{section}.{name}");
        let found = match (place.file, place.env) {
            (Some(file), None) => {
                let path = file.into_inner().0;
                layers.secret_file(&format!("{key}.file"), Path::new(&path), &origin)
            }
            (None, Some(env)) => {
                let (variable, key) = (env.into_inner().0, format!("{key}.env"));
                let mistakes = layers.mistakes.len();
                let text = layers.variable(&variable, &key);
                if text.is_none() && layers.mistakes.len() == mistakes {
                    layers.mistake(
                        Some(origin.clone()),
                        &key,
                        format!("the variable {variable} is not set"),
                    );
                }
                text
            }
            (Some(_), Some(_)) => {
                let message = "names a file and a variable: keep one of them";
                layers.mistake(Some(origin.clone()), &key, message);
                None
            }
            (None, None) => {
                let message = "must say where the secret is, { file = \"/path\" } or { env = \"VARIABLE\" }";
                layers.mistake(Some(origin.clone()), &key, message);
                None
            }
        };
        let Some(text) = found else { continue };
        // The line's end is the editor's.
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            layers.mistake(Some(origin), &key, "is empty");
            continue;
        }
        let secret = SecretString::from(text);
        layers.hide(&key, secret.clone(), origin);
        secrets.insert(name, Secret::from(secret));
    }
    secrets
}

fn limits(layers: &mut Layers<'_>, name: &str, file: file::Limits, base: &Limits, from: &Origin) -> Limits {
    let key = |limit: &str| format!("plugin.{name}.limits.{limit}");
    let variable = {
        let name = in_variable(name);
        move |limit: &str| format!("GATEWAY_PLUGIN_{name}_{limit}")
    };
    let mut bytes = |limit: &str, in_file, base| {
        let (key, variable) = (key(limit), variable(&limit.to_uppercase()));
        layers
            .value_or(&key, &variable, in_file, Bytes(base), from.clone())
            .0
    };
    let memory = bytes("memory", file.memory, base.memory);
    let result_bytes = bytes("result_bytes", file.result_bytes, base.result_bytes);
    let log_bytes = bytes("log_bytes", file.log_bytes, base.log_bytes);
    let log_bytes_per_minute = bytes(
        "log_bytes_per_minute",
        file.log_bytes_per_minute,
        base.log_bytes_per_minute,
    );
    let store_bytes = bytes("store_bytes", file.store_bytes, base.store_bytes);
    let value_bytes = bytes("value_bytes", file.value_bytes, base.value_bytes);
    let items = Count(u64::try_from(base.result_items).unwrap_or(u64::MAX));
    Limits {
        fuel: layers
            .value_or(
                &key("fuel"),
                &variable("FUEL"),
                file.fuel,
                Count(base.fuel),
                from.clone(),
            )
            .0,
        deadline: layers.value_or(
            &key("deadline"),
            &variable("DEADLINE"),
            file.deadline,
            base.deadline,
            from.clone(),
        ),
        memory,
        result_bytes,
        result_items: layers
            .value_or(
                &key("result_items"),
                &variable("RESULT_ITEMS"),
                file.result_items,
                items,
                from.clone(),
            )
            .as_usize(),
        log_bytes,
        log_bytes_per_minute,
        store_bytes,
        value_bytes,
    }
}

/// A call that may take longer than the request it is made for is cut off without an answer.
pub(super) fn warn_of_long_deadlines(layers: &mut Layers<'_>, set: &PluginSet, request: Duration) {
    for (name, config) in set
        .plugins
        .iter()
        .filter(|(_, config)| config.limits.deadline >= request)
    {
        let key = format!("plugin.{name}.limits.deadline");
        layers.warn_at(
            layers.origin(&key),
            &key,
            format!(
                "plugin.{name}.limits.deadline, {}, is not below server.request_timeout, {}",
                config.limits.deadline.show(),
                request.show()
            ),
        );
    }
}
