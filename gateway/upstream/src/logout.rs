//! Sign-out at the provider (OpenID Connect RP-Initiated Logout 1.0), and the logout tokens by which a provider reports
//! that a user has signed out there (OpenID Connect Back-Channel Logout 1.0).
//!
//! Front-channel logout is not supported: it needs the gateway's cookies in a frame of another site, which browsers no
//! longer send, and providers that have it have the back channel too.

use std::fmt;
use std::time::Duration;

use gateway_model::Timestamp;
use serde_json::{Map, Value};
use url::Url;

use crate::error::UpstreamError;
use crate::json::{self, Members, Unfit};
use crate::text::{MAX_SUBJECT, plain};

/// The longest ID token that is kept for a sign-out, in bytes: it must fit into a URL.
pub(crate) const MAX_ID_TOKEN_HINT: usize = 4096;
/// The longest logout token, in bytes.
pub(crate) const MAX_LOGOUT_TOKEN: usize = 16 << 10;
/// The most logout tokens of one provider that are validated at the same time.
pub(crate) const MAX_LOGOUT_TOKENS: usize = 32;

/// The time after which the gateway may fetch a provider's keys again because a token's key is unknown, in seconds.
pub const KEYS_ASKED_AGAIN: u64 = 30;

/// The accepted values of `typ`. Section 2.4 recommends the first; many providers send the second.
pub(crate) const TYPES: &[&str] = &["logout+jwt", "jwt"];
/// The event that makes a token a logout token (section 2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// The maximum age of a logout token. Providers retry for minutes, not for hours.
const MAX_AGE: Duration = Duration::from_secs(900);
/// The largest difference between the provider's clock and the gateway's.
const SKEW: Duration = Duration::from_secs(60);
/// A request to sign a user out at a provider.
#[derive(Clone, Copy)]
pub struct EndSession<'a> {
    /// The ID token from the start of the session: `id_token_hint`. Without one the provider may ask the user.
    pub id_token: Option<&'a str>,
    /// The user's address, as this provider reported it: the `logout_hint` if there is no ID token.
    pub address: Option<&'a str>,
    /// The address to which the provider sends the user back: `post_logout_redirect_uri`. It must be registered there.
    pub return_to: &'a str,
    /// Returned with the user: `state`.
    pub state: &'a str,
}

opaque_debug!(EndSession<'_>);

impl EndSession<'_> {
    /// The URL that signs a user out at `endpoint` (RP-Initiated Logout 1.0 section 2).
    pub(crate) fn url(&self, mut endpoint: Url, client_id: &str) -> Url {
        {
            let mut query = endpoint.query_pairs_mut();
            if let Some(id_token) = self.id_token {
                query.append_pair("id_token_hint", id_token);
            } else {
                query.append_pair("client_id", client_id);
                if let Some(address) = self.address {
                    query.append_pair("logout_hint", address);
                }
            }
            query
                .append_pair("post_logout_redirect_uri", self.return_to)
                .append_pair("state", self.state);
        }
        endpoint
    }
}

/// The claims of a valid logout token. At least one of `subject` and `sid` is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutToken {
    /// The provider's issuer identifier.
    pub issuer: String,
    /// The user who signed out.
    pub subject: Option<String>,
    /// The session that ended. Without it, all sessions of the user did.
    pub sid: Option<String>,
    /// The token's id (`jti`), which may be used once.
    pub id: String,
    /// When it was signed, by the provider's clock.
    pub issued: Timestamp,
    /// When it is too old, by the gateway's clock. Until then its id must be remembered.
    pub until: Timestamp,
}

/// Why a logout token is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogoutError {
    /// It is not a logout token of this provider for this client.
    #[error("the logout token is not valid: {0}")]
    Invalid(String),
    /// The gateway cannot decide now.
    #[error(transparent)]
    Unknown(#[from] UpstreamError),
}

impl From<Unfit> for LogoutError {
    fn from(unfit: Unfit) -> Self {
        Self::invalid(&unfit)
    }
}

impl LogoutError {
    /// The problem may quote the token, so it is shortened.
    pub(crate) fn invalid(problem: &impl fmt::Display) -> Self {
        Self::Invalid(plain(&problem.to_string()))
    }
}

