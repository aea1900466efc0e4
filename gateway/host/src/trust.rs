//! Which components may serve, regardless of their contents: the one that is pinned by its digest, and those that are
//! signed by a key that the operator trusts. The check applies to files and kept generations before they serve, and to
//! serving generations whenever the configuration changes.
//!
//! A signature is Ed25519 (RFC 8032) over four lines, each ended by a line feed: `auth-gateway plugin v2`, the
//! plugin's name, its version (decimal), the hex SHA-256 of the component. None of them can contain a line feed,
//! so no two statements have the same bytes. `<name>.wasm.sig` holds one line: `v2 NAME VERSION BASE64`.
//!
//! A signature of version 1 covers `auth-gateway plugin v1` and the digest alone. It is valid for any plugin, forever,
//! so it counts only if the operator allows it. Its file holds the base64 text alone.
//!
//! The version must not fall: see [`Seniority`].

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::PluginSet;
use crate::error::AdmissionError;
use crate::file;
use gateway_sandbox::PluginConfig;

/// The DER prefix of a public key's 32 bytes (RFC 8410 section 4).
const PUBLIC_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The highest version that a signature may state. Every JSON parser reads it exactly, and a time in milliseconds is
/// far below it. A higher version is a mistake, after which there could be no later version.
pub const MAX_VERSION: u64 = (1 << 53) - 1;

/// A public Ed25519 key whose signatures count.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustedKey([u8; 32]);

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not PEM.
    #[error("it is not a PEM text")]
    NotPem,
    /// A private key instead of a public one.
    #[error("it holds a private key: use its public key, which `gateway plugin sign --key FILE` prints")]
    Private,
    /// A public key instead of a private one.
    #[error("it holds a public key: a private key signs")]
    Public,
    /// A key of another kind.
    #[error("it is not an Ed25519 key: create one with `gateway keys generate --algorithm eddsa`")]
    NotEd25519,
}

/// Why a component cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// A plugin cannot have this name.
    #[error("\"{0}\" cannot be a plugin's name: use letters, digits, - and _")]
    Name(String),
    /// Versions go from 1 to [`MAX_VERSION`].
    #[error("the version must be a whole number from 1 to {MAX_VERSION}")]
    Version,
}

impl TrustedKey {
    /// Reads a public key from its PEM text (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    /// If the text is not a public Ed25519 key.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let pem = pem::parse(text).map_err(|_| KeyError::NotPem)?;
        if pem.tag().contains("PRIVATE") {
            return Err(KeyError::Private);
        }
        let key = pem.contents().strip_prefix(&PUBLIC_PREFIX);
        let key = key.and_then(|key| key.try_into().ok()).map(Self);
        key.filter(|_| pem.tag() == "PUBLIC KEY")
            .ok_or(KeyError::NotEd25519)
    }

    /// The key's PEM text.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let der = [PUBLIC_PREFIX.as_slice(), &self.0].concat();
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        pem::encode_config(&pem::Pem::new("PUBLIC KEY", der), config)
    }

    /// A short name for the key: the first 16 digits of the hex SHA-256 of its 32 bytes.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut text = hex::encode(Sha256::digest(self.0));
        text.truncate(16);
        text
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(message, signature)
            .is_ok()
    }
}

impl fmt::Debug for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrustedKey").field(&self.fingerprint()).finish()
    }
}

/// A private Ed25519 key that signs components.
#[derive(Debug)]
pub struct PluginSigner(Ed25519KeyPair);

