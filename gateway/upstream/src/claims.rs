//! What is taken from claims (OpenID Connect Core 1.0 section 5.1), and what is not believed.

use gateway_model::Email;
use gateway_model::text::is_unsafe;
use serde_json::{Map, Value};
use url::Url;

use crate::json::{Object, kind};
use crate::text::{MAX_TEXT, plain};

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
/// and `email_verified` from there could vouch for an address that nobody has verified. A "no" counts wherever it is said,
/// unless the address comes with a "yes" of its own.
pub(crate) fn merge(claims: &mut Object, mut userinfo: Object) {
    let is_complete = claims.says("email") && claims.says("email_verified");
    let from_userinfo = !is_complete && userinfo.says("email");
    let (stronger, weaker) = if from_userinfo {
        (&mut userinfo, &mut *claims)
    } else {
        (&mut *claims, &mut userinfo)
    };
    // defence: address-and-verification-are-one-claim (a test fails without it: docs/defences.md)
    weaker.take("email");
    let said = Verification::of(weaker.values());
    let verified = weaker.take("email_verified");
    let open = matches!(
        Verification::of(stronger.values()),
        Verification::Unsaid | Verification::Text
    );
    if let Some(no) = verified.filter(|_| open && said == Verification::NotVerified) {
        stronger.take("email_verified");
        stronger.add("email_verified", no);
    }
    claims.add_all(userinfo);
}

/// Why an address that there is does not count, if an operator may want to know: not where the provider says that it has not
/// verified it, which is its answer.
#[must_use]
pub(crate) fn discounted(address: Option<&Value>, verified: Option<&Value>, assumed: bool) -> Option<String> {
    match address {
        None | Some(Value::Null) => return None,
        Some(Value::String(address)) if address.trim().is_empty() => return None,
        Some(Value::String(address)) if !is_address(address.trim()) => {
            return Some("it is not an address".to_owned());
        }
        Some(Value::String(_)) => {}
        Some(odd) => return Some(format!("it must be a string, but is {}", kind(odd))),
    }
    const ADVICE: &str = "if this provider verifies all addresses, set assume_email_verified = true for it";
    match Verification::said(verified) {
        Verification::Unsaid if !assumed => Some(format!(
            "the provider does not say whether it is verified; {ADVICE}"
        )),
        Verification::Text if !assumed => Some(format!(
            "whether it is verified is the text \"true\", not true; {ADVICE}"
        )),
        Verification::NotVerified => match verified {
            None | Some(Value::Bool(false)) => None,
            Some(Value::String(text)) if text == "false" => None,
            Some(odd) => Some(format!(
                "whether it is verified must be true or false, but is {}",
                kind(odd)
            )),
        },
        _ => None,
    }
}

/// Tells the operator that an address does not count, and why.
pub(crate) fn warn_of_address(provider: &str, member: &str, reason: &str) {
    tracing::warn!(provider, "the address in `{member}` does not count: {reason}");
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

/// A picture: an absolute http or https URL.
#[must_use]
pub fn picture(text: Option<&str>) -> Option<String> {
    let url = Url::parse(text.filter(|text| text.len() <= MAX_URL)?).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{discounted, email, merge, name, picture, plain};
    use crate::json::Object;

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
            let object = |value: Value| Object::read(value.to_string().as_bytes()).unwrap();
            let mut merged = object(token);
            merge(&mut merged, object(userinfo));
            let values = Value::Object(merged.values().clone());
            assert_eq!(merged.claims().as_str(), values.to_string());
            values
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
        for nothing in [
            json!({}),
            json!({"email": null, "email_verified": null, "name": null}),
            json!({"email": "", "name": " "}),
        ] {
            let userinfo = json!({"email": "a@example.org", "email_verified": true, "name": "A"});
            assert_eq!(merged(nothing, userinfo.clone()), userinfo);
        }
        // A "no" counts wherever it is said, but not against a "yes".
        let address = json!({"email": "a@example.org"});
        let with = |verified: Value| json!({"email": "a@example.org", "email_verified": verified});
        for no in [json!(false), json!("false"), json!(0)] {
            let no = json!({ "email_verified": no });
            let flagged = with(no["email_verified"].clone());
            assert_eq!(merged(no.clone(), address.clone()), flagged);
            assert_eq!(merged(address.clone(), no.clone()), flagged);
            assert_eq!(merged(no.clone(), with(json!("true"))), flagged);
            assert_eq!(merged(no.clone(), with(json!(true))), with(json!(true)));
        }
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
    fn p7_an_address_that_does_not_count_has_a_reason() {
        let why = |email: Value, verified: Value| discounted(Some(&email), Some(&verified), false);
        let address = || json!("a@example.org");
        for (email, verified, said) in [
            (address(), json!(null), "does not say"),
            (address(), json!("true"), "the text"),
            (address(), json!(1), "must be true or false, but is a number"),
            (address(), json!(["x"]), "must be true or false, but is a list"),
            (json!(7), json!(true), "must be a string, but is a number"),
            (json!([address()]), json!(true), "must be a string, but is a list"),
            (json!("nobody"), json!(true), "not an address"),
        ] {
            let reason = why(email, verified).unwrap();
            assert!(reason.contains(said), "{reason}");
        }
        for verified in [json!(true), json!(false), json!("false")] {
            assert_eq!(why(address(), verified), None);
        }
        for none in [json!(null), json!(" ")] {
            assert_eq!(why(none, json!(null)), None);
        }
        assert_eq!(discounted(None, None, false), None);
        assert_eq!(discounted(Some(&address()), None, true), None);
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
