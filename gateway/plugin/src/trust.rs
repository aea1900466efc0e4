//! Which components may serve, whatever is in them: the one that is pinned by its digest, and those that are
//! signed by a key that the operator trusts. This is asked of files and of kept generations alike, each time one
//! is about to serve, and of the serving ones whenever the configuration changes.
//!
//! A signature is Ed25519 (RFC 8032) over four lines, each ended by a line feed: `auth-gateway plugin v2`, the
//! plugin's name, its version (decimal), the hex SHA-256 of the component. None of them can contain a line feed,
//! so no two statements have the same bytes. `<name>.wasm.sig` holds one line: `v2 NAME VERSION BASE64`.
//!
//! A signature of version 1 covers `auth-gateway plugin v1` and the digest alone. It is good for any plugin, and
//! for ever, so it counts only where the operator allows it. Its file holds the base64 text alone.
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

use crate::error::AdmissionError;
use crate::file;
use crate::{PluginConfig, PluginSet};

/// What comes before a public key's 32 bytes in its DER form (RFC 8410 section 4).
const PUBLIC_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The highest version that a signature may state. Every JSON reader gets it to the digit, and a version by the second
/// or the millisecond is far below it: a higher one is a mistake, after which no later version could follow.
pub const MAX_VERSION: u64 = (1 << 53) - 1;

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

/// Why a component is not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// No plugin can have this name.
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

    /// The text of the `.sig` file of a component that is to serve as the plugin `name`. Gateways that have
    /// accepted a component with a higher `version` under this name refuse this one.
    ///
    /// # Errors
    /// When no plugin can have the name, or the version is out of range.
    pub fn sign(&self, name: &str, version: u64, component: &[u8]) -> Result<String, SignError> {
        if file::path(Path::new(""), name).is_err() {
            return Err(SignError::Name(crate::text::printable(name, 128)));
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

/// What is signed of a component with this hex digest, that is to serve as this plugin.
fn message(plugin: &str, version: u64, digest: &str) -> Vec<u8> {
    // defence: signature-covers-the-plugin (a test fails without it: docs/defences.md)
    format!("auth-gateway plugin v2\n{plugin}\n{version}\n{digest}\n").into_bytes()
}

/// What signatures of version 1 cover.
fn message_v1(digest: &str) -> Vec<u8> {
    format!("auth-gateway plugin v1\n{digest}\n").into_bytes()
}

/// Whose signatures count, and of which kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Signatures are not asked for where there are none.
    pub(crate) keys: Vec<TrustedKey>,
    /// Whether a signature may name neither plugin nor version.
    pub(crate) allows_v1: bool,
}

impl Trust {
    /// What a set of plugins says.
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
    /// Which plugin it is for, and in which version; `None` in a signature of version 1.
    pub(crate) names: Option<(&'a str, u64)>,
    base64: &'a str,
}

impl<'a> Statement<'a> {
    /// Reads the text; `None` where it is not that of a signature.
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
        // As it is signed: a number that can be written in two ways would have two texts for one signature.
        if version.starts_with('0') || !version.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let version: u64 = version.parse().ok()?;
        words.next().is_none().then_some(Self {
            names: Some((name, version)),
            base64,
        })
    }

    /// The key that made the signature, where it is one of this component for this plugin.
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
    /// key made the signature.
    #[must_use]
    pub fn signed_version(&self, plugin: &str, component: &[u8], signature: &str) -> Option<u64> {
        let digest = hex::encode(Sha256::digest(component));
        signed_by(std::slice::from_ref(self), plugin, &digest, signature)?;
        let (_, version) = Statement::read(signature)?.names?;
        Some(version)
    }
}

/// The version that a signature states; `None` where it states none.
pub(crate) fn version(signature: Option<&Arc<str>>) -> Option<u64> {
    let (_, version) = Statement::read(signature?)?.names?;
    Some(version)
}

/// Whether a component may serve as a plugin.
///
/// # Errors
/// Why it may not.
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
            name: crate::text::printable(name, 128),
            plugin,
        });
    }
    if let Some((_, version)) = statement.and_then(|statement| statement.names)
        && version > MAX_VERSION
    {
        return Err(AdmissionError::VersionTooHigh { plugin, version });
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

/// The key that made a signature of the component with this digest, for this plugin.
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

/// The highest version that was accepted of a plugin, and the component that had it. An older component, or
/// another one with the same version, is a replay: it was signed once, and was replaced since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seniority {
    pub(crate) version: u64,
    pub(crate) digest: Arc<str>,
}

