//! One private key, parsed once.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::pem::{self, Family, Label};
use super::{Algorithm, PemError};

/// A private key in the form that signs.
pub(super) enum PrivateKey {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl PrivateKey {
    pub(super) fn from_pem(text: &str) -> Result<Self, PemError> {
        let (label, der) = pem::read(text)?;
        match label {
            Label::Pkcs1 => RsaKeyPair::from_der(&der).map_err(rsa_problem).map(Self::Rsa),
            Label::Sec1 => ecdsa(&der),
            Label::Pkcs8 => match pem::family(&der).ok_or(PemError::Unsupported)? {
                Family::Rsa => RsaKeyPair::from_pkcs8(&der).map_err(rsa_problem).map(Self::Rsa),
                Family::P256 => ecdsa(&der),
                Family::OtherCurve => Err(PemError::Curve),
                Family::Ed25519 => Ed25519KeyPair::from_pkcs8(&der)
                    .map_err(|_| PemError::Damaged)
                    .map(Self::Ed25519),
            },
            Label::Spki | Label::Pkcs1Public | Label::Other => Err(PemError::NotPrivate),
        }
    }

    pub(super) const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::RS256,
            Self::Ecdsa(_) => Algorithm::ES256,
            Self::Ed25519(_) => Algorithm::EdDSA,
        }
    }

    /// The signature in the form RFC 7518 section 3 and RFC 8037 section 3.1 give it.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        // aws-lc takes randomness from itself; the parameter is there for an older library's sake.
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                Ok(signature)
            }
            Self::Ecdsa(key) => Ok(key.sign(&random, message)?.as_ref().to_vec()),
            Self::Ed25519(key) => Ok(key.try_sign(message)?.as_ref().to_vec()),
        }
    }
}

fn rsa_problem(rejected: KeyRejected) -> PemError {
    match rejected.description_() {
        "TooSmall" | "TooLarge" => PemError::RsaSize,
        _ => PemError::Damaged,
    }
}

fn ecdsa(der: &[u8]) -> Result<PrivateKey, PemError> {
    let key = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
    key.map(PrivateKey::Ecdsa).map_err(|_| {
        if pem::other_curve(der) {
            PemError::Curve
        } else {
            PemError::Damaged
        }
    })
}

/// A new key as PEM PKCS#8 of version 1, which every tool reads.
pub(super) fn generate(algorithm: Algorithm) -> Result<SecretString, Unspecified> {
    let text = match algorithm {
        Algorithm::RS256 => {
            let der: Pkcs8V1Der<'_> = RsaKeyPair::generate(KeySize::Rsa2048)?.as_der()?;
            pem::write("PRIVATE KEY", der.as_ref())
        }
        Algorithm::ES256 => {
            let der = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?.to_pkcs8v1()?;
            pem::write("PRIVATE KEY", der.as_ref())
        }
        Algorithm::EdDSA => pem::write("PRIVATE KEY", Ed25519KeyPair::generate()?.to_pkcs8v1()?.as_ref()),
    };
    let text = Zeroizing::new(text);
    Ok(SecretString::from(text.as_str()))
}