/// Validates the claims of a token whose signature has been verified (section 2.6).
pub(crate) fn read(
    payload: &[u8],
    issuer: &str,
    client_id: &str,
    now: Timestamp,
) -> Result<LogoutToken, LogoutError> {
    let claims = &json::object(payload)
        .map_err(|problem| LogoutError::invalid(&format_args!("its payload {problem}")))?;
    let invalid = |problem: &str| Err(LogoutError::invalid(&problem));
    let members = Members(claims);
    if members.required_text("iss")? != issuer {
        return invalid("it is from another issuer (`iss`)");
    }
    if members.has_audience(client_id) != Some(true) {
        return invalid("it is for another client (`aud`)");
    }
    let (issued, expires) = (
        Timestamp(members.required_time("iat")?),
        Timestamp(members.required_time("exp")?),
    );
    let until = issued.after(MAX_AGE).after(SKEW);
    if issued > now.after(SKEW) {
        return invalid("it was issued in the future (`iat`); are both clocks right?");
    }
    if until <= now {
        return invalid("it was issued more than 15 minutes ago (`iat`)");
    }
    // No leeway, as for ID tokens: the provider chose the time.
    if expires <= now {
        return invalid("it has expired (`exp`)");
    }
    if members.begins_after("nbf", now.after(SKEW).0)? {
        return invalid("it is not valid yet (`nbf`); are both clocks right?");
    }
    let event = claims.get("events").and_then(|events| events.get(EVENT));
    if !event.is_some_and(Value::is_object) {
        return invalid(&format!(
            "`events` has no member \"{EVENT}\" that is an object, so it is another kind of token"
        ));
    }
    if claims.contains_key("nonce") {
        return invalid("it has a `nonce`, so it is another kind of token");
    }
    let some = |name| match members.text(name)? {
        Some(_) => members.required_text(name).map(|text| Some(text.to_owned())),
        None => Ok(None),
    };
    let (subject, sid) = (some("sub")?, some("sid")?);
    if subject.is_none() && sid.is_none() {
        return invalid("it names neither a subject (`sub`) nor a session (`sid`)");
    }
    if subject.as_ref().map_or(0, String::len) > MAX_SUBJECT {
        return invalid("its subject (`sub`) has more than 255 bytes");
    }
    Ok(LogoutToken {
        issuer: issuer.to_owned(),
        subject,
        sid,
        id: members.required_text("jti")?.to_owned(),
        issued,
        until,
    })
}

