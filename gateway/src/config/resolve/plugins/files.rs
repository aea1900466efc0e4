//! `[plugins]`: what holds for every plugin's file.

use std::path::Path;

use gateway_plugin::{CompileOptions, TrustedKey};

use super::{Layers, Origin};
use crate::config::file;
use crate::config::value::Bytes;
use crate::small_file;

/// Largest file of a public key, in bytes.
const MAX_KEY: u64 = 64 << 10;

/// What compiling one may take.
pub(in crate::config::resolve) fn compile(layers: &mut Layers<'_>, file: &file::Plugins) -> CompileOptions {
    let base = CompileOptions::default();
    let mut bytes = |key, variable, in_file: &file::Setting, base: u64| {
        let base = Bytes(usize::try_from(base).unwrap_or(usize::MAX));
        let bytes = layers.value(key, variable, in_file.clone(), base).0;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    };
    let size = bytes(
        "plugins.max_size",
        "GATEWAY_PLUGIN_MAX_SIZE",
        &file.max_size,
        base.size,
    );
    let memory = bytes(
        "plugins.compile_memory",
        "GATEWAY_PLUGIN_COMPILE_MEMORY",
        &file.compile_memory,
        base.memory,
    );
    CompileOptions {
        size,
        memory,
        time: layers.value(
            "plugins.compile_time",
            "GATEWAY_PLUGIN_COMPILE_TIME",
            file.compile_time.clone(),
            base.time,
        ),
        command: None,
    }
}

/// The keys that may sign. A list without any is a mistake, as is a key that cannot be read: to take every
/// file then would be the opposite of what is meant.
pub(in crate::config::resolve) fn trusted_keys(
    layers: &mut Layers<'_>,
    in_file: file::List,
) -> Vec<TrustedKey> {
    const KEY: &str = "plugins.trusted_keys";
    let variable = "GATEWAY_TRUSTED_KEYS";
    let named_by_variable = layers.variable(variable, KEY).is_some();
    let in_file_at = in_file.as_ref().map(|list| layers.source.origin(&list.span()));
    let Some(list) = layers.list(KEY, variable, in_file) else {
        return Vec::new();
    };
    if list.is_empty() {
        let origin = if named_by_variable {
            Some(Origin::Variable(variable.to_owned()))
        } else {
            in_file_at
        };
        let message = "names no key: leave it out if plugins need no signatures";
        layers.mistake(origin, KEY, message);
        return Vec::new();
    }
    let from = list.first().map_or(Origin::Default, |(_, origin)| origin.clone());
    let mut keys: Vec<TrustedKey> = Vec::new();
    for (text, origin) in list {
        let (pem, what) = if text.starts_with("-----BEGIN") {
            (Ok(text), "it".to_owned())
        } else {
            (
                small_file::read_text(Path::new(&text), MAX_KEY).map(|(pem, _)| pem),
                text,
            )
        };
        let key = pem
            .map_err(|error| format!("cannot read {what}: {error}"))
            .and_then(|pem| {
                TrustedKey::from_pem(&pem).map_err(|error| format!("cannot use {what}: {error}"))
            });
        match key {
            Ok(key) => keys.push(key),
            Err(message) => layers.mistake(Some(origin), KEY, message),
        }
    }
    let shown: Vec<String> = keys.iter().map(TrustedKey::fingerprint).collect();
    layers.show_list(KEY, &shown, from);
    keys
}
