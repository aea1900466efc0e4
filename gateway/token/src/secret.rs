//! The gateway's own secret, from which the keys of session tokens and sealed text are derived.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use gateway_model::Random;

use crate::keys::KeyError;

/// The fewest bytes of a secret.
pub const MIN_SECRET: usize = 32;

/// Names this use of the secret, which may have others (it may be a private key). Changing it, or a label, ends every
/// session.
const SALT: &[u8] = b"auth-gateway session key v1";
const MAC_LABEL: &[u8] = b"session token HS256";
const SEAL_LABEL: &[u8] = b"sealed text AES-256-GCM";

/// The keys of session tokens and sealed text, derived separately by HKDF (RFC 5869) with SHA-256 from one secret. The
/// keys of older secrets only verify and open.
#[derive(Debug)]
pub struct SessionKey {
    pub(crate) mac: hmac::Key,
    pub(crate) aead: LessSafeKey,
    pub(crate) older: Vec<OlderKey>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) issuer: String,
}

/// The keys of an older secret.
#[derive(Debug)]
pub(crate) struct OlderKey {
    pub(crate) mac: hmac::Key,
    pub(crate) aead: LessSafeKey,
}

impl OlderKey {
    fn derive(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < MIN_SECRET {
            return Err(KeyError::SecretTooShort);
        }
        let root = Salt::new(HKDF_SHA256, SALT).extract(secret);
        let mac = root
            .expand(&[MAC_LABEL], hmac::HMAC_SHA256)
            .map_err(|_| KeyError::Crypto)?;
        let aead = root
            // defence: each-use-has-its-own-key (a test fails without it: docs/defences.md)
            .expand(&[SEAL_LABEL], &AES_256_GCM)
            .map_err(|_| KeyError::Crypto)?;
        Ok(Self {
            mac: mac.into(),
            aead: LessSafeKey::new(UnboundKey::from(aead)),
        })
    }
}

impl SessionKey {
    /// Derives the keys from at least [`MIN_SECRET`] bytes that nobody can guess: a session secret from the operator,
    /// or the DER of `PRIVATE_KEY`. `issuer` (`EXTERNAL_ADDRESS`) becomes `iss` and `aud` of session tokens; `random`
    /// is for the nonces of sealed text.
    ///
    /// # Errors
    /// If the secret is too short, or aws-lc fails.
    pub fn derive(secret: &[u8], issuer: &str, random: Arc<dyn Random>) -> Result<Self, KeyError> {
        let OlderKey { mac, aead } = OlderKey::derive(secret)?;
        Ok(Self {
            mac,
            aead,
            older: Vec::new(),
            random,
            issuer: issuer.to_owned(),
        })
    }

    /// Adds an older secret, whose tokens and sealed texts are accepted as well.
    ///
    /// # Errors
    /// See [`Self::derive`].
    pub fn and_older(mut self, secret: &[u8]) -> Result<Self, KeyError> {
        self.older.push(OlderKey::derive(secret)?);
        Ok(self)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use gateway_model::SystemRandom;

    use super::{
        AES_256_GCM, HKDF_SHA256, KeyError, LessSafeKey, MAC_LABEL, SALT, SEAL_LABEL, Salt, SessionKey,
        UnboundKey,
    };

    /// A key whose secret is `byte`, 32 times.
    pub(crate) fn key_of(byte: u8, issuer: &str) -> SessionKey {
        SessionKey::derive(&[byte; 32], issuer, Arc::new(SystemRandom)).unwrap()
    }

    #[test]
    fn refuses_a_short_secret() {
        let derived = SessionKey::derive(&[7; 31], "https://auth.example", Arc::new(SystemRandom));
        assert!(matches!(derived, Err(KeyError::SecretTooShort)));
    }

    #[test]
    fn each_use_has_a_key_of_its_own() {
        let sealed = key_of(7, "https://auth.example").seal("name", b"text").unwrap();
        let opened_with = |label| {
            let root = Salt::new(HKDF_SHA256, SALT).extract(&[7; 32]);
            let aead = UnboundKey::from(root.expand(&[label], &AES_256_GCM).unwrap());
            let key = SessionKey {
                aead: LessSafeKey::new(aead),
                ..key_of(7, "https://auth.example")
            };
            key.open("name", &sealed)
        };
        assert_eq!(opened_with(SEAL_LABEL).as_deref(), Some(b"text".as_slice()));
        assert_eq!(opened_with(MAC_LABEL), None);
    }

    #[test]
    fn shows_no_secret() {
        let text = format!("{:?}", key_of(0xab, "https://auth.example"));
        assert!(!text.contains("171, 171") && !text.contains("abab"), "{text}");
    }
}
