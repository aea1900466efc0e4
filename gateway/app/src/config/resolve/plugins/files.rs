//! `plugins.trusted_keys`.

use std::path::Path;

use gateway_host::TrustedKey;

use crate::config::layers::{Layers, Texts};
use crate::small_file;

/// Largest public key file, in bytes.
const MAX_KEY: u64 = 64 << 10;

/// Reads the keys. An empty list and an unreadable key are mistakes: without them, the gateway would accept every file, the
/// opposite of what the operator wants.
pub(super) fn trusted_keys(layers: &mut Layers<'_>, given: Option<Texts>) -> Vec<TrustedKey> {
    const KEY: &str = "plugins.trusted_keys";
    let Some(Texts { list, origin: from }) = given else {
        return Vec::new();
    };
    if list.is_empty() {
        let message = "is empty: remove it if plugins need no signatures";
        layers.mistake(Some(from), KEY, message);
        return Vec::new();
    }
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
