//! Verifies signatures of JSON Web Tokens (RFC 7515, RFC 7518, RFC 8037, RFC 9864) with the keys that a provider
//! publishes (RFC 7517). The key must fit the algorithm. A token's header selects among the published keys and cannot
//! supply one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::json::{self, Bad, Members, Unfit};

mod key_set;

use self::key_set::Key;
pub(crate) use self::key_set::{Algorithm, KeySet};
#[cfg(test)]
use self::key_set::{BadKeySet, MAX_KEYS};

/// The most keys that are tried for one token. If more fit, the token must name its key (`kid`), as OpenID Connect Core
/// 1.0 section 10.1 requires of providers with several keys.
pub(crate) const MAX_TRIED: usize = 8;

/// Why a token is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unverified {
    #[error("it is not a signed JSON Web Token")]
    NotSigned,
    #[error("it is encrypted, which the gateway does not support: have the provider send it signed only")]
    Encrypted,
    #[error("its header {0}")]
    Json(#[from] Bad),
    #[error("its header: {0}")]
    Unfit(#[from] Unfit),
    #[error("its `typ` is that of another kind of token")]
    Type,
    #[error("its header has `{0}`, which the gateway does not support")]
    Extension(&'static str),
    #[error("the gateway does not support its algorithm ({0})")]
    Algorithm(&'static str),
    #[error("its algorithm is {0}, which the provider does not advertise")]
    NotAdvertised(&'static str),
    #[error("it is signed with a key that the provider does not publish")]
    UnknownKey,
    #[error("the provider's key for it is unusable: {0}")]
    UnusableKey(&'static str),
    #[error("its signature is wrong")]
    Signature,
    #[error("it does not name its key (`kid`), and none of the provider's keys verifies it")]
    NoneOfThem,
    #[error(
        "the token has no `kid` and {0} of the provider's keys fit, of which at most {MAX_TRIED} are tried: have the \
         provider name the key, or withdraw old ones"
    )]
    Unnamed(usize),
    #[error("{0} of the provider's keys have its `kid`, and at most {MAX_TRIED} are tried: ids must differ")]
    SameName(usize),
    #[error("it could not be verified")]
    Abandoned,
}

impl Unverified {
    /// Whether newer keys and metadata may change the result: the provider may have rotated its keys, even under the
    /// same ids, and may have chosen another algorithm for them.
    pub(crate) const fn may_be_new_key(&self) -> bool {
        matches!(
            self,
            Self::UnknownKey
                | Self::Signature
                | Self::NoneOfThem
                | Self::UnusableKey(_)
                | Self::NotAdvertised(_)
        )
    }

    /// Whether no known key can verify it: a valid token with a new key looks the same.
    pub(crate) const fn is_unknown_key(&self) -> bool {
        matches!(
            self,
            Self::UnknownKey | Self::NoneOfThem | Self::UnusableKey(_) | Self::NotAdvertised(_)
        )
    }
}

/// A token with a valid signature. Its claims have not been validated.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) algorithm: Algorithm,
    pub(crate) payload: Vec<u8>,
    /// The issuer that the key belongs to, if the provider says so.
    pub(crate) key_issuer: Option<String>,
}

/// Unsupported algorithms that a log may name. The header could contain anything else, including secrets sent to the
/// provider.
const OTHERS: [&str; 8] = [
    "none",
    "HS256",
    "HS384",
    "HS512",
    "ES256K",
    "Ed448",
    "ML-DSA-44",
    "ML-DSA-65",
];

/// Verifies a token's signature with one of the keys and one of the allowed algorithms. `types` lists the accepted
/// values of `typ`, in lower case and without `application/` (RFC 7515 section 4.1.9, RFC 8725 section 3.11); a token
/// without `typ` is accepted.
pub(crate) fn verify(
    token: &str,
    keys: &KeySet,
    allowed: &[Algorithm],
    types: &[&str],
) -> Result<Signed, Unverified> {
    match token.split('.').take(6).count() {
        3 => {}
        5 => return Err(Unverified::Encrypted),
        _ => return Err(Unverified::NotSigned),
    }
    let decode = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| Unverified::NotSigned);
    let (message, signature) = token.rsplit_once('.').ok_or(Unverified::NotSigned)?;
    let (header, payload) = message.split_once('.').ok_or(Unverified::NotSigned)?;
    let (algorithm, kid) = read_header(&decode(header)?, allowed, types)?;
    let (payload, signature) = (decode(payload)?, decode(signature)?);
    // Without a `kid`, any key that fits may be the right one: OpenID Connect Core 1.0 section 10.1 requires it of
    // providers with several keys, but not all comply. Two keys may have the same id.
    let named = |key: &&Key| kid.is_none() || kid == key.id;
    let fitting: Vec<&Key> = keys
        .0
        .iter()
        .filter(named)
        .filter(|key| key.fits(algorithm))
        .collect();
    if fitting.is_empty() {
        let unusable = keys.0.iter().filter(named).find_map(|key| match kid {
            Some(_) => Some(key.unfit()),
            None => key.bad_size().filter(|_| algorithm.rsa().is_some()),
        });
        return Err(unusable.map_or(Unverified::UnknownKey, Unverified::UnusableKey));
    }
    // Trying keys costs the gateway time, and the sender nothing.
    if fitting.len() > MAX_TRIED {
        return Err(match kid {
            Some(_) => Unverified::SameName(fitting.len()),
            None => Unverified::Unnamed(fitting.len()),
        });
    }
    let mut fitting = fitting.into_iter();
    let key = fitting.find(|key| key.verifies(algorithm, message.as_bytes(), &signature));
    let key = key.ok_or(match kid {
        Some(_) => Unverified::Signature,
        None => Unverified::NoneOfThem,
    })?;
    Ok(Signed {
        algorithm,
        payload,
        key_issuer: key.issuer.clone(),
    })
}

/// Returns the algorithm and the key's id. Members that supply a key or its URL are ignored.
fn read_header(
    header: &[u8],
    allowed: &[Algorithm],
    types: &[&str],
) -> Result<(Algorithm, Option<String>), Unverified> {
    let header = json::object(header)?;
    let members = Members(&header);
    let name = members.required_text("alg")?;
    let algorithm = Algorithm::named(name).ok_or_else(|| {
        let known = OTHERS.iter().find(|other| **other == name);
        Unverified::Algorithm(known.copied().unwrap_or("an unknown one"))
    })?;
    if !allowed.contains(&algorithm) {
        let mut names = Algorithm::NAMES.iter();
        let name = names.find(|(known, _)| *known == name);
        return Err(Unverified::NotAdvertised(
            name.map_or("unknown", |(name, _)| *name),
        ));
    }
    // Extensions that a recipient must understand (RFC 7515 section 4.1.11), and nested tokens (RFC 7519 section 5.2).
    for extension in ["crit", "cty"] {
        if header.contains_key(extension) {
            return Err(Unverified::Extension(extension));
        }
    }
    if let Some(given) = members.text("typ")? {
        let given = given.to_ascii_lowercase();
        let given = given.strip_prefix("application/").unwrap_or(&given);
        if !types.contains(&given) {
            return Err(Unverified::Type);
        }
    }
    Ok((algorithm, members.text("kid")?.map(str::to_owned)))
}

#[cfg(test)]
mod tests;
