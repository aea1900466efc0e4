//! `[keys]`: the keys that sign permission tokens, further public keys, and the secrets of session tokens.

use std::path::{Path, PathBuf};

use gateway_token::SigningKeys;
use secrecy::{ExposeSecret as _, SecretString};

use super::first_origin;
use crate::config::field::{Context, Secret, Secrets};
use crate::config::layers::{Layers, Place, Texts, strength};
use crate::config::settings;
use crate::config::sources::Origin;
use crate::keys;

pub(super) struct Keys {
    /// PEM texts; the first signs.
    pub(super) signing: Vec<SecretString>,
    /// PEM texts.
    pub(super) public: Vec<String>,
    pub(super) session_secrets: Vec<SecretString>,
}

/// The minimum length of a session secret, in bytes.
const SESSION_SECRET_BYTES: usize = 32;
/// The maximum number of session secrets: an invalid token is tried with each.
const SESSION_SECRETS: usize = 8;
/// Stands for the derived secrets in a list.
const DERIVED: &str = "derived";

pub(super) fn keys(layers: &mut Layers<'_>, file: &Place<'_>, cx: &Context<'_>) -> Keys {
    const PUBLIC: &str = "keys.public";
    let given = settings::Keys::read(layers, &file.section("keys"), cx);
    let mut found = Found::default();
    let private_key = layers.variable("PRIVATE_KEY", "keys.signing");
    if let Some(pem) = &private_key {
        let name = "PRIVATE_KEY".to_owned();
        let origin = Origin::Variable(name.clone());
        add_signing(layers, &mut found, name, pem.clone().into(), origin);
    }
    let has_private_key = private_key.is_some();
    signing_files(layers, &mut found, given.signing, cx.data_dir, has_private_key);

    if let Some(pem) = layers.variable("PUBLIC_KEY", PUBLIC) {
        let origin = Origin::Variable("PUBLIC_KEY".into());
        warn_of_mismatch(layers, found.signing.first().map(|key| &key.pem), &pem);
        add_public(layers, &mut found, "PUBLIC_KEY".to_owned(), pem, origin);
    }
    for (path, origin) in given.public.map(|paths| paths.list).unwrap_or_default() {
        match keys::read_secret(Path::new(&path)) {
            Ok((pem, _)) => add_public(layers, &mut found, path, pem, origin),
            Err(_) if layers.waits_for_the_service(PUBLIC, Path::new(&path), &origin) => {}
            Err(error) => layers.mistake(Some(origin), PUBLIC, format!("cannot read {path}: {error}")),
        }
    }

    let (one, several) = (given.session_secret, given.session_secrets);
    let session_secrets = session_secrets(layers, &found, one, several, has_private_key);
    Keys {
        signing: found.signing.into_iter().map(|key| key.pem).collect(),
        public: found.public.into_iter().map(|key| key.pem).collect(),
        session_secrets,
    }
}

fn session_secrets(
    layers: &mut Layers<'_>,
    found: &Found,
    one: Option<Secret>,
    several: Option<Secrets>,
    private_key: bool,
) -> Vec<SecretString> {
    const ONE: &str = "keys.session_secret";
    const SEVERAL: &str = "keys.session_secrets";
    let first = several.as_ref().and_then(|list| list.first());
    let one_is_stronger = match (&one, first) {
        (Some((_, one)), Some((_, several))) if strength(one) == strength(several) => {
            let message = format!("{SEVERAL} is set too: keep one of the two settings");
            layers.mistake(Some(one.clone()), ONE, message);
            return Vec::new();
        }
        (Some((_, one)), Some((_, several))) => strength(one) > strength(several),
        (one, _) => one.is_some(),
    };
    let (key, given) = match (one, several) {
        (Some(one), _) if one_is_stronger => (ONE, vec![one]),
        (_, Some(several)) => (SEVERAL, several),
        _ => return derived(layers, ONE, found, private_key),
    };
    if given.is_empty() || given.len() > SESSION_SECRETS {
        layers.reject(key, format!("must have 1 to {SESSION_SECRETS} secrets"));
    }
    let mut secrets = Vec::new();
    for (secret, origin) in given {
        if key == SEVERAL && secret.expose_secret() == DERIVED {
            secrets.extend(derived(layers, key, found, private_key));
            continue;
        }
        if secret.expose_secret().len() < SESSION_SECRET_BYTES {
            let message =
                format!("must be at least {SESSION_SECRET_BYTES} bytes, as from `openssl rand -hex 32`");
            layers.mistake(Some(origin.clone()), key, message);
        }
        if key == SEVERAL {
            layers.hide(key, secret.clone(), origin);
        }
        secrets.push(secret);
    }
    secrets
}

/// One secret for every signing key, that of the active key first. All are accepted, so adding, reordering or replacing keys
/// ends no session while the key under which it began is configured.
fn derived(layers: &mut Layers<'_>, setting: &str, found: &Found, private_key: bool) -> Vec<SecretString> {
    let from = match found.signing.len() {
        // This mistake is reported elsewhere.
        0 => return vec![String::new().into()],
        1 if private_key => "derived from PRIVATE_KEY",
        1 => "derived from the signing key",
        _ if private_key => "derived from PRIVATE_KEY; those of the other signing keys are accepted",
        _ => "derived from the active signing key; those of the other signing keys are accepted",
    };
    layers.show(setting, format!("({from})"), Origin::Default);
    let keys = found.signing.iter();
    keys.map(|key| keys::material(&key.pem)).collect()
}

