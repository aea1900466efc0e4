//! The keys for permission tokens: one private key signs, the public halves of all are published.
//!
//! | module | purpose |
//! |---|---|
//! | `pem` | PEM as operators paste it: from files, from environment variables, with `\n` written out |
//! | `private` | one private key, parsed once |
//! | `public` | its public half: `kid`, JWK, PEM |
//! | `error` | every way in which a key can be unusable |

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Header;
use jsonwebtoken::jwk::JwkSet;
use secrecy::{ExposeSecret, SecretString};

use crate::permission::PermissionClaims;

mod error;
mod pem;
mod private;
mod public;

pub use error::{KeyError, PemError};
use private::PrivateKey;
use public::PublicKey;

/// How permission tokens are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 section 3.3), a key of 2048 bits or more.
    #[default]
    RS256,
    /// ECDSA on P-256 with SHA-256 (RFC 7518 section 3.4).
    ES256,
    /// Ed25519 (RFC 8037 section 3.1).
    EdDSA,
}

impl Algorithm {
    /// The name in a token's header and in a key set.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
        }
    }

    pub(crate) const fn to_jwt(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The keys, parsed once, with everything that is published about them prepared.
pub struct SigningKeys {
    active: PrivateKey,
    public: PublicKey,
    /// The base64url of the header of the active key's tokens, and the following dot.
    header: String,
    jwks: String,
}

impl SigningKeys {
    /// Parses PEM private keys: PKCS#8 (RFC 5958), PKCS#1 for RSA (RFC 8017), SEC 1 for ECDSA (RFC 5915). The first one
    /// signs. `public_only` are PEM public keys (SubjectPublicKeyInfo, or PKCS#1) to publish as well; each key is
    /// published once.
    ///
    /// # Errors
    /// If there is no private key, or a key cannot be used; the error never contains any part of a key.
    pub fn from_pems(private: &[SecretString], public_only: &[String]) -> Result<Self, KeyError> {
        let mut active = None;
        let mut published: Vec<PublicKey> = Vec::new();
        let mut publish = |key: PublicKey| {
            if !published.iter().any(|known| known.kid == key.kid) {
                published.push(key);
            }
        };
        for (index, text) in private.iter().enumerate() {
            let wrong = |problem| KeyError::Private {
                number: index + 1,
                problem,
            };
            let key = PrivateKey::from_pem(text.expose_secret()).map_err(wrong)?;
            let public = PublicKey::of(&key).map_err(wrong)?;
            publish(public.clone());
            active.get_or_insert((key, public));
        }
        for (index, text) in public_only.iter().enumerate() {
            publish(PublicKey::from_pem(text).map_err(|problem| KeyError::Public {
                number: index + 1,
                problem,
            })?);
        }
        let (active, public) = active.ok_or(KeyError::NoKey)?;

        let mut header = Header::new(active.algorithm().to_jwt());
        header.kid = Some(public.kid.clone());
        let header = serde_json::to_vec(&header).map_err(|_| KeyError::Crypto)?;
        let keys = published.into_iter().map(|key| key.jwk).collect();
        Ok(Self {
            active,
            public,
            header: format!("{}.", URL_SAFE_NO_PAD.encode(header)),
            jwks: serde_json::to_string(&JwkSet { keys }).map_err(|_| KeyError::Crypto)?,
        })
    }

    /// Signs a permission token: a JWS in compact form (RFC 7515 section 7.1) with the header fields `alg`, `typ`
    /// (`JWT`) and `kid`. This takes about 0.8 ms of CPU time for RSA, so do not call it on an I/O thread.
    ///
    /// # Errors
    /// Only if aws-lc fails.
    pub fn sign(&self, claims: &PermissionClaims) -> Result<String, KeyError> {
        let claims = serde_json::to_vec(claims).map_err(|_| KeyError::Crypto)?;
        let mut token = String::with_capacity(self.header.len() + claims.len() * 4 / 3 + 360);
        token.push_str(&self.header);
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.active.sign(token.as_bytes()).map_err(|_| KeyError::Crypto)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// The algorithm of the active key.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.active.algorithm()
    }

    /// The active key's id: its JWK thumbprint with SHA-256 (RFC 7638), base64url, 43 characters.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.public.kid
    }

    /// The active key's public half as PEM SubjectPublicKeyInfo (RFC 7468 section 13), with LF line endings.
    #[must_use]
    pub fn public_key_pem(&self) -> &str {
        &self.public.pem
    }

    /// The key set of all keys (RFC 7517 section 5) as JSON, the active key first.
    #[must_use]
    pub fn jwks(&self) -> &str {
        &self.jwks
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKeys")
            .field("algorithm", &self.algorithm())
            .field("kid", &self.kid())
            .finish_non_exhaustive()
    }
}

/// Returns the `kid` under which a PEM public key is published.
///
/// # Errors
/// The reason why the key cannot be used.
pub fn public_kid(pem: &str) -> Result<String, PemError> {
    PublicKey::from_pem(pem).map(|key| key.kid)
}

/// Generates a private key, PEM PKCS#8, and its public half, PEM SubjectPublicKeyInfo. An RSA key has 2048 bits, which
/// can take most of a second. The randomness is aws-lc's own.
///
/// # Errors
/// Only if aws-lc fails.
pub fn generate_key(algorithm: Algorithm) -> Result<(SecretString, String), KeyError> {
    let text = private::generate(algorithm).map_err(|_| KeyError::Crypto)?;
    let wrong = |problem| KeyError::Private { number: 1, problem };
    let key = PrivateKey::from_pem(text.expose_secret()).map_err(wrong)?;
    let public = PublicKey::of(&key).map_err(wrong)?;
    Ok((text, public.pem))
}

#[cfg(test)]
pub(crate) mod tests;
