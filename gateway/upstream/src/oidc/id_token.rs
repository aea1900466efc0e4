//! Validation of an ID token's claims (OpenID Connect Core 1.0 section 3.1.3.7), once its signature has been verified.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::config::{NonceRule, ProviderConfig, TENANT};
use crate::error::UpstreamError;
use crate::json::{Members, Object, Unfit, kind, unfit};
use crate::jws::{Signed, Unverified};
use crate::logout::names_events;
use crate::text::{MAX_SUBJECT, plain};

/// The accepted values of `typ`.
pub(super) const TYPES: &[&str] = &["jwt", "jose"];
const WHAT: &str = "the ID token";
/// How far a provider's clock may be ahead of the gateway's, in seconds.
const SKEW: u64 = 60;

/// The values that an ID token is checked against.
pub(super) struct Expected<'a> {
    /// The issuer identifier, or a template with [`TENANT`] in it.
    pub(super) issuer: &'a str,
    pub(super) config: &'a ProviderConfig,
    /// The nonce that was sent, if any.
    pub(super) nonce: Option<&'a str>,
    /// The access token from the same token response.
    pub(super) access_token: &'a str,
    /// Seconds since 1970.
    pub(super) now: u64,
}

pub(super) struct Claims {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) all: Object,
}

/// Validates an ID token whose signature has been verified.
pub(super) fn read(token: &Signed, expected: &Expected<'_>) -> Result<Claims, UpstreamError> {
    let all = Object::read(&token.payload)
        .map_err(|problem| UpstreamError::bad_response(WHAT, format_args!("its payload {problem}")))?;
    let (issuer, subject) =
        check(token, Members(all.values()), expected).map_err(|invalid| match invalid {
            Invalid::Unfit(unfit) => UpstreamError::bad_response(WHAT, unfit),
            Invalid::Refused(reason) => refused(&reason),
        })?;
    let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
    Ok(Claims { issuer, subject, all })
}

/// Why a claim is rejected.
enum Invalid {
    /// It has the wrong type: the provider's mistake.
    Unfit(Unfit),
    /// It does not match this sign-in.
    Refused(String),
}

impl From<Unfit> for Invalid {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(unfit)
    }
}

/// Returns the issuer and the subject.
fn check<'a>(
    token: &Signed,
    claims: Members<'a>,
    expected: &Expected<'_>,
) -> Result<(&'a str, &'a str), Invalid> {
    let refuse = |reason: &str| Err(Invalid::Refused(reason.to_owned()));
    // First, because such a token may pass most of the other checks.
    if names_events(claims.0) {
        return refuse("it is a logout token or another security event token (`events`), not an ID token");
    }
    let issuer = issuer(claims, expected)?;
    audience(claims, expected.config)?;
    times(claims, expected.now)?;
    authentication(claims, expected)?;
    match (claims.text("nonce")?, expected.nonce) {
        (Some(nonce), Some(sent)) if verify_slices_are_equal(nonce.as_bytes(), sent.as_bytes()).is_ok() => {}
        // The message contains neither nonce: both are secret.
        (Some(_), Some(_)) => return refuse("it belongs to another sign-in (`nonce`)"),
        (None, Some(_)) if expected.config.nonce == NonceRule::Optional => {}
        (None, Some(_)) => {
            return refuse(
                "it has no `nonce`; if this provider never sends it, set nonce = \"optional\" for it",
            );
        }
        // The gateway sent no nonce.
        (_, None) if expected.config.nonce == NonceRule::Off => {}
        (_, None) => return refuse("the sign-in has no nonce"),
    }
    if let Some(hash) = claims.text("at_hash")? {
        let digest = token.algorithm.hash(expected.access_token.as_bytes());
        let half = digest.as_ref().split_at(digest.as_ref().len() / 2).0;
        // Core 1.0 section 3.1.3.6.
        if URL_SAFE_NO_PAD.encode(half) != hash {
            return refuse("it belongs to another access token (`at_hash`)");
        }
    }
    let subject = claims.required_text("sub")?;
    if subject.len() > MAX_SUBJECT {
        return Err(unfit("sub", "at most 255 bytes", "longer").into());
    }
    Ok((issuer, subject))
}