impl PluginSigner {
    /// Reads a private key from its PEM text (`BEGIN PRIVATE KEY`, PKCS#8).
    ///
    /// # Errors
    /// If the text is not a private Ed25519 key.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let pem = pem::parse(text).map_err(|_| KeyError::NotPem)?;
        if pem.tag() == "PUBLIC KEY" {
            return Err(KeyError::Public);
        }
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(pem.contents())
            .map(Self)
            .map_err(|_| KeyError::NotEd25519)
    }

    /// Returns the text of the `.sig` file for a component that serves as the plugin `name`. Gateways that have
    /// accepted a higher `version` under this name reject it.
    ///
    /// # Errors
    /// If a plugin cannot have the name, or the version is out of range.
    pub fn sign(&self, name: &str, version: u64, component: &[u8]) -> Result<String, SignError> {
        if file::path(Path::new(""), name).is_err() {
            return Err(SignError::Name(gateway_sandbox::text::printable(name, 128)));
        }
        if !(1..=MAX_VERSION).contains(&version) {
            return Err(SignError::Version);
        }
        let digest = hex::encode(Sha256::digest(component));
        let signature = self.0.sign(&message(name, version, &digest));
        let signature = STANDARD.encode(signature.as_ref());
        Ok(format!("v2 {name} {version} {signature}\n"))
    }

    /// The key that verifies what this one signs.
    ///
    /// # Errors
    /// Never for a key that could be read.
    pub fn public_key(&self) -> Result<TrustedKey, KeyError> {
        use aws_lc_rs::signature::KeyPair as _;
        let key = self.0.public_key().as_ref();
        key.try_into().map(TrustedKey).map_err(|_| KeyError::NotEd25519)
    }
}

/// The signed text for a component with this hex digest.
fn message(plugin: &str, version: u64, digest: &str) -> Vec<u8> {
    // defence: signature-covers-the-plugin (a test fails without it: docs/defences.md)
    format!("auth-gateway plugin v2\n{plugin}\n{version}\n{digest}\n").into_bytes()
}

/// The signed text of version 1.
fn message_v1(digest: &str) -> Vec<u8> {
    format!("auth-gateway plugin v1\n{digest}\n").into_bytes()
}

/// The keys and the kinds of signatures that count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    /// If empty, signatures are not required.
    pub(crate) keys: Vec<TrustedKey>,
    /// A signature of version 1 counts, which names neither plugin nor version.
    pub(crate) allows_v1: bool,
}

impl Trust {
    pub(crate) fn of(set: &PluginSet) -> Self {
        Self {
            keys: set.trusted_keys.clone(),
            allows_v1: set.allow_v1_signatures,
        }
    }
}

/// The text of a `.sig` file, read but not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Statement<'a> {
    /// The plugin and its version; `None` in a signature of version 1.
    pub(crate) names: Option<(&'a str, u64)>,
    base64: &'a str,
}

impl<'a> Statement<'a> {
    /// Parses the text; `None` if it is not that of a signature.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let Some(rest) = text.strip_prefix("v2 ") else {
            return (!text.is_empty() && !text.contains(' ')).then_some(Self {
                names: None,
                base64: text,
            });
        };
        let mut words = rest.split(' ');
        let (name, version, base64) = (words.next()?, words.next()?, words.next()?);
        // Canonical digits only: otherwise one signature could have several texts.
        if version.starts_with('0') || !version.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let version: u64 = version.parse().ok()?;
        words.next().is_none().then_some(Self {
            names: Some((name, version)),
            base64,
        })
    }

    /// The key that has signed this component for this plugin.
    fn signer<'k>(&self, keys: &'k [TrustedKey], plugin: &str, digest: &str) -> Option<&'k TrustedKey> {
        let signature = STANDARD.decode(self.base64).ok()?;
        let message = match self.names {
            // The gateway's own name for the plugin, not what the file claims.
            Some((_, version)) => message(plugin, version, digest),
            None => message_v1(digest),
        };
        keys.iter().find(|key| key.verifies(&message, &signature))
    }
}

impl TrustedKey {
    /// The version that the text of a `.sig` file states for a component under this plugin's name; `None` unless this
    /// key has signed it.
    #[must_use]
    pub fn signed_version(&self, plugin: &str, component: &[u8], signature: &str) -> Option<u64> {
        let digest = hex::encode(Sha256::digest(component));
        signed_by(std::slice::from_ref(self), plugin, &digest, signature)?;
        let (_, version) = Statement::read(signature)?.names?;
        Some(version)
    }
}

