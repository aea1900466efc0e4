//! The key that signs client assertions.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::error::UpstreamError;

/// The algorithms for assertions. Unless one is configured, the first one that fits the key is used.
const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("RS256", Algorithm::RS256),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
];

/// A private key of this client, and the names by which the provider finds it.
#[derive(Clone)]
pub struct ClientKey {
    key: Arc<EncodingKey>,
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) thumbprint: Option<String>,
}

// The key is a secret.
impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl ClientKey {
    /// Reads a private key (PKCS#8, or PKCS#1 for RSA). If the PEM text contains a certificate too, assertions name its
    /// SHA-256 (`x5t#S256`, RFC 7515 section 4.1.8), by which Entra ID finds keys. `algorithm` is a name of RFC 7518;
    /// by default it follows from the key's type.
    ///
    /// # Errors
    /// The problem, to be appended to the key's name and "cannot be used:". Contains nothing of the key.
    pub fn read(pem: &str, algorithm: Option<&str>, kid: Option<String>) -> Result<Self, String> {
        let candidates: Vec<(&str, Algorithm)> = match algorithm {
            None => ALGORITHMS.to_vec(),
            Some(wanted) => {
                let known = ALGORITHMS.iter().filter(|(name, _)| *name == wanted);
                known.copied().collect()
            }
        };
        if candidates.is_empty() {
            let names: Vec<&str> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
            return Err(format!("the algorithm must be one of {}", names.join(", ")));
        }
        let private = private_key(pem).ok_or("it contains no private key in PEM form")?;
        let found = candidates.into_iter().find_map(|(_, algorithm)| {
            let key = encoding_key(private, algorithm)?;
            // Some keys can be read for an algorithm that they cannot sign with, such as one for another curve.
            jsonwebtoken::encode(&Header::new(algorithm), &json!({}), &key).ok()?;
            Some((key, algorithm))
        });
        let (key, algorithm) = found.ok_or_else(|| match algorithm {
            Some(algorithm) => format!("it cannot sign with {algorithm}: the key is of another type"),
            None => "it must be an unencrypted RSA, P-256, P-384 or Ed25519 key in PKCS#8 form".to_owned(),
        })?;
        Ok(Self {
            key: Arc::new(key),
            algorithm,
            kid,
            thumbprint: certificate(pem).map(|der| URL_SAFE_NO_PAD.encode(Sha256::digest(der))),
        })
    }

    /// The algorithm's name in `token_endpoint_auth_signing_alg_values_supported`.
    pub(crate) fn algorithm_name(&self) -> &'static str {
        let mut known = ALGORITHMS.iter();
        known
            .find(|(_, algorithm)| *algorithm == self.algorithm)
            .map_or("", |(name, _)| name)
    }

    pub(super) fn sign(&self, header: &Header, claims: &Value) -> Result<String, UpstreamError> {
        jsonwebtoken::encode(header, claims, &self.key).map_err(|error| {
            UpstreamError::Config(format!("the client's key cannot sign an assertion: {error}"))
        })
    }

    /// The public key as a JWK (RFC 7517), to register with the provider.
    #[must_use]
    pub fn public_jwk(&self) -> Option<Value> {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).ok()?;
        jwk.common.key_id.clone_from(&self.kid);
        let mut jwk = serde_json::to_value(jwk).ok()?;
        if let Value::Object(members) = &mut jwk {
            members.insert("use".to_owned(), "sig".into());
        }
        Some(jwk)
    }
}

fn encoding_key(pem: &str, algorithm: Algorithm) -> Option<EncodingKey> {
    let pem = pem.as_bytes();
    match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(pem),
        _ => EncodingKey::from_rsa_pem(pem),
    }
    .ok()
}

/// The first section of a PEM text with one of these labels.
fn section<'a>(pem: &'a str, label: &str) -> Option<&'a str> {
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    let from = pem.find(&begin)?;
    let rest = pem.get(from..)?;
    let until = rest.find(&end)? + end.len();
    rest.get(..until)
}

fn private_key(pem: &str) -> Option<&str> {
    ["PRIVATE KEY", "RSA PRIVATE KEY"]
        .into_iter()
        .find_map(|label| section(pem, label))
}

/// The DER bytes of the first certificate.
fn certificate(pem: &str) -> Option<Vec<u8>> {
    let body = section(pem, "CERTIFICATE")?;
    let base64: String = body
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .map(str::trim)
        .collect();
    base64::engine::general_purpose::STANDARD.decode(base64).ok()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::ClientKey;

    fn pem(family: gateway_token::Algorithm) -> String {
        let (private, _) = gateway_token::generate_key(family).unwrap();
        private.expose_secret().to_owned()
    }

    #[test]
    fn p10_keys_that_cannot_sign_are_rejected() {
        use gateway_token::Algorithm as Family;
        let rsa = pem(Family::RS256);
        let p256 = pem(Family::ES256);
        let ed = pem(Family::EdDSA);
        for (text, algorithm, problem) in [
            (rsa.as_str(), None, None),
            (&rsa, Some("PS512"), None),
            (&rsa, Some("ES256"), Some("of another type")),
            (&p256, None, None),
            (&p256, Some("ES384"), Some("of another type")),
            (&p256, Some("HS256"), Some("must be one of")),
            (&ed, None, None),
            (&ed, Some("RS256"), Some("of another type")),
            ("", None, Some("no private key")),
            ("not a key", None, Some("no private key")),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
                None,
                Some("unencrypted RSA"),
            ),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----",
                None,
                Some("no private key"),
            ),
        ] {
            let read = ClientKey::read(text, algorithm, None);
            match (read, problem) {
                (Ok(key), None) => {
                    let jwk = key.public_jwk().unwrap();
                    assert!(jwk.get("d").is_none() && jwk.get("kty").is_some(), "{jwk}");
                }
                (Err(message), Some(problem)) => assert!(message.contains(problem), "{message}"),
                (read, problem) => panic!("{algorithm:?} {problem:?}: {read:?}"),
            }
        }
    }

    #[test]
    fn p10_a_certificate_beside_the_key_becomes_a_thumbprint() {
        let with = format!(
            "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n{}",
            pem(gateway_token::Algorithm::RS256)
        );
        let key = ClientKey::read(&with, None, None).unwrap();
        // base64url(sha256(01 02 03))
        assert_eq!(
            key.thumbprint.as_deref(),
            Some("A5BYxvLAy0ksUzsKTRTvd8wPeKvMztUofYShogEc-4E")
        );
    }
}