/// Step 2: the issuer is the provider, or one of its listed tenants.
fn issuer<'a>(claims: Members<'a>, expected: &Expected<'_>) -> Result<&'a str, Invalid> {
    let issuer = claims.required_text("iss")?;
    let wanted = if expected.issuer.contains(TENANT) {
        let tenant = claims.required_text("tid")?;
        if !expected.config.tenants.iter().any(|listed| listed == tenant) {
            return Err(Invalid::Refused(format!(
                "its tenant {} is not listed (`tid`); if its users may sign in, add it to the provider's tenants",
                plain(tenant)
            )));
        }
        expected.issuer.replace(TENANT, tenant)
    } else {
        expected.issuer.to_owned()
    };
    if issuer != wanted {
        let issuer = plain(issuer);
        return Err(Invalid::Refused(format!(
            "it was issued by {issuer}, not by {wanted} (`iss`)"
        )));
    }
    Ok(issuer)
}

/// Step 13: if `max_age` was sent, the user signed in recently enough.
fn authentication(claims: Members<'_>, expected: &Expected<'_>) -> Result<(), Invalid> {
    let parameters = expected.config.authorization_parameters.iter();
    let mut max_age = parameters.filter(|(name, _)| name == "max_age");
    let Some(max_age) = max_age.next().and_then(|(_, age)| age.parse::<u64>().ok()) else {
        return Ok(());
    };
    let at = claims.required_time("auth_time")?;
    if at.saturating_add(max_age).saturating_add(SKEW) < expected.now {
        return Err(Invalid::Refused(
            "the user signed in at the provider longer ago than max_age (`auth_time`)".to_owned(),
        ));
    }
    Ok(())
}

/// Steps 3 to 5: the token is for this client and, besides, only for audiences that the operator trusts. A token for
/// several audiences must say that it was issued to this client.
fn audience(claims: Members<'_>, config: &ProviderConfig) -> Result<(), Invalid> {
    const EXPECTED: &str = "a string or a list of strings";
    let audiences = match claims.0.get("aud") {
        Some(Value::String(audience)) => vec![audience.as_str()],
        Some(Value::Array(_)) => claims.texts("aud")?.unwrap_or_default(),
        Some(other) => return Err(unfit("aud", EXPECTED, kind(other)).into()),
        None => return Err(claims.missing("aud", EXPECTED).into()),
    };
    if !audiences.contains(&config.client_id.as_str()) {
        let audiences = plain(&audiences.join(", "));
        let reason = format!("it is for {audiences}, not for {} (`aud`)", config.client_id);
        return Err(Invalid::Refused(reason));
    }
    let mut others = audiences.iter().filter(|audience| **audience != config.client_id);
    let is_shared = others.clone().next().is_some();
    if let Some(other) = others.find(|other| !config.audiences.iter().any(|trusted| trusted == *other)) {
        let reason = format!(
            "it is also for {}, which is not trusted (`aud`); if that is yours, add it to the provider's audiences",
            plain(other)
        );
        return Err(Invalid::Refused(reason));
    }
    match claims.text("azp")? {
        None if is_shared => Err(Invalid::Refused(
            "it is for several audiences, and does not say which one it was issued to (`azp`)".to_owned(),
        )),
        Some(party) if party != config.client_id => Err(Invalid::Refused(format!(
            "it was issued to another client, {} (`azp`)",
            plain(party)
        ))),
        _ => Ok(()),
    }
}

/// Steps 9 and 10, and `nbf` (RFC 7519 section 4.1.5).
fn times(claims: Members<'_>, now: u64) -> Result<(), Invalid> {
    let soon = now.saturating_add(SKEW);
    let reason = if claims.required_time("exp")? <= now {
        "it has expired (`exp`)"
    } else if claims.required_time("iat")? > soon {
        "it was issued in the future (`iat`); is this machine's clock right?"
    } else if claims.begins_after("nbf", soon)? {
        "it is not valid yet (`nbf`); is this machine's clock right?"
    } else {
        return Ok(());
    };
    Err(Invalid::Refused(reason.to_owned()))
}

pub(super) fn unverified(reason: &Unverified) -> UpstreamError {
    refused(&reason.to_string())
}

/// The reason may quote the provider, so it is shortened.
pub(super) fn refused(reason: &str) -> UpstreamError {
    UpstreamError::BadIdToken(plain(reason))
}