/// Whether this is a security event token (RFC 8417 section 2.2), such as a logout token: `events` has a member whose
/// name is a URI. Such a token may have all claims of an ID token, and must not be accepted as one (Back-Channel Logout
/// 1.0 section 2.4, RFC 8417 section 4.1). Other values of `events` are ignored.
pub(crate) fn names_events(claims: &Map<String, Value>) -> bool {
    match claims.get("events") {
        Some(Value::Object(events)) => events.keys().any(|name| Url::parse(name).is_ok()),
        Some(Value::Array(events)) => events.iter().any(|name| name == EVENT),
        Some(Value::String(name)) => name == EVENT,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use gateway_model::Timestamp;
    use serde_json::{Value, json};
    use url::Url;

    use super::{EVENT, EndSession, LogoutError, LogoutToken, read};

    const ISSUER: &str = "https://id.example.org";
    const NOW: u64 = 1_790_000_000;

    fn claims() -> Value {
        json!({
            "iss": ISSUER, "aud": "us", "iat": NOW - 5, "exp": NOW + 115, "jti": "1", "sub": "ann", "sid": "s",
            "events": { EVENT: {} },
        })
    }

    fn verdict(claims: &Value) -> Result<LogoutToken, LogoutError> {
        read(claims.to_string().as_bytes(), ISSUER, "us", Timestamp(NOW))
    }

    #[test]
    fn p21_a_logout_token_names_the_user_and_the_session() {
        let token = verdict(&claims()).unwrap();
        let expected = LogoutToken {
            issuer: ISSUER.to_owned(),
            subject: Some("ann".to_owned()),
            sid: Some("s".to_owned()),
            id: "1".to_owned(),
            issued: Timestamp(NOW - 5),
            until: Timestamp(NOW - 5 + 960),
        };
        assert_eq!(token, expected);
        for (name, value) in [
            ("aud", json!(["them", "us"])),
            ("iat", json!(NOW + 60)),
            ("iat", json!(NOW - 959)),
            ("iat", json!(NOW as f64 - 0.5)),
            ("exp", json!(NOW + 1)),
            ("nbf", json!(NOW + 60)),
            ("nbf", json!(null)),
            ("exp", json!(NOW * 2)),
            ("events", json!({ EVENT: { "a": 1 }, "other": null })),
            ("sub", json!(null)),
            ("sid", json!(null)),
            ("azp", json!("them")),
        ] {
            let mut claims = claims();
            claims[name] = value;
            assert!(verdict(&claims).is_ok(), "{claims}");
        }
    }

    #[test]
    fn p21_tokens_that_are_not_logout_tokens_for_this_client_are_rejected() {
        let long = "a".repeat(256);
        for (name, values) in [
            (
                "iss",
                vec![
                    json!("https://id.example.org/"),
                    json!(["https://id.example.org"]),
                    json!(null),
                ],
            ),
            (
                "aud",
                vec![
                    json!("them"),
                    json!("us2"),
                    json!([]),
                    json!(["them"]),
                    json!([["us"]]),
                    json!({"us": 1}),
                    json!(null),
                ],
            ),
            (
                "iat",
                vec![
                    json!(NOW + 61),
                    json!(NOW - 960),
                    json!(0),
                    json!(-1),
                    json!(NOW.to_string()),
                    json!(null),
                    json!(1e300),
                ],
            ),
            (
                "exp",
                vec![json!(NOW), json!(0), json!(null), json!("later"), json!(-1)],
            ),
            ("nbf", vec![json!(NOW + 61), json!("now"), json!(1e300)]),
            ("jti", vec![json!(null), json!(""), json!(1), json!(["1"])]),
            (
                "events",
                vec![
                    json!(null),
                    json!({}),
                    json!([EVENT]),
                    json!(EVENT),
                    json!({ EVENT: null }),
                    json!({ EVENT: true }),
                    json!({ EVENT: [] }),
                    json!({ "http://schemas.openid.net/event/backchannel-logout/": {} }),
                ],
            ),
            ("nonce", vec![json!("n"), json!(""), json!(null)]),
            ("sub", vec![json!(""), json!(1), json!(["ann"]), json!(long)]),
            ("sid", vec![json!(""), json!(1), json!({})]),
        ] {
            for value in values {
                let mut claims = claims();
                claims[name] = value;
                let error = verdict(&claims).unwrap_err();
                assert!(matches!(error, LogoutError::Invalid(_)), "{claims}: {error}");
            }
            let mut claims = claims();
            claims.as_object_mut().unwrap().remove(name);
            let may_go = ["nonce", "sub", "sid", "nbf"].contains(&name);
            assert_eq!(verdict(&claims).is_ok(), may_go, "without {name}");
        }
        let mut claims = claims();
        for name in ["sub", "sid"] {
            claims.as_object_mut().unwrap().remove(name);
        }
        assert!(verdict(&claims).is_err());
        for odd in ["", "[]", "null", "{", r#"{"iss":"a","iss":"a"}"#] {
            assert!(
                read(odd.as_bytes(), ISSUER, "us", Timestamp(NOW)).is_err(),
                "{odd}"
            );
        }
    }

    #[test]
    fn p21_extreme_clocks_reject_every_token_without_a_panic() {
        for now in [0, u64::MAX] {
            let claims = claims().to_string();
            assert!(read(claims.as_bytes(), ISSUER, "us", Timestamp(now)).is_err());
        }
    }

    #[test]
    fn p20_the_sign_out_url_names_the_user_and_the_return_address() {
        let end = EndSession {
            id_token: Some("e.y.J"),
            address: Some("ann+x@example.org"),
            return_to: "https://auth.example.org/auth/logout_callback/id",
            state: "s&t=1",
        };
        let endpoint = Url::parse("https://id.example.org/logout?tenant=a%20b").unwrap();
        let back = "post_logout_redirect_uri=https%3A%2F%2Fauth.example.org%2Fauth%2Flogout_callback%2Fid&state=s%26t%3D1";
        assert_eq!(
            end.url(endpoint.clone(), "us").as_str(),
            format!("https://id.example.org/logout?tenant=a%20b&id_token_hint=e.y.J&{back}")
        );
        let less = EndSession {
            id_token: None,
            ..end
        };
        assert_eq!(
            less.url(endpoint.clone(), "us").as_str(),
            format!(
                "https://id.example.org/logout?tenant=a%20b&client_id=us&logout_hint=ann%2Bx%40example.org&{back}"
            )
        );
        let least = EndSession {
            address: None,
            ..less
        };
        assert_eq!(
            least.url(endpoint, "us").as_str(),
            format!("https://id.example.org/logout?tenant=a%20b&client_id=us&{back}")
        );
    }
}
