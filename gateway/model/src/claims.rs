//! The validated claims of an upstream provider about the person who signs in.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::user::{Email, Identity};

/// A person as an upstream provider describes them.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamUser {
    /// The issuer and subject.
    pub identity: Identity,
    /// The address, if the provider says (by a JSON `true`) that it is verified.
    pub email: Option<Email>,
    /// The display name, or an empty text.
    pub name: String,
    /// The picture's absolute http or https URL.
    pub avatar_url: Option<String>,
    /// The claims exactly as the provider sent them, for the hooks.
    pub claims: Claims,
    /// The person's session at the provider.
    pub session: UpstreamSession,
}

/// A person's session at an upstream provider.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UpstreamSession {
    /// The provider's id for it: `sid` of the ID token (OpenID Connect Back-Channel Logout 1.0 section 2.1).
    pub sid: Option<String>,
    /// When the provider signed the ID token, by its own clock: `iat`.
    pub issued: Option<Timestamp>,
    /// When the person authenticated at the provider, by its own clock: `auth_time`.
    pub authenticated: Option<Timestamp>,
    /// The unchanged ID token, if the gateway reports a sign-out to the provider.
    pub id_token: Option<String>,
}

impl fmt::Debug for UpstreamSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamSession").finish_non_exhaustive()
    }
}

/// Claims as the text of a JSON object (RFC 8259), with members sorted by name, each of them once, without white space,
/// and with the values as the provider wrote them. A [`Value`] holds numbers as 64-bit integers and floats, which would
/// change an identifier of twenty digits on its way to the hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims(Arc<str>);

impl Claims {
    /// Makes an object of members. Of members with the same name, the last one counts.
    pub fn of<'a>(members: impl IntoIterator<Item = (&'a str, &'a RawValue)>) -> Self {
        let members: BTreeMap<&str, &RawValue> = members.into_iter().collect();
        // Texts and raw values can always be serialized.
        let text = serde_json::to_string(&members).unwrap_or_default();
        Self(without_space(text).into())
    }

    /// The text of the object.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns a member, with the precision of a [`Value`], or null if it does not exist.
    #[must_use]
    pub fn get(&self, name: &str) -> Value {
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(&self.0).unwrap_or_default();
        let value = members.get(name);
        value
            .and_then(|value| serde_json::from_str(value.get()).ok())
            .unwrap_or_default()
    }
}

impl Default for Claims {
    fn default() -> Self {
        Self("{}".into())
    }
}

impl From<Map<String, Value>> for Claims {
    fn from(members: Map<String, Value>) -> Self {
        Self(Value::Object(members).to_string().into())
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members: BTreeMap<String, Box<RawValue>> = Deserialize::deserialize(deserializer)?;
        let members = members.iter();
        Ok(Self::of(
            members.map(|(name, value)| (name.as_str(), value.as_ref())),
        ))
    }
}

/// Removes the white space between the parts of a JSON value.
fn without_space(json: String) -> String {
    if !json.contains([' ', '\n', '\r', '\t']) {
        return json;
    }
    let (mut in_string, mut escaped) = (false, false);
    let kept = json.chars().filter(|&c| {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            return true;
        }
        in_string = c == '"';
        !matches!(c, ' ' | '\n' | '\r' | '\t')
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Claims;

    fn read(text: &str) -> Claims {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn p1_claims_keep_their_digits_and_lose_nothing_but_white_space() {
        let numbers = r#"[12345678901234567890123,0.1000000000000000055511151231257827,1E400,-0,1.10]"#;
        let strings = r#""\" , \\\" ,\u00e9 é\n {\\""#;
        let text = format!(
            " {{ \"s\" :\t{strings} ,\n\"n\": {}}} ",
            numbers.replace(',', " ,\r\n ")
        );
        assert_eq!(
            read(&text).as_str(),
            format!("{{\"n\":{numbers},\"s\":{strings}}}")
        );
        let names = read(r#"{"a\"\u0041": {"b" : 1, "a": [ ]}, "a\"A": 2}"#);
        assert_eq!(names.as_str(), r#"{"a\"A":2}"#);
        assert_eq!(read(" {} "), Claims::default());
    }

    #[test]
    fn white_space_is_removed_between_strings_and_kept_in_them() {
        for text in [
            r#""""#,
            r#""a""#,
            r#""a b""#,
            r#"" \" \\""#,
            r#""\\""#,
            r#""\\\"""#,
        ] {
            let nested = format!(r#"{{ "v" : [ {text} , {{ "k" : {text} }} , {text} ] , {text} : 1 }}"#);
            let claims = read(&format!(r#"{{"n": {nested}}}"#));
            let expected = format!(r#"{{"n":{{"v":[{text},{{"k":{text}}},{text}],{text}:1}}}}"#);
            assert_eq!(claims.as_str(), expected);
        }
    }

    #[test]
    fn claims_that_are_not_an_object_are_rejected() {
        for odd in ["", "[]", "null", "1", "{", "{} {}", r#"{"a":01}"#, r#"{"a":}"#] {
            assert!(serde_json::from_str::<Claims>(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn members_are_read_as_values() {
        let value = json!({ "sub": "1", "groups": ["staff"] });
        let claims = Claims::from(value.as_object().unwrap().clone());
        assert_eq!(claims, read(&value.to_string()));
        assert_eq!(claims.get("groups"), json!(["staff"]));
        assert_eq!(claims.get("none"), Value::Null);
    }
}