impl Seniority {
    /// Whether a component with this version (`None`: it has none) may take the place of what was accepted.
    ///
    /// # Errors
    /// Why it may not.
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
mod tests {
    use std::sync::Arc;

    use aws_lc_rs::signature::Ed25519KeyPair;
    use base64::Engine as _;

    use super::{
        KeyError, MAX_VERSION, PluginSigner, STANDARD, Seniority, SignError, Trust, TrustedKey, check,
        message, message_v1, signed_by,
    };
    use crate::PluginConfig;
    use crate::error::AdmissionError;
    use crate::file::PluginFile;

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

    const DIGEST: &str = "ab";

    fn digest(component: &[u8]) -> String {
        PluginFile::of(component.to_vec()).digest
    }

    /// What a version 1 of `gateway plugin sign` wrote.
    fn sign_v1(signer: &PluginSigner, component: &[u8]) -> String {
        STANDARD.encode(signer.0.sign(&message_v1(&digest(component))).as_ref())
    }

    #[test]
    fn a_signature_is_of_one_component_by_one_key_and_for_this_purpose() {
        let signer = PluginSigner::from_pem(&private()).unwrap();
        let keys = [signer.public_key().unwrap()];
        let other = [PluginSigner::from_pem(&private()).unwrap().public_key().unwrap()];
        let digest = digest(b"component");
        let text = signer.sign("p", 1, b"component").unwrap();
        assert_eq!(signed_by(&keys, "p", &digest, &text), keys.first());
        assert_eq!(signed_by(&other, "p", &digest, &text), None);
        assert_eq!(signed_by(&[], "p", &digest, &text), None);
        let stale = PluginFile::of(b"another".to_vec()).digest;
        assert_eq!(signed_by(&keys, "p", &stale, &text), None);
        let bare = STANDARD.encode(signer.0.sign(digest.as_bytes()).as_ref());
        assert_eq!(signed_by(&keys, "p", &digest, &bare), None);
        let named = format!("v2 p 1 {bare}");
        for wrong in [
            "",
            "\n",
            "AAAA",
            "not base64",
            &text.repeat(2),
            "v2",
            "v2 p 1",
            &named,
        ] {
            assert_eq!(signed_by(&keys, "p", &digest, wrong), None, "{wrong:?}");
        }
        assert_eq!(message("p", 7, DIGEST), b"auth-gateway plugin v2\np\n7\nab\n");
        assert_eq!(message_v1(DIGEST), b"auth-gateway plugin v1\nab\n");
    }

    #[test]
    fn a16_a_signature_is_for_one_plugin_and_one_version() {
        let signer = PluginSigner::from_pem(&private()).unwrap();
        let keys = [signer.public_key().unwrap()];
        let digest = digest(b"component");
        let text = signer.sign("p", 12, b"component").unwrap();
        let base64 = text.trim().rsplit(' ').next().unwrap();
        assert!(signed_by(&keys, "p", &digest, &text).is_some());
        assert!(signed_by(&keys, "q", &digest, &text).is_none());
        for altered in [
            format!("v2 q 12 {base64}"),
            format!("v2 p 13 {base64}"),
            format!("v2 p 0 {base64}"),
            format!("v2 p 012 {base64}"),
            format!("v2 p +12 {base64}"),
            format!("v2 p 12 {base64} x"),
            format!("v2 p\n12 {base64}"),
            base64.to_owned(),
        ] {
            for plugin in ["p", "q"] {
                assert_eq!(signed_by(&keys, plugin, &digest, &altered), None, "{altered}");
            }
        }
        // What one version says is nothing in the other.
        let v1 = sign_v1(&signer, b"component");
        assert!(signed_by(&keys, "p", &digest, &format!("v2 p 12 {v1}")).is_none());
    }

    #[test]
    fn a16_only_names_of_plugins_are_signed() {
        let signer = PluginSigner::from_pem(&private()).unwrap();
        for name in ["", "a\nb", "a b", "../p", ".p", "\u{e4}"] {
            assert!(
                matches!(signer.sign(name, 1, b"c"), Err(SignError::Name(_))),
                "{name:?}"
            );
        }
        for version in [0, MAX_VERSION + 1, u64::MAX] {
            assert_eq!(signer.sign("p", version, b"c"), Err(SignError::Version));
        }
    }

