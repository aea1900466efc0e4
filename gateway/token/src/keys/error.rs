//! Every way a key can be unusable. No message shows any part of a key.

use gateway_model::clock::RandomError;

/// A key, or something done with it, failed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is nothing to sign with.
    #[error("there is no private key to sign permission tokens with")]
    NoKey,
    /// A private key cannot be used.
    #[error("private key {number}: {problem}")]
    Private {
        /// Which: the first is 1.
        number: usize,
        /// What is wrong with it.
        problem: PemError,
    },
    /// A public key cannot be published.
    #[error("public key {number}: {problem}")]
    Public {
        /// Which: the first is 1.
        number: usize,
        /// What is wrong with it.
        problem: PemError,
    },
    /// The secret for sessions could be guessed.
    #[error("the session secret has fewer than 32 bytes")]
    SecretTooShort,
    /// The text to seal is too long to be opened again.
    #[error("the text is too long to seal")]
    TooLong,
    /// There is no randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// aws-lc failed, as it does when there is no memory.
    #[error("the cryptographic library failed")]
    Crypto,
}

impl KeyError {
    /// What is wrong with a key, where there is only one that it can be.
    #[must_use]
    pub fn problem(&self) -> String {
        match self {
            Self::Private { problem, .. } | Self::Public { problem, .. } => problem.to_string(),
            other => other.to_string(),
        }
    }
}

/// Why a text is no key that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// Not PEM (RFC 7468).
    #[error("not PEM: it should begin with a line like -----BEGIN PRIVATE KEY-----, and end with one")]
    NotPem,
    /// A private key behind a passphrase.
    #[error("encrypted with a passphrase: write it without one (`openssl pkey -in KEY -out PLAIN`)")]
    Encrypted,
    /// PEM, but of something else than a private key.
    #[error("a private key is needed here, in PKCS#8, PKCS#1 or SEC 1 form")]
    NotPrivate,
    /// PEM, but of something else than a public key.
    #[error("a public key is needed here, its PEM beginning with -----BEGIN PUBLIC KEY-----")]
    NotPublic,
    /// Another algorithm than the three.
    #[error("a key for RSA, ECDSA on P-256 or Ed25519 is needed")]
    Unsupported,
    /// An ECDSA key on another curve.
    #[error("the key is for another curve than P-256 (also called prime256v1 or secp256r1)")]
    Curve,
    /// An RSA key that is too short to be safe, or too long to be of use.
    #[error("an RSA key must have 2048 to 8192 bits")]
    RsaSize,
    /// Cut off, changed, or with numbers that do not belong together.
    #[error("the key is damaged")]
    Damaged,
}
