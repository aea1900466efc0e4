//! Session tokens: who is signed in. The gateway issues them for itself, under its own key.
//!
//! A token is a JWT (RFC 7519) with HMAC-SHA-256. The gateway writes exactly one header, so it is compared as text and
//! never parsed: any other header (another `alg`, `typ` or `kid`, `crit`, `jku`, `jwk`, a duplicate key) is rejected
//! because it differs (RFC 8725 sections 3.1, 3.10 and 3.11). Claims are read only after the MAC was verified.

use std::borrow::Cow;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_model::{SessionId, Timestamp, UserId};
use serde::Deserialize;
use serde_json::json;

use crate::secret::SessionKey;

/// The most bytes of a session token.
pub const MAX_TOKEN: usize = 8 * 1024;

/// base64url of `{"alg":"HS256","typ":"session+jwt"}`.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6InNlc3Npb24rand0In0";

/// The length of the MAC in bytes.
const MAC: usize = 32;

/// The contents of a valid session token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionClaims {
    /// `sid`: the session.
    pub session: SessionId,
    /// `sub`: the user.
    pub user: UserId,
    /// `exp`: when the session expires.
    pub expires: Timestamp,
}

/// The reason why a session token is rejected. Callers only learn that they are not signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionTokenError {
    /// It has more than [`MAX_TOKEN`] bytes.
    #[error("the token is too long")]
    TooLong,
    /// It is not three parts of base64url, with the length of a MAC.
    #[error("the token is malformed")]
    Malformed,
    /// It is another token: its header is not that of session tokens.
    #[error("the token is not a session token")]
    Header,
    /// The MAC is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim is missing, unknown, duplicated or of the wrong type.
    #[error("the token's claims are malformed")]
    Claims,
    /// Another gateway issued it: `iss` differs.
    #[error("the token is from another issuer")]
    Issuer,
    /// It is for another gateway: `aud` differs.
    #[error("the token is for another audience")]
    Audience,
    /// It has expired.
    #[error("the token has expired")]
    Expired,
}

/// The claims as they are written. Unknown claims are rejected: only the gateway writes them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    aud: Cow<'a, str>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
    #[serde(borrow)]
    sid: Cow<'a, str>,
    #[serde(rename = "iat")]
    _issued: u64,
    exp: u64,
}

impl SessionKey {
    /// Issues a token at `issued`.
    #[must_use]
    pub fn issue(&self, claims: &SessionClaims, issued: Timestamp) -> String {
        let payload = json!({
            "iss": self.issuer,
            "aud": self.issuer,
            "sub": claims.user.as_str(),
            "sid": claims.session.as_str(),
            "iat": issued.0,
            "exp": claims.expires.0,
        });
        self.sign(HEADER, payload.to_string().as_bytes())
    }

    fn sign(&self, header: &str, payload: &[u8]) -> String {
        let mut token = format!("{header}.");
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let mac = hmac::sign(&self.mac, token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(mac, &mut token);
        token
    }

    /// Whether a MAC was made under this gateway's secret or an older one.
    fn made(&self, signed: &[u8], mac: &[u8; MAC]) -> bool {
        let mut keys = std::iter::once(&self.mac).chain(self.older.iter().map(|older| &older.mac));
        keys.any(|key| hmac::verify(key, signed, mac).is_ok())
    }

    /// Returns the claims of a token that this gateway issued, under its secret or an older one, and that has not
    /// expired. The caller must check whether the session has ended. There is no leeway: the same clock writes and
    /// reads `exp`.
    ///
    /// # Errors
    /// See [`SessionTokenError`].
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<SessionClaims, SessionTokenError> {
        let claims = self.verify_ignoring_expiry(token)?;
        // defence: session-expires-in-its-token (a test fails without it: docs/defences.md)
        if claims.expires <= now {
            return Err(SessionTokenError::Expired);
        }
        Ok(claims)
    }

    /// Returns the claims of a token that this gateway issued, expired or not. Only for a sign-out: the clock by which
    /// the token has expired may be wrong.
    ///
    /// # Errors
    /// See [`SessionTokenError`].
    pub fn verify_ignoring_expiry(&self, token: &str) -> Result<SessionClaims, SessionTokenError> {
        use SessionTokenError::{Audience, Claims as BadClaims, Header, Issuer, Malformed, Signature};

        if token.len() > MAX_TOKEN {
            return Err(SessionTokenError::TooLong);
        }
        let (signed, mac_text) = token.rsplit_once('.').ok_or(Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Malformed)?;
        // defence: session-token-has-one-header (a test fails without it: docs/defences.md)
        if header != HEADER {
            return Err(Header);
        }
        let mut mac = [0; MAC];
        // defence: session-token-has-a-mac (a test fails without it: docs/defences.md)
        if URL_SAFE_NO_PAD.decode_slice(mac_text, &mut mac) != Ok(MAC) {
            return Err(Malformed);
        }
        // defence: session-token-mac-is-verified (a test fails without it: docs/defences.md)
        if !self.made(signed.as_bytes(), &mac) {
            return Err(Signature);
        }

        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| Malformed)?;
        // defence: claims-come-once (a test fails without it: docs/defences.md)
        let claims: Claims<'_> = serde_json::from_slice(&payload).map_err(|_| BadClaims)?;
        if claims.iss != self.issuer {
            return Err(Issuer);
        }
        if claims.aud != self.issuer {
            return Err(Audience);
        }
        Ok(SessionClaims {
            session: claims.sid.as_ref().into(),
            user: claims.sub.as_ref().into(),
            expires: Timestamp(claims.exp),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
