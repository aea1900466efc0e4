//! The keys that a provider publishes (RFC 7517), and their algorithms.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use super::MAX_TRIED;
use crate::json::{self, Bad, Members, Unfit};
use crate::text::plain;

/// The most keys of a provider.
pub(crate) const MAX_KEYS: usize = 256;
/// The smallest RSA key, in bits: NIST SP 800-131A disallows smaller ones.
const MIN_RSA: usize = 2048;
/// The largest RSA key, in bits. No provider is known to use larger ones, and the cost grows with the square of the
/// size.
const MAX_RSA: usize = 4096;
/// The longest exponent of an RSA key, in bytes. Almost all keys use 65537, and the cost grows with each bit.
const MAX_EXPONENT: usize = 4;
const TOO_SMALL: &str = "it has fewer than 2048 bits";
const TOO_LARGE: &str = "it has more than 4096 bits";
const LONG_EXPONENT: &str = "its exponent (`e`) has more than 32 bits";

/// Accepts padding, which RFC 7515 forbids and some providers publish. A key that is read wrongly verifies nothing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A signature algorithm. HMAC, whose key would be the client secret, and `none` are missing on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    Ed25519,
}

impl Algorithm {
    /// All names. RFC 7518 section 3.1 defines most of them; RFC 8037 and RFC 9864 give Ed25519 two.
    pub(super) const NAMES: [(&'static str, Self); 11] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("ES512", Self::Es512),
        ("EdDSA", Self::Ed25519),
        ("Ed25519", Self::Ed25519),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        let known = Self::NAMES.iter().find(|(known, _)| *known == name)?;
        Some(known.1)
    }

    pub(crate) fn all() -> Vec<Self> {
        Self::NAMES.iter().map(|(_, algorithm)| *algorithm).collect()
    }

    /// The hash for `at_hash` (OpenID Connect Core 1.0 section 3.1.3.6), before it is cut in half. For Ed25519 it is
    /// the one that the algorithm itself uses.
    pub(crate) fn hash(self, data: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Rs256 | Self::Ps256 | Self::Es256 => &digest::SHA256,
            Self::Rs384 | Self::Ps384 | Self::Es384 => &digest::SHA384,
            Self::Rs512 | Self::Ps512 | Self::Es512 | Self::Ed25519 => &digest::SHA512,
        };
        digest::digest(algorithm, data)
    }

    pub(super) fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &RSA_PSS_2048_8192_SHA512,
            Self::Es256 | Self::Es384 | Self::Es512 | Self::Ed25519 => return None,
        })
    }
}

/// The algorithm of an ECDSA curve (RFC 7518 section 6.2.1.1), and the size of a coordinate in bytes.
fn curve(name: &str) -> Option<(Algorithm, &'static dyn VerificationAlgorithm, usize)> {
    match name {
        "P-256" => Some((Algorithm::Es256, &ECDSA_P256_SHA256_FIXED, 32)),
        "P-384" => Some((Algorithm::Es384, &ECDSA_P384_SHA384_FIXED, 48)),
        "P-521" => Some((Algorithm::Es512, &ECDSA_P521_SHA512_FIXED, 66)),
        _ => None,
    }
}

#[derive(Debug)]
enum Public {
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// A point of an elliptic curve, which has one algorithm.
    Point(Algorithm, &'static dyn VerificationAlgorithm, Vec<u8>),
    /// The reason why the key is not used.
    Unusable(&'static str),
}

#[derive(Debug)]
pub(super) struct Key {
    pub(super) id: Option<String>,
    /// The only algorithm that the key may be used with (`alg`).
    only: Option<Algorithm>,
    /// The issuer whose tokens the key signs: Entra ID publishes keys of several issuers in one set.
    pub(super) issuer: Option<String>,
    public: Public,
}

impl Key {
    /// `None` if the value is not an object.
    fn read(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        let text = |name| members.get(name).and_then(Value::as_str);
        let algorithm = text("alg");
        let only = algorithm.and_then(Algorithm::named);
        let public = if text("use").is_some_and(|usage| usage != "sig") {
            Public::Unusable("it is not for signatures (`use`)")
        } else if algorithm.is_some() && only.is_none() {
            Public::Unusable("it is for another algorithm (`alg`)")
        } else {
            Public::read(members)
        };
        Some(Self {
            id: text("kid").map(str::to_owned),
            only,
            issuer: text("issuer").map(str::to_owned),
            public,
        })
    }

    /// Whether this key can verify a signature of this algorithm.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        let kind = match &self.public {
            Public::Rsa(_) => algorithm.rsa().is_some(),
            Public::Point(own, ..) => *own == algorithm,
            Public::Unusable(_) => false,
        };
        kind && self.only.is_none_or(|only| only == algorithm)
    }

