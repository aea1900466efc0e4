//! What is taken from claims (OpenID Connect Core 1.0 section 5.1), and what is not believed.

use gateway_model::Email;
use gateway_model::text::{is_unsafe, without_unsafe};
use serde_json::{Map, Value};
use url::Url;

/// The longest display name and address that are kept, in bytes.
const MAX_TEXT: usize = 256;
const MAX_URL: usize = 2048;

/// What a provider says of an address: whether it has verified that the person owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// It has: a JSON `true`.
    Verified,
    /// It has not, by its own word.
    NotVerified,
    /// It says nothing of it.
    Unsaid,
    /// It says "true", as a text. Cognito does so; at some providers it is what the person typed.
    Text,
}

impl Verification {
    /// What claims say in `email_verified`.
    #[must_use]
    pub fn of(claims: &Map<String, Value>) -> Self {
        Self::said(claims.get("email_verified"))
    }

    /// What a member says that tells whether an address is verified.
    #[must_use]
    pub fn said(member: Option<&Value>) -> Self {
        match member {
            Some(Value::Bool(true)) => Self::Verified,
            Some(Value::String(text)) if text == "true" => Self::Text,
            None | Some(Value::Null) => Self::Unsaid,
            Some(_) => Self::NotVerified,
        }
    }
}

/// The address, where it counts: the provider says that it is verified, or the operator vouches for the addresses of this
/// provider (`assumed`) and the provider does not say otherwise.
#[must_use]
pub fn email(claims: &Map<String, Value>, trusted: bool, assumed: bool) -> Option<Email> {
    let counts = match Verification::of(claims) {
        Verification::Verified => true,
        Verification::Unsaid | Verification::Text => assumed,
        Verification::NotVerified => false,
    };
    let address = text(claims, "email")?;
    (counts && is_address(address)).then(|| Email {
        address: address.to_owned(),
        trusted,
    })
}

/// Adds to an ID token's claims what the userinfo endpoint says; where both speak, the ID token's stay.
///
/// An address and whether it is verified are one statement, taken from one of the two: `email` from here
/// and `email_verified` from there could vouch for an address that nobody has verified.
pub fn merge(claims: &mut Map<String, Value>, mut userinfo: Map<String, Value>) {
    const STATEMENT: [&str; 2] = ["email", "email_verified"];
    let complete = STATEMENT.iter().all(|name| claims.contains_key(*name));
    let weaker = if !complete && userinfo.contains_key("email") {
        &mut *claims
    } else {
        &mut userinfo
    };
    for name in STATEMENT {
        weaker.remove(name);
    }
    for (name, value) in userinfo {
        claims.entry(name).or_insert(value);
    }
}

/// Whether a text can be an address at all.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.len() <= MAX_TEXT
        && text.contains('@')
        && !text.contains(|c: char| is_unsafe(c) || c.is_whitespace())
}

/// A claim that is a text and says something, without white space round it.
#[must_use]
pub fn text<'a>(claims: &'a Map<String, Value>, claim: &str) -> Option<&'a str> {
    let text = claims.get(claim)?.as_str()?.trim();
    (!text.is_empty()).then_some(text)
}

/// The display name: what there is of `name`, `given_name` and `family_name`, `preferred_username`.
#[must_use]
pub fn name(claims: &Map<String, Value>) -> String {
    let text = |claim| text(claims, claim);
    let parts = || {
        let parts: Vec<&str> = [text("given_name"), text("family_name")]
            .into_iter()
            .flatten()
            .collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    };
    let name = text("name")
        .map(str::to_owned)
        .or_else(parts)
        .or_else(|| text("preferred_username").map(str::to_owned));
    plain(&name.unwrap_or_default())
}

/// A text for people, without characters that control a terminal, reorder or hide text, cut where it is too long.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut plain = without_unsafe(text);
    if plain.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT)
            .rev()
            .find(|&end| plain.is_char_boundary(end))
            .unwrap_or_default();
        plain.truncate(end);
    }
    plain
}