/// The version that a signature states, not verified.
pub(crate) fn version(signature: Option<&Arc<str>>) -> Option<u64> {
    let (_, version) = Statement::read(signature?)?.names?;
    Some(version)
}

/// Checks that a component may serve as a plugin.
pub(crate) fn check(
    trust: &Trust,
    plugin: &str,
    config: &PluginConfig,
    digest: &str,
    signature: Option<&Arc<str>>,
) -> Result<(), AdmissionError> {
    if let Some(pinned) = &config.sha256
        && *pinned != *digest
    {
        return Err(AdmissionError::Pinned {
            plugin: plugin.to_owned(),
            digest: digest.to_owned(),
            pinned: pinned.clone(),
        });
    }
    if trust.keys.is_empty() {
        return Ok(());
    }
    let plugin = plugin.to_owned();
    let Some(text) = signature else {
        return Err(AdmissionError::Unsigned { plugin });
    };
    let statement = Statement::read(text);
    // defence: signature-is-for-this-plugin (a test fails without it: docs/defences.md)
    if let Some((name, _)) = statement.and_then(|statement| statement.names)
        && *name != *plugin
    {
        return Err(AdmissionError::SignedForAnother {
            name: gateway_sandbox::text::printable(name, 128),
            plugin,
        });
    }
    if let Some((_, version)) = statement.and_then(|statement| statement.names)
        && version > MAX_VERSION
    {
        return Err(AdmissionError::VersionTooHigh {
            plugin,
            version,
            most: MAX_VERSION,
        });
    }
    let signer = statement.and_then(|statement| statement.signer(&trust.keys, &plugin, digest));
    if signer.is_none() {
        return Err(AdmissionError::WrongSignature {
            plugin,
            digest: digest.to_owned(),
            keys: trust
                .keys
                .iter()
                .map(TrustedKey::fingerprint)
                .collect::<Vec<_>>()
                .join(", "),
        });
    }
    let names_nothing = statement.is_some_and(|statement| statement.names.is_none());
    if names_nothing && !trust.allows_v1 {
        return Err(AdmissionError::NamelessSignature { plugin });
    }
    Ok(())
}

/// The key that has signed the component with this digest for this plugin.
pub(crate) fn signed_by<'a>(
    keys: &'a [TrustedKey],
    plugin: &str,
    digest: &str,
    signature: &str,
) -> Option<&'a TrustedKey> {
    let statement = Statement::read(signature)?;
    if statement.names.is_some_and(|(name, _)| *name != *plugin) {
        return None;
    }
    statement.signer(keys, plugin, digest)
}

/// The highest accepted version of a plugin, and its component. An older component, or a different one with the same
/// version, is a replay: it was signed once, and has been replaced since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seniority {
    pub(crate) version: u64,
    pub(crate) digest: Arc<str>,
}

impl Seniority {
    /// Checks that a component with this version (`None`: it has none) may replace the accepted one.
    pub(crate) fn check(
        &self,
        plugin: &str,
        digest: &str,
        version: Option<u64>,
    ) -> Result<(), AdmissionError> {
        let accepted = self.version;
        match version {
            Some(version) if version > accepted => Ok(()),
            Some(version) if version == accepted && *digest == *self.digest => Ok(()),
            Some(version) if version == accepted => Err(AdmissionError::SameVersion {
                plugin: plugin.to_owned(),
                version,
                digest: digest.to_owned(),
                accepted: self.digest.to_string(),
            }),
            _ => Err(AdmissionError::Older {
                plugin: plugin.to_owned(),
                version: version
                    .map_or_else(|| "no version".to_owned(), |version| format!("version {version}")),
                digest: digest.to_owned(),
                accepted,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