    /// Why the key can verify no token of these algorithms; `None` if it can.
    fn useless(&self, algorithms: &[Algorithm]) -> Option<&'static str> {
        if let Public::Unusable(reason) = &self.public {
            return Some(reason);
        }
        let Some(algorithm) = algorithms.iter().find(|algorithm| self.fits(**algorithm)) else {
            return Some("it fits none of the algorithms that the provider advertises");
        };
        let is_key = match &self.public {
            Public::Rsa(components) => algorithm
                .rsa()
                .is_some_and(|parameters| components.to_parsed_public_key(parameters).is_ok()),
            Public::Point(_, verification, point) => ParsedPublicKey::new(*verification, point).is_ok(),
            Public::Unusable(_) => false,
        };
        (!is_key).then_some("its numbers are not a valid key of its kind")
    }

    /// Why the key is not used, if that is because of its size. Most other reasons are not mistakes.
    pub(super) fn bad_size(&self) -> Option<&'static str> {
        match self.public {
            Public::Unusable(reason @ (TOO_SMALL | TOO_LARGE | LONG_EXPONENT)) => Some(reason),
            _ => None,
        }
    }

    /// The key's id and the reason, for the log.
    fn shown(&self, reason: &str) -> String {
        let id = self.id.as_deref().map(plain).unwrap_or_default();
        format!("{id:?}: {reason}")
    }

    /// Why this key does not fit a token that names it.
    pub(super) const fn unfit(&self) -> &'static str {
        match (&self.public, self.only) {
            (Public::Unusable(reason), _) => reason,
            (_, Some(_)) => "it is published for another algorithm (`alg`) than the token's",
            (_, None) => "it is of another kind (`kty`, `crv`) than the token's algorithm",
        }
    }

    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match &self.public {
            Public::Rsa(components) => algorithm
                .rsa()
                .is_some_and(|parameters| components.verify(parameters, message, signature).is_ok()),
            Public::Point(_, verification, point) => UnparsedPublicKey::new(*verification, point)
                .verify(message, signature)
                .is_ok(),
            Public::Unusable(_) => false,
        }
    }
}

impl Public {
    fn read(members: &Map<String, Value>) -> Self {
        let text = |name| members.get(name).and_then(Value::as_str);
        let bytes = |name| text(name).and_then(|text| LENIENT.decode(text).ok());
        // The library accepts no leading zeros, which do not change a number.
        let number = |name| {
            let bytes = bytes(name)?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            bytes.get(zeros..).map(<[u8]>::to_vec)
        };
        match text("kty") {
            Some("RSA") => match number("n").zip(number("e")) {
                Some((n, e)) => {
                    let zeros = n.first().map_or(0, |byte| byte.leading_zeros() as usize);
                    let bits = n.len() * 8 - zeros;
                    if bits < MIN_RSA {
                        return Self::Unusable(TOO_SMALL);
                    }
                    if bits > MAX_RSA {
                        return Self::Unusable(TOO_LARGE);
                    }
                    if e.len() > MAX_EXPONENT {
                        return Self::Unusable(LONG_EXPONENT);
                    }
                    Self::Rsa(RsaPublicKeyComponents { n, e })
                }
                None => Self::Unusable("`n` or `e` is missing"),
            },
            Some("EC") => {
                let Some((algorithm, verification, size)) = text("crv").and_then(curve) else {
                    return Self::Unusable("its curve is unknown (`crv`)");
                };
                // Some providers omit a coordinate's leading zeros, against RFC 7518 section 6.2.1.2.
                let coordinate = |name| {
                    let bytes = number(name)?;
                    let mut full = vec![0; size.checked_sub(bytes.len())?];
                    full.extend(bytes);
                    Some(full)
                };
                match coordinate("x").zip(coordinate("y")) {
                    // Uncompressed: RFC 5480 section 2.2.
                    Some((x, y)) => Self::Point(algorithm, verification, [vec![4], x, y].concat()),
                    None => Self::Unusable("`x` or `y` is missing, or is too long for its curve"),
                }
            }
            Some("OKP") if text("crv") == Some("Ed25519") => match bytes("x") {
                Some(x) => Self::Point(Algorithm::Ed25519, &ED25519, x),
                None => Self::Unusable("`x` is missing"),
            },
            _ => Self::Unusable("its kind is unknown (`kty`, `crv`)"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadKeySet {
    #[error("the key set {0}")]
    Json(#[from] Bad),
    #[error("the key set: {0}")]
    Unfit(#[from] Unfit),
    // Reading only some of them could skip the right one.
    #[error(
        "the key set has {0} keys, and at most {MAX_KEYS} are accepted: the provider must withdraw old ones"
    )]
    TooMany(usize),
}

/// A key set (RFC 7517 section 5).
#[derive(Debug)]
pub(crate) struct KeySet(pub(super) Vec<Key>);

impl KeySet {
    pub(crate) fn read(json: &[u8]) -> Result<Self, BadKeySet> {
        let members = json::object(json)?;
        let Some(Value::Array(keys)) = members.get("keys") else {
            return Err(Members(&members).missing("keys", "a list of keys").into());
        };
        if keys.len() > MAX_KEYS {
            return Err(BadKeySet::TooMany(keys.len()));
        }
        Ok(Self(keys.iter().filter_map(Key::read).collect()))
    }

    /// The number of keys that can verify tokens of these algorithms, and why each of the others cannot.
    pub(crate) fn usable(&self, algorithms: &[Algorithm]) -> (usize, Vec<String>) {
        let keys = self.0.iter();
        let reasons = keys.filter_map(|key| Some(key.shown(key.useless(algorithms)?)));
        let reasons: Vec<String> = reasons.collect();
        (self.0.len() - reasons.len(), reasons)
    }

    /// If more keys fit an unnamed token than are tried: their number, and whether all of them lack a name.
    pub(crate) fn crowd(&self, algorithms: &[Algorithm]) -> Option<(usize, bool)> {
        algorithms.iter().find_map(|algorithm| {
            let fitting = self.0.iter().filter(|key| key.fits(*algorithm));
            let (named, unnamed): (Vec<&Key>, Vec<&Key>) = fitting.partition(|key| key.id.is_some());
            let count = named.len() + unnamed.len();
            (count > MAX_TRIED && !unnamed.is_empty()).then_some((count, named.is_empty()))
        })
    }

    /// The keys rejected because of their size, with the reason.
    pub(crate) fn of_bad_size(&self) -> Vec<String> {
        let keys = self.0.iter();
        keys.filter_map(|key| Some(key.shown(key.bad_size()?))).collect()
    }
}
