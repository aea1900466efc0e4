//! Every way in which a key can be unusable. No message contains any part of a key.

use gateway_model::clock::RandomError;

/// An operation with keys failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum KeyError {
    /// There is no signing key.
    #[error("there is no private key to sign permission tokens with")]
    NoKey,
    /// A private key cannot be used. The first one has the number 1.
    #[error("private key {number}: {problem}")]
    Private { number: usize, problem: PemError },
    /// A public key cannot be published. The first one has the number 1.
    #[error("public key {number}: {problem}")]
    Public { number: usize, problem: PemError },
    /// The session secret could be guessed.
    #[error("the session secret has fewer than 32 bytes")]
    SecretTooShort,
    /// The sealed text would be too long to open.
    #[error("the text is too long to seal")]
    TooLong,
    /// There is no randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// aws-lc failed, for example because there was no memory.
    #[error("the cryptographic library failed")]
    Crypto,
}

impl KeyError {
    /// The problem with a key, without its number, for callers that have only one.
    #[must_use]
    pub fn problem(&self) -> String {
        match self {
            Self::Private { problem, .. } | Self::Public { problem, .. } => problem.to_string(),
            other => other.to_string(),
        }
    }
}

/// The reason why a text is not a usable key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// It is not PEM (RFC 7468).
    #[error("not PEM: it should begin with a line like -----BEGIN PRIVATE KEY-----, and end with one")]
    NotPem,
    /// It is a private key with a passphrase.
    #[error("encrypted with a passphrase: write it without one (`openssl pkey -in KEY -out PLAIN`)")]
    Encrypted,
    /// It is PEM, but not a private key.
    #[error("a private key is needed here, in PKCS#8, PKCS#1 or SEC 1 form")]
    NotPrivate,
    /// It is PEM, but not a public key.
    #[error("a public key is needed here, its PEM beginning with -----BEGIN PUBLIC KEY-----")]
    NotPublic,
    /// It is for an unsupported algorithm.
    #[error("a key for RSA, ECDSA on P-256 or Ed25519 is needed")]
    Unsupported,
    /// It is an ECDSA key on another curve.
    #[error("the key is for another curve than P-256 (also called prime256v1 or secp256r1)")]
    Curve,
    /// It is an RSA key that is too short to be safe, or too long to be useful.
    #[error("an RSA key must have 2048 to 8192 bits")]
    RsaSize,
    /// It is cut off or changed, or its numbers do not belong together.
    #[error("the key is damaged")]
    Damaged,
}
