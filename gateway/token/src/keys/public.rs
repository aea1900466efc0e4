//! A public key and what is published of it: `kid`, JWK, PEM.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, KeyPair, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse, ThumbprintHash};

use super::pem::{self, Family, Label};
use super::private::PrivateKey;
use super::{Algorithm, PemError};

/// Bytes of an RSA modulus, least and most.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// A public key, ready to be published.
#[derive(Clone)]
pub(super) struct PublicKey {
    /// RFC 7638, with SHA-256.
    pub(super) kid: String,
    /// SubjectPublicKeyInfo.
    pub(super) pem: String,
    /// With `use`, `alg` and `kid`.
    pub(super) jwk: Jwk,
}

impl PublicKey {
    pub(super) fn of(key: &PrivateKey) -> Result<Self, PemError> {
        let der = match key {
            PrivateKey::Rsa(key) => key.public_key().as_der(),
            PrivateKey::Ecdsa(key) => key.public_key().as_der(),
            PrivateKey::Ed25519(key) => key.public_key().as_der(),
        };
        let der: PublicKeyX509Der<'_> = der.map_err(|_| PemError::Damaged)?;
        Self::from_spki(key.algorithm(), der.as_ref())
    }

    pub(super) fn from_pem(text: &str) -> Result<Self, PemError> {
        let (label, der) = pem::read(text)?;
        let algorithm = match label {
            Label::Pkcs1Public => Algorithm::RS256,
            Label::Spki => match pem::family(&der).ok_or(PemError::Unsupported)? {
                Family::Rsa => Algorithm::RS256,
                Family::P256 => Algorithm::ES256,
                Family::OtherCurve => return Err(PemError::Curve),
                Family::Ed25519 => Algorithm::EdDSA,
            },
            Label::Pkcs8 | Label::Pkcs1 | Label::Sec1 | Label::Other => return Err(PemError::NotPublic),
        };
        let parsed = match algorithm {
            Algorithm::RS256 => ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &**der),
            Algorithm::ES256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &**der),
            Algorithm::EdDSA => ParsedPublicKey::new(&ED25519, &**der),
        };
        // Encoded again, so that the same key always has the same text.
        let der = parsed
            .map_err(|_| PemError::Damaged)?
            .as_der()
            .map_err(|_| PemError::Damaged)?;
        Self::from_spki(algorithm, der.as_ref())
    }

    fn from_spki(algorithm: Algorithm, der: &[u8]) -> Result<Self, PemError> {
        let pem = pem::write("PUBLIC KEY", der);
        let key = match algorithm {
            Algorithm::RS256 => DecodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::ES256 => DecodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDSA => DecodingKey::from_ed_pem(pem.as_bytes()),
        };
        let jwk = key.and_then(|key| Jwk::from_decoding_key(&key, Some(algorithm.to_jwt())));
        let mut jwk = jwk.map_err(|_| PemError::Damaged)?;
        if let AlgorithmParameters::RSA(rsa) = &jwk.algorithm {
            let modulus = URL_SAFE_NO_PAD.decode(&rsa.n).map_err(|_| PemError::Damaged)?;
            if !MODULUS.contains(&modulus.len()) {
                return Err(PemError::RsaSize);
            }
        }
        let kid = jwk
            .thumbprint(ThumbprintHash::SHA256)
            .map_err(|_| PemError::Damaged)?;
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk.common.key_id = Some(kid.clone());
        Ok(Self { kid, pem, jwk })
    }
}