fn signing_files(
    layers: &mut Layers<'_>,
    found: &mut Found,
    given: Option<Texts>,
    data_dir: &Path,
    private_key: bool,
) {
    const KEY: &str = "keys.signing";
    let default_dir = data_dir.join("keys");
    let paths: Vec<(PathBuf, Origin)> = match given {
        Some(Texts { list, .. }) => list
            .into_iter()
            .map(|(path, origin)| (path.into(), origin))
            .collect(),
        None if !private_key && default_dir.is_dir() => vec![(default_dir.clone(), Origin::Default)],
        None => Vec::new(),
    };
    let mut waits = false;
    let mut public = Vec::new();
    for (path, origin) in &paths {
        match keys::read(path) {
            Ok(files) => {
                for path in &files.exposed {
                    layers.warn_at(Some(origin.clone()), KEY, keys::exposed(path));
                }
                for (path, pem) in files.signing {
                    add_signing(layers, found, path.display().to_string(), pem, origin.clone());
                }
                for (path, pem) in files.public {
                    public.push(path.display().to_string());
                    add_public(layers, found, path.display().to_string(), pem, origin.clone());
                }
            }
            Err(_) if layers.waits_for_the_service(KEY, path, origin) => waits = true,
            Err(error) => layers.mistake(Some(origin.clone()), KEY, error.to_string()),
        }
        layers.show(KEY, path.display().to_string(), origin.clone());
    }
    if found.signing.is_empty() && !layers.is_mistaken(KEY) && !waits {
        let message = if public.is_empty() {
            let directory = paths.first().map_or(&default_dir, |(path, _)| path);
            format!(
                "there is no signing key: create one with `gateway keys generate --out {}`, or set PRIVATE_KEY to a PEM text",
                directory.display()
            )
        } else {
            format!(
                "{} contains a public key, which cannot sign: name the file with its private key (a PEM text that begins with \
                 -----BEGIN PRIVATE KEY-----)",
                public.join(", ")
            )
        };
        layers.mistake(first_origin(&paths), KEY, message);
    }
}

/// The usable keys.
#[derive(Default)]
struct Found {
    signing: Vec<Key<SecretString>>,
    public: Vec<Key<String>>,
}

struct Key<T> {
    /// Its file or variable.
    name: String,
    kid: String,
    pem: T,
}

/// The message for a key that is configured already.
fn duplicate<T>(keys: &[Key<T>], name: &str, kid: &str) -> Option<String> {
    let Key { name: other, .. } = keys.iter().find(|key| key.kid == kid)?;
    Some(format!(
        "{name} contains the same key as {other} (kid {kid}): remove one of them"
    ))
}

fn add_signing(layers: &mut Layers<'_>, found: &mut Found, name: String, pem: SecretString, origin: Origin) {
    const KEY: &str = "keys.signing";
    let key = match SigningKeys::from_pems(std::slice::from_ref(&pem), &[]) {
        Ok(key) => key,
        Err(error) => {
            let message = format!("{name} cannot be used: {}", error.problem());
            return layers.mistake(Some(origin), KEY, message);
        }
    };
    if let Some(message) = duplicate(&found.signing, &name, key.kid()) {
        return layers.mistake(Some(origin), KEY, message);
    }
    let does = if found.signing.is_empty() {
        "signs"
    } else {
        "is published"
    };
    layers.show(KEY, format!("{} ({does})", key.kid()), origin);
    found.signing.push(Key {
        name,
        kid: key.kid().to_owned(),
        pem,
    });
}

fn add_public(layers: &mut Layers<'_>, found: &mut Found, name: String, pem: String, origin: Origin) {
    const KEY: &str = "keys.public";
    let kid = match gateway_token::public_kid(&pem) {
        Ok(kid) => kid,
        Err(problem) => {
            return layers.mistake(Some(origin), KEY, format!("{name} cannot be used: {problem}"));
        }
    };
    // The public half of a signing key is allowed here, and published once.
    if let Some(message) = duplicate(&found.public, &name, &kid) {
        return layers.mistake(Some(origin), KEY, message);
    }
    found.public.push(Key { name, kid, pem });
}

/// The old service published `PUBLIC_KEY` alone; the gateway also publishes the public half of the signing key.
fn warn_of_mismatch(layers: &mut Layers<'_>, private: Option<&SecretString>, public: &str) {
    let Some(keys) = private.and_then(|pem| SigningKeys::from_pems(std::slice::from_ref(pem), &[]).ok())
    else {
        return;
    };
    if public.contains("BEGIN PUBLIC KEY") && keys::body(public) != keys::body(keys.public_key_pem()) {
        let warning = "PUBLIC_KEY is not the public half of the active signing key: the gateway publishes both, and an \
                       application that verifies only with PUBLIC_KEY will reject every token";
        layers.warn_at(
            Some(Origin::Variable("PUBLIC_KEY".to_owned())),
            "keys.public",
            warning,
        );
    }
}
