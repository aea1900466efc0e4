//! `[keys]`: what signs permission tokens, what is published beside, what session tokens are keyed by.

use std::path::{Path, PathBuf};

use gateway_token::SigningKeys;
use secrecy::{ExposeSecret as _, SecretString};

use super::first_origin;
use crate::config::field::{Context, Secret, Secrets};
use crate::config::layers::{Layers, Place, Texts, strength};
use crate::config::settings;
use crate::config::sources::Origin;
use crate::keys;

/// What `[keys]` says.
pub(super) struct Keys {
    /// PEM texts; the first signs.
    pub(super) signing: Vec<SecretString>,
    /// PEM texts.
    pub(super) public: Vec<String>,
    pub(super) session_secrets: Vec<SecretString>,
}

/// Fewest bytes of a session secret.
const SESSION_SECRET_BYTES: usize = 32;
/// Most session secrets: a token that is not valid is tried with each.
const SESSION_SECRETS: usize = 8;
/// What stands for the derived secret in a list.
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
    signing_files(
        layers,
        &mut found,
        given.signing,
        cx.data_dir,
        private_key.is_some(),
    );

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
    let session_secrets = session_secrets(layers, &found, one, several, private_key.is_some());
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
    let one = one.map(|Secret(secret, origin)| (secret, origin));
    let several = several.map(|Secrets(secrets)| secrets);
    let one_is_stronger = match (&one, several.as_ref().and_then(|list| list.first())) {
        (Some((_, one)), Some((_, several))) if strength(one) == strength(several) => {
            layers.mistake(
                Some(one.clone()),
                ONE,
                format!("{SEVERAL} is given too: keep one of the two settings"),
            );
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
        layers.mistake(
            layers.origin(key),
            key,
            format!("must have 1 to {SESSION_SECRETS} secrets"),
        );
    }
    let mut secrets = Vec::new();
    for (secret, origin) in given {
        if key == SEVERAL && secret.expose_secret() == DERIVED {
            secrets.extend(derived(layers, key, found, private_key));
            continue;
        }
        if secret.expose_secret().len() < SESSION_SECRET_BYTES {
            layers.mistake(
                Some(origin.clone()),
                key,
                format!("must be {SESSION_SECRET_BYTES} bytes at least, as from `openssl rand -hex 32`"),
            );
        }
        if key == SEVERAL {
            layers.hide(key, secret.clone(), origin);
        }
        secrets.push(secret);
    }
    secrets
}

/// The session secrets where none is given: one of every signing key. That of the key which signs comes first, and all
/// are accepted, so that adding, reordering or replacing keys ends no session while the key it began under is there.
fn derived(layers: &mut Layers<'_>, setting: &str, found: &Found, private_key: bool) -> Vec<SecretString> {
    let from = match found.signing.len() {
        // That is a mistake, which is reported elsewhere.
        0 => return vec![String::new().into()],
        1 if private_key => "derived from PRIVATE_KEY",
        1 => "derived from the signing key",
        _ if private_key => "derived from PRIVATE_KEY; those of the other signing keys are accepted",
        _ => "derived from the key that signs; those of the other signing keys are accepted",
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
        Some(paths) => paths
            .list
            .into_iter()
            .map(|(path, origin)| (path.into(), origin))
            .collect(),
        None if private_key => Vec::new(),
        None if default_dir.is_dir() => vec![(default_dir.clone(), Origin::Default)],
        None => Vec::new(),
    };
    let mut waits = false;
    let mut public = Vec::new();
    for (path, origin) in &paths {
        match keys::read(path) {
            Ok(files) => {
                files
                    .exposed
                    .iter()
                    .for_each(|path| layers.warn_at(Some(origin.clone()), KEY, keys::exposed(path)));
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
    let mistaken = layers.mistakes.iter().any(|mistake| mistake.key == KEY);
    if found.signing.is_empty() && !mistaken && !waits {
        if !public.is_empty() {
            let message = format!(
                "{} holds a public key, which signs nothing: name the file with the private key that belongs to it \
                 (a PEM text that begins with -----BEGIN PRIVATE KEY-----)",
                public.join(", ")
            );
            layers.mistake(first_origin(&paths), KEY, message);
            return;
        }
        let directory = paths.first().map_or(default_dir, |(path, _)| path.clone());
        layers.mistake(
            first_origin(&paths),
            KEY,
            format!(
                "there is no signing key: make one with `gateway keys generate --out {}`, or set PRIVATE_KEY to a \
                 PEM text",
                directory.display()
            ),
        );
    }
}

/// The keys that can be used.
#[derive(Default)]
struct Found {
    signing: Vec<Key<SecretString>>,
    public: Vec<Key<String>>,
}

/// A key, and where it is from: a file, or a variable.
struct Key<T> {
    name: String,
    kid: String,
    pem: T,
}

/// The one of some keys that has a `kid`.
fn same<'a, T>(keys: &'a [Key<T>], kid: &str) -> Option<&'a Key<T>> {
    keys.iter().find(|key| key.kid == kid)
}

fn add_signing(layers: &mut Layers<'_>, found: &mut Found, name: String, pem: SecretString, origin: Origin) {
    const KEY: &str = "keys.signing";
    let key = match SigningKeys::from_pems(std::slice::from_ref(&pem), &[]) {
        Ok(key) => key,
        Err(error) => {
            layers.mistake(
                Some(origin),
                KEY,
                format!("{name} cannot be used: {}", error.problem()),
            );
            return;
        }
    };
    if let Some(other) = same(&found.signing, key.kid()) {
        let message = format!(
            "{name} holds the same key as {} (kid {}): remove one of them",
            other.name,
            key.kid()
        );
        layers.mistake(Some(origin), KEY, message);
        return;
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
            layers.mistake(Some(origin), KEY, format!("{name} cannot be used: {problem}"));
            return;
        }
    };
    // The public half of a key that signs may be there as well: it is published once.
    if let Some(other) = same(&found.public, &kid) {
        let message = format!(
            "{name} holds the same key as {} (kid {kid}): remove one of them",
            other.name
        );
        layers.mistake(Some(origin), KEY, message);
        return;
    }
    found.public.push(Key { name, kid, pem });
}

/// The old service served `PUBLIC_KEY` as it was; the gateway serves the half of the key that signs.
fn warn_of_mismatch(layers: &mut Layers<'_>, private: Option<&SecretString>, public: &str) {
    let Some(keys) = private.and_then(|pem| SigningKeys::from_pems(std::slice::from_ref(pem), &[]).ok())
    else {
        return;
    };
    let body = |pem: &str| keys::body(pem);
    if public.contains("BEGIN PUBLIC KEY") && body(public) != body(keys.public_key_pem()) {
        layers.warn_at(
            Some(Origin::Variable("PUBLIC_KEY".to_owned())),
            "keys.public",
            "PUBLIC_KEY is not the public half of the key that signs: it is published beside that, and whoever \
             verifies with it alone will refuse every token"
                .to_owned(),
        );
    }
}
