//! The user's profile from claims (OpenID Connect Core 1.0 section 5.1), and the rules for email addresses.

use gateway_model::Email;
use gateway_model::text::is_unsafe;
use serde_json::{Map, Value};
use url::Url;

use crate::config::ProviderConfig;
use crate::json::{Object, kind};
use crate::text::{MAX_TEXT, plain};

const MAX_URL: usize = 2048;

/// Whether a provider says that it has verified an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verification {
    /// A JSON `true`.
    Verified,
    NotVerified,
    Unsaid,
    /// The string "true". Cognito sends it; at other providers it is what the user typed.
    Text,
}

impl Verification {
    fn of(claims: &Map<String, Value>) -> Self {
        Self::said(claims.get("email_verified"))
    }

    /// Whether the address is used. `assumed`: the operator vouches for this provider's addresses, unless it says "no".
    const fn counts(self, assumed: bool) -> bool {
        match self {
            Self::Verified => true,
            Self::Unsaid | Self::Text => assumed,
            Self::NotVerified => false,
        }
    }

    /// The meaning of a member like `email_verified`.
    fn said(member: Option<&Value>) -> Self {
        match member {
            Some(Value::Bool(true)) => Self::Verified,
            Some(Value::String(text)) if text == "true" => Self::Text,
            None | Some(Value::Null) => Self::Unsaid,
            Some(_) => Self::NotVerified,
        }
    }
}

/// The address, if it is one and counts ([`Verification::counts`]).
pub(crate) fn email(
    address: Option<&str>,
    verified: Option<&Value>,
    config: &ProviderConfig,
) -> Option<Email> {
    let address = address.filter(|address| is_address(address))?;
    let counts = Verification::said(verified).counts(config.assume_email_verified);
    counts.then(|| Email {
        address: address.to_owned(),
        trusted: config.trusted_email,
    })
}

/// Adds the userinfo endpoint's claims to an ID token's; those of the ID token take precedence.
///
/// An address and its verification are one statement, taken from one of the two: `email` from here and `email_verified`
/// from there could vouch for an address that nobody has verified. A "no" from either counts, unless the address comes
/// with its own "yes".
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

/// Why an address is not used, if that may surprise the operator. An explicit "no" of the provider does not.
fn discounted(address: Option<&Value>, verified: Option<&Value>, assumed: bool) -> Option<String> {
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
            "whether it is verified is the string \"true\", not true; {ADVICE}"
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

/// Logs why the address in `member` is not used.
pub(crate) fn warn_of_address(
    config: &ProviderConfig,
    member: &str,
    address: Option<&Value>,
    verified: Option<&Value>,
) {
    if let Some(reason) = discounted(address, verified, config.assume_email_verified) {
        tracing::warn!(
            provider = config.name,
            "the address in `{member}` is not used: {reason}"
        );
    }
}

/// Whether a string can be an address at all.
pub(crate) fn is_address(text: &str) -> bool {
    text.len() <= MAX_TEXT
        && text.contains('@')
        && !text.contains(|c: char| is_unsafe(c) || c.is_whitespace())
}

/// A claim that is a string and not blank, without surrounding white space.
pub(crate) fn text<'a>(claims: &'a Map<String, Value>, claim: &str) -> Option<&'a str> {
    let text = claims.get(claim)?.as_str()?.trim();
    (!text.is_empty()).then_some(text)
}

/// The display name: `name`, or else `given_name` and `family_name`, or else `preferred_username`.
pub(crate) fn name(claims: &Map<String, Value>) -> String {
    let text = |claim| text(claims, claim);
    let parts = [text("given_name"), text("family_name")];
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    plain(&match text("name") {
        Some(name) => name.to_owned(),
        None if !parts.is_empty() => parts.join(" "),
        None => text("preferred_username").unwrap_or_default().to_owned(),
    })
}

/// A picture: an absolute http or https URL.
pub(crate) fn picture(text: Option<&str>) -> Option<String> {
    let url = Url::parse(text.filter(|text| text.len() <= MAX_URL)?).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.into())
}

#[cfg(test)]
mod tests {
    use gateway_model::Email;
    use serde_json::{Map, Value, json};

    use super::{discounted, merge, name, picture, plain, text};
    use crate::config::{ProviderConfig, ProviderKind};
    use crate::json::Object;

    fn email(claims: &Map<String, Value>, trusted: bool, assumed: bool) -> Option<Email> {
        let kind = ProviderKind::Oidc {
            issuer: String::new(),
        };
        let config = ProviderConfig {
            trusted_email: trusted,
            assume_email_verified: assumed,
            ..ProviderConfig::new("p", kind, "id", String::new().into())
        };
        super::email(text(claims, "email"), claims.get("email_verified"), &config)
    }

    fn claims(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn p7_an_address_counts_if_verified_or_assumed_and_not_denied() {
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
    fn an_address_and_its_verification_come_from_one_source() {
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
        // A "no" counts from any source, but not against a "yes".
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
    fn p7_the_reason_why_an_address_is_not_used_is_reported() {
        let why = |email: Value, verified: Value| discounted(Some(&email), Some(&verified), false);
        let address = || json!("a@example.org");
        for (email, verified, said) in [
            (address(), json!(null), "does not say"),
            (address(), json!("true"), "the string"),
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
    fn the_display_name_comes_from_several_claims() {
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
    fn names_lose_characters_that_reorder_or_hide_text() {
        assert_eq!(
            plain("Ann\u{202e}nnA\u{61c}\u{2066}\u{2028}\u{200b}\u{e0041}"),
            "AnnnnA"
        );
        let persian = "علی\u{200c}رضا";
        assert_eq!(plain(persian), persian);
    }

    #[test]
    fn pictures_are_web_urls() {
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