/// A picture: an absolute http or https URL.
#[must_use]
pub fn picture(text: Option<&str>) -> Option<String> {
    let url = Url::parse(text.filter(|text| text.len() <= MAX_URL)?).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{email, merge, name, picture, plain};

    fn claims(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn p7_believes_a_boolean_or_the_operator_where_the_provider_does_not_say_no() {
        let address = |verified: Value, assumed| {
            email(
                &claims(&json!({ "email": "a@example.org", "email_verified": verified })),
                true,
                assumed,
            )
            .map(|email| email.address)
        };
        let some = Some("a@example.org".to_owned());
        for assumed in [false, true] {
            assert_eq!(address(json!(true), assumed), some);
            for no in [
                json!(false),
                json!("false"),
                json!(""),
                json!(0),
                json!(1),
                json!([true]),
            ] {
                assert_eq!(address(no.clone(), assumed), None, "{no}");
            }
        }
        for unclear in [json!("true"), json!(null)] {
            assert_eq!(address(unclear.clone(), false), None, "{unclear}");
            assert_eq!(address(unclear.clone(), true), some, "{unclear}");
        }
        let unsaid = claims(&json!({ "email": "a@example.org" }));
        assert_eq!(email(&unsaid, true, false), None);
        assert_eq!(
            email(&unsaid, false, true).map(|email| email.trusted),
            Some(false)
        );
        for odd in [
            json!("a"),
            json!("a@b\nc"),
            json!("a @b"),
            json!(format!("{}@b", "a".repeat(300))),
            json!(7),
        ] {
            let claims = claims(&json!({ "email": odd, "email_verified": true }));
            assert_eq!(email(&claims, true, true), None, "{odd}");
        }
    }

    #[test]
    fn takes_an_address_and_its_verification_from_one_place() {
        let merged = |token: Value, userinfo: Value| {
            let mut merged = claims(&token);
            merge(&mut merged, claims(&userinfo));
            Value::Object(merged)
        };
        // The typed-in address of the token is not the verified one of the userinfo.
        let both = merged(
            json!({"email": "typed@example.org"}),
            json!({"email": "real@example.org", "email_verified": true}),
        );
        assert_eq!(both, json!({"email": "real@example.org", "email_verified": true}));
        let flag_only = merged(
            json!({"email": "typed@example.org"}),
            json!({"email_verified": true}),
        );
        assert_eq!(flag_only, json!({"email": "typed@example.org"}));
        let stray = merged(
            json!({"email_verified": true}),
            json!({"email": "typed@example.org"}),
        );
        assert_eq!(stray, json!({"email": "typed@example.org"}));
        let complete = merged(
            json!({"email": "a@example.org", "email_verified": false, "name": "A"}),
            json!({"email": "b@example.org", "email_verified": true, "name": "B", "hd": "example.org"}),
        );
        assert_eq!(
            complete,
            json!({"email": "a@example.org", "email_verified": false, "name": "A", "hd": "example.org"})
        );
    }

    #[test]
    fn finds_a_name() {
        assert_eq!(name(&claims(&json!({ "name": " Ann Lee\u{7} " }))), "Ann Lee");
        assert_eq!(
            name(&claims(
                &json!({ "name": "", "given_name": "Ann", "family_name": "Lee" })
            )),
            "Ann Lee"
        );
        assert_eq!(
            name(&claims(&json!({ "preferred_username": "ann", "name": 3 }))),
            "ann"
        );
        assert_eq!(name(&Map::new()), "");
        assert_eq!(plain(&"é".repeat(200)).len(), 256);
    }

    #[test]
    fn names_turn_and_hide_nothing() {
        assert_eq!(
            plain("Ann\u{202e}nnA\u{61c}\u{2066}\u{2028}\u{200b}\u{e0041}"),
            "AnnnnA"
        );
        let persian = "علی\u{200c}رضا";
        assert_eq!(plain(persian), persian);
    }

    #[test]
    fn takes_web_pictures_only() {
        assert_eq!(
            picture(Some("https://img.example.org/a.png")).as_deref(),
            Some("https://img.example.org/a.png")
        );
        for odd in [
            "javascript:alert(1)",
            "data:image/png;base64,AA",
            "/a.png",
            "",
            "file:///a",
        ] {
            assert_eq!(picture(Some(odd)), None, "{odd}");
        }
    }
}
