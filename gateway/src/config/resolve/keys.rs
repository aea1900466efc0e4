//! `[keys]`: what signs permission tokens, what is published beside, what session tokens are keyed by.

use std::path::{Path, PathBuf};

use gateway_token::SigningKeys;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Layers, Origin};
use crate::config::file;
use crate::keys::{self, KeyFiles};

/// What `[keys]` says.
pub(super) struct Keys {
    /// PEM texts; the first signs.
    pub(super) signing: Vec<SecretString>,
    /// PEM texts.
    pub(super) public: Vec<String>,
    pub(super) session_secret: SecretString,
}

/// Fewest bytes of a session secret.
const SESSION_SECRET_BYTES: usize = 32;

pub(super) fn keys(layers: &mut Layers<'_>, file: file::Keys, data_dir: &Path) -> Keys {
    let mut found = KeyFiles::default();
    let private_key = layers.variable("PRIVATE_KEY", "keys.signing");
    if let Some(pem) = &private_key {
        add_signing(
            layers,
            &mut found,
            pem.clone().into(),
            Origin::Variable("PRIVATE_KEY".into()),
        );
    }
    signing_files(layers, &mut found, file.signing, data_dir, private_key.is_some());

    if let Some(pem) = layers.variable("PUBLIC_KEY", "keys.public") {
        let origin = Origin::Variable("PUBLIC_KEY".into());
        warn_of_mismatch(layers, found.signing.first(), &pem);
        add_public(layers, &mut found, pem, origin);
    }
    for (path, origin) in layers
        .values::<PathBuf>("keys.public", "GATEWAY_PUBLIC_KEYS", file.public)
        .unwrap_or_default()
    {
        match std::fs::read_to_string(&path) {
            Ok(pem) => add_public(layers, &mut found, pem, origin),
            Err(error) => {
                layers.mistake(
                    Some(origin),
                    "keys.public",
                    format!("cannot read {}: {error}", path.display()),
                );
            }
        }
    }

    let given = layers.secret(
        "keys.session_secret",
        "GATEWAY_SESSION_SECRET",
        file.session_secret,
        file.session_secret_file,
    );
    let session_secret = match given {
        Some((secret, origin)) => {
            if secret.expose_secret().len() < SESSION_SECRET_BYTES {
                layers.mistake(
                    Some(origin),
                    "keys.session_secret",
                    format!("must be {SESSION_SECRET_BYTES} bytes at least, as from `openssl rand -hex 32`"),
                );
            }
            secret
        }
        None => derived(layers, &found, private_key.is_some()),
    };
    Keys {
        signing: found.signing,
        public: found.public,
        session_secret,
    }
}

/// The session secret where none is given: made of `PRIVATE_KEY`, or of the oldest key, so that adding a key
/// ends no session.
fn derived(layers: &mut Layers<'_>, found: &KeyFiles, private_key: bool) -> SecretString {
    let (key, from) = if private_key {
        (found.signing.first(), "derived from PRIVATE_KEY")
    } else {
        (found.signing.last(), "derived from the oldest signing key")
    };
    if key.is_some() {
        layers.show("keys.session_secret", format!("({from})"), Origin::Default);
    }
    key.map_or_else(|| String::new().into(), keys::material)
}

fn signing_files(
    layers: &mut Layers<'_>,
    found: &mut KeyFiles,
    in_file: file::List,
    data_dir: &Path,
    private_key: bool,
) {
    const KEY: &str = "keys.signing";
    let paths = layers.values::<PathBuf>(KEY, "GATEWAY_SIGNING_KEYS", in_file);
    let default_dir = data_dir.join("keys");
    let paths = match paths {
        Some(paths) => paths,
        None if private_key => Vec::new(),
        None if default_dir.is_dir() => vec![(default_dir.clone(), Origin::Default)],
        None => Vec::new(),
    };
    for (path, origin) in &paths {
        match keys::read(path) {
            Ok(files) => {
                files
                    .exposed
                    .iter()
                    .for_each(|path| layers.warn(keys::exposed(path)));
                for pem in files.signing {
                    add_signing(layers, found, pem, origin.clone());
                }
                for pem in files.public {
                    add_public(layers, found, pem, origin.clone());
                }
            }
            Err(error) => layers.mistake(Some(origin.clone()), KEY, error.to_string()),
        }
        layers.show(KEY, path.display().to_string(), origin.clone());
    }
    let mistaken = layers.mistakes.iter().any(|mistake| mistake.key == KEY);
    if found.signing.is_empty() && !mistaken {
        let directory = paths.first().map_or(default_dir, |(path, _)| path.clone());
        layers.mistake(
            paths.first().map(|(_, origin)| origin.clone()),
            KEY,
            format!(
                "there is no signing key: make one with `gateway keys generate --out {}`, or set PRIVATE_KEY to a \
                 PEM text",
                directory.display()
            ),
        );
    }
}

fn add_signing(layers: &mut Layers<'_>, found: &mut KeyFiles, pem: SecretString, origin: Origin) {
    match SigningKeys::from_pems(std::slice::from_ref(&pem), &[]) {
        Ok(key) => {
            let does = if found.signing.is_empty() {
                "signs"
            } else {
                "is published"
            };
            layers.show("keys.signing", format!("{} ({does})", key.kid()), origin);
            found.signing.push(pem);
        }
        Err(error) => layers.mistake(Some(origin), "keys.signing", error.to_string()),
    }
}

fn add_public(layers: &mut Layers<'_>, found: &mut KeyFiles, pem: String, origin: Origin) {
    // Without a private key there is nothing that it could be published beside, and that is told elsewhere.
    let Some(private) = found.signing.first() else {
        return;
    };
    match SigningKeys::from_pems(std::slice::from_ref(private), std::slice::from_ref(&pem)) {
        Ok(_) => found.public.push(pem),
        Err(error) => layers.mistake(Some(origin), "keys.public", error.to_string()),
    }
}

/// The old service served `PUBLIC_KEY` as it was; the gateway serves the half of the key that signs.
fn warn_of_mismatch(layers: &mut Layers<'_>, private: Option<&SecretString>, public: &str) {
    let Some(keys) = private.and_then(|pem| SigningKeys::from_pems(std::slice::from_ref(pem), &[]).ok())
    else {
        return;
    };
    let body = |pem: &str| keys::body(pem);
    if public.contains("BEGIN PUBLIC KEY") && body(public) != body(keys.public_key_pem()) {
        layers.warn(
            "PUBLIC_KEY is not the public half of the key that signs: it is published beside that, and whoever \
             verifies with it alone will refuse every token"
                .to_owned(),
        );
    }
}
