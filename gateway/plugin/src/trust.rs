//! Which components may serve, whatever is in them: the one that is pinned by its digest, those that are
//! signed by a key that the operator trusts. Asked of files and of kept generations alike, each time one is
//! to serve, and of what serves whenever the configuration changes.
//!
//! A signature is Ed25519 (RFC 8032) over the text `auth-gateway plugin v1`, a line feed, the hex SHA-256
//! of the component, a line feed. It stands in `<name>.wasm.sig`, base64.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::PluginConfig;
use crate::error::AdmissionError;
use crate::file::PluginFile;

/// What comes before a public key's 32 bytes in its DER form (RFC 8410 section 4).
const PUBLIC_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A public Ed25519 key whose signatures count.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustedKey([u8; 32]);

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is no PEM.
    #[error("it is no PEM text")]
    NotPem,
    /// A private key where a public one is meant.
    #[error("it holds a private key: give its public key, which `gateway plugin sign --key FILE` prints")]
    Private,
    /// A public key where a private one is meant.
    #[error("it holds a public key: a private key signs")]
    Public,
    /// A key of another kind.
    #[error("it is no Ed25519 key: `gateway keys generate --algorithm eddsa` makes one")]
    NotEd25519,
}

impl TrustedKey {
    /// Reads a public key from its PEM text (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    /// When it is none.
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
    /// When it is none.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let pem = pem::parse(text).map_err(|_| KeyError::NotPem)?;
        if pem.tag() == "PUBLIC KEY" {
            return Err(KeyError::Public);
        }
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(pem.contents())
            .map(Self)
            .map_err(|_| KeyError::NotEd25519)
    }

    /// The text of a component's `.sig` file.
    #[must_use]
    pub fn sign(&self, component: &[u8]) -> String {
        let digest = PluginFile::of(component.to_vec()).digest;
        let signature = self.0.sign(&message(&digest));
        STANDARD.encode(signature.as_ref()) + "\n"
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

/// What is signed of a component with this hex digest.
fn message(digest: &str) -> Vec<u8> {
    format!("auth-gateway plugin v1\n{digest}\n").into_bytes()
}

/// Whether a component may serve as a plugin.
///
/// # Errors
/// Why it may not.
pub(crate) fn check(
    keys: &[TrustedKey],
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
    if keys.is_empty() {
        return Ok(());
    }
    let Some(text) = signature else {
        return Err(AdmissionError::Unsigned {
            plugin: plugin.to_owned(),
        });
    };
    match signed_by(keys, digest, text) {
        Some(_) => Ok(()),
        None => Err(AdmissionError::WrongSignature {
            plugin: plugin.to_owned(),
            digest: digest.to_owned(),
            keys: keys
                .iter()
                .map(TrustedKey::fingerprint)
                .collect::<Vec<_>>()
                .join(", "),
        }),
    }
}

/// The key that made a signature of the component with this digest.
pub(crate) fn signed_by<'a>(keys: &'a [TrustedKey], digest: &str, signature: &str) -> Option<&'a TrustedKey> {
    let signature = STANDARD.decode(signature.trim()).ok()?;
    let message = message(digest);
    keys.iter().find(|key| key.verifies(&message, &signature))
}

#[cfg(test)]
mod tests {
    use super::{KeyError, PluginSigner, STANDARD, TrustedKey, check, message, signed_by};
    use crate::PluginConfig;
    use crate::error::AdmissionError;
    use crate::file::PluginFile;
    use aws_lc_rs::signature::Ed25519KeyPair;
    use base64::Engine as _;

    /// A new private key, PEM.
    fn private() -> String {
        let key = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        pem::encode(&pem::Pem::new("PRIVATE KEY", key.as_ref()))
    }

    #[test]
    fn keys_are_read_and_written_and_others_refused() {
        let private = private();
        let signer = PluginSigner::from_pem(&private).unwrap();
        let public = signer.public_key().unwrap();
        let text = public.to_pem();
        assert_eq!(TrustedKey::from_pem(&text), Ok(public));
        assert_eq!(TrustedKey::from_pem(&private), Err(KeyError::Private));
        assert_eq!(PluginSigner::from_pem(&text).unwrap_err(), KeyError::Public);
        assert_eq!(TrustedKey::from_pem("key"), Err(KeyError::NotPem));
        let other = pem::encode(&pem::Pem::new("PUBLIC KEY", [1_u8; 44]));
        assert_eq!(TrustedKey::from_pem(&other), Err(KeyError::NotEd25519));
        // From RFC 8410 section 10.1.
        let known = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        assert_eq!(TrustedKey::from_pem(known).unwrap().to_pem(), known);
        let known = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        assert!(PluginSigner::from_pem(known).is_ok());
    }

    #[test]
    fn a_signature_is_of_one_component_by_one_key_and_for_this_purpose() {
        let signer = PluginSigner::from_pem(&private()).unwrap();
        let keys = [signer.public_key().unwrap()];
        let other = [PluginSigner::from_pem(&private()).unwrap().public_key().unwrap()];
        let digest = PluginFile::of(b"component".to_vec()).digest;
        let text = signer.sign(b"component");
        assert_eq!(signed_by(&keys, &digest, &text), keys.first());
        assert_eq!(signed_by(&other, &digest, &text), None);
        assert_eq!(signed_by(&[], &digest, &text), None);
        let stale = PluginFile::of(b"another".to_vec()).digest;
        assert_eq!(signed_by(&keys, &stale, &text), None);
        let bare = STANDARD.encode(signer.0.sign(digest.as_bytes()).as_ref());
        assert_eq!(signed_by(&keys, &digest, &bare), None);
        for wrong in ["", "\n", "AAAA", "not base64", &text.repeat(2)] {
            assert_eq!(signed_by(&keys, &digest, wrong), None, "{wrong:?}");
        }
        assert_eq!(message("ab"), b"auth-gateway plugin v1\nab\n");
    }

    #[test]
    fn both_are_asked_for_where_both_are_configured() {
        let signer = PluginSigner::from_pem(&private()).unwrap();
        let keys = [signer.public_key().unwrap()];
        let digest = PluginFile::of(b"component".to_vec()).digest;
        let signature = Some(signer.sign(b"component").into());
        let mut config = PluginConfig::default();
        let asked = |config: &PluginConfig, keys: &[TrustedKey], signature: &Option<_>| {
            check(keys, "p", config, &digest, signature.as_ref())
        };
        assert_eq!(asked(&config, &[], &None), Ok(()));
        assert!(matches!(
            asked(&config, &keys, &None),
            Err(AdmissionError::Unsigned { .. })
        ));
        assert_eq!(asked(&config, &keys, &signature), Ok(()));
        config.sha256 = Some("0".repeat(64));
        assert!(matches!(
            asked(&config, &keys, &signature),
            Err(AdmissionError::Pinned { .. })
        ));
        config.sha256 = Some(digest.clone());
        assert_eq!(asked(&config, &keys, &signature), Ok(()));
    }
}