    #[test]
    fn a16_a_version_that_leaves_no_room_is_refused_though_it_was_signed() {
        let signer = PluginSigner::from_pem(&private()).unwrap();
        let trust = Trust {
            keys: vec![signer.public_key().unwrap()],
            allows_v1: false,
        };
        let (digest, config) = (digest(b"component"), PluginConfig::default());
        let check_of = |version: u64| {
            let made = signer.0.sign(&message("p", version, &digest));
            let text: Arc<str> = format!("v2 p {version} {}", STANDARD.encode(made.as_ref())).into();
            check(&trust, "p", &config, &digest, Some(&text))
        };
        assert_eq!(check_of(MAX_VERSION), Ok(()));
        for version in [MAX_VERSION + 1, u64::MAX] {
            let error = check_of(version).unwrap_err();
            assert!(matches!(error, AdmissionError::VersionTooHigh { .. }), "{error}");
            assert!(error.to_string().contains("9007199254740991"), "{error}");
        }
    }

    #[test]
    fn a16_only_the_keys_own_signature_tells_a_version() {
        let signer = PluginSigner::from_pem(&private()).unwrap();
        let key = signer.public_key().unwrap();
        let other = PluginSigner::from_pem(&private()).unwrap();
        let text = signer.sign("p", 12, b"component").unwrap();
        assert_eq!(key.signed_version("p", b"component", &text), Some(12));
        assert_eq!(key.signed_version("q", b"component", &text), None);
        assert_eq!(key.signed_version("p", b"another", &text), None);
        let theirs = other.sign("p", 13, b"component").unwrap();
        assert_eq!(key.signed_version("p", b"component", &theirs), None);
        let made_up = format!("v2 p {} AAAA", u64::MAX);
        assert_eq!(key.signed_version("p", b"component", &made_up), None);
    }

    #[test]
    fn a16_version_1_counts_only_where_the_operator_allows_it() {
        let signer = PluginSigner::from_pem(&private()).unwrap();
        let mut trust = Trust {
            keys: vec![signer.public_key().unwrap()],
            allows_v1: false,
        };
        let (digest, config) = (digest(b"component"), PluginConfig::default());
        let v1: Option<Arc<str>> = Some(sign_v1(&signer, b"component").into());
        let error = check(&trust, "p", &config, &digest, v1.as_ref()).unwrap_err();
        assert!(
            matches!(error, AdmissionError::NamelessSignature { .. }),
            "{error}"
        );
        assert!(
            error.to_string().contains("allow_v1_signatures = true"),
            "{error}"
        );
        trust.allows_v1 = true;
        assert_eq!(check(&trust, "p", &config, &digest, v1.as_ref()), Ok(()));
        assert!(check(&trust, "p", &config, DIGEST, v1.as_ref()).is_err());
    }

    #[test]
    fn a16_the_version_never_falls() {
        let accepted = Seniority {
            version: 7,
            digest: "seven".into(),
        };
        let check = |digest: &str, version| accepted.check("p", digest, version);
        assert_eq!(check("eight", Some(8)), Ok(()));
        assert_eq!(check("seven", Some(7)), Ok(()));
        assert!(matches!(
            check("other", Some(7)),
            Err(AdmissionError::SameVersion { .. })
        ));
        assert!(matches!(check("six", Some(6)), Err(AdmissionError::Older { .. })));
        assert!(matches!(check("six", None), Err(AdmissionError::Older { .. })));
    }

    #[test]
    fn both_are_asked_for_where_both_are_configured() {
        let signer = PluginSigner::from_pem(&private()).unwrap();
        let trusting = Trust {
            keys: vec![signer.public_key().unwrap()],
            allows_v1: false,
        };
        let digest = digest(b"component");
        let signature = Some(signer.sign("p", 1, b"component").unwrap().into());
        let mut config = PluginConfig::default();
        let asked = |config: &PluginConfig, trust: &Trust, signature: &Option<_>| {
            check(trust, "p", config, &digest, signature.as_ref())
        };
        assert_eq!(asked(&config, &Trust::default(), &None), Ok(()));
        assert!(matches!(
            asked(&config, &trusting, &None),
            Err(AdmissionError::Unsigned { .. })
        ));
        assert_eq!(asked(&config, &trusting, &signature), Ok(()));
        config.sha256 = Some("0".repeat(64));
        assert!(matches!(
            asked(&config, &trusting, &signature),
            Err(AdmissionError::Pinned { .. })
        ));
        config.sha256 = Some(digest.clone());
        assert_eq!(asked(&config, &trusting, &signature), Ok(()));
    }
}
